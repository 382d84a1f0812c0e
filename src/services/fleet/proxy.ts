/** Which proxy stands between here and a Fleet host: decided here alone, so that what is used and what an error names are the same. */
import { BlockList, isIP } from 'node:net';
import type { FleetSettings } from '../settings/settings.ts';

export type ProxySettings = Pick<FleetSettings, 'proxyUrl' | 'environmentProxy'>;

const SCHEMES = ['http:', 'https:', 'socks5:'];

/** A proxy that was named and cannot be used. */
export class UnusableProxy extends Error {}

/**
 * `fleet.proxy_url` for every host; else the environment's, as Elastic Agent (Go) reads it: HTTPS_PROXY for `https://` hosts and HTTP_PROXY for
 * `http://` ones, neither in place of the other; never for this host itself, nor for what NO_PROXY names. Null: straight.
 *
 * @throws UnusableProxy
 */
export function proxyFor(host: string, { proxyUrl, environmentProxy }: ProxySettings): URL | null {
  if (proxyUrl !== null) return parseProxy(proxyUrl, 'fleet.proxy_url');
  const url = URL.canParse(host) ? new URL(host) : null;
  if (url === null) return null;
  const secure = url.protocol === 'https:';
  const named = secure ? environmentProxy.https : environmentProxy.http;
  if (named === null || named.trim() === '' || isExcepted(url, environmentProxy.no ?? '')) return null;
  return parseProxy(named, secure ? 'HTTPS_PROXY' : 'HTTP_PROXY');
}

/** `host:3128` means `http://host:3128`. */
function parseProxy(text: string, source: string): URL {
  const given = text.trim();
  const whole = /^[a-z][a-z\d+.-]*:\/\//i.test(given) ? given : `http://${given}`;
  const url = URL.canParse(whole) ? new URL(whole.replace(/^socks5h:/i, 'socks5:')) : null;
  // Not the text itself: it may hold a password.
  if (url === null || url.hostname === '') throw new UnusableProxy(`${source} is not the URL of a proxy`);
  if (!SCHEMES.includes(url.protocol)) {
    throw new UnusableProxy(`${source} names a proxy by ${url.protocol}//, and only http, https and socks5 are known`);
  }
  return url;
}

function isExcepted(url: URL, noProxy: string): boolean {
  const host = url.hostname.toLowerCase().replace(/^\[|\]$/g, '');
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  if (host === 'localhost' || isWithin(host, '127.0.0.0/8') || host === '::1') return true;
  return noProxy
    .toLowerCase()
    .split(/[\s,]+/)
    .filter(Boolean)
    .some((entry) => matches(entry, host, port));
}

/** One entry: `*`, a network, an address or a name, the last two with a port or without. `.name` and `*.name` are what lies below it only. */
function matches(entry: string, host: string, port: string): boolean {
  if (entry === '*') return true;
  if (entry.includes('/')) return isWithin(host, entry);
  const [, name = entry, named = null] = isIP(entry) === 6 ? [] : (/^(.*?)(?::(\d+))?$/.exec(entry) ?? []);
  if (named !== null && named !== port) return false;
  const bare = name.replace(/^\[|\]$/g, '');
  if (isIP(bare) !== 0) return isIP(host) !== 0 && sameAddress(bare, host);
  if (isIP(host) !== 0 || bare === '') return false;
  const below = bare.replace(/^\*(?=\.)/, '');
  return below.startsWith('.') ? host.endsWith(below) : host === below || host.endsWith(`.${below}`);
}

const familyOf = (address: string): 'ipv4' | 'ipv6' => (isIP(address) === 6 ? 'ipv6' : 'ipv4');

function sameAddress(one: string, other: string): boolean {
  const list = new BlockList();
  list.addAddress(one, familyOf(one));
  return list.check(other, familyOf(other));
}

function isWithin(host: string, network: string): boolean {
  const [, address = '', bits = ''] = /^(.+)\/(\d{1,3})$/.exec(network) ?? [];
  if (isIP(host) === 0 || isIP(address) === 0 || Number(bits) > (isIP(address) === 4 ? 32 : 128)) return false;
  const list = new BlockList();
  list.addSubnet(address, Number(bits), familyOf(address));
  return list.check(host, familyOf(host));
}

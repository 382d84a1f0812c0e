/** One HTTP exchange with a Fleet Server: headers, gzip, TLS, proxies, limits. Every way it can end is one of a closed set; nothing is thrown. */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { createGunzip, gzip } from 'node:zlib';
import type { Dispatcher } from 'undici';
import type { LinkFailure } from '../../machines/link.ts';
import { API_VERSION, authorization, HEADER, userAgent } from '../../wire/fleet.ts';
import type { HostClock } from '../host/clock.ts';
import type { FleetSettings } from '../settings/settings.ts';
import { failure, failureOfThrown, OversizedAnswer, retryAfterMs } from './failures.ts';

/** Bytes of one answer, inflated. A hundred actions with large policies stay far below. */
const ANSWER_LIMIT_BYTES = 64 * 1024 * 1024;
/** Until a connection, with proxy and TLS, stands. Below what the gateway takes for an open poll. */
const CONNECT_TIMEOUT_MS = 10_000;

/** What a transport needs of the settings. */
export type TransportSettings = Pick<FleetSettings, 'agentVersion' | 'ssl' | 'proxyUrl' | 'environmentProxy'>;

export interface Exchange {
  /** URL of the server; a path in it is kept as a prefix. */
  readonly host: string;
  readonly path: string;
  /** Access key or enrollment token. */
  readonly key: string;
  readonly body: string;
  /** Compress the body; done only for check-ins, since a Fleet Server inflates nothing else. */
  readonly gzip: boolean;
  /** For the whole exchange. */
  readonly timeoutMs: number;
}

/** A complete HTTP answer of any status. */
export interface Answer {
  readonly kind: 'answer';
  readonly status: number;
  readonly text: string;
  readonly retryAfterMs: number | null;
  readonly warning: string | null;
  readonly tookMs: number;
  readonly at: number;
}

export interface Transport {
  exchange(exchange: Exchange, signal: AbortSignal): Promise<Answer | LinkFailure>;
  /** Ends what is open; resolves when the connections have closed. It may be used again afterwards. */
  close(): Promise<void>;
}

const deflated = promisify(gzip);

/** `answerLimitBytes` is for tests. undici is loaded with the first exchange, not before (P2). */
export function createTransport(
  settings: TransportSettings,
  clock: HostClock,
  answerLimitBytes = ANSWER_LIMIT_BYTES,
): Transport {
  let dispatcher: Promise<Dispatcher> | null = null;

  async function exchange(wanted: Exchange, signal: AbortSignal): Promise<Answer | LinkFailure> {
    const started = clock.monotonicMs();
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort('timeout'), wanted.timeoutMs);
    const onAbort = () => limit.abort('cut');
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    try {
      dispatcher ??= connect(settings);
      const { request } = await import('undici');
      const url = targetOf(wanted.host, wanted.path);
      const response = await request(url, {
        method: 'POST',
        dispatcher: await dispatcher,
        headers: headersOf(wanted, settings.agentVersion),
        body: wanted.gzip ? await deflated(wanted.body) : wanted.body,
        signal: limit.signal,
      });
      const text = await readText(response, answerLimitBytes);
      return {
        kind: 'answer',
        status: response.statusCode,
        text,
        retryAfterMs: retryAfterMs(only(response.headers[HEADER.retryAfter]), clock.wallMs()),
        warning: only(response.headers[HEADER.warning]),
        tookMs: clock.monotonicMs() - started,
        at: clock.wallMs(),
      };
    } catch (thrown) {
      const at = clock.wallMs();
      if (limit.signal.aborted) {
        return limit.signal.reason === 'cut'
          ? failure('cut', 'the request was ended by this agent', at, { answerLost: true })
          : failure(
              'timeout',
              `${nameOf(wanted.host)} did not answer within ${Math.round(wanted.timeoutMs / 1000)} s`,
              at,
              {
                answerLost: true,
              },
            );
      }
      // A dispatcher that could not be made (an unreadable certificate) is made anew at the next try.
      dispatcher?.catch(() => {
        dispatcher = null;
      });
      return failureOfThrown(thrown, nameOf(wanted.host), proxyFor(wanted.host, settings), at);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
  }

  async function close(): Promise<void> {
    const closing = dispatcher;
    dispatcher = null;
    await closing?.then(
      (open) => open.destroy(),
      () => {},
    );
  }

  return { exchange, close };
}

/** The host as it is shown: without credentials. */
export function nameOf(host: string): string {
  try {
    const url = new URL(host);
    return `${url.protocol}//${url.host}${url.pathname === '/' ? '' : url.pathname}`;
  } catch {
    return host;
  }
}

function targetOf(host: string, path: string): string {
  return `${host.replace(/\/+$/, '')}${path}`;
}

function headersOf(wanted: Exchange, agentVersion: string): Record<string, string> {
  return {
    [HEADER.authorization]: authorization(wanted.key),
    // Fleet Server drops what follows the first `-`; anything else behind the version is refused.
    [HEADER.userAgent]: userAgent(agentVersion.includes('-') ? agentVersion : `${agentVersion}-holdfast`),
    [HEADER.apiVersion]: API_VERSION,
    [HEADER.requestId]: randomUUID(),
    [HEADER.contentType]: 'application/json',
    // Exactly this: a list or a weight means no compression to Fleet Server.
    [HEADER.acceptEncoding]: 'gzip',
    accept: 'application/json',
    'kbn-xsrf': '1',
    ...(wanted.gzip ? { [HEADER.contentEncoding]: 'gzip' } : {}),
  };
}

function only(header: string | string[] | undefined): string | null {
  const value = Array.isArray(header) ? header.join(', ') : header;
  return value === undefined || value === '' ? null : value;
}

async function readText(response: Dispatcher.ResponseData, limitBytes: number): Promise<string> {
  // A body that is destroyed before it is read to its end says so by an error; that nobody waits for it must not end the process.
  response.body.on('error', () => {});
  const encoding = only(response.headers[HEADER.contentEncoding])?.trim().toLowerCase() ?? 'identity';
  const zipped = encoding === 'gzip' || encoding === 'x-gzip';
  if (!zipped && encoding !== 'identity') {
    response.body.destroy();
    throw new TypeError(`the answer is encoded as ${encoding}, which was not asked for`);
  }
  const source = response.body;
  const stream = zipped ? source.pipe(createGunzip()) : source;
  if (zipped) source.on('error', (error) => stream.destroy(error));
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const chunk of stream as AsyncIterable<Uint8Array>) {
      bytes += chunk.length;
      if (bytes > limitBytes) throw new OversizedAnswer(limitBytes);
      chunks.push(chunk);
    }
  } finally {
    if (!source.destroyed && !source.readableEnded) source.destroy();
  }
  return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
}

async function connect(settings: TransportSettings): Promise<Dispatcher> {
  const { Agent, EnvHttpProxyAgent, ProxyAgent } = await import('undici');
  const tls = await tlsOptions(settings.ssl);
  // The exchange has one limit of its own; undici's would cut a poll of five minutes.
  const common = { headersTimeout: 0, bodyTimeout: 0, connect: { ...tls, timeout: CONNECT_TIMEOUT_MS } };
  const proxied = { ...common, requestTls: { ...tls, timeout: CONNECT_TIMEOUT_MS }, proxyTls: { ...tls } };
  if (settings.proxyUrl !== null) return new ProxyAgent({ uri: settings.proxyUrl, ...proxied });
  const { http, https, no } = settings.environmentProxy;
  if (http === null && https === null) return new Agent(common);
  return new EnvHttpProxyAgent({
    ...proxied,
    // Empty, not absent: absent, undici would look into the environment by itself.
    httpProxy: http ?? '',
    httpsProxy: https ?? '',
    noProxy: no ?? '',
  });
}

async function tlsOptions(ssl: TransportSettings['ssl']) {
  const ca = await Promise.all(ssl.certificateAuthorities.map(readPem));
  return {
    ...(ca.length > 0 ? { ca } : {}),
    ...(ssl.certificate === null ? {} : { cert: await readPem(ssl.certificate) }),
    ...(ssl.key === null ? {} : { key: await readPem(ssl.key) }),
    ...(ssl.verificationMode === 'none' ? { rejectUnauthorized: false } : {}),
    ...(ssl.verificationMode === 'certificate' ? { checkServerIdentity: () => undefined } : {}),
  };
}

/** PEM text itself, or a file of it. */
async function readPem(source: string): Promise<string> {
  return source.includes('-----BEGIN') ? source : readFile(source, 'utf8');
}

/** The proxy that stands between here and the host, as it is shown; null when there is none. */
export function proxyFor(host: string, { proxyUrl, environmentProxy }: TransportSettings): string | null {
  if (proxyUrl !== null) return nameOf(proxyUrl);
  const url = URL.canParse(host) ? new URL(host) : null;
  const proxy = url?.protocol === 'http:' ? environmentProxy.http : (environmentProxy.https ?? null);
  if (url === null || !proxy) return null;
  const excepted = (environmentProxy.no ?? '').split(/[\s,]+/).filter(Boolean);
  const direct = excepted.some((one) => {
    const name = one.replace(/^\*?\./, '').replace(/:\d+$/, '');
    return one === '*' || url.hostname === name || url.hostname.endsWith(`.${name}`);
  });
  return direct ? null : nameOf(proxy);
}

/** What `--inspect=…` says: our own page, on this host alone, or Stately's inspector. */
import { HoldfastError } from '../../errors.ts';

/** Beside Fleet's 8220. When it is taken, and nobody asked for it by name, any free port serves. */
export const INSPECT_PORT = 8229;

export interface InspectAddress {
  readonly host: '127.0.0.1' | '::1';
  readonly port: number;
  /** The port was named: no other one will do. */
  readonly exact: boolean;
}

export type InspectTarget =
  | { readonly kind: 'page'; readonly address: InspectAddress }
  | { readonly kind: 'stately'; readonly url: string };

const STATELY_URL = 'ws://127.0.0.1:8080';

/** `value`: what follows `--inspect=`; true: nothing. @throws HoldfastError USAGE */
export function inspectTarget(value: string | true): InspectTarget {
  if (value === 'stately') return { kind: 'stately', url: STATELY_URL };
  if (value === true || !value.startsWith('stately:')) return { kind: 'page', address: inspectAddress(value) };
  const url = value.slice('stately:'.length);
  const { protocol, hostname } = URL.canParse(url) ? new URL(url) : { protocol: '', hostname: '' };
  // In the clear only on this host.
  if (protocol === 'wss:' || (protocol === 'ws:' && HOSTS.has(hostname))) return { kind: 'stately', url };
  throw new HoldfastError('USAGE', `--inspect=${value}: after stately: stands ws://127.0.0.1:PORT or a wss:// URL`);
}

/** @throws HoldfastError USAGE for anything but a loopback address and a port. */
export function inspectAddress(value: string | true): InspectAddress {
  if (value === true) return { host: '127.0.0.1', port: INSPECT_PORT, exact: false };
  const [, name = '', digits = ''] = /^(?:(.+):)?(\d{1,5})$/.exec(value) ?? [];
  const host = HOSTS.get(name);
  const port = Number(digits);
  if (digits === '' || port > 65_535) {
    throw new HoldfastError('USAGE', `--inspect=${value} is not 127.0.0.1:PORT`);
  }
  if (host === undefined) {
    throw new HoldfastError(
      'USAGE',
      `--inspect=${value}: the inspector listens on this host alone (127.0.0.1 or [::1]); from elsewhere use a tunnel, such as \`ssh -L\``,
    );
  }
  return { host, port, exact: true };
}

const HOSTS: ReadonlyMap<string, InspectAddress['host']> = new Map([
  ['', '127.0.0.1'],
  ['localhost', '127.0.0.1'],
  ['127.0.0.1', '127.0.0.1'],
  ['[::1]', '::1'],
]);

/** One HTTP exchange with a Fleet Server: headers, gzip, TLS, proxies, limits. Every way it can end is one of a closed set; nothing is thrown. */
import { randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
import { createGunzip, gzip } from 'node:zlib';
import type { Dispatcher } from 'undici';
import type { LinkFailure } from '../../machines/link.ts';
import { API_VERSION, authorization, HEADER, userAgent } from '../../wire/fleet.ts';
import type { HostClock } from '../host/clock.ts';
import type { FleetSettings } from '../settings/settings.ts';
import { failure, failureOfThrown, notConnected, OversizedAnswer, retryAfterMs } from './failures.ts';
import { readPem } from './pem.ts';
import { proxyFor } from './proxy.ts';

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
  /** Where a redirection points. */
  readonly location?: string | null;
  readonly tookMs: number;
  readonly at: number;
}

export interface Transport {
  exchange(exchange: Exchange, signal: AbortSignal): Promise<Answer | LinkFailure>;
  /** Ends what is open; resolves when the connections have closed. It may be used again afterwards. */
  close(): Promise<void>;
}

const deflated = promisify(gzip);

type Undici = typeof import('undici');

/** `answerLimitBytes` is for tests. undici is loaded with the first exchange, not before (P2). */
export function createTransport(
  settings: TransportSettings,
  clock: HostClock,
  answerLimitBytes = ANSWER_LIMIT_BYTES,
): Transport {
  /** What is open, by the proxy it goes through; `''`: straight. */
  const dispatchers = new Map<string, Promise<Dispatcher>>();

  function dispatcherThrough(proxy: URL | null, undici: Undici): Promise<Dispatcher> {
    const by = proxy?.href ?? '';
    const open = dispatchers.get(by) ?? connect(settings, proxy, undici);
    dispatchers.set(by, open);
    // A dispatcher that could not be made (an unreadable certificate) is made anew at the next try.
    open.catch(() => dispatchers.delete(by));
    return open;
  }

  async function exchange(wanted: Exchange, signal: AbortSignal): Promise<Answer | LinkFailure> {
    const started = clock.monotonicMs();
    const limit = new AbortController();
    const timers = [setTimeout(() => limit.abort('timeout'), wanted.timeoutMs)];
    const onAbort = () => limit.abort('cut');
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    const ended = new Promise<never>((_, reject) => {
      const end = () => reject(limit.signal.reason);
      if (limit.signal.aborted) end();
      else limit.signal.addEventListener('abort', end, { once: true });
    });
    ended.catch(() => {});
    /** Whether the request has left: before that nothing can have been answered. */
    let sent = false;
    let proxy: URL | null = null;
    try {
      proxy = proxyFor(wanted.host, settings);
      const undici = await import('undici');
      const open = await dispatcherThrough(proxy, undici);
      const connecting = setTimeout(() => limit.abort('unconnected'), CONNECT_TIMEOUT_MS);
      timers.push(connecting);
      const asked = undici.request(targetOf(wanted.host, wanted.path), {
        method: 'POST',
        dispatcher: whenSent(open, undici, () => {
          sent = true;
          clearTimeout(connecting);
        }),
        headers: headersOf(wanted, settings.agentVersion),
        body: wanted.gzip ? await deflated(wanted.body) : wanted.body,
        signal: limit.signal,
        // The exchange has one limit of its own; undici's would cut a poll of five minutes. Said here, they hold for every kind of proxy.
        headersTimeout: 0,
        bodyTimeout: 0,
      });
      asked.catch(() => {});
      // undici looks at a signal only when it has a connection: raced, a proxy that never lets one through cannot hold the exchange.
      const response = await Promise.race([asked, ended]);
      const text = await readText(response, answerLimitBytes);
      return {
        kind: 'answer',
        status: response.statusCode,
        text,
        retryAfterMs: retryAfterMs(only(response.headers[HEADER.retryAfter]), clock.wallMs()),
        warning: only(response.headers[HEADER.warning]),
        location: only(response.headers.location),
        tookMs: clock.monotonicMs() - started,
        at: clock.wallMs(),
      };
    } catch (thrown) {
      const at = clock.wallMs();
      const host = nameOf(wanted.host);
      const through = proxy === null ? null : nameOf(proxy.href);
      const ownCertificate = settings.ssl.certificate !== null;
      if (!limit.signal.aborted) return failureOfThrown(thrown, { host, proxy: through, sent, ownCertificate }, at);
      // What is being connected in vain would be waited for by the next exchange.
      if (!sent) await close();
      switch (limit.signal.reason) {
        case 'cut':
          return failure('cut', 'the request was ended by this agent', at, { answerLost: sent });
        case 'unconnected':
          return notConnected(host, through, CONNECT_TIMEOUT_MS, at);
        default:
          if (!sent) return notConnected(host, through, wanted.timeoutMs, at);
          return failure('timeout', `${host} did not answer within ${Math.round(wanted.timeoutMs / 1000)} s`, at, {
            answerLost: true,
          });
      }
    } finally {
      for (const timer of timers) clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
  }

  async function close(): Promise<void> {
    const closing = [...dispatchers.values()];
    dispatchers.clear();
    await Promise.all(
      closing.map((one) =>
        one.then(
          (open) => open.destroy(),
          () => {},
        ),
      ),
    );
  }

  return { exchange, close };
}

type Handler = Dispatcher.DispatchHandler;
type Started = Parameters<NonNullable<Handler['onRequestStart']>>;

/** Says when a request begins to be written, which is when its connection stands. */
function whenSent(open: Dispatcher, { DecoratorHandler }: Undici, tell: () => void): Dispatcher {
  // Its types leave out what it passes on.
  const Passing = DecoratorHandler as unknown as new (handler: Handler) => { onRequestStart(...told: Started): void };
  class Telling extends Passing {
    override onRequestStart(...told: Started): void {
      tell();
      super.onRequestStart(...told);
    }
  }
  return open.compose((dispatch) => (options, handler) => dispatch(options, new Telling(handler)));
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

async function connect({ ssl }: TransportSettings, proxy: URL | null, undici: Undici): Promise<Dispatcher> {
  const tls = await tlsOptions(ssl);
  const connectOptions = { ...tls, timeout: CONNECT_TIMEOUT_MS };
  if (proxy === null) return new undici.Agent({ connect: connectOptions });
  if (proxy.protocol === 'socks5:') {
    // Without `proxyTls`: with it undici would speak TLS to the proxy itself. `requestTls` is missing in its types only.
    const options = { connect: undici.buildConnector({ timeout: CONNECT_TIMEOUT_MS }), requestTls: tls };
    return new undici.Socks5ProxyAgent(proxy, options);
  }
  return new undici.ProxyAgent({ uri: proxy.href, requestTls: connectOptions, proxyTls: connectOptions });
}

async function tlsOptions(ssl: TransportSettings['ssl']) {
  const ca = await Promise.all(
    ssl.certificateAuthorities.map((source) => readPem(source, 'fleet.ssl.certificate_authorities')),
  );
  return {
    ...(ca.length > 0 ? { ca } : {}),
    ...(ssl.certificate === null ? {} : { cert: await readPem(ssl.certificate, 'fleet.ssl.certificate') }),
    ...(ssl.key === null ? {} : { key: await readPem(ssl.key, 'fleet.ssl.key') }),
    ...(ssl.verificationMode === 'none' ? { rejectUnauthorized: false } : {}),
    ...(ssl.verificationMode === 'certificate' ? { checkServerIdentity: () => undefined } : {}),
  };
}

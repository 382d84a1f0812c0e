/** Serves the inspector's page, for one person on this host. It only shows; nothing can be changed through it. */
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { fileURLToPath } from 'node:url';
import { HoldfastError } from '../../errors.ts';
import { INSPECTOR_PATH } from '../../wire/inspector.ts';
import type { Logger } from '../log/logger.ts';
import type { InspectAddress } from './address.ts';
import { Admission } from './admission.ts';
import { readCharts } from './charts.ts';
import type { Source } from './source.ts';
import { stream } from './stream.ts';

export interface PageOptions {
  readonly address: InspectAddress;
  readonly source: Source;
  /** Called once the address is ours: what the printed URL will carry. */
  readonly token: () => string;
  readonly log: Logger;
}

export interface PageServer {
  /** Carries the token. */
  readonly url: string;
  /** Ends every stream. */
  close(): Promise<void>;
}

const PAGE = fileURLToPath(new URL('../../inspector-page/', import.meta.url));
/** The one module that the page shares with its server, where the page's own import looks for it. */
const SHARED = '/wire/inspector.js';
const CONNECTIONS_MAX = 64;

/** No script, style, picture or connection but this server's own; nothing may frame it; nothing of its address leaves it. */
const HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-store',
};

const TYPES: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  svg: 'image/svg+xml; charset=utf-8',
};

/** Starts listening. Rejects with CONTROL_FAILED when it cannot, as when the port was named and is taken. */
export async function servePage({ address, source, token: takeToken, log }: PageOptions): Promise<PageServer> {
  const charts = readCharts();
  const streams = new Set<() => void>();
  const server = createServer((request, response) => {
    response.on('error', () => response.destroy());
    answer(request, response).catch((thrown) => {
      log.warning('the inspector could not answer', {
        err: thrown instanceof Error ? thrown : new Error(String(thrown)),
      });
      if (response.headersSent) response.destroy();
      else say(response, 500, 'This could not be read.');
    });
  });
  server.maxConnections = CONNECTIONS_MAX;
  const port = await listen(server, address);
  const token = takeToken();
  const admission = new Admission(token, port);

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://inspector');
    const refusal = admission.refusal(request, url.searchParams);
    if (refusal !== null) return say(response, refusal.status, refusal.why);
    const { pathname } = url;
    const below = (prefix: string) =>
      pathname.startsWith(prefix) ? decodeURIComponent(pathname.slice(prefix.length)) : null;

    if (pathname === INSPECTOR_PATH.page) return page(response);
    if (pathname === INSPECTOR_PATH.charts) return json(response, charts.index);
    if (pathname === INSPECTOR_PATH.recordings) return json(response, await source.recordings());
    if (pathname === INSPECTOR_PATH.stream) {
      response.writeHead(200, { ...HEADERS, 'content-type': 'text/event-stream; charset=utf-8' });
      return stream({ response, source, streams });
    }
    const asset = below(INSPECTOR_PATH.assets);
    if (asset !== null) return assetOf(response, asset);
    if (pathname === SHARED) return send(response, 'js', assetText(`..${SHARED}`));
    const chart = below(INSPECTOR_PATH.chart);
    if (chart !== null) return send(response, 'svg', charts.svg(chart.replace(/\.svg$/, '')));
    const hash = below(INSPECTOR_PATH.policies);
    if (hash !== null) return text(response, await policyOf(hash));
    const component = below(INSPECTOR_PATH.output);
    if (component !== null) return text(response, await source.output(component));
    if (pathname === INSPECTOR_PATH.log) return text(response, await source.log());
    say(response, 404, 'The inspector has no such page.');
  }

  function page(response: ServerResponse): void {
    send(response, 'html', assetText('index.html'), { 'set-cookie': admission.setCookie });
  }

  async function policyOf(hash: string): Promise<string | null> {
    return /^[0-9a-f]{64}$/.test(hash) ? source.policy(hash) : null;
  }

  const host = address.host === '::1' ? '[::1]' : address.host;
  return {
    url: `http://${host}:${port}/?token=${token}`,
    close: () =>
      new Promise((resolve) => {
        for (const end of streams) end();
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listen(server: Server, { host, port, exact }: InspectAddress): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (exact || error.code !== 'EADDRINUSE') {
        return reject(
          new HoldfastError('CONTROL_FAILED', `the inspector cannot listen on ${host}:${port}: ${error.message}`),
        );
      }
      listen(server, { host, port: 0, exact: true }).then(resolve, reject);
    });
    server.listen(port, host, () => {
      server.removeAllListeners('error');
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : port);
    });
  });
}

/** Only names as the build makes them: no folders, nothing hidden. */
function assetOf(response: ServerResponse, name: string): void {
  const type = /^[a-z][\w-]*\.(js|css|svg)$/.exec(name)?.[1];
  send(response, type ?? 'html', type === undefined ? null : assetText(name));
}

function assetText(name: string): string | null {
  try {
    return readFileSync(`${PAGE}${name}`, 'utf8');
  } catch {
    return null;
  }
}

function send(response: ServerResponse, type: string, body: string | null, more: Record<string, string> = {}): void {
  if (body === null) {
    say(response, 404, 'The inspector has no such page.');
    return;
  }
  response.writeHead(200, { ...HEADERS, 'content-type': TYPES[type] ?? 'text/plain; charset=utf-8', ...more });
  response.end(body);
}

function json(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { ...HEADERS, 'content-type': 'application/json' });
  response.end(JSON.stringify(value));
}

function text(response: ServerResponse, body: string | null): void {
  send(response, 'text', body);
}

function say(response: ServerResponse, status: number, sentence: string): void {
  response.writeHead(status, { ...HEADERS, 'content-type': 'text/plain; charset=utf-8' });
  response.end(`${sentence}\n`);
}

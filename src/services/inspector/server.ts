/** The inspector's server: one page and what it shows, for one person on this host. It only shows; nothing can be changed through it. */
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { fileURLToPath } from 'node:url';
import type { InspectionEvent } from 'xstate';
import { HoldfastError } from '../../errors.ts';
import { INSPECTOR_PATH, type Standing } from '../../wire/inspector.ts';
import { componentPaths } from '../home.ts';
import type { Logger } from '../log/logger.ts';
import { lastLines } from '../log/read-log.ts';
import type { InspectAddress } from './address.ts';
import { Admission } from './admission.ts';
import { readCharts } from './charts.ts';
import { Observer } from './observer.ts';
import { readRecordings } from './recordings.ts';
import { stream } from './stream.ts';
import { dropToken, takeToken } from './token-file.ts';

/** What the inspector asks the daemon for. */
export interface Inspected {
  /** Null: there is no agent yet. */
  standing(): Standing | null;
  /** Calls `listener` after each change of what {@link standing} says; the returned function ends that. */
  onChange(listener: () => void): () => void;
  /** A policy that is held, as masked YAML; null: it is not held, or cannot be read. */
  heldPolicy(hash: string): Promise<string | null>;
}

export interface Inspector {
  /** Carries the token. */
  readonly url: string;
  /** For `createActor`; never throws. */
  readonly observe: (event: InspectionEvent) => void;
  /** Ends every stream and takes the token away. */
  close(): Promise<void>;
}

export interface InspectorOptions {
  readonly address: InspectAddress;
  readonly home: string;
  readonly version: string;
  readonly inspected: Inspected;
  readonly log: Logger;
}

const PAGE = fileURLToPath(new URL('../../inspector-page/', import.meta.url));
/** The one module that the page shares with its server, where the page's own import looks for it. */
const SHARED = '/wire/inspector.js';
const CONNECTIONS_MAX = 64;
const OUTPUT_LINES = 200;
const MOMENTS = 200;

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
export async function startInspector(options: InspectorOptions): Promise<Inspector> {
  const { home, address, log, inspected } = options;
  const observer = new Observer();
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
  const token = takeToken(home);
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
    if (pathname === INSPECTOR_PATH.recordings) return json(response, readRecordings(home, MOMENTS));
    if (pathname === INSPECTOR_PATH.stream) {
      response.writeHead(200, { ...HEADERS, 'content-type': 'text/event-stream; charset=utf-8' });
      return stream({ response, observer, inspected, streams, version: options.version, home });
    }
    const asset = below(INSPECTOR_PATH.assets);
    if (asset !== null) return assetOf(response, asset);
    if (pathname === SHARED) return send(response, 'js', assetText(`..${SHARED}`));
    const chart = below(INSPECTOR_PATH.chart);
    if (chart !== null) return send(response, 'svg', charts.svg(chart.replace(/\.svg$/, '')));
    const hash = below(INSPECTOR_PATH.policies);
    if (hash !== null) return text(response, await heldPolicy(hash));
    const component = below(INSPECTOR_PATH.output);
    if (component !== null) return text(response, outputOf(component));
    say(response, 404, 'The inspector has no such page.');
  }

  function page(response: ServerResponse): void {
    send(response, 'html', assetText('index.html'), { 'set-cookie': admission.setCookie });
  }

  async function heldPolicy(hash: string): Promise<string | null> {
    if (!/^[0-9a-f]{64}$/.test(hash)) return null;
    const found = await inspected.heldPolicy(hash);
    return found === null ? null : observer.secrets.hide(found);
  }

  function outputOf(id: string): string | null {
    const known = inspected.standing()?.status.components.some((one) => one.id === id) ?? false;
    if (!known) return null;
    return observer.secrets.hide(lastLines(componentPaths(home, id).output, OUTPUT_LINES).join('\n'));
  }

  const host = address.host === '::1' ? '[::1]' : address.host;
  return {
    url: `http://${host}:${port}/?token=${token}`,
    observe: observer.observe,
    close: () =>
      new Promise((resolve) => {
        dropToken(home);
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

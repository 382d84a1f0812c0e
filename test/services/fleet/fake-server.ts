/** A real loopback HTTP server that answers as each test wants, and keeps what it was asked. */
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gunzipSync } from 'node:zlib';

export interface Asked {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  /** As it came over the wire. */
  readonly raw: Buffer;
  /** Inflated and parsed; undefined when it is not JSON. */
  readonly body: unknown;
}

export type Handler = (response: ServerResponse, asked: Asked, request: IncomingMessage) => void;

export interface FakeServer {
  readonly url: string;
  readonly port: number;
  readonly asked: Asked[];
  /** Connections that are open now. */
  connections(): number;
  handle(handler: Handler): void;
  close(): Promise<void>;
}

export async function startFakeServer(handler: Handler = (response) => json(response, 200, {})): Promise<FakeServer> {
  let current = handler;
  let open = 0;
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const raw = Buffer.concat(chunks);
      const one = { path: request.url ?? '', headers: request.headers, raw, body: parsed(raw, request.headers) };
      asked.push(one);
      current(response, one, request);
    });
  });
  server.on('connection', (socket) => {
    open++;
    socket.on('close', () => open--);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    asked,
    connections: () => open,
    handle: (next) => {
      current = next;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

export function json(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}

function parsed(raw: Buffer, headers: IncomingHttpHeaders): unknown {
  try {
    return JSON.parse((headers['content-encoding'] === 'gzip' ? gunzipSync(raw) : raw).toString('utf8'));
  } catch {
    return undefined;
  }
}

/** The daemon's end of the control socket: answers the command line of the same user and of root, and nobody else. */
import { chmodSync, lstatSync, mkdirSync, renameSync, symlinkSync, unlinkSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { ZodType } from 'zod';
import { asHoldfastError, HoldfastError } from '../../errors.ts';
import {
  type Accepted,
  CONTROL_PATH,
  type ControlError,
  type Inspection,
  reasonSchema,
  type Status,
} from '../../wire/control.ts';
import type { Logger } from '../log/logger.ts';
import { SOCKET_NAME, type SocketPlace, socketPlaces } from './socket-path.ts';

/** What the control socket needs of the daemon. */
export interface Controlled {
  status(): Status;
  inspect(): Inspection;
  /** Calls `listener` after each change of what `status` says; the returned function ends that. */
  onChange(listener: () => void): () => void;
  /** What is tried again; null: there is nothing. */
  retry(): string | null;
  restart(reason: string): void;
  unenroll(reason: string): void;
  identityChanged(): void;
}

export interface ControlServer {
  /** Where it listens. */
  readonly path: string;
  /** Ends every conversation and removes the socket. */
  close(): Promise<void>;
}

export interface ControlServerOptions {
  readonly home: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly controlled: Controlled;
  readonly log: Logger;
}

/** HTTP status of the errors that are not the daemon's own fault. */
const ANSWERS: Readonly<Record<string, number>> = { USAGE: 400, NOTHING_TO_RETRY: 409 };
/** Most bytes of a request body. */
const BODY_MAX_BYTES = 64 * 1024;
/** Most `status --watch` at once. */
const WATCHERS_MAX = 32;
/** Most conversations at once. */
const CONNECTIONS_MAX = 128;

/**
 * Starts listening. Call it only while holding the lock of the home: a socket that is found there belongs to a dead daemon and is
 * removed. Node cannot ask who is at the other end, so the socket itself is what admits: mode 0600 from the moment it exists, and
 * in a directory that others share, inside one of ours that nobody else can enter. Rejects with CONTROL_FAILED when no place works.
 */
export async function startControlServer(options: ControlServerOptions): Promise<ControlServer> {
  const uid = process.getuid?.() ?? 0;
  const inHome = join(options.home, SOCKET_NAME);
  const failures: string[] = [];
  const places = socketPlaces(options.home, options.env, uid);
  for (const { path } of places) {
    if (await answers(path)) throw new HoldfastError('CONTROL_FAILED', `another daemon answers on ${path}`);
  }
  for (const place of places) {
    const server = createServer((request, response) => answer(request, response, options, watchers));
    const watchers = new Set<() => void>();
    server.maxConnections = CONNECTIONS_MAX;
    try {
      prepare(place, uid);
      await listen(server, place.path);
      chmodSync(place.path, 0o600);
      if (place.path !== inHome) leaveTrail(inHome, place.path);
    } catch (thrown) {
      server.close();
      failures.push(`${place.path}: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
      continue;
    }
    server.on('error', (error) => options.log.warning('control socket failed', { err: error }));
    let closing: Promise<void> | null = null;
    return {
      path: place.path,
      close: () => {
        closing ??= new Promise((resolve) => {
          for (const end of watchers) end();
          server.close(() => resolve());
          server.closeIdleConnections();
          setTimeout(() => server.closeAllConnections(), 500).unref();
          remove(place.path);
          if (place.path !== inHome) remove(inHome);
        });
        return closing;
      },
    };
  }
  throw new HoldfastError('CONTROL_FAILED', `no place for the control socket: ${failures.join('; ')}`);
}

function prepare(place: SocketPlace, uid: number): void {
  if (place.ownDirectory !== null) {
    mkdirSync(place.ownDirectory, { recursive: true, mode: 0o700 });
    const found = lstatSync(place.ownDirectory);
    if (!found.isDirectory() || found.uid !== uid || (found.mode & 0o077) !== 0) {
      throw new Error(`${place.ownDirectory} is not a directory that only this user can enter`);
    }
  }
  const found = lstatSync(place.path, { throwIfNoEntry: false });
  if (found?.isSocket() || found?.isSymbolicLink()) unlinkSync(place.path);
  // Whatever else has that name is not ours to delete, and must not keep the socket away (P11).
  else if (found) renameSync(place.path, `${place.path}.set-aside-${process.pid}-${Date.now()}`);
}

/** Whether somebody takes connections on this socket. The lock should have said so; a live one is never taken away all the same. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // Node binds a path inside `listen`, before it returns: the socket never exists with a wider mode.
    const before = process.umask(0o177);
    try {
      server.listen(path, () => {
        server.removeListener('error', reject);
        resolve();
      });
    } finally {
      process.umask(before);
    }
  });
}

/** Leaves a link in the home that says where the socket is. A home that takes no writes has none; clients then look around. */
function leaveTrail(inHome: string, path: string): void {
  try {
    const found = lstatSync(inHome, { throwIfNoEntry: false });
    if (found?.isSocket() || found?.isSymbolicLink()) unlinkSync(inHome);
    symlinkSync(path, inHome);
  } catch {
    // see above
  }
}

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // gone already, or a file system that takes no writes
  }
}

function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { controlled, log }: ControlServerOptions,
  watchers: Set<() => void>,
): void {
  const path = (request.url ?? '/').split('?')[0];
  const route = `${request.method} ${path}`;
  response.on('error', () => response.destroy());
  handle().catch((thrown) => {
    const error = asHoldfastError(thrown, 'CONTROL_FAILED');
    if (error.code === 'CONTROL_FAILED') log.warning('control request failed', { request: route, err: error });
    const body: ControlError = { code: error.code, message: error.message };
    if (response.headersSent) response.destroy();
    else send(response, ANSWERS[error.code] ?? 500, body);
  });

  async function handle(): Promise<void> {
    switch (route) {
      case `GET ${CONTROL_PATH.status}`:
        return send(response, 200, controlled.status());
      case `GET ${CONTROL_PATH.inspect}`:
        return send(response, 200, controlled.inspect());
      case `GET ${CONTROL_PATH.watch}`:
        return watch(response, controlled, watchers);
      case `POST ${CONTROL_PATH.retry}`:
        return retry();
      case `POST ${CONTROL_PATH.restart}`:
        return accept('restarting', (reason) => controlled.restart(reason ?? 'asked for on the control socket'));
      case `POST ${CONTROL_PATH.unenroll}`:
        return accept('leaving Fleet', (reason) => controlled.unenroll(reason ?? 'asked for on the control socket'));
      case `POST ${CONTROL_PATH.identityChanged}`:
        return accept('taking over the new identity', () => controlled.identityChanged());
      default:
        return send(response, 404, { code: 'USAGE', message: `the control socket does not know ${route}` });
    }
  }

  async function retry(): Promise<void> {
    await readJson(request, reasonSchema);
    const message = controlled.retry();
    if (message !== null) return send(response, 202, { accepted: true, message } satisfies Accepted);
    throw new HoldfastError('NOTHING_TO_RETRY', 'nothing was rejected or passed over that could be tried again');
  }

  async function accept(message: string, act: (reason: string | undefined) => void): Promise<void> {
    const body = await readJson(request, reasonSchema);
    // Answered first: what follows may close this very socket.
    send(response, 202, { accepted: true, message } satisfies Accepted);
    act(body.reason);
  }
}

function send(response: ServerResponse, status: number, body: unknown): void {
  const text = `${JSON.stringify(body)}\n`;
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}

/** Writes the status now and after each change, always the newest: a reader that is slow skips what lies between. */
function watch(response: ServerResponse, controlled: Controlled, watchers: Set<() => void>): void {
  if (watchers.size >= WATCHERS_MAX) {
    throw new HoldfastError('CONTROL_FAILED', `${WATCHERS_MAX} others are watching already`);
  }
  response.writeHead(200, { 'content-type': 'application/x-ndjson' });
  let scheduled = false;
  let draining = false;
  const write = () => {
    scheduled = false;
    if (response.writableEnded || response.destroyed) return;
    if (response.write(`${JSON.stringify(controlled.status())}\n`)) return;
    draining = true;
    response.once('drain', () => {
      draining = false;
      write();
    });
  };
  const unsubscribe = controlled.onChange(() => {
    if (scheduled || draining) return;
    scheduled = true;
    setImmediate(write);
  });
  const end = () => {
    unsubscribe();
    watchers.delete(end);
    response.end();
  };
  watchers.add(end);
  response.on('close', end);
  write();
}

async function readJson<T>(request: IncomingMessage, schema: ZodType<T>): Promise<T> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > BODY_MAX_BYTES) throw new HoldfastError('USAGE', `the request body is over ${BODY_MAX_BYTES} bytes`);
    chunks.push(chunk);
  }
  const text = Buffer.concat(chunks).toString('utf8');
  try {
    return schema.parse(text.trim() === '' ? {} : JSON.parse(text));
  } catch (thrown) {
    throw new HoldfastError('USAGE', 'the request body is not what this path takes', { cause: thrown });
  }
}

/** The command line's end of the control socket: finds it, asks, and says in one sentence why there is no answer. */
import { lstatSync, readlinkSync, statSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { dirname, join } from 'node:path';
import type { ZodType } from 'zod';
import { ERRORS, type ErrorCode, HoldfastError } from '../../errors.ts';
import {
  type Accepted,
  acceptedSchema,
  CONTROL_PATH,
  controlErrorSchema,
  type Inspection,
  inspectionSchema,
  type Status,
  statusSchema,
} from '../../wire/control.ts';
import { SOCKET_NAME, socketPlaces } from './socket-path.ts';

export interface ControlClient {
  status(): Promise<Status>;
  inspect(): Promise<Inspection>;
  /** Each status from now on; ends when the daemon does. */
  watch(signal: AbortSignal): AsyncGenerator<Status, void, undefined>;
  retry(): Promise<Accepted>;
  restart(reason: string): Promise<Accepted>;
  unenroll(reason: string): Promise<Accepted>;
  identityChanged(): Promise<Accepted>;
}

/** An answer of more bytes than this is not one. */
const ANSWER_MAX_BYTES = 64 * 1024 * 1024;
/** The daemon answers from memory; one that takes this long hangs. */
const ANSWER_WITHIN_MS = 10_000;

/**
 * A client for the daemon of this home. Nothing is opened before the first call; every call rejects with NOT_RUNNING (nobody listens),
 * CONTROL_REFUSED (another user's) or CONTROL_FAILED.
 */
export function controlClient(home: string, env: Readonly<Record<string, string | undefined>>): ControlClient {
  const ask = async <T>(method: string, path: string, schema: ZodType<T>, body?: unknown): Promise<T> => {
    const response = await open(home, env, method, path, body, AbortSignal.timeout(ANSWER_WITHIN_MS));
    const chunks: Buffer[] = [];
    let bytes = 0;
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) {
        bytes += chunk.length;
        if (bytes > ANSWER_MAX_BYTES) throw new Error(`the answer is over ${ANSWER_MAX_BYTES} bytes`);
        chunks.push(chunk);
      }
    } catch (thrown) {
      throw failed(home, thrown);
    }
    return read(home, Buffer.concat(chunks).toString('utf8'), response.statusCode ?? 0, schema);
  };
  return {
    status: () => ask('GET', CONTROL_PATH.status, statusSchema),
    inspect: () => ask('GET', CONTROL_PATH.inspect, inspectionSchema),
    retry: () => ask('POST', CONTROL_PATH.retry, acceptedSchema),
    restart: (reason) => ask('POST', CONTROL_PATH.restart, acceptedSchema, { reason }),
    unenroll: (reason) => ask('POST', CONTROL_PATH.unenroll, acceptedSchema, { reason }),
    identityChanged: () => ask('POST', CONTROL_PATH.identityChanged, acceptedSchema),
    async *watch(signal) {
      const response = await open(home, env, 'GET', CONTROL_PATH.watch, undefined, signal);
      let rest = '';
      try {
        for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) {
          const lines = (rest + chunk).split('\n');
          rest = lines.pop() ?? '';
          for (const line of lines) yield read(home, line, response.statusCode ?? 0, statusSchema);
        }
      } catch (thrown) {
        if (thrown instanceof HoldfastError) throw thrown;
        // The daemon went, or the watcher did: either way there is nothing more to see.
      }
    },
  };
}

/** Checks an answer and returns it whole: a newer daemon may say more than this client knows. */
function read<T>(home: string, text: string, statusCode: number, schema: ZodType<T>): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (thrown) {
    throw failed(home, thrown);
  }
  if (statusCode >= 200 && statusCode < 300) {
    const parsed = schema.safeParse(value);
    if (parsed.success) return value as T;
    throw failed(home, `its answer is of another version (${parsed.error.issues[0]?.path.join('.')})`);
  }
  const problem = controlErrorSchema.safeParse(value);
  if (!problem.success) throw failed(home, `it answered ${statusCode}`);
  const code = Object.hasOwn(ERRORS, problem.data.code) ? (problem.data.code as ErrorCode) : 'CONTROL_FAILED';
  throw new HoldfastError(code, problem.data.message);
}

/** Tries every place the socket may be, and returns the first answer. */
async function open(
  home: string,
  env: Readonly<Record<string, string | undefined>>,
  method: string,
  path: string,
  body: unknown,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  let refused: HoldfastError | null = null;
  for (const socketPath of sockets(home, env)) {
    try {
      return await connect(socketPath, method, path, body, signal);
    } catch (thrown) {
      const code = (thrown as NodeJS.ErrnoException).code;
      if (code === 'EACCES' || code === 'EPERM') {
        const who = ownerOf(socketPath) ?? ownerOf(home);
        const owner = who === null ? 'another user' : `the user with id ${who}`;
        refused ??= new HoldfastError('CONTROL_REFUSED', `the control socket of ${home} belongs to ${owner}`, {
          cause: thrown,
        });
      } else if (!['ENOENT', 'ECONNREFUSED', 'ENOTDIR', 'ENOTSOCK'].includes(String(code))) {
        throw failed(home, thrown);
      }
    }
  }
  throw refused ?? new HoldfastError('NOT_RUNNING', `no daemon runs on ${home}`);
}

function sockets(home: string, env: Readonly<Record<string, string | undefined>>): string[] {
  const owner = ownerOf(home) ?? process.getuid?.() ?? 0;
  const places = socketPlaces(home, env, owner)
    // In a directory that others write to, only what the owner of the home put there is believed.
    .filter(({ ownDirectory }) => ownDirectory === null || ownerOf(ownDirectory) === owner)
    .map(({ path }) => path);
  try {
    const target = readlinkSync(join(home, SOCKET_NAME));
    if (ownerOf(dirname(target)) === owner) return [...new Set([target, ...places])];
  } catch {
    // no link: the socket is where it is expected
  }
  return places;
}

function ownerOf(path: string): number | null {
  try {
    return path.endsWith('.sock') ? lstatSync(path).uid : statSync(path).uid;
  } catch {
    return null;
  }
}

function connect(
  socketPath: string,
  method: string,
  path: string,
  body: unknown,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const outgoing = request({
      socketPath,
      method,
      path,
      signal,
      agent: false,
      headers: { host: 'holdfast', 'content-type': 'application/json' },
    });
    outgoing.once('response', resolve);
    outgoing.once('error', reject);
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

function failed(home: string, cause: unknown): HoldfastError {
  const late = cause instanceof Error && (cause.name === 'TimeoutError' || cause.name === 'AbortError');
  const why = late
    ? `no answer within ${ANSWER_WITHIN_MS / 1000} s`
    : cause instanceof Error
      ? cause.message
      : String(cause);
  return new HoldfastError('CONTROL_FAILED', `the daemon of ${home} did not answer as it should: ${why}`, {
    cause,
  });
}

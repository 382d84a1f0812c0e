/**
 * How a test stands between the agent and the server: every request can be recorded, answered in the server's place, delayed, or have
 * its answer lost or cut after it took effect. Without hooks none of this is in the path of a request.
 */
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import type { MiddlewareHandler } from 'hono';
import { HEADER, LIMIT } from '../wire/fleet.ts';
import { type HttpContext, type HttpEnv, readBytes } from './http.ts';

const inflate = promisify(gunzip);

/** One request as the server saw it. */
export interface SeenRequest {
  /** Epoch milliseconds. */
  readonly at: number;
  readonly method: string;
  readonly path: string;
  /** What the path asks for. */
  readonly kind: 'status' | 'enroll' | 'checkin' | 'acks' | 'audit' | 'admin' | 'other';
  readonly headers: Readonly<Record<string, string>>;
  /** Decompressed text. */
  readonly body: string;
  /** HTTP status of the answer; 0: the connection was closed without one; null: not answered yet. */
  status: number | null;
  /** Text of the answer; null: not answered yet, or not text. */
  answer: string | null;
}

/**
 * What happens to a request: `undefined` lets it pass; a Response answers in the server's place, before any effect; `drop` closes the connection
 * before any effect, `dropAfterEffect` after it; `truncateAfterEffect` sends half of the answer's body; `answerAfterEffect` replaces the answer.
 */
export type Interception =
  | undefined
  | Response
  | 'drop'
  | 'dropAfterEffect'
  | 'truncateAfterEffect'
  | { readonly answerAfterEffect: Response };

export interface TestHooks {
  /** Asked for every request; may take its time (a delay). */
  readonly intercept?: (request: SeenRequest) => Interception | Promise<Interception>;
  /** Every request is appended here. */
  readonly requests?: SeenRequest[];
}

export function interception(hooks: TestHooks, now: () => number): MiddlewareHandler<HttpEnv> {
  return async (c, next) => {
    const seen = await see(c, now());
    hooks.requests?.push(seen);
    const fate = await hooks.intercept?.(seen);
    if (fate instanceof Response) {
      seen.status = fate.status;
      return fate;
    }
    if (fate === 'drop') return close(c, seen);
    await next();
    // An answer there is already is replaced only when it is taken away first.
    if (fate === 'dropAfterEffect') return replaceAnswer(c, close(c, seen));
    if (fate === 'truncateAfterEffect') return replaceAnswer(c, await truncate(c, seen));
    if (typeof fate === 'object') replaceAnswer(c, fate.answerAfterEffect);
    seen.status = c.res.status;
    seen.answer = await c.res
      .clone()
      .text()
      .catch(() => null);
    return undefined;
  };
}

async function see(c: HttpContext, at: number): Promise<SeenRequest> {
  const bytes = await readBytes(c, LIMIT.checkinInflatedBytes);
  c.set('bytes', bytes);
  const plain =
    c.req.header(HEADER.contentEncoding) === 'gzip' ? await inflate(bytes).catch(() => Buffer.alloc(0)) : bytes;
  return {
    at,
    method: c.req.method,
    path: c.req.path,
    kind: kindOf(c.req.path),
    headers: c.req.header(),
    body: plain.toString('utf8'),
    status: null,
    answer: null,
  };
}

function kindOf(path: string): SeenRequest['kind'] {
  if (path === '/api/status') return 'status';
  if (path === '/api/fleet/agents/enroll') return 'enroll';
  if (path.startsWith('/holdfast/')) return 'admin';
  const last = /^\/api\/fleet\/agents\/[^/]+\/(checkin|acks|audit\/unenroll)$/.exec(path)?.[1];
  if (last === 'checkin' || last === 'acks') return last;
  return last ? 'audit' : 'other';
}

function replaceAnswer(c: HttpContext, answer: Response): undefined {
  c.res = undefined;
  c.res = answer;
}

function cut(c: HttpContext): void {
  c.set('cut', true);
  c.env.incoming.socket?.destroy();
}

function close(c: HttpContext, seen: SeenRequest): Response {
  seen.status = 0;
  cut(c);
  return RESPONSE_ALREADY_SENT;
}

async function truncate(c: HttpContext, seen: SeenRequest): Promise<Response> {
  const bytes = Buffer.from(await c.res.arrayBuffer());
  const { outgoing } = c.env;
  seen.status = c.res.status;
  outgoing.writeHead(c.res.status, { ...Object.fromEntries(c.res.headers), 'content-length': String(bytes.length) });
  await new Promise<void>((written) => outgoing.write(bytes.subarray(0, bytes.length / 2), () => written()));
  cut(c);
  return RESPONSE_ALREADY_SENT;
}

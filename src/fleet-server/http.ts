/** Bodies in and out: read within limits, decoded once by a schema, answered with the headers that Fleet Server gives. */
import { promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';
import type { HttpBindings } from '@hono/node-server';
import type { Context } from 'hono';
import type { z } from 'zod';
import { describeIssues, HEADER, LIMIT } from '../wire/fleet.ts';
import { badRequest, type Fault } from './fault.ts';

const inflate = promisify(gunzip);
const deflate = promisify(gzip);

export interface HttpEnv {
  Bindings: HttpBindings;
  Variables: {
    requestId: string;
    /** The request's bytes, when something (a test's hook) had to read them before their turn. */
    bytes?: Buffer;
    /** The connection was cut on purpose: there is no answer to complete. */
    cut?: boolean;
  };
}

export type HttpContext = Context<HttpEnv>;

interface BodyLimits {
  readonly wireBytes: number;
  /** Set: `Content-Encoding: gzip` is decoded, up to this size. */
  readonly inflatedBytes?: number;
}

/** Reads and decodes a JSON body; every failure is a 400, as on a Fleet Server. */
export async function readJson<T extends z.ZodType>(
  c: HttpContext,
  schema: T,
  limits: BodyLimits,
): Promise<z.output<T>> {
  const bytes = await readBody(c, limits);
  let value: unknown;
  try {
    value = parseFirst(bytes.toString('utf8'));
  } catch (error) {
    throw badRequest(error instanceof Error ? error.message : String(error));
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw badRequest(describeIssues(parsed.error));
  return parsed.data;
}

/** The first JSON value of a body, as a stock Fleet Server reads it: what follows is not looked at. */
function parseFirst(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const end = endOfFirst(text);
    if (end === null) throw error;
    return JSON.parse(text.slice(0, end));
  }
}

/** Where the object or array that a text begins with ends; null: nowhere before the end of the text. */
function endOfFirst(text: string): number | null {
  let depth = 0;
  for (const match of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]]/gs)) {
    if (match[0] === '{' || match[0] === '[') depth += 1;
    if (match[0] === '}' || match[0] === ']') depth -= 1;
    if (depth === 0) return /^\s*[{[]/.test(text) ? match.index + 1 : null;
  }
  return null;
}

async function readBody(c: HttpContext, limits: BodyLimits): Promise<Buffer> {
  const bytes = c.get('bytes') ?? (await readBytes(c, limits.wireBytes));
  if (bytes.length > limits.wireBytes) throw tooLarge();
  if (limits.inflatedBytes === undefined || c.req.header(HEADER.contentEncoding) !== 'gzip') return bytes;
  try {
    return await inflate(bytes, { maxOutputLength: limits.inflatedBytes });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge();
    throw badRequest(`gzip: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** The bytes of the request, at most `limitBytes`. */
export async function readBytes(c: HttpContext, limitBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  // Not destroyed when reading stops early: the answer that says why still has to go out on this connection.
  for await (const chunk of c.env.incoming.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > limitBytes) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

const tooLarge = (): Fault => badRequest('http: request body too large');

/** A success: JSON, gzipped only for those who ask for exactly that. */
export async function answerJson(c: HttpContext, status: number, text: string): Promise<Response> {
  const headers = { [HEADER.contentType]: 'application/json' };
  if (Buffer.byteLength(text) <= LIMIT.gzipAnswerBytes || c.req.header(HEADER.acceptEncoding) !== 'gzip') {
    return c.body(text, status as 200, headers);
  }
  const bytes = await deflate(text, { level: 1 });
  return c.body(new Uint8Array(bytes), status as 200, { ...headers, [HEADER.contentEncoding]: 'gzip' });
}

export function answerFault(c: HttpContext, fault: Fault): Response {
  return c.body(JSON.stringify(fault.body), fault.body.statusCode as 400, {
    [HEADER.contentType]: 'application/json; charset=utf-8',
    'x-content-type-options': 'nosniff',
  });
}

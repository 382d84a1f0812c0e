/** Keys and tokens: made, read from the Authorization header, and compared without telling how close a guess was. */
import { createHash, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { Fault } from './fault.ts';

const derive = promisify(pbkdf2);
const REPLACE_TOKEN_ITERATIONS = 210_000;

export interface AccessKey {
  readonly id: string;
  readonly secret: string;
}

export function newAccessKey(): AccessKey {
  return { id: newSecret(15), secret: newSecret(18) };
}

/** The form that goes over the wire: base64 of `id:secret`. */
export function encodeKey(key: AccessKey): string {
  return Buffer.from(`${key.id}:${key.secret}`, 'utf8').toString('base64');
}

/** Random text that fits into headers, shells and file names. */
export function newSecret(bytes: number): string {
  return randomBytes(bytes).toString('base64url');
}

/** Random text that people type and paste: no character that a command line or a double click takes amiss. */
export function newToken(): string {
  return randomBytes(12).toString('hex');
}

export function hashSecret(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}

export function sameSecret(secret: string, hash: string): boolean {
  return timingSafeEqual(Buffer.from(hashSecret(secret), 'hex'), Buffer.from(hash, 'hex'));
}

/** What stands behind `ApiKey ` in the header. */
export function readApiKeyHeader(header: string | undefined): string {
  if (!header) throw new Fault(401, 'ErrNoAuthHeader', 'no authorization header');
  if (!header.startsWith('ApiKey ')) throw new Fault(400, 'ErrMalformedHeader', 'malformed authorization header');
  return header.slice('ApiKey '.length);
}

/** An access key from its wire form. */
export function decodeKey(encoded: string): AccessKey {
  const bytes = Buffer.from(encoded, 'base64');
  // Buffer ignores what is not base64; encoding it again shows whether anything was ignored.
  if (bytes.toString('base64').replace(/=+$/, '') !== encoded.replace(/=+$/, '')) {
    throw new Fault(401, 'ErrInvalidToken', 'token not valid base64');
  }
  const parts = utf8(bytes).split(':');
  const [id, secret] = parts;
  if (parts.length !== 2 || id === undefined || secret === undefined) {
    throw new Fault(400, 'ErrMalformedToken', 'malformed token');
  }
  return { id, secret };
}

function utf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new Fault(401, 'ErrInvalidToken', 'token not valid utf8');
  }
}

/** A replace token is chosen by people, so its hash is slow and salted. */
export async function hashReplaceToken(token: string): Promise<string> {
  const salt = randomBytes(16);
  const hash = await derive(token, salt, REPLACE_TOKEN_ITERATIONS, 32, 'sha512');
  return `$pbkdf2-sha512$${REPLACE_TOKEN_ITERATIONS}$${salt.toString('base64')}$${hash.toString('base64')}`;
}

export async function matchesReplaceToken(token: string, stored: string): Promise<boolean> {
  const [, , iterations, salt, hash] = stored.split('$');
  if (!iterations || !salt || !hash) return false;
  const wanted = Buffer.from(hash, 'base64');
  const given = await derive(token, Buffer.from(salt, 'base64'), Number(iterations), wanted.length, 'sha512');
  return timingSafeEqual(given, wanted);
}

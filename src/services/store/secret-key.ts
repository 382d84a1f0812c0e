/** One key of the state directory: how it is written down, what is derived from it, and how a text is sealed with it (design, section 6). */
import { createCipheriv, createDecipheriv, createSecretKey, hkdfSync, type KeyObject, randomBytes } from 'node:crypto';

const KEY_BYTES = 32;
export const NONCE_BYTES = 12;
export const TAG_BYTES = 16;
/** Encrypted in parts whose memory is used again: fresh memory for a large whole costs more than its encryption. */
const PART_BYTES = 64 * 1024;
/** Far above every form a key is written in. */
export const KEY_FILE_MAX_BYTES = 4096;

/** A key ready for use. Nothing of it is ever shown but its id. */
export interface SecretKey {
  /** 32 hex digits, derived one way: tells keys apart and stands in the clear beside what they encrypt. */
  readonly id: string;
  readonly cipher: KeyObject;
}

/** What a key file holds: a key, or the place of the file that holds it. */
export type KeyFile =
  | { readonly kind: 'key'; readonly key: SecretKey }
  | { readonly kind: 'elsewhere'; readonly path: string }
  | { readonly kind: 'unusable'; readonly why: string };

/** 32 new bytes, as they stand in a key file. */
export function newKeyText(): string {
  return `${randomBytes(KEY_BYTES).toString('hex')}\n`;
}

/** The key file that only names another one. */
export function referenceText(path: string): string {
  return `file:${path}\n`;
}

/** Reads the content of a key file: 32 bytes as they are, as 64 hex digits or in base64; or `file:` and an absolute path. Never quotes it. */
export function parseKeyFile(bytes: Buffer): KeyFile {
  const text = bytes.toString('latin1');
  if (bytes.length === KEY_BYTES && !/^[\x20-\x7e\r\n\t]*$/.test(text)) return { kind: 'key', key: deriveKey(bytes) };
  const word = text.trim();
  if (/^[0-9a-f]{64}$/i.test(word)) return { kind: 'key', key: deriveKey(Buffer.from(word, 'hex')) };
  if (/^[A-Za-z0-9+/]{43}=?$/.test(word)) return { kind: 'key', key: deriveKey(Buffer.from(word, 'base64')) };
  const reference = /^file:(\/\S.*)$/.exec(Buffer.from(word, 'latin1').toString('utf8'));
  if (reference?.[1] !== undefined) return { kind: 'elsewhere', path: reference[1] };
  return {
    kind: 'unusable',
    why: `it holds ${bytes.length} bytes that are no key: 32 random bytes are wanted, as they are, as 64 hex digits or in base64`,
  };
}

/** Whether a text is a key itself, where something else was to stand; it must not be quoted then. */
export function isKeyText(text: string): boolean {
  return parseKeyFile(Buffer.from(text)).kind === 'key';
}

/** The only derivation there is: done when a key is read, never when something is written. */
function deriveKey(material: Buffer): SecretKey {
  const derive = (use: string, length: number) =>
    Buffer.from(hkdfSync('sha256', material, '', `holdfast ${use}`, length));
  return { id: derive('key id', 16).toString('hex'), cipher: createSecretKey(derive('state encryption', KEY_BYTES)) };
}

/** The key's id as it is said to people. */
export function shortId(id: string): string {
  return id.slice(0, 12);
}

/** Fills `into`, as long as `plain`, with what is stored; returns the tag. */
export function seal(key: SecretKey, nonce: Buffer, bound: readonly Buffer[], plain: Buffer, into: Buffer): Buffer {
  const cipher = createCipheriv('aes-256-gcm', key.cipher, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(Buffer.concat(bound));
  for (let at = 0; at < plain.length; at += PART_BYTES)
    cipher.update(plain.subarray(at, at + PART_BYTES)).copy(into, at);
  cipher.final();
  return cipher.getAuthTag();
}

/** Null: this key did not seal these bytes under exactly these conditions. */
export function unseal(
  key: SecretKey,
  nonce: Buffer,
  bound: readonly Buffer[],
  stored: Buffer,
  tag: Buffer,
): Buffer | null {
  const cipher = createDecipheriv('aes-256-gcm', key.cipher, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(Buffer.concat(bound));
  cipher.setAuthTag(tag);
  try {
    return Buffer.concat([cipher.update(stored), cipher.final()]);
  } catch {
    return null;
  }
}

/** Keys for tests: the same number is the same key. */
import { createHash } from 'node:crypto';
import { type Keyring, NO_KEYS } from '../../src/services/store/keyring.ts';
import { parseKeyFile, type SecretKey } from '../../src/services/store/secret-key.ts';

/** What stands in the file of key `number`. */
export function keyText(number: number): string {
  return `${createHash('sha256').update(`key ${number}`).digest('hex')}\n`;
}

export function aKey(number: number): SecretKey {
  const found = parseKeyFile(Buffer.from(keyText(number)));
  if (found.kind !== 'key') throw new Error('not a key');
  return found.key;
}

/** Writes with the first, reads with all. */
export function ringOf(write: SecretKey | null, ...others: readonly SecretKey[]): Keyring {
  return { ...NO_KEYS, write, read: write === null ? others : [write, ...others] };
}

/** What a program has written: a file it appends to, looked at from an offset, and kept from growing for ever. */
import { copyFile, open, rename, stat, truncate } from 'node:fs/promises';
import { hideSecrets } from '../log/known-secrets.ts';

/** The output is rotated when it is larger than this, in bytes. */
export const OUTPUT_MAX_BYTES = 10 * 1024 * 1024;
/** The most that is read back at once, in bytes. */
const READ_MAX_BYTES = 1024 * 1024;
const LINE_CHARACTERS = 300;

/** Its length in bytes; 0 when there is none. */
export async function outputLength(path: string): Promise<number> {
  return (await stat(path).catch(() => null))?.size ?? 0;
}

/** What was written from `offset` on (at most the last MiB of it); all of it when the file was rotated since. */
export async function outputSince(path: string, offset: number): Promise<string> {
  const length = await outputLength(path);
  const from = Math.max(length < offset ? 0 : offset, length - READ_MAX_BYTES);
  if (length <= from) return '';
  const file = await open(path, 'r').catch(() => null);
  if (file === null) return '';
  try {
    const buffer = Buffer.alloc(length - from);
    const { bytesRead } = await file.read(buffer, 0, buffer.length, from);
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}

/** The last line that says anything, without secrets and bounded; empty when there is none. Hidden before it is cut: half a secret is not found. */
export function lastLine(text: string): string {
  const line = text.split('\n').findLast((each) => each.trim() !== '');
  return line === undefined ? '' : hideSecrets(line).trim().slice(0, LINE_CHARACTERS);
}

/**
 * Rotates by copy and truncate, since the program holds the file open and appends to it: three files in all. What is written between
 * the copy and the truncation is lost; a program's output is not one of the promises.
 */
export async function rotateOutput(path: string, maxBytes: number = OUTPUT_MAX_BYTES): Promise<boolean> {
  if ((await outputLength(path)) <= maxBytes) return false;
  await rename(`${path}.1`, `${path}.2`).catch(() => undefined);
  await copyFile(path, `${path}.1`);
  await truncate(path, 0);
  return true;
}

/** What a program has written: a file it appends to, looked at from an offset, and kept from growing for ever. */
import { type FileHandle, open, rename, rm, stat, truncate } from 'node:fs/promises';
import { hideSecrets } from '../log/known-secrets.ts';

/** The output is rotated when it is larger than this, in bytes. */
export const OUTPUT_MAX_BYTES = 10 * 1024 * 1024;
/** The most that is read back at once, in bytes. */
const READ_MAX_BYTES = 1024 * 1024;
const LINE_CHARACTERS = 300;
const COPY_CHUNK_BYTES = 1024 * 1024;
/** The length is looked at this often while little is written, and while very much is, in ms. */
const LOOK_SELDOM_MS = 1_000;
const LOOK_OFTEN_MS = 50;

/** Its length in bytes; 0 when there is none. */
export async function outputLength(path: string): Promise<number> {
  return (await stat(path).catch(() => null))?.size ?? 0;
}

/**
 * What was written from `offset` on (at most the last MiB of it, in whole lines: half a secret is not found); all of it when the file was rotated
 * since.
 */
export async function outputSince(path: string, offset: number): Promise<string> {
  const length = await outputLength(path);
  const begin = length < offset ? 0 : offset;
  const from = Math.max(begin, length - READ_MAX_BYTES);
  if (length <= from) return '';
  const file = await open(path, 'r').catch(() => null);
  if (file === null) return '';
  try {
    const buffer = Buffer.alloc(length - from);
    const { bytesRead } = await file.read(buffer, 0, buffer.length, from);
    const text = buffer.toString('utf8', 0, bytesRead);
    return from > begin ? withoutFirstLine(text) : text;
  } finally {
    await file.close();
  }
}

function withoutFirstLine(text: string): string {
  const end = text.search(/[\r\n]/);
  return end < 0 ? '' : text.slice(end + 1);
}

/** The last line that says anything, without secrets and bounded; empty when there is none. Hidden before it is cut: half a secret is not found. */
export function lastLine(text: string): string {
  const line = text.split('\n').findLast((each) => each.trim() !== '');
  return line === undefined ? '' : hideSecrets(line).trim().slice(0, LINE_CHARACTERS);
}

/**
 * Rotates by copy and truncate, since the program holds the file open and appends to it: three files in all, each of at most `maxBytes`.
 * Of what was written since the last look only the newest is copied, from the beginning of a line where there is one. What is written between
 * the copy and the truncation is lost; a program's output is not one of the promises, and a disk that it must not fill is: where no copy can
 * be made, it is cut all the same.
 */
export async function rotateOutput(path: string, maxBytes: number = OUTPUT_MAX_BYTES): Promise<boolean> {
  const length = await outputLength(path);
  if (length <= maxBytes) return false;
  const [newer, older] = [`${path}.1`, `${path}.2`];
  try {
    await rm(older, { recursive: true, force: true });
    await rename(newer, older).catch(() => undefined);
    await copyNewest(path, newer, length - maxBytes, maxBytes);
  } catch (error) {
    await rm(newer, { recursive: true, force: true }).catch(() => undefined);
    throw error;
  } finally {
    await truncate(path, 0);
  }
  return true;
}

async function copyNewest(path: string, target: string, from: number, bytes: number): Promise<void> {
  await rm(target, { recursive: true, force: true });
  const source = await open(path, 'r');
  try {
    const copy = await open(target, 'wx', 0o600);
    try {
      const chunk = Buffer.alloc(Math.min(COPY_CHUNK_BYTES, bytes));
      for (let done = await restOfLine(source, chunk, from); done < bytes; ) {
        const { bytesRead } = await source.read(chunk, 0, Math.min(chunk.length, bytes - done), from + done);
        if (bytesRead === 0) break;
        await copy.writeFile(chunk.subarray(0, bytesRead));
        done += bytesRead;
      }
    } finally {
      await copy.close();
    }
  } finally {
    await source.close();
  }
}

/** Bytes from `from` to the next beginning of a line: in a line without its beginning half a secret would not be recognised. 0 where it is far. */
async function restOfLine(source: FileHandle, chunk: Buffer, from: number): Promise<number> {
  if (from === 0) return 0;
  const { bytesRead } = await source.read(chunk, 0, chunk.length, from - 1);
  return Math.max(0, chunk.subarray(0, bytesRead).indexOf('\n'));
}

/**
 * When to look again, after `bytesSeen` in the last `afterMs` (0: at the beginning): before a program that goes on at that speed has written
 * a quarter of the bound. Patience grows slowly, since what begins to write often does so in bursts.
 */
export function nextLookMs(bytesSeen: number, afterMs: number, maxBytes: number = OUTPUT_MAX_BYTES): number {
  const quarterMs = bytesSeen <= 0 ? LOOK_SELDOM_MS : (maxBytes / 4 / bytesSeen) * afterMs;
  return Math.round(Math.max(LOOK_OFTEN_MS, Math.min(LOOK_SELDOM_MS, 2 * afterMs, quarterMs)));
}

/** Reads the log back: the last lines over all rotated files, then what is added, for `holdfast logs`. */
import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { LOG_FILES_KEPT } from './log-file.ts';

const CHUNK_BYTES = 64 * 1024;
/** Lines that are asked for at once are kept in memory. */
export const MOST_LINES = 100_000;

/** The last `count` lines of `path` and of the files it was rotated to, oldest first, without line breaks. */
export function lastLines(path: string, count: number): string[] {
  const wanted = Math.min(count, MOST_LINES);
  let lines: string[] = [];
  for (let number = 0; number < LOG_FILES_KEPT && lines.length < wanted; number++) {
    lines = [...tail(number === 0 ? path : `${path}.${number}`, wanted - lines.length), ...lines];
  }
  return lines;
}

/** The last lines of one file, read from its end; none when it cannot be read. */
function tail(path: string, count: number): string[] {
  let descriptor: number;
  try {
    descriptor = openSync(path, 'r');
  } catch {
    return [];
  }
  try {
    const chunks: Buffer[] = [];
    let position = fstatSync(descriptor).size;
    let breaks = 0;
    while (position > 0 && breaks <= count) {
      const length = Math.min(CHUNK_BYTES, position);
      position -= length;
      const chunk = Buffer.alloc(length);
      readSync(descriptor, chunk, 0, length, position);
      for (const byte of chunk) if (byte === 10) breaks++;
      chunks.unshift(chunk);
    }
    const lines = Buffer.concat(chunks).toString('utf8').split('\n');
    if (lines.at(-1) === '') lines.pop();
    return count === 0 ? [] : lines.slice(-count);
  } finally {
    closeSync(descriptor);
  }
}

/** How often a followed file is looked at. */
const LOOK_EVERY_MS = 200;

/** Calls `onLine` for each line added to `path` from now on, across rotations and truncations, until `signal` aborts. */
export async function followLines(path: string, onLine: (line: string) => void, signal: AbortSignal): Promise<void> {
  let descriptor: number | null = null;
  let inode = 0;
  let position = 0;
  let rest: Buffer = Buffer.alloc(0);
  const open = (atEnd: boolean) => {
    try {
      descriptor = openSync(path, 'r');
      const found = fstatSync(descriptor);
      inode = found.ino;
      position = atEnd ? found.size : 0;
      rest = Buffer.alloc(0);
    } catch {
      descriptor = null;
    }
  };
  const drain = () => {
    if (descriptor === null) return;
    if (fstatSync(descriptor).size < position) position = 0;
    const chunk = Buffer.alloc(CHUNK_BYTES);
    for (let read = readSync(descriptor, chunk, 0, CHUNK_BYTES, position); read > 0; ) {
      position += read;
      const bytes: Buffer = Buffer.concat([rest, chunk.subarray(0, read)]);
      const end = bytes.lastIndexOf(10);
      if (end >= 0) for (const line of bytes.subarray(0, end).toString('utf8').split('\n')) onLine(line);
      rest = end >= 0 ? bytes.subarray(end + 1) : bytes;
      read = readSync(descriptor, chunk, 0, CHUNK_BYTES, position);
    }
  };
  open(true);
  while (!signal.aborted) {
    drain();
    if (descriptor === null || inodeOf(path) !== inode) {
      drain();
      if (descriptor !== null) closeSync(descriptor);
      open(false);
      drain();
    }
    await pause(LOOK_EVERY_MS, signal);
  }
  if (descriptor !== null) closeSync(descriptor);
}

function inodeOf(path: string): number {
  try {
    return statSync(path).ino;
  } catch {
    return 0;
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
    function done() {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
  });
}

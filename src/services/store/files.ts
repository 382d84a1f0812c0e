/**
 * The file port: the few operations durable state is made of, so that a test double can lose, tear and refuse them
 * (design, section 5). Errors are Node's, with an errno in `code`.
 */
import { constants } from 'node:fs';
import * as fs from 'node:fs/promises';

export type FileKind = 'file' | 'directory' | 'link' | 'other';

export interface FileStat {
  readonly dev: bigint;
  readonly ino: bigint;
  /** Bytes. */
  readonly size: number;
  /** Permission bits. */
  readonly mode: number;
  readonly kind: FileKind;
}

export interface OpenFile {
  stat(): Promise<FileStat>;
  /** Fills `into` from `position` as far as it goes; the number of bytes read, 0 at the end. */
  read(into: Uint8Array, position: number): Promise<number>;
  /** Writes at `position`; the number of bytes written, which may be fewer than asked. */
  write(bytes: Uint8Array, position: number): Promise<number>;
  /** fsync(2). */
  sync(): Promise<void>;
  /** fdatasync(2): the data, and the size where it changed. */
  datasync(): Promise<void>;
  close(): Promise<void>;
}

export interface Files {
  /**
   * Opens a file without following a link and without waiting (a fifo does not hang). `create` makes a new file with mode 0600 and
   * fails with EEXIST where something is. What was opened may be anything: look at its `stat`.
   */
  open(path: string, how: 'read' | 'write' | 'create'): Promise<OpenFile>;
  /** lstat(2): a link is a link. */
  stat(path: string): Promise<FileStat>;
  readdir(path: string): Promise<readonly string[]>;
  /** One directory, mode 0700; its parent must exist. */
  mkdir(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  /** Removes a file or a whole directory, following no links. */
  removeTree(path: string): Promise<void>;
  /** fsync(2) of a directory: the names in it. */
  syncDirectory(path: string): Promise<void>;
}

const FLAGS = {
  read: constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
  write: constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK,
  create: constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW | constants.O_NONBLOCK,
} as const;

/** The real files. */
export const nodeFiles: Files = {
  async open(path, how) {
    const handle = await fs.open(path, FLAGS[how], 0o600);
    return {
      stat: async () => fileStat(await handle.stat({ bigint: true })),
      read: async (into, position) => (await handle.read(into, 0, into.length, position)).bytesRead,
      write: async (bytes, position) => (await handle.write(bytes, 0, bytes.length, position)).bytesWritten,
      sync: () => handle.sync(),
      datasync: () => handle.datasync(),
      close: () => handle.close(),
    };
  },
  stat: async (path) => fileStat(await fs.lstat(path, { bigint: true })),
  readdir: (path) => fs.readdir(path),
  mkdir: async (path) => {
    await fs.mkdir(path, { mode: 0o700 });
  },
  rename: (from, to) => fs.rename(from, to),
  unlink: (path) => fs.unlink(path),
  removeTree: (path) => fs.rm(path, { recursive: true, force: true }),
  async syncDirectory(path) {
    const handle = await fs.open(path, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
};

interface NodeStat {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly size: bigint;
  readonly mode: bigint;
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
}

function fileStat(stat: NodeStat): FileStat {
  return {
    dev: stat.dev,
    ino: stat.ino,
    size: Number(stat.size),
    mode: Number(stat.mode & 0o7777n),
    kind: stat.isFile() ? 'file' : stat.isDirectory() ? 'directory' : stat.isSymbolicLink() ? 'link' : 'other',
  };
}

/** The errno name of a failed operation, `''` when it has none. */
export function errnoOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : '';
}

const WORDS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EDQUOT: 'the disk quota is used up',
  EEXIST: 'something else is there already',
  EIO: 'the disk reports an input/output error',
  EISDIR: 'it is a directory',
  ELOOP: 'it is a link',
  EMFILE: 'too many files are open',
  ENOENT: 'it does not exist',
  ENOSPC: 'the disk is full',
  ENOTDIR: 'a part of the path is not a directory',
  EPERM: 'the operation is not permitted',
  EROFS: 'the file system is read-only',
};

/** What went wrong, in plain words with the errno: `the disk is full (ENOSPC)`. */
export function inWords(error: unknown): string {
  const errno = errnoOf(error);
  const words = WORDS[errno];
  if (words) return `${words} (${errno})`;
  return error instanceof Error ? error.message : String(error);
}

const PASSING: ReadonlySet<string> = new Set(
  'EAGAIN EBUSY EINTR EIO EMFILE ENFILE ENOBUFS ENODEV ENOLCK ENOMEM ENOTCONN ESHUTDOWN ESTALE ETIMEDOUT'.split(' '),
);

/** Whether what failed may be readable later: an error of the disk or of the moment, not of what lies there. */
export function mayPass(error: unknown): boolean {
  return PASSING.has(errnoOf(error));
}

/** {@link Files.stat}, or null where nothing is (a part of the path that is no directory, or a link in a circle, holds nothing). */
export async function statIfThere(files: Files, path: string): Promise<FileStat | null> {
  try {
    return await files.stat(path);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errnoOf(error))) return null;
    throw error;
  }
}

/** Writes all of `bytes` at `position`, over short writes. */
export async function writeAll(file: OpenFile, bytes: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const written = await file.write(bytes.subarray(done), position + done);
    if (written <= 0) throw Object.assign(new Error('the file took no more bytes'), { code: 'EIO' });
    done += written;
  }
}

/** Reads exactly `length` bytes at `position`, fewer where the file ends. */
export async function readUpTo(file: OpenFile, length: number, position: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  let done = 0;
  while (done < length) {
    const read = await file.read(bytes.subarray(done), position + done);
    if (read <= 0) break;
    done += read;
  }
  return bytes.subarray(0, done);
}

/**
 * Opens the regular file at `path`, whatever may lie there. Null where nothing is; throws with errno EINVAL and a sentence when it is
 * something else than a file. A fifo, device or link is never opened.
 */
export async function openRegular(
  files: Files,
  path: string,
  how: 'read' | 'write',
): Promise<[OpenFile, FileStat] | null> {
  const seen = await statIfThere(files, path);
  if (seen === null) return null;
  if (seen.kind !== 'file') throw notAFile(seen.kind);
  const file = await files.open(path, how);
  try {
    const stat = await file.stat();
    if (stat.kind !== 'file') throw notAFile(stat.kind);
    return [file, stat];
  } catch (error) {
    await file.close();
    throw error;
  }
}

const KINDS = { file: 'a file', directory: 'a directory', link: 'a link', other: 'a device, socket or fifo' } as const;

function notAFile(kind: FileKind): Error {
  return Object.assign(new Error(`it is ${KINDS[kind]}, not a file`), { code: 'EINVAL' });
}

/** Replaces a whole small file so that after any crash it is the old one or the new one: temporary file, fsync, rename, directory fsync. */
export async function replaceFile(files: Files, directory: string, name: string, bytes: Uint8Array): Promise<void> {
  const path = `${directory}/${name}`;
  const temporary = `${path}.tmp`;
  if (await statIfThere(files, temporary)) await files.removeTree(temporary);
  const file = await files.open(temporary, 'create');
  try {
    await writeAll(file, bytes, 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await files.rename(temporary, path);
  await files.syncDirectory(directory);
}

/** Reads a small file whole; null where nothing is. At most `maxBytes`; throws when it is larger or not a file. */
export async function readSmall(files: Files, path: string, maxBytes: number): Promise<Buffer | null> {
  const opened = await openRegular(files, path, 'read');
  if (opened === null) return null;
  const [file, stat] = opened;
  try {
    if (stat.size > maxBytes) throw Object.assign(new Error(`it is larger than ${maxBytes} bytes`), { code: 'EFBIG' });
    return await readUpTo(file, stat.size, 0);
  } finally {
    await file.close();
  }
}

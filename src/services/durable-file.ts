/** One small file replaced as a whole: whoever reads it sees the old bytes or the new ones, also after a kill or a power cut. */
import { closeSync, constants, fstatSync, openSync, readFileSync, type Stats } from 'node:fs';
import { type FileHandle, mkdir, open, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';

/** What can be asked of {@link replaceFile}. */
export interface ReplaceOptions {
  /** Permission bits of the file; default 0600. */
  readonly mode?: number;
}

/**
 * Replaces `path` by `content`: temporary file beside it (`<path>.tmp`), fsync, rename, fsync of the directory. When it returns the new
 * bytes are durable; when it throws, the old ones are still there. One writer a path: callers hold a lock or own the directory.
 */
export async function replaceFile(
  path: string,
  content: string | Uint8Array,
  options: ReplaceOptions = {},
): Promise<void> {
  const temporary = `${path}.tmp`;
  try {
    await withFile(temporary, 'w', options.mode ?? 0o600, async (file) => {
      await file.writeFile(content);
      // The mode of `open` counts only for a file that was not there: one left by a killed writer keeps its own.
      await file.chmod(options.mode ?? 0o600);
      await file.sync();
    });
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** The content of `path`, or null when there is no such file. Throws on everything else, as {@link readRegular}. */
export async function readFileIfThere(path: string, maxBytes?: number): Promise<Buffer | null> {
  try {
    return await readRegular(path, maxBytes);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** Opening never waits, so that a fifo in the place of a file cannot hang whoever reads it. */
const WITHOUT_WAITING = constants.O_RDONLY | constants.O_NONBLOCK;

/**
 * The content of the regular file at `path`, or at what it links to. Throws for a directory, a device or a fifo, and, before anything is
 * read, for more than `maxBytes`.
 */
export async function readRegular(path: string, maxBytes: number = Number.POSITIVE_INFINITY): Promise<Buffer> {
  return withFile(path, WITHOUT_WAITING, undefined, async (file) => {
    expectRegular(path, await file.stat(), maxBytes);
    return file.readFile();
  });
}

/** {@link readRegular}, for what is read before anything else runs. */
export function readRegularSync(path: string, maxBytes: number): Buffer {
  const descriptor = openSync(path, WITHOUT_WAITING);
  try {
    expectRegular(path, fstatSync(descriptor), maxBytes);
    return readFileSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function expectRegular(path: string, stat: Stats, maxBytes: number): void {
  if (!stat.isFile()) throw new Error(`${path} is not a file`);
  if (stat.size > maxBytes) throw new Error(`${path} has ${stat.size} bytes; more than ${maxBytes} are not read`);
}

/** Creates `path` (mode 0700) and its parents durably; does nothing when it is there. */
export async function ensureDirectory(path: string): Promise<void> {
  const created = await mkdir(path, { recursive: true, mode: 0o700 });
  if (created === undefined) return;
  // Every new directory entry lives in its parent: sync from the leaf up to the parent of the first one created.
  for (let directory = path; ; directory = dirname(directory)) {
    await syncDirectory(directory);
    if (directory === dirname(created) || directory === dirname(directory)) return;
  }
}

/** Makes the entries of a directory durable (a rename, a new file). */
export async function syncDirectory(path: string): Promise<void> {
  await withFile(path, 'r', undefined, (directory) => directory.sync());
}

async function withFile<T>(
  path: string,
  flags: string | number,
  mode: number | undefined,
  use: (file: FileHandle) => Promise<T>,
): Promise<T> {
  const file = await open(path, flags, mode);
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

/** The last bytes of a regular file, whatever lies at its path. */
import { nodeFiles, openRegular, readUpTo } from '../store/files.ts';
import type { Tail } from './entry.ts';

/** Null where nothing is. Throws when it is something else than a file; a fifo, device or link is never opened. */
export async function tailOf(path: string, mostBytes: number): Promise<Tail | null> {
  const opened = await openRegular(nodeFiles, path, 'read');
  if (opened === null) return null;
  const [file, { size }] = opened;
  try {
    const length = Math.min(size, mostBytes);
    const bytes = await readUpTo(file, length, size - length);
    return { text: bytes.toString('utf8'), isCut: size > length, bytes: size };
  } finally {
    await file.close();
  }
}

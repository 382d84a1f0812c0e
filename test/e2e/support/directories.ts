import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** Removes everything in a directory, and leaves the directory. */
export async function empty(directory: string): Promise<void> {
  for (const name of await readdir(directory)) await rm(join(directory, name), { recursive: true });
}

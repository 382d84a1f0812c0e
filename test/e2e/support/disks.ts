/** Real file systems that are full or take no writes, for those who may mount. */
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, open, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { SLOT_BYTES } from '../../../src/services/store/record.ts';

/** Room for the two slots and a few objects. */
const DISK_BYTES = 3 * SLOT_BYTES;

/** A small file system of its own in the place of `directory`; gone with the test. */
export async function mountDisk(directory: string, bytes = DISK_BYTES): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=0700`, 'holdfast-test', directory]);
  onTestFinished(() => unmount(directory));
}

export function remount(directory: string, mode: 'ro' | 'rw'): void {
  execFileSync('mount', ['-o', `remount,${mode}`, directory]);
}

/** Makes `directory` read-only; the returned function takes that back. */
export function bindReadOnly(directory: string): () => void {
  execFileSync('mount', ['--bind', directory, directory]);
  execFileSync('mount', ['-o', 'remount,ro,bind', directory]);
  onTestFinished(() => unmount(directory));
  return () => execFileSync('mount', ['-o', 'remount,rw,bind', directory]);
}

/** Lets go of a mount also while something still looks into it. */
function unmount(directory: string): void {
  execFileSync('umount', ['-l', directory]);
}

/** Writes until nothing goes any more; the returned function gives the room back. */
export async function fill(directory: string): Promise<() => Promise<void>> {
  const path = join(directory, 'filler');
  for (const size of [65_536, 4_096, 1]) {
    const file = await open(path, 'a');
    try {
      for (;;) await file.write(Buffer.alloc(size, 120));
    } catch (error) {
      expect((error as NodeJS.ErrnoException).code).toBe('ENOSPC');
    } finally {
      await file.close();
    }
  }
  return () => rm(path);
}

/** Null when this user may mount. */
export async function whyNoMounts(): Promise<string | null> {
  const directory = await mkdtemp(join(tmpdir(), 'hf-mount-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'holdfast-test', directory], { stdio: 'pipe' });
    await readdir(directory);
    execFileSync('umount', [directory], { stdio: 'pipe' });
    return null;
  } catch (error) {
    return (error as Error).message.trim();
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/**
 * The lock on a home: one daemon at a time. It is flock(2) on the home directory itself, so the kernel frees it however its holder ends, and
 * it works on a read-only disk. Where flock(1) is missing it is a file with pid and start time.
 *
 * This is about an open descriptor and not about what is on disk, so it does not go through the file port.
 */
import { spawn } from 'node:child_process';
import { close as closeDescriptor, constants, open as openDescriptor } from 'node:fs';
import * as fs from 'node:fs/promises';
import { promisify } from 'node:util';
import { z } from 'zod';
import { HoldfastError } from '../../errors.ts';
import { homePaths } from '../home.ts';
import { errnoOf, inWords } from './files.ts';

export interface HomeLock {
  /** `flock`: freed by the kernel. `file`: judged stale by pid and start time. */
  readonly kind: 'flock' | 'file';
  release(): Promise<void>;
}

export interface LockOptions {
  /** The flock(1) program; another name in tests. */
  readonly flock?: string;
}

// Bare descriptors: a FileHandle that nobody refers to any more is closed by the garbage collector, and the lock would go with it.
const open = promisify(openDescriptor);
const close = promisify(closeDescriptor);

const holderSchema = z.object({ pid: z.number().int().positive(), started: z.string() });
type Holder = z.infer<typeof holderSchema>;

/**
 * Takes the lock of `home`, making the directory (mode 0700) where it is missing. Throws HOME_LOCKED with the holder's pid where that is
 * known, HOME_UNUSABLE when there can be no such directory.
 */
export async function lockHome(home: string, options: LockOptions = {}): Promise<HomeLock> {
  const descriptor = await openHome(home);
  let locked: boolean | null = null;
  try {
    locked = await flock(options.flock ?? 'flock', descriptor);
  } finally {
    if (locked !== true) await close(descriptor);
  }
  const path = homePaths(home).lock;
  if (locked === null) return lockByFile(home, path);
  if (!locked) throw await homeLocked(home, path);
  // Only for people and for the message of the next one who tries; a disk that takes no writes does not matter.
  await fs.writeFile(path, JSON.stringify(await ourselves()), { mode: 0o600 }).catch(() => {});
  return { kind: 'flock', release: () => close(descriptor) };
}

async function openHome(home: string): Promise<number> {
  try {
    await fs.mkdir(home, { recursive: true, mode: 0o700 });
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST' && errnoOf(error) !== 'EROFS') throw unusable(home, error);
  }
  try {
    // Node opens with O_CLOEXEC: no component inherits the descriptor, and the lock with it.
    return await open(home, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    throw unusable(home, error);
  }
}

function unusable(home: string, error: unknown): HoldfastError {
  return new HoldfastError('HOME_UNUSABLE', `${home} cannot be used as the home directory: ${inWords(error)}`, {
    cause: error,
  });
}

/**
 * Locks the open file behind our descriptor through a child that inherits it: the lock belongs to the open file, which stays ours when the child
 * has gone. True: locked. False: another has it. Null: this cannot be done here (no such program, or a file system without it).
 */
function flock(program: string, fd: number): Promise<boolean | null> {
  return new Promise((resolve) => {
    const child = spawn(program, ['-n', '-x', '3'], { stdio: ['ignore', 'ignore', 'ignore', fd] });
    child.once('error', () => resolve(null));
    child.once('close', (code) => resolve(code === 0 ? true : code === 1 ? false : null));
  });
}

async function lockByFile(home: string, path: string): Promise<HomeLock> {
  const ours = JSON.stringify(await ourselves());
  for (let attempt = 1; ; attempt += 1) {
    if (await createWhole(home, path, ours)) break;
    const seen = await fs.readFile(path, 'utf8').catch(() => '');
    if (attempt > 3 || (await isAlive(parseHolder(seen)))) throw await homeLocked(home, path);
    await removeStale(path, seen);
  }
  return {
    kind: 'file',
    release: async () => {
      if ((await fs.readFile(path, 'utf8').catch(() => '')) === ours) await fs.unlink(path).catch(() => {});
    },
  };
}

/** Makes the lock file appear with its content, so that nobody reads it empty and takes it for stale. False: there is one. */
async function createWhole(home: string, path: string, content: string): Promise<boolean> {
  const temporary = `${path}.new-${process.pid}`;
  try {
    await fs.writeFile(temporary, content, { mode: 0o600 });
    await fs.link(temporary, path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw unusable(home, error);
  } finally {
    await fs.unlink(temporary).catch(() => {});
  }
}

/** Removes the stale file that was seen and no other: another process may have replaced it meanwhile, and gets its own back. */
async function removeStale(path: string, seen: string): Promise<void> {
  const moved = `${path}.stale-${process.pid}`;
  try {
    await fs.rename(path, moved);
  } catch {
    return;
  }
  if ((await fs.readFile(moved, 'utf8').catch(() => '')) !== seen) await fs.link(moved, path).catch(() => {});
  await fs.unlink(moved).catch(() => {});
}

async function homeLocked(home: string, path: string): Promise<HoldfastError> {
  const holder = parseHolder(await fs.readFile(path, 'utf8').catch(() => ''));
  const who = holder && (await isAlive(holder)) ? ` (pid ${holder.pid})` : '';
  return new HoldfastError('HOME_LOCKED', `another Holdfast${who} runs on ${home}`);
}

function parseHolder(text: string): Holder | null {
  try {
    return holderSchema.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

async function ourselves(): Promise<Holder> {
  return { pid: process.pid, started: await startOf(process.pid) };
}

async function isAlive(holder: Holder | null): Promise<boolean> {
  if (holder === null) return false;
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    if (errnoOf(error) !== 'EPERM') return false;
  }
  return (await startOf(holder.pid)) === holder.started;
}

/** What tells a process from a later one with the same pid: boot id and start time in clock ticks. `''` where the system does not say. */
async function startOf(pid: number): Promise<string> {
  try {
    const stat = await fs.readFile(`/proc/${pid}/stat`, 'latin1');
    const boot = await fs.readFile('/proc/sys/kernel/random/boot_id', 'latin1');
    // Field 22; the second field, a name in parentheses, may hold spaces.
    const ticks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
    return `${boot.trim()} ${ticks}`;
  } catch {
    return '';
  }
}

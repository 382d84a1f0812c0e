/** A home of its own for a test, with a managed process in it, and everything it started ended afterwards. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, vi } from 'vitest';
import type { Daemon, WantedComponent } from '../../../src/policy/component.ts';
import { type ComponentPaths, componentPaths } from '../../../src/services/home.ts';
import { type Clock, realClock } from '../../../src/services/process/clock.ts';
import { ManagedProcess } from '../../../src/services/process/managed-process.ts';
import type { World } from '../../../src/services/process/members.ts';
import { lives, pidNamespaceOf, readProcess } from '../../../src/services/process/proc.ts';
import type { ProcessRecord } from '../../../src/services/process/record.ts';
import { wanted } from '../../support/wanted.ts';

export const PROGRAMS = join(import.meta.dirname, '..', '..', 'support', 'programs');
export const BOOT = 'boot-of-this-test';
const ID = 'web-default';
// Real processes on a busy machine: slow is not wrong.
vi.setConfig({ testTimeout: 60_000 });
const never = new AbortController().signal;
const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

export interface Bench {
  readonly home: string;
  readonly paths: ComponentPaths;
  readonly process: ManagedProcess;
  readonly warnings: string[];
  /** A managed process as the next start would have it: knows nothing but the disk. */
  next(bootId?: string): Promise<ManagedProcess>;
  record(): Promise<ProcessRecord>;
  output(): Promise<string>;
  outputHolds(text: string): Promise<void>;
}

export async function bench(clock: Clock = realClock): Promise<Bench> {
  const home = await mkdtemp(join(tmpdir(), 'holdfast-process-'));
  const paths = componentPaths(home, ID);
  const warnings: string[] = [];
  const log = { debug: () => {}, warning: (message: string) => void warnings.push(message) };
  const next = async (bootId = BOOT) => {
    const world: World = { home, bootId, pidNamespace: await pidNamespaceOf('self') };
    return new ManagedProcess({ id: ID, world, clock, log });
  };
  cleanups.push(async () => {
    await (await next()).kill(never);
    await rm(home, { recursive: true, force: true });
  });
  const output = () => readFile(paths.output, 'utf8').catch(() => '');
  return {
    home,
    paths,
    process: await next(),
    warnings,
    next,
    record: async () => JSON.parse(await readFile(paths.process, 'utf8')),
    output,
    outputHolds: (text) => eventually(async () => (await output()).includes(text)),
  };
}

/** A component that runs one of the small programs in test/support/programs. */
export function running(
  program: string,
  args: string[] = [],
  hash = 'hash-1',
  daemon: Partial<Daemon> = {},
): WantedComponent {
  return wanted(ID, hash, {
    run: { command: join(PROGRAMS, program), args, env: {}, cwd: null, user: null },
    files: [{ path: 'program.conf', content: `revision ${hash}\n` }],
    stop: { signal: 'SIGTERM', graceMs: 2_000 },
    ...daemon,
  });
}

export async function isAlive(pid: number): Promise<boolean> {
  return lives(await readProcess(pid));
}

/** Waits for something that no event announces, at most 20 s. */
export async function eventually(holds: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`waited 20 s in vain for: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export { never };

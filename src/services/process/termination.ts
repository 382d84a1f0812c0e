/** How a component's processes are ended: a signal and patience for the polite way, SIGKILL until nothing is left for the other. */
import { HoldfastError } from '../../errors.ts';
import type { Clock } from './clock.ts';
import { membersOf, recordedProcess, type World } from './members.ts';
import type { ProcessFacts } from './proc.ts';
import type { ProcessRecord } from './record.ts';

/** How often a dying process is looked for, in ms. */
const LOOK_EVERY_MS = 50;
/** SIGKILL is given this long before whoever asked is told what survived it, in ms. */
const KILL_PATIENCE_MS = 10_000;

export interface Target {
  readonly record: ProcessRecord | null;
  readonly id: string;
  readonly world: World;
  readonly clock: Clock;
}

/** Sends `signal` to the main process, and to what it leaves behind; resolves when nothing is left. Rejects only when `abort` fires. */
export async function terminate(target: Target, signal: NodeJS.Signals, abort?: AbortSignal): Promise<void> {
  const { record, id, world, clock } = target;
  const main = await recordedProcess(record, id, world);
  if (main) send(main.pid, signal);
  while (await recordedProcess(record, id, world)) await clock.sleep(LOOK_EVERY_MS, abort);
  const told = new Set<number>();
  for (;;) {
    const left = await membersOf(record, id, world);
    if (left.length === 0) return;
    for (const { pid } of left) {
      if (!told.has(pid)) send(pid, signal);
      told.add(pid);
    }
    await clock.sleep(LOOK_EVERY_MS, abort);
  }
}

/** SIGKILL to everything of the component, again and again, for it may fork meanwhile. Rejects with what survived. */
export async function killAll(target: Target, abort?: AbortSignal): Promise<void> {
  const { record, id, world, clock } = target;
  let left: ProcessFacts[] = [];
  for (let waitedMs = 0; waitedMs <= KILL_PATIENCE_MS; waitedMs += LOOK_EVERY_MS) {
    left = await membersOf(record, id, world);
    if (left.length === 0) return;
    for (const { pid } of left) send(pid, 'SIGKILL');
    await clock.sleep(LOOK_EVERY_MS, abort);
  }
  const survivors = left.map(({ pid, state }) => `${pid} (${state})`).join(', ');
  throw new HoldfastError('COMPONENT_START_FAILED', `component ${id}: processes survived SIGKILL: ${survivors}`);
}

/** The polite way for `graceMs`, then the other. */
export async function end(target: Target, signal: NodeJS.Signals, graceMs: number, abort?: AbortSignal): Promise<void> {
  const patience = new AbortController();
  const either = abort ? AbortSignal.any([abort, patience.signal]) : patience.signal;
  const polite = terminate(target, signal, either).then(
    () => true,
    () => false,
  );
  const overtime = target.clock.sleep(graceMs, either).then(
    () => false,
    () => false,
  );
  const ended = await Promise.race([polite, overtime]);
  patience.abort();
  await polite;
  abort?.throwIfAborted();
  if (!ended) await killAll(target, abort);
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It ended between the look and the signal; the next look shows it. One that may not be signalled shows as a survivor.
  }
}

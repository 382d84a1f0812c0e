/** One life of the simulated agent's process: everything it does passes here, so that it can die at any of it, for good. */
import type { AgentHandle } from '../../src/agent.ts';
import type { Timeline, Timers } from './timeline.ts';

/** What a process can die before or after. */
export type PointKind = 'disk' | 'message' | 'process';

/** What a dead process awaits. A new one each time: whatever awaits a promise that is shared for ever is kept for ever. */
export const never = (): Promise<never> => new Promise(() => {});

export class Incarnation {
  readonly number: number;
  readonly pid: number;
  readonly startedAtMs: number;
  readonly wallStartedAt: number;
  handle: AgentHandle | null = null;
  alive = true;
  /** Before and after each file, message and process operation so far. */
  points = 0;
  /** It dies when `points` comes here. */
  diesAt: number | null = null;
  /** What it was doing when it died. */
  diedAt: string | null = null;
  wake: (() => void) | null = null;
  readonly timers: Timers;
  readonly #onDeath: (one: Incarnation) => void;

  constructor(options: {
    readonly number: number;
    readonly pid: number;
    readonly timeline: Timeline;
    readonly onDeath: (one: Incarnation) => void;
  }) {
    const { number, pid, timeline, onDeath } = options;
    this.number = number;
    this.pid = pid;
    this.startedAtMs = timeline.nowMs;
    this.wallStartedAt = timeline.wallMs();
    this.#onDeath = onDeath;
    this.timers = {
      setTimeout: (act, ms) => timeline.in(ms, () => this.alive && act()),
      clearTimeout: (timer) => (timer as { cancel(): void } | undefined)?.cancel(),
    };
  }

  /** SIGKILL. What it awaits never comes. */
  die(where: string): void {
    if (!this.alive) return;
    this.alive = false;
    this.diedAt = where;
    this.#onDeath(this);
  }

  /** One place where it may die. False: it is dead, and nothing of what was meant may happen any more. */
  passes(kind: PointKind, what: string): boolean {
    if (!this.alive) return false;
    const point = this.points++;
    if (this.diesAt !== null && point >= this.diesAt) this.die(`point ${point}: ${kind} ${what}`);
    return this.alive;
  }
}

/** Keeps a line that comes again and again from filling the log: it is written a few times, then counted and summed up. */

/** How often a line is written before its repeats are counted. */
export const WRITTEN_BEFORE_COUNTING = 3;
/** How long repeats are counted before the sum is written; doubles with each sum … */
export const FIRST_WINDOW_MS = 3_600_000;
/** … up to this. */
const LONGEST_WINDOW_MS = 4 * 3_600_000;
/** Lines that are remembered at once. */
const REMEMBERED = 256;

interface Repeated<Line> {
  readonly line: Line;
  since: number;
  windowMs: number;
  written: number;
  counted: number;
}

/** What to do about one line. */
export type Verdict = 'write' | 'counted';

/** Tells which lines are repeats. `sum` is called for each line whose window ended with repeats that were not written. */
export class Collapser<Line> {
  readonly #repeated = new Map<string, Repeated<Line>>();
  readonly #sum: (line: Line, times: number, inMs: number) => void;

  constructor(sum: (line: Line, times: number, inMs: number) => void) {
    this.#sum = sum;
  }

  /** Judges one line; lines of equal `key` are repeats of each other. */
  judge(key: string, line: Line, nowMs: number): Verdict {
    this.expire(nowMs);
    const known = this.#repeated.get(key);
    if (known === undefined) {
      if (this.#repeated.size >= REMEMBERED) this.#forgetOldest(nowMs);
      this.#repeated.set(key, { line, since: nowMs, windowMs: FIRST_WINDOW_MS, written: 1, counted: 0 });
      return 'write';
    }
    if (known.written < WRITTEN_BEFORE_COUNTING) {
      known.written++;
      return 'write';
    }
    known.counted++;
    return 'counted';
  }

  /** Ends the windows that are over. A line that did not come again in its window is forgotten. */
  expire(nowMs: number): void {
    for (const [key, entry] of this.#repeated) {
      const elapsed = nowMs - entry.since;
      if (elapsed >= 0 && elapsed < entry.windowMs) continue;
      if (entry.counted === 0) {
        this.#repeated.delete(key);
        continue;
      }
      this.#sum(entry.line, entry.counted, elapsed);
      entry.counted = 0;
      entry.written = WRITTEN_BEFORE_COUNTING;
      entry.since = nowMs;
      entry.windowMs = Math.min(entry.windowMs * 2, LONGEST_WINDOW_MS);
    }
  }

  /** Sums up everything that was counted, for the end of the process. */
  flush(nowMs: number): void {
    for (const entry of this.#repeated.values()) {
      if (entry.counted > 0) this.#sum(entry.line, entry.counted, nowMs - entry.since);
    }
    this.#repeated.clear();
  }

  #forgetOldest(nowMs: number): void {
    const oldest = this.#repeated.entries().next().value;
    if (!oldest) return;
    const [key, entry] = oldest;
    if (entry.counted > 0) this.#sum(entry.line, entry.counted, nowMs - entry.since);
    this.#repeated.delete(key);
  }
}

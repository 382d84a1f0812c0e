/** Notices that the host slept: wall time has passed that monotonic time did not see. */
import type { HostClock } from './clock.ts';

/** How often the clocks are compared. */
const COMPARE_EVERY_MS = 5_000;
/** A gap from this on is a sleep; smaller ones are a clock being set right. */
export const SLEPT_FROM_MS = 20_000;

export interface SleepWatchOptions {
  readonly clock: HostClock;
  /** Told how long the host was away. A wall clock that was set forward looks the same, and is treated the same. */
  readonly onWake: (gapMs: number) => void;
  /** Calls `tick` again and again until the returned function is called; replaced by tests. */
  readonly every?: (ms: number, tick: () => void) => () => void;
}

/** Watches until the returned function is called. Never keeps the process alive. */
export function watchForSleep(options: SleepWatchOptions): () => void {
  const { clock } = options;
  const every = options.every ?? everyInterval;
  let drift = clock.wallMs() - clock.monotonicMs();
  return every(COMPARE_EVERY_MS, () => {
    const now = clock.wallMs() - clock.monotonicMs();
    const gapMs = now - drift;
    drift = now;
    if (gapMs >= SLEPT_FROM_MS) options.onWake(gapMs);
  });
}

function everyInterval(ms: number, tick: () => void): () => void {
  const timer = setInterval(tick, ms);
  timer.unref();
  return () => clearInterval(timer);
}

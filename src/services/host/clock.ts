/** The two clocks of the host: the one people read, which jumps, and the one that only ever grows. */

/** Told the time by whoever composes the program; replaced by tests. */
export interface HostClock {
  /** Epoch milliseconds. */
  wallMs(): number;
  /** Milliseconds that do not jump. On Linux they stand still while the host sleeps. */
  monotonicMs(): number;
}

export const systemClock: HostClock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
};

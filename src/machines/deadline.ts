/** Delays that grow with each time they are needed, and deadlines that outlive a restart. */
import type { Deadline } from './facts.ts';

/** A delay that doubles with each time it is needed. Milliseconds. */
export interface Growing {
  readonly initialMs: number;
  readonly maxMs: number;
}

/** The growing delay after the `times`-th time in a row. */
export function growingDelay(growing: Growing, times: number): number {
  return Math.min(growing.maxMs, growing.initialMs * 2 ** Math.min(30, Math.max(0, times - 1)));
}

/** The deadline after the `times`-th time in a row. `now` is epoch ms. */
export function deadlineAfter(growing: Growing, times: number, now: number): Deadline {
  const delayMs = growingDelay(growing, times);
  return { at: now + delayMs, delayMs };
}

/** How long a stored deadline is waited for: never longer than the delay that was chosen, whatever the clock says now. */
export function remainingMs(deadline: Deadline, now: number): number {
  return Math.min(deadline.delayMs, Math.max(0, deadline.at - now));
}

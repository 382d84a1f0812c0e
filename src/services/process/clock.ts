/** Waiting, as an injected thing. */
import { setTimeout as wait } from 'node:timers/promises';

export interface Clock {
  /** Resolves after `ms`; rejects as soon as `abort` fires. */
  sleep(ms: number, abort?: AbortSignal): Promise<void>;
}

export const realClock: Clock = {
  sleep: async (ms, abort) => {
    await wait(ms, undefined, abort ? { signal: abort } : {});
  },
};

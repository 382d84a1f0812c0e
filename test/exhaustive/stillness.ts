/** Chance taken out of a world: every draw is the one in the middle, so that equal histories are equal to the bit. */
import { Random } from '../simulation/random.ts';

export class NoChance extends Random {
  constructor() {
    super(0);
  }

  override next(): number {
    return 0.5;
  }

  override chance(): boolean {
    return false;
  }
}

/** How long a sync takes. Long enough that other things happen meanwhile. */
export const SYNC_MS = 4;
/** How long after the end of a process the next one begins. */
export const RESTART_MS = 1_000;

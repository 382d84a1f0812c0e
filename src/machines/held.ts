/** What this agent holds against what Fleet believes it to hold (P8). */
import type { Facts, Generation } from './facts.ts';

/** Whether Fleet has our ack for other bytes than those of last good, which is older than that ack and owes none of its own. */
export function holdsLessThanAcked({ acked, outbox }: Facts, lastGood: Generation): boolean {
  if (acked === null || acked.hash === lastGood.hash || lastGood.promotedAt > acked.at) return false;
  return !outbox.some(({ policy }) => policy?.hash === lastGood.hash);
}

/** Of the policies (by hash) that were found lost, those that the facts still name: the commit that drops them is on its way. */
export function stillNamed(lost: readonly string[], { generations }: Facts): readonly string[] {
  return lost.filter((hash) => generations.some((one) => one.hash === hash));
}

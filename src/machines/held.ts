/** What this agent holds against what Fleet believes it to hold (P8). */
import type { Facts, Generation } from './facts.ts';

/** Whether Fleet has our ack for other bytes than those of last good, which is older than that ack and owes none of its own. */
export function holdsLessThanAcked({ acked, outbox }: Facts, lastGood: Generation): boolean {
  if (acked === null || acked.hash === lastGood.hash || lastGood.promotedAt > acked.at) return false;
  return !outbox.some(({ policy }) => policy?.hash === lastGood.hash);
}

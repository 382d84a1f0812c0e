/** A broken agent's facts: the ack of a policy is owed before the policy has proven itself (P1). */
import type { Facts } from '../../src/machines/facts.ts';
import type { advance } from '../../src/machines/rules.ts';

/** Owes it in the commit that receives the policy; `from`: the first revision that is treated so. */
export function owesAtReceipt(after: Facts, changes: Parameters<typeof advance>[1], now: number, from = 1): Facts {
  const { candidate } = after;
  const isReceived = changes.some(({ type }) => type === 'delivery.received');
  if (!isReceived || candidate === null || candidate.revision < from) return after;
  const { actionId } = candidate;
  const ack = {
    actionId,
    actionType: 'POLICY_CHANGE',
    message: '',
    error: null,
    owedAt: now,
    notFound: 0,
    policy: candidate,
  };
  return { ...after, outbox: [...after.outbox.filter((one) => one.actionId !== actionId), ack] };
}

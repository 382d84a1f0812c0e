/**
 * The rules of what is durable: `advance` takes the facts from one commit to the next. Pure and total: a change that does not fit the
 * facts any more (a promotion of a candidate that was superseded meanwhile) leaves them as they are. The rules themselves stand by
 * subject: starts and attempts (rules-starts.ts), policies (rules-policies.ts), actions and acks (rules-actions.ts).
 */
import type { Growing } from './deadline.ts';
import type { AuditReason, Change, DeliveryNews, Facts } from './facts.ts';
import { actionDone, actionStarted, actionsDelivered, settleAck } from './rules-actions.ts';
import { knownPolicies, lost, policyDelivered, promoted, rejected, retried, spendCandidate } from './rules-policies.ts';
import { generationRetried, goodbye, opened, replayConfirmed, safeModeLeft } from './rules-starts.ts';

export { type Growing, growingDelay, remainingMs } from './deadline.ts';
export { nameOf } from './naming.ts';
export { isRetryable } from './rules-policies.ts';

export interface Rules {
  /** Attempts a candidate or a generation gets before it is rejected or passed over (P10). At least 1. */
  readonly attemptLimit: number;
  /** A last good promoted less than this ago is fresh: it is passed over when it used up its attempts. */
  readonly freshMs: number;
  /** Until a rejected policy is tried again. */
  readonly retry: Growing;
  /** Until a passed-over generation is tried again, and until safe mode is left by itself. */
  readonly recovery: Growing;
  /** 404 answers to one ack that can still be index lag; after that it is given up. */
  readonly notFoundLimit: number;
}

/** What a commit makes true. */
export interface Advance {
  readonly facts: Facts;
  /** Bodies that arrived with it, by hash: to be made durable before the record that names them. */
  readonly bodies: Readonly<Record<string, string>>;
  /** Set when the changes held a delivery. */
  readonly news: DeliveryNews | null;
}

/** Applies several changes, in order, as one commit. `now` is epoch milliseconds. */
export function advance(facts: Facts, changes: readonly Change[], now: number, rules: Rules): Advance {
  let next = facts;
  let news: DeliveryNews | null = null;
  const arrived = new Map<string, string>();
  for (const change of changes) {
    const before = next;
    next = apply(before, change, now, rules);
    if (change.type !== 'delivery.received') continue;
    news = mergeNews(news, newsOf(before, next, change.policy?.hash ?? null));
    if (change.policy !== null) arrived.set(change.policy.hash, change.policy.text);
  }
  const named = bodiesNamed(next).filter((hash) => arrived.has(hash));
  return { facts: next, bodies: Object.fromEntries(named.map((hash) => [hash, arrived.get(hash) as string])), news };
}

/** Hashes of the bodies these facts need on disk: every generation, the candidate and the newest rejected one. */
export function bodiesNamed(facts: Facts): readonly string[] {
  const hashes = facts.generations.map((generation) => generation.hash);
  if (facts.candidate !== null) hashes.push(facts.candidate.hash);
  if (facts.rejected[0] !== undefined) hashes.push(facts.rejected[0].hash);
  return [...new Set(hashes)];
}

function apply(facts: Facts, change: Change, now: number, rules: Rules): Facts {
  switch (change.type) {
    case 'start.opened':
      return opened(facts, change.bootId, now, rules);
    case 'start.goodbye':
      return goodbye(facts);
    case 'answer.arrived':
      return { ...facts, answerInFlight: true };
    case 'answer.discarded':
      return { ...facts, answerInFlight: false, answerDeaths: 0 };
    case 'delivery.received': {
      const taken = actionsDelivered(facts, change.token, change.actions, now);
      return change.policy === null ? taken : policyDelivered(taken, change.policy, now, rules);
    }
    case 'candidate.spent':
      return spendCandidate(facts, change.hash, now, rules);
    case 'policy.promoted':
      return promoted(facts, change.hash, now);
    case 'policy.rejected':
      return rejected(facts, change.hash, change.kind, change.reason, now, rules);
    case 'rejection.retried':
      return retried(facts, change.hash, now, rules);
    case 'generation.retried':
      return generationRetried(facts, rules);
    case 'safeMode.left':
      return safeModeLeft(facts, rules);
    case 'replay.confirmed':
      return replayConfirmed(facts, change.hash, now);
    case 'held.lost':
      return lost(facts, change.hashes);
    case 'action.started':
      return actionStarted(facts, change.id);
    case 'action.done':
      return actionDone(facts, change.id, change.outcome, change.intents, now);
    case 'acks.settled':
      return change.verdicts.reduce((state, verdict) => settleAck(state, verdict, now, rules), facts);
    case 'agent.unenrolled':
      return unenrolled(facts, change.reason, change.audit ?? null, now);
    case 'audit.tried':
      return facts.audit === null ? facts : { ...facts, audit: { ...facts.audit, tries: facts.audit.tries + 1 } };
    case 'audit.settled':
      return { ...facts, audit: null };
    case 'everything.asked':
      return { ...facts, everythingAskedAt: now };
    case 'everything.unanswered':
      return { ...facts, everythingAskedAt: null };
  }
}

/** Once is enough: who leaves a second time has nothing to tell Fleet that it does not know. */
function unenrolled(facts: Facts, reason: string, audit: AuditReason | null, now: number): Facts {
  const owed = audit !== null && facts.unenrolled === null ? { reason: audit, tries: 0 } : facts.audit;
  return { ...facts, unenrolled: { at: now, reason }, candidate: null, audit: owed };
}

/** What a delivery brought that was neither good, in flight nor rejected before, or not in the journal. */
function newsOf(before: Facts, after: Facts, policy: string | null): DeliveryNews {
  const known = new Set(before.journal.map((entry) => entry.id));
  return {
    actions: after.journal.some((entry) => !known.has(entry.id)),
    policy: policy !== null && !knownPolicies(before).includes(policy),
  };
}

function mergeNews(one: DeliveryNews | null, other: DeliveryNews): DeliveryNews {
  return { actions: one?.actions === true || other.actions, policy: one?.policy === true || other.policy };
}

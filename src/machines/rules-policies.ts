/** The rules of policies: what a received one becomes, how it is made good or rejected, and when it is tried again (P1, P3, P8, P10). */
import { type PolicyBody, policyRef } from '../policy/identity.ts';
import { deadlineAfter } from './deadline.ts';
import {
  type Facts,
  GENERATIONS_KEPT,
  type Generation,
  REJECTIONS_KEPT,
  type Rejection,
  type RejectionKind,
} from './facts.ts';
import type { Rules } from './rules.ts';
import { owe, policyAck } from './rules-actions.ts';
import { giveBackStart, noteSpent, withGeneration } from './rules-attempts.ts';

/** Hashes of policies that an answer need not bring again: good, in flight or rejected. */
export function knownPolicies(facts: Facts): readonly string[] {
  const inHand = [facts.candidate, facts.generations[0], ...facts.rejected];
  return inHand.flatMap((one) => (one === null || one === undefined ? [] : [one.hash]));
}

export function policyDelivered(before: Facts, policy: PolicyBody, now: number, rules: Rules): Facts {
  const ref = policyRef(policy);
  const again = before.received?.hash === policy.hash ? before.received : null;
  const facts: Facts = { ...before, received: { ...ref, at: now, since: again?.since ?? again?.at ?? now } };
  const lastGood = facts.generations[0];
  if (facts.candidate?.hash === policy.hash) {
    return { ...facts, candidate: { ...facts.candidate, ...ref } };
  }
  if (lastGood?.hash === policy.hash) {
    // The same bytes, perhaps under another action id: that id is the one Fleet matches from now on, and it wants its ack.
    const same = { ...lastGood, ...ref };
    return { ...withGeneration(facts, 0, same), candidate: null, outbox: owe(facts.outbox, policyAck(same, now)) };
  }
  const rejection = facts.rejected.find((one) => one.hash === policy.hash);
  if (rejection !== undefined) return rejectedAgain(before, facts, { ...rejection, ...ref }, now, rules);
  const candidate = { ...ref, receivedAt: now, attempts: 1 };
  return noteSpent({ ...facts, candidate }, { candidate: policy.hash });
}

/**
 * A rejected policy that is sent again stays rejected. When Fleet has come back to it from another one, it is what is wanted now:
 * its bytes are kept again, and its next try gets a time.
 */
function rejectedAgain(before: Facts, facts: Facts, rejection: Rejection, now: number, rules: Rules): Facts {
  const wasWanted = before.received?.hash === rejection.hash;
  const retry = (wasWanted ? rejection.retry : null) ?? retryOf(rejection.kind, rejection.times, now, rules);
  return { ...facts, candidate: null, rejected: [{ ...rejection, retry }, ...overtaken(facts, rejection.hash)] };
}

/** The other rejections: Fleet wants none of them now. */
function overtaken(facts: Facts, hash: string): readonly Rejection[] {
  return facts.rejected.filter((one) => one.hash !== hash).map((one) => ({ ...one, retry: null }));
}

/** A surviving candidate gets its next attempt, spent before it is made. */
export function spendCandidate(facts: Facts, hash: string, now: number, rules: Rules): Facts {
  const candidate = facts.candidate;
  if (candidate === null || candidate.hash !== hash) return facts;
  if (candidate.attempts >= rules.attemptLimit) return dropSpentCandidate(facts, now, rules);
  const spent = { ...candidate, attempts: candidate.attempts + 1 };
  return noteSpent({ ...facts, candidate: spent }, { candidate: hash });
}

/** A candidate that used up its attempts is rejected (P10). */
export function dropSpentCandidate(facts: Facts, now: number, rules: Rules): Facts {
  const candidate = facts.candidate;
  if (candidate === null || candidate.attempts < rules.attemptLimit) return facts;
  const reason = `used up ${rules.attemptLimit === 1 ? 'its only attempt' : `its ${rules.attemptLimit} attempts`}: the agent ended without a goodbye each time while applying it`;
  return rejected(facts, candidate.hash, 'attempts', reason, now, rules);
}

/** The only way to become last good; the ack it owes and the attempt it gives back are in the same commit (P1, P6). */
export function promoted(facts: Facts, hash: string, now: number): Facts {
  const candidate = facts.candidate;
  if (candidate === null || candidate.hash !== hash) return facts;
  const generation: Generation = { ...policyRef(candidate), promotedAt: now, attempts: 0 };
  // The agent has outlived this start's attempt, whatever it was spent on.
  const before = noteSpent(giveBackStart(facts), { candidate: null });
  return {
    ...before,
    candidate: null,
    generations: [generation, ...before.generations.filter((one) => one.hash !== hash)].slice(0, GENERATIONS_KEPT),
    runs: 0,
    passedOver: null,
    safeMode: null,
    safeModeTimes: 0,
    // What was rejected before is older than what is good now: only Fleet or a person would want it back.
    rejected: overtaken(facts, hash),
    outbox: owe(facts.outbox, policyAck(generation, now)),
    starts: before.starts.map((one, at) => (at === 0 ? { ...one, confirmed: true } : one)),
  };
}

export function rejected(
  facts: Facts,
  hash: string,
  kind: RejectionKind,
  reason: string,
  now: number,
  rules: Rules,
): Facts {
  const candidate = facts.candidate;
  if (candidate === null || candidate.hash !== hash) return facts;
  const times = (facts.rejected.find((one) => one.hash === hash)?.times ?? 0) + 1;
  const rejection: Rejection = {
    ...policyRef(candidate),
    kind,
    reason,
    rejectedAt: now,
    times,
    retry: retryOf(kind, times, now, rules),
  };
  return { ...facts, candidate: null, rejected: [rejection, ...overtaken(facts, hash)].slice(0, REJECTIONS_KEPT) };
}

/** Bytes that cannot be parsed will not parse later either. */
function retryOf(kind: RejectionKind, times: number, now: number, rules: Rules): Rejection['retry'] {
  return kind === 'unparsable' ? null : deadlineAfter(rules.retry, times, now);
}

/**
 * Only the newest rejection can be tried again: its bytes are kept. One that a newer good policy has overtaken is not. A policy that
 * ended the agent each time gets a single attempt a try.
 */
export function retried(facts: Facts, hash: string | null, now: number, rules: Rules): Facts {
  const newest = facts.rejected[0];
  if (newest === undefined || (hash !== null && newest.hash !== hash) || !isRetryable(facts)) return facts;
  const attempts = newest.kind === 'attempts' ? rules.attemptLimit : 1;
  const next: Facts = {
    ...facts,
    rejected: [{ ...newest, retry: null }, ...facts.rejected.slice(1)],
    candidate: { ...policyRef(newest), receivedAt: now, attempts },
  };
  return noteSpent(next, { candidate: newest.hash });
}

/** Whether the newest rejection is still what Fleet wants. */
export function isRetryable(facts: Facts): boolean {
  const newest = facts.rejected[0];
  return newest !== undefined && facts.candidate === null && facts.received?.hash === newest.hash;
}

/** What the disk does not hold any more is not claimed any more; the next older generation takes the place of one that ran (P8). */
export function lost(facts: Facts, hashes: readonly string[]): Facts {
  const gone = new Set(hashes);
  const isHeld = ({ hash }: { readonly hash: string }) => !gone.has(hash);
  const generations = facts.generations.filter(isHeld);
  const newer = facts.generations.slice(0, facts.runs).filter(isHeld).length;
  return {
    ...facts,
    generations,
    runs: Math.max(0, Math.min(newer, generations.length - 1)),
    candidate: facts.candidate !== null && isHeld(facts.candidate) ? facts.candidate : null,
    rejected: facts.rejected.map((one) => (isHeld(one) ? one : { ...one, retry: null })),
    // An ack would tell Fleet that it is held, and make it retire the keys of what runs instead (P1). When Fleet sends it again, it owes one again.
    outbox: facts.outbox.filter(({ policy }) => policy === null || isHeld(policy)),
    // What is left may have the revision of what is lost: Fleet is asked at once, by whichever start comes to it.
    everythingAskedAt: generations.length < facts.generations.length ? null : facts.everythingAskedAt,
  };
}

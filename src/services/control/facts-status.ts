/** The parts of `status` and `inspect` that the durable facts alone decide: the same whether a daemon answers or the disk is read. */
import type { Facts, Start } from '../../machines/facts.ts';
import type { PolicyRef } from '../../policy/identity.ts';
import type { Inspection, PolicyStatus, Status } from '../../wire/control.ts';

/** RFC 3339 of epoch milliseconds; of a time no calendar knows, the nearest it does. */
export function instant(ms: number): string {
  const farthestMs = 8.64e15;
  return new Date(Math.min(Math.max(Number.isFinite(ms) ? ms : 0, -farthestMs), farthestMs)).toISOString();
}

export function policyStatus(policy: PolicyRef, atMs: number): PolicyStatus {
  return { id: policy.id, revision: policy.revision, hash: policy.hash, at: instant(atMs) };
}

/** `status.policy` except what only a live agent knows: `running` and `orphaned`. */
export function policyFacts(facts: Facts): Omit<Status['policy'], 'running' | 'orphaned'> {
  const generations = facts.generations.map((each) => policyStatus(each, each.promotedAt));
  return {
    received: facts.received && policyStatus(facts.received, facts.received.since ?? facts.received.at),
    persisted: generations[0] ?? null,
    acked: facts.acked && policyStatus(facts.acked, facts.acked.at),
    generations,
    rejected: facts.rejected.map((each) => ({
      hash: each.hash,
      id: each.id,
      revision: each.revision,
      kind: each.kind,
      reason: each.reason,
      rejected_at: instant(each.rejectedAt),
      next_try: each.retry && instant(each.retry.at),
    })),
  };
}

export function actionFacts(facts: Facts): Status['actions'] {
  const unfinished = facts.journal.filter((entry) => entry.state !== 'done');
  return {
    journal: unfinished.length,
    outbox: facts.outbox.length,
    scheduled: unfinished.filter((entry) => entry.startTime !== null && entry.state === 'received').length,
    refused_acks: facts.refusedAcks.map(({ actionId, actionType, reason, at }) => ({
      action: actionId,
      type: actionType,
      reason,
      at: instant(at),
    })),
  };
}

export function startFacts({ number, previous, crashes, inFlight }: Start): Status['start'] {
  return { number, previous, crashes, in_flight: inFlight };
}

/** Journal, outbox and starts as `inspect` shows them, without the bodies of actions, which may carry secrets. */
export function inspectionFacts(facts: Facts): Pick<Inspection, 'journal' | 'outbox' | 'starts'> {
  return {
    journal: facts.journal.map((entry) => ({
      id: entry.id,
      type: entry.type,
      state: entry.state,
      received_at: instant(entry.receivedAt),
      done_at: entry.doneAt === null ? null : instant(entry.doneAt),
      outcome:
        entry.outcome === null ? null : entry.outcome.ok ? entry.outcome.message : `failed: ${entry.outcome.error}`,
    })),
    outbox: facts.outbox.map((ack) => ({
      action: ack.actionId,
      type: ack.actionType,
      message: ack.message,
      error: ack.error,
      owed_since: instant(ack.owedAt),
    })),
    starts: facts.starts.map((start) => ({
      number: start.number,
      at: instant(start.at),
      previous: start.previous,
      crashes: start.crashes,
      in_flight: start.inFlight,
      confirmed: start.confirmed,
      goodbye: start.goodbye,
      boot_id: start.bootId,
    })),
  };
}

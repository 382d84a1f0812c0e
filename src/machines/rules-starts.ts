/** The rules of starts: how the one before ended, what this one spends, and when a generation is passed over or nothing is run at all (P9, P10). */
import { deadlineAfter } from './deadline.ts';
import { type Facts, type Generation, NOTHING_SPENT, STARTS_KEPT, type Start } from './facts.ts';
import { holdsLessThanAcked } from './held.ts';
import { nameOf, timesOf } from './naming.ts';
import type { Rules } from './rules.ts';
import { owe, policyAck } from './rules-actions.ts';
import { giveBackStart, noteSpent, withGeneration } from './rules-attempts.ts';
import { dropSpentCandidate } from './rules-policies.ts';

/** A new start: says how the one before ended, and spends this one on what it will run. */
export function opened(facts: Facts, bootId: string, now: number, rules: Rules): Facts {
  const noted: Facts = {
    ...facts,
    starts: [startAfter(facts, bootId, now), ...facts.starts].slice(0, STARTS_KEPT),
    answerDeaths: facts.answerInFlight ? facts.answerDeaths + 1 : facts.answerDeaths,
    answerInFlight: false,
  };
  return spendStart(dropSpentCandidate(noted, now, rules), now, rules);
}

/** The start that finds these facts, before it has spent anything: also what is known of it while the disk takes no record of it (P9). */
export function startAfter(facts: Facts, bootId: string, now: number): Start {
  const last = facts.starts[0];
  const previous = howItEnded(last, bootId);
  const died = previous === 'crashed' || previous === 'host-rebooted';
  return {
    number: (last?.number ?? 0) + 1,
    bootId,
    at: now,
    previous,
    crashes: crashesInARow(last, previous),
    inFlight: died ? whatWasInFlight(facts) : null,
    confirmed: false,
    goodbye: false,
    spent: NOTHING_SPENT,
  };
}

function howItEnded(last: Start | undefined, bootId: string): Start['previous'] {
  if (last === undefined) return 'first';
  if (last.goodbye) return 'goodbye';
  return last.bootId === bootId ? 'crashed' : 'host-rebooted';
}

function crashesInARow(last: Start | undefined, previous: Start['previous']): number {
  const before = last === undefined || last.confirmed ? 0 : last.crashes;
  switch (previous) {
    case 'crashed':
      return before + 1;
    case 'host-rebooted':
      return before;
    case 'goodbye':
    case 'first':
      return 0;
  }
}

/** In words, most telling first; null when the process died at rest. */
function whatWasInFlight(facts: Facts): string | null {
  const started = facts.journal.find((entry) => entry.state === 'started');
  if (facts.answerInFlight) return 'reading an answer from Fleet';
  if (facts.candidate !== null) {
    return `applying ${nameOf(facts.candidate)} (attempt ${facts.candidate.attempts})`;
  }
  if (started !== undefined) return `running action ${started.id} (${started.type})`;
  const replayed = facts.safeMode === null ? facts.generations[facts.runs] : undefined;
  if (facts.starts[0]?.confirmed === false && replayed !== undefined) return `replaying ${nameOf(replayed)}`;
  return null;
}

/** Spends this start on the generation it will run, steps to an older one, or gives up into safe mode (P10). */
function spendStart(facts: Facts, now: number, rules: Rules): Facts {
  if (facts.safeMode !== null) {
    if (facts.safeMode.until.at > now) return facts;
    return spendStart(safeModeLeft(facts, rules), now, rules);
  }
  if (facts.runs > 0 && facts.passedOver !== null && facts.passedOver.at <= now) {
    return spendStart(generationRetried(facts, rules), now, rules);
  }
  const running = facts.generations[facts.runs];
  if (running === undefined) return facts;
  if (running.attempts < rules.attemptLimit) return spendOn(facts, facts.runs, running);
  const older = facts.generations.findIndex((one, at) => at > facts.runs && one.attempts < rules.attemptLimit);
  const generation = facts.generations[older];
  // Once passed over, a policy stays so until it is confirmed, however old it has become meanwhile.
  const fresh = now - running.promotedAt < rules.freshMs || facts.passedOver !== null;
  if (fresh && generation !== undefined) {
    const times = (facts.passedOver?.times ?? 0) + 1;
    const passedOver = { ...deadlineAfter(rules.recovery, times, now), times };
    return spendOn({ ...facts, runs: older, passedOver }, older, generation);
  }
  const times = facts.safeModeTimes + 1;
  return {
    ...facts,
    safeModeTimes: times,
    safeMode: {
      reason: `${nameOf(running)} was started ${timesOf(running.attempts)} and the agent ended without a goodbye each time`,
      since: now,
      until: deadlineAfter(rules.recovery, times, now),
    },
  };
}

function spendOn(facts: Facts, index: number, generation: Generation): Facts {
  return noteSpent(withGeneration(facts, index, { ...generation, attempts: generation.attempts + 1 }), {
    generation: generation.hash,
  });
}

/** The newest generation gets one more attempt, the next start. What this start spent on it is not given back besides. */
export function generationRetried(facts: Facts, rules: Rules): Facts {
  const newest = facts.generations[0];
  if (newest === undefined) return { ...facts, runs: 0 };
  const attempts = Math.min(newest.attempts, rules.attemptLimit - 1);
  const retried = withGeneration({ ...facts, runs: 0 }, 0, { ...newest, attempts });
  return facts.starts[0]?.spent.generation === newest.hash ? noteSpent(retried, { generation: null }) : retried;
}

export function safeModeLeft(facts: Facts, rules: Rules): Facts {
  return { ...generationRetried(facts, rules), safeMode: null };
}

/** Gives back exactly what this start has spent. */
export function goodbye(facts: Facts): Facts {
  const start = facts.starts[0];
  if (start === undefined || start.goodbye) return facts;
  const { candidate } = facts;
  const returned = giveBackStart(facts);
  return {
    ...returned,
    answerInFlight: false,
    candidate:
      candidate !== null && candidate.hash === start.spent.candidate
        ? { ...candidate, attempts: Math.max(0, candidate.attempts - 1) }
        : candidate,
    starts: [{ ...start, goodbye: true, spent: NOTHING_SPENT }, ...facts.starts.slice(1)],
  };
}

/** What runs is confirmed: its attempts are given back, and with them whatever was concluded from them. */
export function replayConfirmed(facts: Facts, hash: string, now: number): Facts {
  const index = facts.generations.findIndex((generation) => generation.hash === hash);
  const generation = facts.generations[index];
  const start = facts.starts[0];
  if (generation === undefined || start === undefined) return facts;
  const settled = noteSpent(withGeneration(facts, index, { ...generation, attempts: 0 }), { generation: null });
  const confirmed: Facts = {
    ...settled,
    starts: settled.starts.map((one, at) => (at === 0 ? { ...one, confirmed: true } : one)),
    // A start that could be spent only after it had replayed may have concluded the opposite meanwhile.
    runs: Math.min(facts.runs, index),
    safeMode: null,
    safeModeTimes: 0,
  };
  if (index > 0) return confirmed;
  const whole = { ...confirmed, passedOver: null };
  // Last good is acked again once a start, so that a server can notice restarts nobody asked for. Not when the newer one that was acked is lost:
  // that ack is all that tells of it, and until Fleet has sent it again nothing is said to be held (P8).
  return start.confirmed || holdsLessThanAcked(facts, generation)
    ? whole
    : { ...whole, outbox: owe(whole.outbox, policyAck(generation, now)) };
}

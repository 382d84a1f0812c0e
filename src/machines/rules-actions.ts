/** The rules of actions and acks: the journal of what was received and what became of it, and the outbox of what is owed (P4, P5, P6). */
import { type PolicyRef, policyRef } from '../policy/identity.ts';
import {
  ACTION_DATA_KEPT,
  type AckVerdict,
  type ActionOutcome,
  type DeliveredAction,
  type Facts,
  type Intents,
  JOURNAL_KEPT,
  JOURNAL_KEPT_MS,
  type JournalEntry,
  OUTBOX_KEPT,
  type OwedAck,
  REFUSED_ACKS_KEPT,
  UNFINISHED_KEPT,
} from './facts.ts';
import type { Rules } from './rules.ts';

/**
 * Token and actions become durable together (P4). While the outbox is full neither does: the token stays where it was, so that Fleet
 * sends the same actions again later, and nothing is lost however much it sends.
 */
export function actionsDelivered(
  facts: Facts,
  token: string | null,
  actions: readonly DeliveredAction[],
  now: number,
): Facts {
  const read: Facts = { ...facts, answerInFlight: false, answerDeaths: 0 };
  const once = actions.filter((action, at) => actions.findIndex((one) => one.id === action.id) === at);
  if (once.length > 0 && facts.outbox.length >= OUTBOX_KEPT) return read;
  const taken = once.reduce((state, action) => actionDelivered(state, action, now), read);
  return {
    ...taken,
    deliveryToken: token === null || token === '' ? facts.deliveryToken : token,
    journal: trimJournal(taken, now),
  };
}

function actionDelivered(facts: Facts, action: DeliveredAction, now: number): Facts {
  const known = facts.journal.find((entry) => entry.id === action.id);
  if (known !== undefined) {
    // Delivered again after it was done: its ack was lost, so it is sent again; the effect is not (P5).
    return known.state === 'done' && known.outcome !== null
      ? { ...facts, outbox: owe(facts.outbox, actionAck(known, known.outcome, now)) }
      : facts;
  }
  // Done so long ago, or before so many others, that the journal has no room for it; that its ack is owed still says so.
  if (facts.outbox.some((owed) => owed.actionId === action.id)) return facts;
  const entry: JournalEntry = { ...action, state: 'received', receivedAt: now, doneAt: null, outcome: null };
  const refusal = refusalOf(facts, action);
  if (refusal === null) return { ...facts, journal: [...facts.journal, entry] };
  return actionDone(
    { ...facts, journal: [...facts.journal, entry] },
    action.id,
    { ok: false, error: refusal },
    null,
    now,
  );
}

/** What the journal has no room for is answered with an error, never dropped. */
function refusalOf({ journal }: Facts, { data }: DeliveredAction): string | null {
  if ((data?.length ?? 0) > ACTION_DATA_KEPT) {
    return `its data has ${data?.length} characters; this agent takes at most ${ACTION_DATA_KEPT}`;
  }
  if (journal.filter((entry) => entry.state !== 'done').length >= UNFINISHED_KEPT) {
    return `${UNFINISHED_KEPT} actions are waiting already; send it again later`;
  }
  return null;
}

export function actionStarted(facts: Facts, id: string): Facts {
  return {
    ...facts,
    journal: withEntry(facts.journal, id, (entry) =>
      entry.state === 'received' ? { ...entry, state: 'started' } : entry,
    ),
  };
}

/** The result and the ack it owes are one commit (P6); what is done stays done (P5). */
export function actionDone(
  facts: Facts,
  id: string,
  outcome: ActionOutcome,
  intents: Intents | null,
  now: number,
): Facts {
  const entry = facts.journal.find((one) => one.id === id);
  if (entry === undefined || entry.state === 'done') return facts;
  const outbox = owe(facts.outbox, actionAck(entry, outcome, now));
  const journal = withEntry(facts.journal, id, (one) => ({ ...one, data: null, state: 'done', doneAt: now, outcome }));
  return { ...facts, journal: trimJournal({ journal, outbox }, now), intents: intents ?? facts.intents, outbox };
}

/** An ack leaves the outbox by the server's verdict on it only, not by one on an ack of the same action that was sent before (P1, P6). */
export function settleAck(facts: Facts, given: AckVerdict, now: number, rules: Rules): Facts {
  const { actionId, owedAt, verdict, reason } = given;
  const owed = facts.outbox.find((one) => one.actionId === actionId && one.owedAt === owedAt);
  if (owed === undefined || verdict === 'retry') return facts;
  const without = facts.outbox.filter((one) => one.actionId !== actionId);
  if (verdict === 'taken') {
    const refusedAcks = facts.refusedAcks.filter((one) => one.actionId !== actionId);
    const acked = owed.policy === null ? facts.acked : { ...owed.policy, at: now };
    return { ...facts, outbox: without, refusedAcks, acked };
  }
  if (verdict === 'notFound' && owed.notFound + 1 < rules.notFoundLimit) {
    return {
      ...facts,
      outbox: facts.outbox.map((one) => (one === owed ? { ...one, notFound: one.notFound + 1 } : one)),
    };
  }
  const why = verdict === 'notFound' ? `${reason}, ${owed.notFound + 1} times` : reason;
  return { ...facts, outbox: without, refusedAcks: refusedWith(facts, owed, why, now) };
}

/** Forgotten here, a verdict that ends an ack would be seen by nobody. */
function refusedWith({ refusedAcks }: Facts, { actionId, actionType }: OwedAck, reason: string, at: number) {
  const others = refusedAcks.filter((one) => one.actionId !== actionId);
  return [{ actionId, actionType, reason, at }, ...others].slice(0, REFUSED_ACKS_KEPT);
}

export function policyAck(ref: PolicyRef, now: number): OwedAck {
  return {
    actionId: ref.actionId,
    actionType: 'POLICY_CHANGE',
    message: `Action "${ref.actionId}" of type "POLICY_CHANGE" acknowledged.`,
    error: null,
    owedAt: now,
    notFound: 0,
    policy: policyRef(ref),
  };
}

function actionAck(entry: DeliveredAction, outcome: ActionOutcome, now: number): OwedAck {
  return {
    actionId: entry.id,
    actionType: entry.type,
    message: outcome.ok ? outcome.message : `Action "${entry.id}" of type "${entry.type}" failed.`,
    error: outcome.ok ? null : outcome.error,
    owedAt: now,
    notFound: 0,
    policy: null,
  };
}

/** One ack an action id, and the newest last: what Fleet hears last is what it believes. */
export function owe(outbox: readonly OwedAck[], ack: OwedAck): readonly OwedAck[] {
  return [...outbox.filter((one) => one.actionId !== ack.actionId), ack];
}

/**
 * Finished actions are kept, with their result, for 30 days or 500 of them; unfinished ones always. One whose ack is owed is not over, however
 * long ago it was done: the clock may have been set forward since.
 */
function trimJournal({ journal, outbox }: Pick<Facts, 'journal' | 'outbox'>, now: number): readonly JournalEntry[] {
  const owed = new Set(outbox.map(({ actionId }) => actionId));
  const isYoung = ({ id, doneAt }: JournalEntry) => doneAt === null || now - doneAt < JOURNAL_KEPT_MS || owed.has(id);
  const young = journal.filter(isYoung);
  let surplus = young.filter((entry) => entry.state === 'done').length - JOURNAL_KEPT;
  return young.filter((entry) => entry.state !== 'done' || surplus-- <= 0);
}

function withEntry(
  journal: readonly JournalEntry[],
  id: string,
  change: (entry: JournalEntry) => JournalEntry,
): readonly JournalEntry[] {
  return journal.map((entry) => (entry.id === id ? change(entry) : entry));
}

/** What becomes of each type of action: its lane, and for quick ones its outcome. Pure: an outcome is a durable fact, not an effect. */
import { getOwn, isObject, parseJson } from '../policy/json.ts';
import type { ActionOutcome, Change, Facts, Intents, JournalEntry, LogLevel } from './facts.ts';

/** Lanes are independent: a long action never holds up a quick one or a policy. */
export type Lane = 'quick';

interface Settled {
  readonly outcome: ActionOutcome;
  readonly intents?: Intents;
  /** Set: this action ends the enrollment. */
  readonly unenroll?: string;
}

interface Handler {
  readonly lane: Lane;
  /** True: running it twice does no harm, so an interrupted one simply runs again (P5). */
  readonly idempotent: boolean;
  readonly settle: (entry: JournalEntry, facts: Facts) => Settled;
}

const LOG_LEVELS = ['trace', 'debug', 'info', 'warning', 'error'] as const satisfies readonly LogLevel[];

/** The actions Holdfast carries out. Every other type is answered with an error, never silently dropped. */
const HANDLERS: Readonly<Record<string, Handler>> = {
  POLICY_REASSIGN: {
    lane: 'quick',
    idempotent: true,
    // The new policy follows by itself: this action only ends the poll that waits for the old one.
    settle: () => ({ outcome: ok('The reassigned policy follows with the next check-in.') }),
  },
  SETTINGS: { lane: 'quick', idempotent: true, settle: settleSettings },
  CANCEL: { lane: 'quick', idempotent: true, settle: settleCancel },
  UNENROLL: {
    lane: 'quick',
    idempotent: true,
    settle: () => ({ outcome: ok('Unenrolled.'), unenroll: 'Fleet sent UNENROLL' }),
  },
};

/** The journal's entries of one lane that wait to be carried out, oldest first. */
export function laneOf(journal: readonly JournalEntry[], lane: Lane): readonly JournalEntry[] {
  return journal.filter((entry) => entry.state === 'received' && (handlerOf(entry.type)?.lane ?? 'quick') === lane);
}

/** The changes that settle these entries. `now` is epoch ms. */
export function outcomesOf(entries: readonly JournalEntry[], facts: Facts, now: number): readonly Change[] {
  return entries.flatMap((entry): readonly Change[] => {
    const { outcome, intents, unenroll } = settle(entry, facts, now);
    const done: Change = { type: 'action.done', id: entry.id, outcome, intents: intents ?? null };
    return unenroll === undefined ? [done] : [done, { type: 'agent.unenrolled', reason: unenroll }];
  });
}

/**
 * After a restart, what had begun: the idempotent runs again; what must not happen twice is answered with an outcome that nobody
 * knows (P5). `now` is epoch ms.
 */
export function reconcile(facts: Facts, now: number): readonly Change[] {
  const begun = facts.journal.filter((entry) => entry.state === 'started');
  const again = begun.filter((entry) => handlerOf(entry.type)?.idempotent === true);
  const unknown = begun.filter((entry) => !again.includes(entry));
  return [
    ...outcomesOf(again, facts, now),
    ...unknown.map(
      (entry): Change => ({
        type: 'action.done',
        id: entry.id,
        outcome: failed('the agent ended while this action ran; whether it took effect is unknown'),
        intents: null,
      }),
    ),
  ];
}

function handlerOf(type: string): Handler | undefined {
  return Object.hasOwn(HANDLERS, type) ? HANDLERS[type] : undefined;
}

function settle(entry: JournalEntry, facts: Facts, now: number): Settled {
  if (entry.undecodable !== null) return { outcome: failed(`the action could not be read: ${entry.undecodable}`) };
  if (entry.expiration !== null && entry.expiration < now) {
    return { outcome: failed(`expired at ${new Date(entry.expiration).toISOString()}`) };
  }
  const handler = handlerOf(entry.type);
  if (handler === undefined)
    return { outcome: failed(`actions of type "${entry.type}" are not supported by this agent`) };
  return handler.settle(entry, facts);
}

function settleSettings(entry: JournalEntry): Settled {
  const wanted = textIn(entry, 'log_level');
  const logLevel = LOG_LEVELS.find((level) => level === wanted) ?? null;
  if (logLevel === null && wanted !== '') {
    return { outcome: failed(`log_level is not one of ${LOG_LEVELS.join(', ')} (or empty to clear it)`) };
  }
  return {
    outcome: ok(logLevel === null ? 'Log level cleared.' : `Log level set to ${logLevel}.`),
    intents: { logLevel },
  };
}

function settleCancel(entry: JournalEntry, facts: Facts): Settled {
  const id = textIn(entry, 'target_id');
  if (id === null) return { outcome: failed('target_id is missing') };
  const target = facts.journal.find((one) => one.id === id);
  if (target === undefined) return { outcome: ok(`No action ${id} is held; nothing to cancel.`) };
  return { outcome: ok(`Action ${id} is ${target.state}; nothing scheduled to cancel.`) };
}

/** A text of the action's data; null when it is not there. */
function textIn(entry: JournalEntry, key: string): string | null {
  try {
    const data = parseJson(entry.data ?? 'null');
    const value = isObject(data) ? getOwn(data, key) : null;
    return typeof value === 'string' ? value : null;
  } catch {
    return null;
  }
}

const ok = (message: string): ActionOutcome => ({ ok: true, message });
const failed = (error: string): ActionOutcome => ({ ok: false, error });

/**
 * The durable facts: everything Holdfast knows that must survive its own death, as plain JSON (design, section 5), and the changes
 * that can be asked for. `advance` (rules.ts) is the only way from one value to the next; the store actor the only one that commits it.
 * All times are epoch milliseconds.
 */
import type { PolicyBody, PolicyRef } from '../policy/identity.ts';

export const GENERATIONS_KEPT = 3;
export const REJECTIONS_KEPT = 16;
export const STARTS_KEPT = 10;
export const JOURNAL_KEPT = 500;
/** Actions that may wait unfinished; what comes beyond is answered with an error. */
export const UNFINISHED_KEPT = 500;
/** The longest `data` of an action that is taken, in characters; what is longer is answered with an error. */
export const ACTION_DATA_KEPT = 256 * 1024;
/** Acks that may be owed; a delivery that comes beyond is not taken yet (its token neither), so that Fleet sends it again. */
export const OUTBOX_KEPT = 2_000;
export const REFUSED_ACKS_KEPT = 8;
export const JOURNAL_KEPT_MS = 30 * 24 * 3_600_000;

/** One policy that was applied, confirmed and made durable. */
export interface Generation extends PolicyRef {
  readonly promotedAt: number;
  /** Starts spent on it and not given back by a confirmation or a goodbye (P10). */
  readonly attempts: number;
}

/** Received, not yet good. */
export interface Candidate extends PolicyRef {
  readonly receivedAt: number;
  /** Attempts spent on it, the one in flight included (P10). */
  readonly attempts: number;
}

export type RejectionKind = 'unparsable' | 'unrendered' | 'check' | 'health' | 'attempts';

/** A policy that did not become good, remembered so that it does not thrash (P3). */
export interface Rejection extends PolicyRef {
  readonly kind: RejectionKind;
  readonly reason: string;
  readonly rejectedAt: number;
  /** How often it was rejected in all. */
  readonly times: number;
  /** The delay that was chosen until it is tried again, and when that is; null when only a person can ask for it. */
  readonly retry: Deadline | null;
}

/** A stored deadline: waited for at most the delay that was chosen, since clocks jump. */
export interface Deadline {
  readonly at: number;
  readonly delayMs: number;
}

/** An action as Fleet delivered it. */
export interface DeliveredAction {
  readonly id: string;
  readonly type: string;
  /** The raw JSON text of `data` (integers keep all digits); `null` when it was null or absent. */
  readonly data: string | null;
  readonly inputType: string | null;
  readonly startTime: number | null;
  readonly expiration: number | null;
  /** Why it could not be decoded; such an action is answered with an error ack and costs the others nothing. */
  readonly undecodable: string | null;
}

export type ActionOutcome =
  | { readonly ok: true; readonly message: string }
  | { readonly ok: false; readonly error: string };

export interface JournalEntry extends DeliveredAction {
  readonly state: 'received' | 'started' | 'done';
  readonly receivedAt: number;
  readonly doneAt: number | null;
  readonly outcome: ActionOutcome | null;
}

/** An ack that is owed; one an action id (P6). */
export interface OwedAck {
  readonly actionId: string;
  readonly actionType: string;
  readonly message: string;
  /** Set: the ack says that the action failed. */
  readonly error: string | null;
  readonly owedAt: number;
  /** 404 answers so far: index lag at first, terminal after that. */
  readonly notFound: number;
  /** The policy this acks, so that the verdict can be recorded as `acked`. */
  readonly policy: PolicyRef | null;
}

/** An ack that Fleet does not take, for good: nobody waits for it any more, and it is shown. */
export interface RefusedAck {
  readonly actionId: string;
  readonly actionType: string;
  readonly reason: string;
  readonly at: number;
}

export interface AckVerdict {
  readonly actionId: string;
  /** Of the ack that was sent: one owed anew meanwhile, for other bytes under the same action id, has not been judged. */
  readonly owedAt: number;
  readonly verdict: 'taken' | 'notFound' | 'refused' | 'retry';
  readonly reason: string;
}

/** Lasting effects of actions, re-asserted at each start before the network. */
export interface Intents {
  /** From SETTINGS; null: the settings file decides. */
  readonly logLevel: LogLevel | null;
}

export type LogLevel = 'trace' | 'debug' | 'info' | 'warning' | 'error';

/** One life of the process. */
export interface Start {
  readonly number: number;
  readonly bootId: string;
  readonly at: number;
  /** How the start before this one ended. */
  readonly previous: 'first' | 'goodbye' | 'crashed' | 'host-rebooted';
  /** Crashes in a row up to this start, not given back by a confirmation or a goodbye. */
  readonly crashes: number;
  /** What was in flight when the one before ended, in words; null when nothing was. */
  readonly inFlight: string | null;
  readonly confirmed: boolean;
  readonly goodbye: boolean;
  /** Hashes an attempt of this start was spent on and not yet given back (P10). */
  readonly spent: { readonly generation: string | null; readonly candidate: string | null };
}

export const NOTHING_SPENT: Start['spent'] = { generation: null, candidate: null };

/** Why nothing is started, stopped or changed; left on new content, restart, retry or by itself at `until`. */
export interface SafeMode {
  readonly reason: string;
  readonly since: number;
  readonly until: Deadline;
}

export interface Facts {
  /** The agent these facts belong to; `''` while not enrolled. */
  readonly agentId: string;
  readonly deliveryToken: string;
  /** Newest first; the first is last good. At most {@link GENERATIONS_KEPT}. */
  readonly generations: readonly Generation[];
  /** Index of the generation that runs; above 0 the ones before it are passed over (P10). */
  readonly runs: number;
  /** When a passed-over generation is tried again. */
  readonly passedOver: (Deadline & { readonly times: number }) | null;
  readonly candidate: Candidate | null;
  readonly rejected: readonly Rejection[];
  /** The policy that was received last, whatever became of it. `since`: when it first came; a repetition does not move it, as it does `at`. */
  readonly received: (PolicyRef & { readonly at: number; readonly since?: number | undefined }) | null;
  /** The policy Fleet has our ack for, by its verdict. */
  readonly acked: (PolicyRef & { readonly at: number }) | null;
  readonly journal: readonly JournalEntry[];
  readonly outbox: readonly OwedAck[];
  /** Newest first. At most {@link REFUSED_ACKS_KEPT}. */
  readonly refusedAcks: readonly RefusedAck[];
  readonly intents: Intents;
  /** Newest first; the first is this start. */
  readonly starts: readonly Start[];
  /** An answer with content was being read: a start that dies on it slows the link and blames no policy. */
  readonly answerInFlight: boolean;
  /** Starts in a row that died on an answer. */
  readonly answerDeaths: number;
  readonly safeMode: SafeMode | null;
  /** How often safe mode was entered without a confirmation since: its delay grows with it. */
  readonly safeModeTimes: number;
  readonly unenrolled: { readonly at: number; readonly reason: string } | null;
  /** What Fleet is still to be told about the end of the enrollment, and how often that was tried; null: nothing. */
  readonly audit: { readonly reason: AuditReason; readonly tries: number } | null;
  /** When Fleet was last asked for everything because an answer may have been lost (gateway-decisions.ts). */
  readonly everythingAskedAt: number | null;
}

/** Words of Fleet's for why an agent left it. */
export type AuditReason = 'uninstall';

/** What can be asked of the store. Several requests may become one commit. */
export type Change =
  /** A new start: decides how the one before ended and spends this one durably (P9, P10). */
  | { readonly type: 'start.opened'; readonly bootId: string }
  | { readonly type: 'start.goodbye' }
  /** An answer with content has arrived and is about to be parsed. */
  | { readonly type: 'answer.arrived' }
  /** The answer could not be used; the link backs off by itself. */
  | { readonly type: 'answer.discarded' }
  /** Token, actions and candidate (its attempt spent) in one commit, before any of them runs (P4, P10). */
  | {
      readonly type: 'delivery.received';
      readonly token: string | null;
      readonly actions: readonly DeliveredAction[];
      readonly policy: PolicyBody | null;
    }
  /** A surviving candidate gets its next attempt, spent before it is made (P10). */
  | { readonly type: 'candidate.spent'; readonly hash: string }
  /** Last good, generations, owed ack and the attempt given back in one commit (P1). */
  | { readonly type: 'policy.promoted'; readonly hash: string }
  /** The verdict, committed before the first step back (P3). */
  | { readonly type: 'policy.rejected'; readonly hash: string; readonly kind: RejectionKind; readonly reason: string }
  /** Try a rejected policy again; `hash` null: the newest one. */
  | { readonly type: 'rejection.retried'; readonly hash: string | null }
  /** Try the newest generation again after it was passed over. */
  | { readonly type: 'generation.retried' }
  | { readonly type: 'safeMode.left' }
  /** What the start replayed is confirmed: attempts are given back and last good is acked again. */
  | { readonly type: 'replay.confirmed'; readonly hash: string }
  /** These generations or this candidate cannot be read from disk any more (P8). */
  | { readonly type: 'held.lost'; readonly hashes: readonly string[] }
  | { readonly type: 'action.started'; readonly id: string }
  /** The result and the ack it owes in one commit (P6). */
  | {
      readonly type: 'action.done';
      readonly id: string;
      readonly outcome: ActionOutcome;
      readonly intents: Intents | null;
    }
  | { readonly type: 'acks.settled'; readonly verdicts: readonly AckVerdict[] }
  /** `audit`: Fleet does not know of it and is to be told. */
  | { readonly type: 'agent.unenrolled'; readonly reason: string; readonly audit?: AuditReason }
  /** A try to tell Fleet, spent before it is made. */
  | { readonly type: 'audit.tried' }
  | { readonly type: 'audit.settled' }
  /** Fleet was asked for everything and has answered. */
  | { readonly type: 'everything.asked' }
  /** What it answered with was actions alone, so that the question is still open. */
  | { readonly type: 'everything.unanswered' };

/** The facts of an agent that has received nothing yet. */
export function emptyFacts(agentId: string): Facts {
  return {
    agentId,
    deliveryToken: '',
    generations: [],
    runs: 0,
    passedOver: null,
    candidate: null,
    rejected: [],
    received: null,
    acked: null,
    journal: [],
    outbox: [],
    refusedAcks: [],
    intents: { logLevel: null },
    starts: [],
    answerInFlight: false,
    answerDeaths: 0,
    safeMode: null,
    safeModeTimes: 0,
    unenrolled: null,
    audit: null,
    everythingAskedAt: null,
  };
}

/** What a commit brought, for those who asked. */
export interface DeliveryNews {
  /** False: everything in the answer was known already, so the link is damped. */
  readonly policy: boolean;
  readonly actions: boolean;
}

/** What the gateway knows of its conversation with Fleet: its timings, what it is given, what it remembers between two polls. */
import type { Problem } from '../errors.ts';
import type { PolicyBody } from '../policy/identity.ts';
import type { Growing } from './deadline.ts';
import type { DeliveredAction, Facts } from './facts.ts';
import { type HostRecord, type LinkFailure, newHosts } from './link.ts';
import type { HeldVerdict, LinkStatus, Report } from './system.ts';

export interface GatewayTimings {
  /** Errors of the link. The reference agent waits 60 s to 15 min. */
  readonly backoff: Growing;
  /** Answers that bring nothing new (design, section 4): 1 s to 4 min, since a server shows an agent offline after 5. */
  readonly damping: Growing;
  /** Between two polls that went well. */
  readonly restMs: number;
  /** An open poll is ended for an urgent report at most this often. */
  readonly urgentEveryMs: number;
  /** A poll that is open for this much longer than that stands on a connection, so that the link is shown as up before Fleet answers. */
  readonly openMs: number;
  /** "Send me everything" for an answer that may have been lost is said at most this often, not counting those that only actions answered. */
  readonly cutEveryMs: number;
  /** Answers of 401 in a row that are taken for a passing fault. The reference agent believes the seventh. */
  readonly unauthorisedTolerated: number;
  /** How often Fleet is asked after more than that. */
  readonly unauthorisedEveryMs: number;
  /** An empty answer that took at least this long is a long poll that ran its course, and ends the damping. */
  readonly idleMs: number;
  /** Before the first check-in of a start whose predecessors died while they read an answer. */
  readonly answerDeath: Growing;
  /** How long an ended poll may take to close its connection. */
  readonly closingMs: number;
  /** How long the dispatcher may take to say what became of a delivery. */
  readonly deliveringMs: number;
}

/** The numbers of a stock installation; those of `fleet.checkin` in the settings come from there. */
export const GATEWAY_TIMINGS: GatewayTimings = {
  backoff: { initialMs: 60_000, maxMs: 15 * 60_000 },
  damping: { initialMs: 1_000, maxMs: 4 * 60_000 },
  restMs: 1_000,
  urgentEveryMs: 5_000,
  openMs: 6_000,
  cutEveryMs: 3_600_000,
  unauthorisedTolerated: 6,
  unauthorisedEveryMs: 3_600_000,
  idleMs: 20_000,
  answerDeath: { initialMs: 10_000, maxMs: 3_600_000 },
  closingMs: 10_000,
  deliveringMs: 60_000,
};

export interface GatewayInput {
  readonly facts: Facts;
  /** A commit of this start has shown that these facts are durable. */
  readonly proven: boolean;
  readonly report: Report;
  readonly agentId: string;
  /** URLs of the Fleet Servers, at least one. */
  readonly hosts: readonly string[];
  readonly timings: GatewayTimings;
  /** Any integer; the same seed gives the same delays. */
  readonly jitterSeed: number;
}

/** What a check-in says beside the report. `""` and 0: send me everything. */
export interface Held {
  readonly policyId: string;
  readonly revision: number;
}

export interface PollRequest extends Held {
  readonly agentId: string;
  readonly host: string;
  readonly token: string;
  readonly report: Report;
}

/** A whole HTTP answer of status 200, its body not looked at. */
export interface PollAnswer {
  readonly kind: 'answered';
  /** True: the body is, byte for byte, one that says nothing. */
  readonly idle: boolean;
  readonly text: string;
  readonly tookMs: number;
  /** Text of the `Warning` header. */
  readonly warning: string | null;
  readonly at: number;
}

export type PollOutcome = PollAnswer | LinkFailure;

export interface VerifiedHeld {
  /** Null: there is no last good policy to verify. */
  readonly verdict: HeldVerdict | null;
  readonly hasElasticsearchOutput: boolean;
  readonly at: number;
}

export interface Delivery {
  readonly token: string | null;
  readonly actions: readonly DeliveredAction[];
  readonly policy: PolicyBody | null;
}

export type Decoded =
  | ({ readonly kind: 'decoded' } & Delivery)
  | { readonly kind: 'garbage'; readonly problem: Problem };

export interface GatewayContext {
  readonly facts: Facts;
  /** Until then Fleet is given no token: it would forget what a power cut may still take from the journal (P4). */
  readonly proven: boolean;
  readonly report: Report;
  readonly agentId: string;
  readonly timings: GatewayTimings;
  readonly jitterSeed: number;
  /** The newest clock value any port has brought, epoch ms. */
  readonly now: number;
  readonly hosts: readonly HostRecord[];
  readonly host: string | null;
  /** Hosts that failed in this round. */
  readonly tried: readonly string[];
  readonly verdict: HeldVerdict | null;
  readonly hasElasticsearchOutput: boolean;
  /** What this check-in says is held, and the hash behind it; null: nothing. */
  readonly says: (Held & { readonly hash: string }) | null;
  /** Text of the last answer's `Warning` header. */
  readonly warning: string | null;
  /** An answer may have been lost, so that everything is to be asked for. */
  readonly cutOwed: boolean;
  /** This check-in asks for everything for that reason. */
  readonly cutAsked: boolean;
  readonly cutAskedAt: number | null;
  /** An urgent report waits for its turn to end the poll. */
  readonly urgentOwed: boolean;
  /** Rounds over all hosts that failed, in a row. */
  readonly failures: number;
  /** Answers of 401 in a row. */
  readonly refusals: number;
  /** Answers in a row that brought nothing new. */
  readonly staleAnswers: number;
  /** The delay chosen for the wait that is being waited. */
  readonly delayMs: number;
  /** The answer being read, and its number within this life of the actor. */
  readonly answer: PollAnswer | null;
  readonly answerNumber: number;
  readonly delivery: Delivery | null;
  readonly link: LinkStatus;
}

export function initialContext(input: GatewayInput): GatewayContext {
  const { facts, proven, report, agentId, timings, jitterSeed } = input;
  return {
    facts,
    proven,
    report,
    agentId,
    timings,
    jitterSeed,
    now: 0,
    hosts: newHosts(input.hosts),
    host: null,
    tried: [],
    verdict: null,
    hasElasticsearchOutput: false,
    says: null,
    warning: null,
    cutOwed: owedByTheStartBefore(facts),
    cutAsked: false,
    cutAskedAt: facts.everythingAskedAt,
    urgentOwed: false,
    failures: 0,
    refusals: 0,
    staleAnswers: 0,
    delayMs: 0,
    answer: null,
    answerNumber: 0,
    delivery: null,
    link: { state: 'never', message: 'has not reached Fleet yet', host: null, lastCheckinAt: null, warning: null },
  };
}

/**
 * The debt of a cut poll survives the process without a commit of its own. Whatever ended the start before, crash or goodbye, ended the poll that
 * was open then, and that poll may have carried the only copy of a rotated key; a debt that the start before could not pay within its hour is
 * the same debt. So each start owes the question once, which is cheaper than a commit before each poll, and what is durable is only when it was
 * last asked: that keeps a start loop from asking more than once an hour. `""`/0 is never a lie (P7), heals whatever was missed (P8), and if
 * nothing was, the same hash comes back and is a no-op.
 */
function owedByTheStartBefore({ generations, candidate }: Facts): boolean {
  // A candidate that survived may become last good before anything is asked, and other bytes of it may have been lost with the start before.
  return generations.length > 0 || candidate !== null;
}

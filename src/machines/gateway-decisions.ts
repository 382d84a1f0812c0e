/** What the gateway knows, and what it decides from that: what a check-in says, what an outcome means, how long is waited. Pure. */
import type { Problem } from '../errors.ts';
import type { PolicyBody } from '../policy/identity.ts';
import { type Growing, growingDelay } from './deadline.ts';
import type { Change, DeliveredAction, DeliveryNews, Facts } from './facts.ts';
import { holdsLessThanAcked } from './held.ts';
import {
  anotherHostMayHelp,
  draw,
  faultOf,
  type HostRecord,
  type LinkFailure,
  markHost,
  newHosts,
  nextHost,
  retryDelay,
  spread,
} from './link.ts';
import type { GatewayEvent, HeldVerdict, LinkStatus, Report } from './system.ts';

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

export type Args = { readonly context: GatewayContext; readonly event: GatewayEvent };
export type Patch = Partial<GatewayContext>;

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

export function answerId(context: GatewayContext): string {
  return `answer ${context.answerNumber}`;
}

export function isNews(news: DeliveryNews): boolean {
  return news.policy || news.actions;
}

export function rememberFacts({ event }: Args): Patch {
  return 'facts' in event ? { facts: event.facts, proven: true, now: event.at } : {};
}

export function rememberReport({ event }: Args): Patch {
  return event.type === 'report.changed' ? { report: event.report } : {};
}

// ---- what is said ---------------------------------------------------------------------------------------------------------------

export function rememberVerified({ context }: Args, verified: VerifiedHeld): Patch {
  return {
    verdict: verified.verdict,
    hasElasticsearchOutput: verified.hasElasticsearchOutput,
    now: verified.at || context.now,
  };
}

/**
 * P7 and P8: the verified last good, or nothing. Nothing also when Fleet has our ack for other bytes than those that are held, and after
 * an answer was lost. Never the id with 0: a stock server would take that as a report and retire the output keys of what runs.
 */
export function decideWhatToSay({ context }: Args): Patch {
  const { facts, verdict, report } = context;
  const lastGood = facts.generations[0];
  if (lastGood === undefined || verdict === null || verdict.hash !== lastGood.hash || verdict.problem !== null) {
    return { says: null, cutAsked: false };
  }
  // Older than what is lost, last good would be a lie where Fleet sends other bytes under the same revision.
  if (report.holdsLess || holdsLessThanAcked(facts, lastGood)) return { says: null, cutAsked: false };
  if (context.cutOwed && mayAskForEverything(context)) return { says: null, cutAsked: true };
  return { says: { policyId: lastGood.id, revision: lastGood.revision, hash: lastGood.hash }, cutAsked: false };
}

/**
 * Only a policy with an Elasticsearch output holds a key that Fleet rotates. Of any other, what was lost comes again by itself: Fleet repeats a
 * policy until it is reported, and actions until the token moves on.
 */
function mayAskForEverything({ hasElasticsearchOutput, cutAskedAt, now, timings }: GatewayContext): boolean {
  if (!hasElasticsearchOutput) return false;
  if (cutAskedAt === null) return true;
  // A clock that went back must not hold this for longer than the hour.
  return now < cutAskedAt || now - cutAskedAt >= timings.cutEveryMs;
}

export function chooseHost({ context }: Args): Patch {
  const { hosts, now, tried } = context;
  return { host: nextHost(hosts, now, tried) ?? nextHost(hosts, now), urgentOwed: false };
}

export function pollRequest(context: GatewayContext): PollRequest {
  return {
    agentId: context.agentId,
    host: context.host ?? '',
    token: context.proven ? context.facts.deliveryToken : '',
    policyId: context.says?.policyId ?? '',
    revision: context.says?.revision ?? 0,
    report: context.report,
  };
}

// ---- what came ------------------------------------------------------------------------------------------------------------------

export function rememberAnswer({ context }: Args, outcome: PollOutcome): Patch {
  if (outcome.kind !== 'answered') return {};
  return {
    now: outcome.at,
    hosts: context.host === null ? context.hosts : markHost(context.hosts, context.host, outcome.at, false),
    tried: [],
    failures: 0,
    refusals: 0,
    answer: outcome,
    warning: outcome.warning,
    ...(context.cutAsked ? { cutOwed: false, cutAsked: false, cutAskedAt: outcome.at } : {}),
    link: {
      state: 'connected',
      message: withWarning('connected', outcome.warning),
      host: context.host,
      lastCheckinAt: outcome.at,
      warning: outcome.warning,
    },
  };
}

function withWarning(message: string, warning: string | null): string {
  return warning === null ? message : `${message}; Fleet warns: ${warning}`;
}

/** In one commit with the mark: when Fleet has answered the question for everything. */
export function marksOf(context: GatewayContext): readonly Change[] {
  const asked = isAnswerToEverything(context) && context.cutAskedAt !== context.facts.everythingAskedAt;
  return [{ type: 'answer.arrived' }, ...(asked ? [{ type: 'everything.asked' as const }] : [])];
}

/** Whether the answer in hand is the answer to such a check-in. */
function isAnswerToEverything({ answer, cutAskedAt }: GatewayContext): boolean {
  return cutAskedAt !== null && cutAskedAt === answer?.at;
}

export function rememberFailure({ context }: Args, outcome: PollOutcome): Patch {
  return outcome.kind === 'answered' ? {} : failed(context, outcome);
}

export function rememberFault({ context }: Args, { error }: { error: unknown }): Patch {
  return failed(context, faultOf(error, context.now));
}

/** Null: it did not end in time, so that nobody knows what it had come to. */
export function rememberCut({ context }: Args, outcome: PollOutcome | null): Patch {
  const lost = outcome === null || (outcome.kind !== 'answered' && outcome.answerLost);
  return {
    cutOwed: context.cutOwed || lost,
    urgentOwed: false,
    cutAsked: false,
    // The question that may have been answered counts against the hour; one that was never out does not.
    ...(context.cutAsked && lost ? { cutAskedAt: outcome?.at || context.now } : {}),
  };
}

export function rememberDelivery(_: Args, decoded: Decoded): Patch {
  if (decoded.kind !== 'decoded') return {};
  return { delivery: { token: decoded.token, actions: decoded.actions, policy: decoded.policy } };
}

/** A server that has actions waiting answers with those alone: whoever asked for everything has not been told of the policy yet, and asks again. */
export function leavesTheQuestionOpen({ context }: { context: GatewayContext }, decoded: Decoded): boolean {
  if (decoded.kind !== 'decoded' || !isAnswerToEverything(context)) return false;
  return decoded.policy === null && decoded.actions.length > 0;
}

export function saysNothing(_: unknown, decoded: Decoded): boolean {
  return (
    decoded.kind === 'decoded' && decoded.token === null && decoded.policy === null && decoded.actions.length === 0
  );
}

/** A poll that a server held for a while and then ended with nothing: the one kind of empty answer that is as it should be. */
export function ranItsCourse({ context }: { context: GatewayContext }, outcome: PollOutcome): boolean {
  return outcome.kind === 'answered' && outcome.idle && outcome.tookMs >= context.timings.idleMs;
}

export function isUnknown({ context }: { context: GatewayContext }, outcome: PollOutcome): boolean {
  return outcome.kind === 'unauthorised' && context.refusals >= context.timings.unauthorisedTolerated;
}

export function rememberGarbage({ context }: Args, decoded: Decoded): Patch {
  if (decoded.kind !== 'garbage') return {};
  return failed(context, {
    kind: 'garbage',
    message: decoded.problem.message,
    status: null,
    retryAfterMs: null,
    answerLost: true,
    at: context.now,
  });
}

function failed(context: GatewayContext, failure: LinkFailure): Patch {
  const { host } = context;
  const at = failure.at || context.now;
  return {
    now: at,
    hosts: host === null ? context.hosts : markHost(context.hosts, host, at, true),
    tried: host === null ? context.tried : [...context.tried, host],
    refusals: refusalsAfter(context.refusals, failure),
    cutOwed: context.cutOwed || failure.answerLost,
    // The question that may have been answered counts against the hour; one that was never out does not.
    ...(context.cutAsked && failure.answerLost ? { cutAskedAt: at } : {}),
    cutAsked: false,
    delayMs: failure.retryAfterMs ?? 0,
    link: { ...context.link, state: 'backing-off', message: failure.message, host },
  };
}

/** Another answer breaks the row; no answer at all does not. */
function refusalsAfter(refusals: number, { kind, status }: LinkFailure): number {
  if (kind === 'unauthorised') return refusals + 1;
  return status === null ? refusals : 0;
}

export function otherHostLeft({ context }: { context: GatewayContext }, outcome: PollOutcome): boolean {
  if (outcome.kind === 'answered' || !anotherHostMayHelp(outcome) || context.host === null) return false;
  return nextHost(context.hosts, context.now, [...context.tried, context.host]) !== null;
}

/** Also when Fleet has taken the ack of another policy: it has no reason to repeat that policy any more. An ack taken again tells nothing new. */
export function heldChanged({ context, event }: Args): boolean {
  if (event.type !== 'facts.changed' || event.facts.unenrolled !== null) return false;
  const of = ({ generations, candidate, acked }: Facts) => `${generations[0]?.hash} ${candidate?.hash} ${acked?.hash}`;
  return of(event.facts) !== of(context.facts);
}

export function heldLost({ context, event }: Args): boolean {
  if (event.type !== 'facts.changed' || event.facts.unenrolled !== null || context.says === null) return false;
  const said = context.says.hash;
  return !event.facts.generations.some(({ hash }) => hash === said);
}

// ---- how long is waited -----------------------------------------------------------------------------------------------------------

export function chooseRest({ context }: Args): Patch {
  const { value, seed } = draw(context.jitterSeed);
  return { jitterSeed: seed, delayMs: Math.round(context.timings.restMs * (1 + value / 2)) };
}

export function chooseDamping({ context }: Args): Patch {
  const { value, seed } = draw(context.jitterSeed);
  return {
    jitterSeed: seed,
    delayMs: spread(growingDelay(context.timings.damping, context.staleAnswers + 1), value),
    staleAnswers: context.staleAnswers + 1,
    link: {
      ...context.link,
      state: 'damped',
      message: withWarning("Fleet's answers bring nothing new; check-ins are slowed down", context.warning),
    },
  };
}

export function chooseBackoff({ context }: Args): Patch {
  const { value, seed } = draw(context.jitterSeed);
  const failures = context.failures + 1;
  return { jitterSeed: seed, failures, delayMs: retryDelay(context.timings.backoff, failures, context.delayMs, value) };
}

export function chooseHourly({ context }: Args): Patch {
  const { value, seed } = draw(context.jitterSeed);
  return {
    jitterSeed: seed,
    delayMs: spread(context.timings.unauthorisedEveryMs, value),
    link: { ...context.link, state: 'unauthorised' },
  };
}

export function chooseSlowdown({ context }: Args): Patch {
  const { value, seed } = draw(context.jitterSeed);
  const deaths = context.facts.answerDeaths;
  const times = deaths === 1 ? 'the last start' : `the last ${deaths} starts`;
  return {
    jitterSeed: seed,
    delayMs: spread(growingDelay(context.timings.answerDeath, deaths), value),
    link: {
      ...context.link,
      state: 'backing-off',
      message: `${times} died while reading an answer from Fleet; waiting first`,
    },
  };
}

/** Fleet holds the poll: the link is up, though nothing has been answered. */
export function showOpen({ context }: Args): Patch {
  const { link, host, warning } = context;
  const message = withWarning('connected; Fleet holds the check-in', warning);
  return { link: { ...link, state: 'connected', message, host } };
}

export function showConnected({ context }: Args): Patch {
  const { link, warning } = context;
  return link.state === 'damped'
    ? { link: { ...link, state: 'connected', message: withWarning('connected', warning) } }
    : {};
}

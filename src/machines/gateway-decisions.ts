/** What the gateway decides from what it knows: what a check-in says, what an outcome means, how long is waited. Pure. */
import { growingDelay } from './deadline.ts';
import type { Change, DeliveryNews, Facts } from './facts.ts';
import type { Decoded, GatewayContext, PollOutcome, PollRequest, VerifiedHeld } from './gateway-context.ts';
import { holdsLessThanAcked } from './held.ts';
import { anotherHostMayHelp, draw, faultOf, type LinkFailure, markHost, nextHost, retryDelay, spread } from './link.ts';
import type { GatewayEvent } from './system.ts';

export type Args = { readonly context: GatewayContext; readonly event: GatewayEvent };
export type Patch = Partial<GatewayContext>;

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

/** What the agent knows while it runs, and what it concludes from that. Plain JSON; pure. */
import type { Problem } from '../errors.ts';
import type { ComponentStatus } from '../policy/component.ts';
import type { PolicyBody, PolicyRef } from '../policy/identity.ts';
import type { AckerInput } from './acker-decisions.ts';
import type { ComponentsInput } from './components-setup.ts';
import { type Growing, remainingMs } from './deadline.ts';
import { type Deadline, emptyFacts, type Facts } from './facts.ts';
import type { GatewayInput, GatewayTimings } from './gateway-context.ts';
import { stillNamed } from './held.ts';
import { nameOf } from './naming.ts';
import { buildReport } from './report.ts';
import { isRetryable } from './rules.ts';
import type { HeldVerdict, LinkStatus } from './system.ts';

/** A timer that nothing waits for: long, but short enough for a timer (2³¹ ms fire at once). */
const A_DAY_MS = 24 * 3_600_000;

/** What a start is told: settings and where it stands. Plain JSON. */
export interface AgentInput {
  readonly agentId: string;
  readonly bootId: string;
  /** URLs of the Fleet Servers, at least one. */
  readonly hosts: readonly string[];
  readonly onExit: 'stop' | 'keep';
  readonly storeRetry: Growing;
  readonly ackBackoff: Growing;
  readonly gateway: GatewayTimings;
  readonly components: ComponentsInput;
  /** Any integer; the same seed gives the same delays. */
  readonly jitterSeed: number;
}

export interface AgentOutput {
  /** True: the caller starts a new agent in this process. */
  readonly restart: boolean;
  readonly problem: Problem | null;
}

export interface AgentContext {
  readonly settings: AgentInput;
  /** As the last commit left them. */
  readonly facts: Facts;
  /** Epoch ms of that commit. */
  readonly factsAt: number;
  /** Committed by this start. What was only found may be the last words of a killed process, which a power cut still takes back. */
  readonly factsProven: boolean;
  /** Hashes of generations that could not be read at this start, until the commit that drops them: Fleet may send them again. */
  readonly lost: readonly string[];
  /** What opening the store found damaged, foreign or strange. */
  readonly findings: readonly string[];
  readonly storeProblem: Problem | null;
  readonly components: readonly ComponentStatus[];
  /** The step of the plan that is awaited, and why. */
  readonly awaiting: string | null;
  readonly link: LinkStatus;
  readonly plansMade: number;
  /** The plan whose end is awaited, or the newest one. */
  readonly plan: string;
  /** The attempt on a candidate that was taken on, or that a start before this one spent: any other is due. */
  readonly taken: string | null;
  /** From apply to ack, or to the end of the way back. */
  readonly applying: PolicyRef | null;
  /** Steps of a received policy were issued in this start: what runs is not what safe mode found any more. */
  readonly touched: boolean;
  /** What the components were last confirmed with, or brought back to. */
  readonly running: PolicyRef | null;
  /** What became of the replay of this start. */
  readonly replay: 'none' | 'pending' | 'settled';
  /** Components named when a policy was confirmed without them. */
  readonly degraded: readonly string[];
  readonly refusal: { readonly kind: 'unparsable' | 'unrendered' | 'check' | 'health'; readonly reason: string } | null;
  /** Set: this agent holds less than Fleet believes (P8). */
  readonly orphaned: {
    readonly reason: string;
    readonly since: number;
    /** When the newest policy had arrived that was known then: another one is an answer to it, whatever the clock did meanwhile. */
    readonly receivedAt: number | null;
    /** Last good as it was found damaged while running: memory may still mend it. Null: it is gone. */
    readonly damaged: string | null;
  } | null;
  readonly ending: { readonly restart: boolean; readonly reason: string } | null;
  readonly problem: Problem | null;
}

/** The newest generation that can be read, and those above it that cannot. */
export interface Ladder {
  readonly body: PolicyBody | null;
  readonly lost: readonly { readonly hash: string; readonly problem: Problem }[];
}

/** News for the log: one line a step. */
export interface Said {
  readonly type: 'said';
  readonly level: 'debug' | 'info' | 'warning' | 'error';
  readonly message: string;
}

// ---- what the facts of a commit mean ----

export function heldFacts(context: AgentContext, { facts, at }: { readonly facts: Facts; readonly at: number }) {
  return {
    facts,
    factsAt: at,
    factsProven: true,
    lost: stillNamed(context.lost, facts),
    taken: facts.candidate === null ? null : context.taken,
    orphaned: stillOrphaned(context, facts),
  };
}

/** Names one attempt on a candidate: the same bytes received, retried or spent again are another attempt. */
export function attemptOf({ candidate, rejected }: Facts): string | null {
  if (candidate === null) return null;
  const times = rejected.find((one) => one.hash === candidate.hash)?.times ?? 0;
  return `${candidate.hash} received ${candidate.receivedAt}, rejected ${times}, attempt ${candidate.attempts}`;
}

/** A candidate whose newest attempt is spent durably and was not made yet (P10). */
export function isDue({ facts, taken }: AgentContext): boolean {
  return facts.candidate !== null && attemptOf(facts) !== taken;
}

/** Whole again by a policy that is made good, or by an answer that shows that nothing else is wanted (P8). */
function stillOrphaned({ orphaned, applying }: AgentContext, facts: Facts): AgentContext['orphaned'] {
  if (orphaned === null) return null;
  const { received } = facts;
  const lastGood = facts.generations[0]?.hash;
  if (lastGood !== undefined && lastGood === applying?.hash) return null;
  if (received === null || received.at === orphaned.receivedAt || facts.candidate !== null) return orphaned;
  const settled = received.hash === lastGood || facts.rejected.some((one) => one.hash === received.hash);
  return settled ? null : orphaned;
}

/** Why there is no record; what was found instead says most. */
export function noRecord(findings: readonly string[]): string {
  const none = 'the state directory holds no record of this agent';
  return findings[0] === undefined ? none : `${none} that can be read: ${findings[0]}`;
}

export function orphanedBy(context: AgentContext, ladder: Ladder): AgentContext['orphaned'] {
  const first = ladder.lost[0];
  if (first === undefined) return context.orphaned;
  return lessHeld(context, first.problem.message, null);
}

export function damagedBy({ hash, problem }: HeldVerdict, context: AgentContext): AgentContext['orphaned'] {
  return lessHeld(context, problem?.message ?? '', hash);
}

export function lessHeld(
  { facts, factsAt }: Pick<AgentContext, 'facts' | 'factsAt'>,
  reason: string,
  damaged: string | null,
): AgentContext['orphaned'] {
  return { reason, since: factsAt, receivedAt: facts.received?.at ?? null, damaged };
}

// ---- what is waited for ----

/** When the newest rejection is tried again by itself; null: only when asked. */
function nextTry(facts: Facts): Deadline | null {
  return isRetryable(facts) ? (facts.rejected[0]?.retry ?? null) : null;
}

function nextGeneration(facts: Facts): Deadline | null {
  return facts.runs > 0 ? facts.passedOver : null;
}

/**
 * Not while last good has not proven itself in this start: a rejected policy that ends the agent would come before its confirmation every time,
 * and last good would be given up for what it did not do (P10, P12).
 */
export function isDueAgain({ facts, replay }: AgentContext): boolean {
  return replay !== 'pending' && nextTry(facts) !== null;
}

export function nextTriesMoved(before: Facts, now: Facts): boolean {
  const times = (facts: Facts) => [nextTry(facts)?.at, nextGeneration(facts)?.at].join();
  return times(before) !== times(now);
}

/** How long until the stored deadline, in ms; a day when there is none. */
function waitFor(deadline: Deadline | null, now: number): number {
  return deadline === null ? A_DAY_MS : Math.min(A_DAY_MS, remainingMs(deadline, now));
}

export function untilNextTry({ facts, factsAt, replay }: AgentContext): number {
  return replay === 'pending' ? A_DAY_MS : waitFor(nextTry(facts), factsAt);
}

export function untilNextGeneration({ facts, factsAt }: AgentContext): number {
  return waitFor(nextGeneration(facts), factsAt);
}

/** Never at once: a disk that takes no writes must not turn the end of safe mode into a loop. */
export function untilSafeModeEnds({ facts, factsAt, settings }: AgentContext): number {
  return Math.max(settings.storeRetry.maxMs, waitFor(facts.safeMode?.until ?? null, factsAt));
}

/** What `retry.requested` would try again, in words; null: nothing. */
export function retriedBy({ facts }: AgentContext): string | null {
  const { safeMode, rejected, generations, runs, candidate } = facts;
  const newest = generations[0];
  if (safeMode !== null) return `leaving safe mode${newest === undefined ? '' : ` and trying ${nameOf(newest)} again`}`;
  if (rejected[0] !== undefined && isRetryable(facts)) return `trying ${nameOf(rejected[0])} again, which was rejected`;
  if (newest === undefined || runs === 0 || candidate !== null) return null;
  return `trying ${nameOf(newest)} again, which was passed over`;
}

// ---- how it begins ----

/** What each child actor needs of the agent when it begins. */
export function gatewayInput(context: AgentContext): GatewayInput {
  const { agentId, hosts, gateway: timings, jitterSeed } = context.settings;
  return {
    facts: context.facts,
    proven: context.factsProven,
    report: buildReport(context),
    agentId,
    hosts,
    timings,
    jitterSeed,
  };
}

export function ackerInput(context: AgentContext): AckerInput {
  const { agentId, hosts, ackBackoff: backoff, jitterSeed } = context.settings;
  return {
    facts: context.facts,
    proven: context.factsProven,
    withheld: context.lost,
    agentId,
    hosts,
    backoff,
    jitterSeed,
  };
}

export function initialContext(settings: AgentInput): AgentContext {
  return {
    settings,
    facts: emptyFacts(settings.agentId),
    factsAt: 0,
    factsProven: false,
    lost: [],
    findings: [],
    storeProblem: null,
    components: [],
    awaiting: null,
    link: { state: 'never', message: '', host: null, lastCheckinAt: null, warning: null },
    plansMade: 0,
    plan: '',
    taken: null,
    applying: null,
    touched: false,
    running: null,
    replay: 'none',
    degraded: [],
    refusal: null,
    orphaned: null,
    ending: null,
    problem: null,
  };
}

/** What the acker knows, and what it decides from that: what is sent next, what an answer means for each ack, how long is waited. Pure. */
import type { Growing } from './deadline.ts';
import type { AckVerdict, Facts, OwedAck } from './facts.ts';
import { stillNamed } from './held.ts';
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
} from './link.ts';
import type { AckerEvent } from './system.ts';

/** Body of one request; a Fleet Server takes 2 MiB. Half of it, so that headers, escapes and a stricter proxy find room. */
export const ACK_BATCH_BYTES = 1024 * 1024;
/** Acks in one request, as many as a server delivers actions in one answer. */
export const ACK_BATCH_COUNT = 100;
/** What an event costs beside its own texts: names, agent id, timestamp. */
const ACK_EVENT_OVERHEAD_BYTES = 512;
/** How often Fleet is told that the agent has left it. */
export const AUDIT_TRIES = 5;

export interface AckerInput {
  readonly facts: Facts;
  /** A commit of this start has shown that these facts are durable. */
  readonly proven: boolean;
  /** Policies (by hash) that are lost, though these facts may not say so yet: they are not acked (P1). */
  readonly withheld: readonly string[];
  readonly agentId: string;
  /** URLs of the Fleet Servers, at least one. */
  readonly hosts: readonly string[];
  readonly backoff: Growing;
  /** Any integer; the same seed gives the same delays. */
  readonly jitterSeed: number;
}

export interface AckRequest {
  readonly agentId: string;
  readonly host: string;
  readonly acks: readonly OwedAck[];
}

/** Tells Fleet that this agent has left it, and why. */
export interface AuditRequest {
  readonly agentId: string;
  readonly host: string;
  readonly reason: string;
  /** Epoch ms. */
  readonly at: number;
}

export type AuditOutcome = { readonly kind: 'taken'; readonly at: number } | LinkFailure;

/** What became of one request. Items stand in the order of the acks; their statuses are HTTP's. */
export type AckOutcome =
  | {
      readonly kind: 'judged';
      readonly items: readonly { readonly status: number; readonly message: string }[];
      readonly at: number;
    }
  | LinkFailure;

export interface AckerContext {
  readonly facts: Facts;
  /** Until then nothing is owed durably, and nothing is sent (P1, P6). */
  readonly proven: boolean;
  /** Policies whose acks wait for the commit that drops them. */
  readonly withheld: readonly string[];
  readonly agentId: string;
  readonly backoff: Growing;
  readonly jitterSeed: number;
  readonly now: number;
  readonly hosts: readonly HostRecord[];
  readonly host: string | null;
  /** Hosts that failed in this round. */
  readonly tried: readonly string[];
  readonly batch: readonly OwedAck[];
  /** Halved when a whole request is refused, so that the one that spoils it is found. */
  readonly batchLimit: number;
  /** Action ids to be asked about again after a wait. */
  readonly deferred: readonly string[];
  /** When that wait is over (epoch ms); what is newly owed and sent meanwhile must not begin it anew. Null: nothing is deferred. */
  readonly deferredUntil: number | null;
  readonly verdicts: readonly AckVerdict[];
  readonly settlement: number;
  /** Waits in a row without any ack taken. */
  readonly attempts: number;
  readonly delayMs: number;
}

export type Args = { readonly context: AckerContext; readonly event: AckerEvent };
export type Patch = Partial<AckerContext>;

export function initialContext({
  facts,
  proven,
  withheld,
  agentId,
  hosts,
  backoff,
  jitterSeed,
}: AckerInput): AckerContext {
  return {
    facts,
    proven,
    withheld,
    agentId,
    backoff,
    jitterSeed,
    now: 0,
    hosts: newHosts(hosts),
    host: null,
    tried: [],
    batch: [],
    batchLimit: ACK_BATCH_COUNT,
    deferred: [],
    deferredUntil: null,
    verdicts: [],
    settlement: 0,
    attempts: 0,
    delayMs: 0,
  };
}

/** P6: only what Fleet itself says is a verdict. The page of a proxy between here and it, of the same status, is an outage. */
export function isRefused(outcome: AckOutcome): boolean {
  return outcome.kind === 'badRequest' && outcome.byFleet === true;
}

/** Whether Fleet has shut this agent out. */
export function isLocked(outcome: AckOutcome): boolean {
  return (outcome.kind === 'unauthorised' || outcome.kind === 'forbidden') && outcome.byFleet === true;
}

export function otherHostLeft({ context }: { context: AckerContext }, outcome: AckOutcome | AuditOutcome): boolean {
  if (outcome.kind === 'judged' || outcome.kind === 'taken' || !anotherHostMayHelp(outcome) || context.host === null)
    return false;
  return nextHost(context.hosts, context.now, [...context.tried, context.host]) !== null;
}

export function rememberFacts({ context, event }: Args): Patch {
  if (!('facts' in event)) return {};
  const { facts, at } = event;
  return { facts, proven: true, withheld: stillNamed(context.withheld, facts), now: at };
}

export function nothingDurablyOwed(context: AckerContext): boolean {
  return sendable(context).length === 0 && !auditDue(context);
}

/** Nothing while nothing has shown yet that what the disk was found to hold would survive a power cut. */
function sendable({ facts, proven, withheld }: AckerContext): readonly OwedAck[] {
  if (!proven) return [];
  return facts.outbox.filter(({ policy }) => policy === null || !withheld.includes(policy.hash));
}

/** Fleet is told last, when no ack is owed any more, and a bounded number of times: it is a courtesy, not a promise. */
export function auditDue({ facts, proven }: AckerContext): boolean {
  return proven && facts.outbox.length === 0 && facts.audit !== null && facts.audit.tries < AUDIT_TRIES;
}

/** As the reference agent has it: after these answers there is nothing more to say. */
export function auditEnds(_: unknown, outcome: AuditOutcome): boolean {
  return outcome.kind === 'taken' || (outcome.byFleet === true && [400, 401, 403, 409].includes(outcome.status ?? 0));
}

export function auditRequest({ agentId, host, facts }: AckerContext): AuditRequest {
  return { agentId, host: host ?? '', reason: facts.audit?.reason ?? '', at: facts.unenrolled?.at ?? 0 };
}

/** The link works and one or the other ack has to wait: what is newly owed need not. */
export function onlySomeWait({ context, event }: Args): boolean {
  if (event.type !== 'facts.changed' || context.deferred.length === 0) return false;
  return nextBatch({ ...context, facts: event.facts, proven: true }).length > 0;
}

export function settlementId(context: AckerContext): string {
  return `settlement ${context.settlement}`;
}

/** What is sent next: owed and not deferred, bounded in number and bytes; the ack of UNENROLL alone, when nothing else is owed. */
export function nextBatch(context: AckerContext): readonly OwedAck[] {
  const { facts, deferred, batchLimit } = context;
  const waiting = sendable(context).filter(({ actionId }) => !deferred.includes(actionId));
  const others = waiting.filter(({ actionType }) => actionType !== 'UNENROLL');
  if (others.length === 0) {
    const unenrollIsLast = facts.outbox.every(({ actionType }) => actionType === 'UNENROLL');
    return unenrollIsLast ? waiting.slice(0, 1) : [];
  }
  const batch: OwedAck[] = [];
  let bytes = 0;
  for (const ack of others.slice(0, batchLimit)) {
    bytes += ackBytes(ack);
    if (batch.length > 0 && bytes > ACK_BATCH_BYTES) break;
    batch.push(ack);
  }
  return batch;
}

function ackBytes({ actionId, actionType, message, error }: OwedAck): number {
  return (
    ACK_EVENT_OVERHEAD_BYTES + new TextEncoder().encode(JSON.stringify([actionId, actionType, message, error])).length
  );
}

export function chooseBatch({ context }: Args): Patch {
  const { hosts, now, tried } = context;
  return { batch: nextBatch(context), host: nextHost(hosts, now, tried) ?? nextHost(hosts, now) };
}

export function halveBatches({ context }: Args): Patch {
  return { batchLimit: Math.max(1, Math.floor(context.batch.length / 2)) };
}

/** The verdict of each ack by its place in the answer; an item that is missing decides nothing. */
export function judge({ context }: Args, outcome: AckOutcome): Patch {
  if (outcome.kind !== 'judged') return {};
  const verdicts = context.batch.map(({ actionId, owedAt }, index): AckVerdict => {
    const item = outcome.items[index];
    return item === undefined
      ? { actionId, owedAt, verdict: 'retry', reason: 'Fleet said nothing about it' }
      : { actionId, owedAt, verdict: verdictOf(item.status), reason: `${item.status} ${item.message}`.trim() };
  });
  const taken = verdicts.some(({ verdict }) => verdict === 'taken');
  const hosts = used(context, outcome.at, false);
  return { verdicts, now: outcome.at, hosts, tried: [], ...(taken ? { attempts: 0 } : {}) };
}

function verdictOf(status: number): AckVerdict['verdict'] {
  if (status >= 200 && status < 300) return 'taken';
  if (status === 404) return 'notFound';
  if (status === 401 || status === 403 || status === 408 || status === 429 || status >= 500) return 'retry';
  return 'refused';
}

export function refuseAll({ context }: Args, outcome: AckOutcome): Patch {
  if (outcome.kind === 'judged') return {};
  const reason = outcome.message;
  return {
    verdicts: context.batch.map(({ actionId, owedAt }) => ({ actionId, owedAt, verdict: 'refused', reason })),
    batchLimit: ACK_BATCH_COUNT,
    now: outcome.at,
    hosts: used(context, outcome.at, false),
    tried: [],
  };
}

/** One ack that something on the way takes for too large is still owed; the others need not wait for it. */
export function putOff({ context }: Args, outcome: AckOutcome): Patch {
  if (outcome.kind === 'judged') return {};
  const reason = outcome.message;
  return {
    verdicts: context.batch.map(({ actionId, owedAt }) => ({ actionId, owedAt, verdict: 'retry', reason })),
    now: outcome.at,
    hosts: used(context, outcome.at, false),
    tried: [],
  };
}

export function rememberFailure({ context }: Args, outcome: AckOutcome | AuditOutcome): Patch {
  if (outcome.kind === 'judged' || outcome.kind === 'taken') return {};
  const at = outcome.at || context.now;
  const hosts = used(context, at, anotherHostMayHelp(outcome));
  const tried = context.host === null ? context.tried : [...context.tried, context.host];
  return { now: at, hosts, tried, delayMs: outcome.retryAfterMs ?? 0, deferred: [], deferredUntil: null };
}

export function rememberFault({ context }: Args, { error }: { error: unknown }): Patch {
  const fault = faultOf(error, context.now);
  return { hosts: used(context, fault.at, true), delayMs: 0, deferred: [], deferredUntil: null };
}

function used({ hosts, host }: AckerContext, at: number, failed: boolean): readonly HostRecord[] {
  return host === null ? hosts : markHost(hosts, host, at, failed);
}

export function deferUndecided({ context }: Args): Patch {
  const undecided = context.verdicts.filter(({ verdict }) => verdict === 'retry' || verdict === 'notFound');
  return {
    deferred: [...context.deferred, ...undecided.map(({ actionId }) => actionId)],
    verdicts: [],
    batch: [],
    delayMs: 0,
  };
}

export function chooseBackoff({ context }: Args): Patch {
  const { now, deferred, deferredUntil, backoff } = context;
  // Back from sending what was newly owed: what is deferred has waited on. Never longer than was chosen, since clocks jump.
  if (deferredUntil !== null) return { delayMs: Math.min(Math.max(0, deferredUntil - now), backoff.maxMs) };
  const { value, seed } = draw(context.jitterSeed);
  const attempts = context.attempts + 1;
  const delayMs = retryDelay(backoff, attempts, context.delayMs, value);
  return { jitterSeed: seed, attempts, delayMs, deferredUntil: deferred.length > 0 ? now + delayMs : null };
}

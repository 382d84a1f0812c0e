/** Drains the outbox: what is owed is sent in batches until the server has given a verdict on each, however long that takes (P6). Diagram: diagrams/acker.md */
import { assign, setup } from 'xstate';
import type { Growing } from './deadline.ts';
import type { AckVerdict, Facts, OwedAck } from './facts.ts';
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
import { type AckerEvent, tell, unwired } from './system.ts';

/** Body of one request; a Fleet Server takes 2 MiB. Half of it, so that headers, escapes and a stricter proxy find room. */
export const ACK_BATCH_BYTES = 1024 * 1024;
/** Acks in one request, as many as a server delivers actions in one answer. */
export const ACK_BATCH_COUNT = 100;
/** What an event costs beside its own texts: names, agent id, timestamp. */
const ACK_EVENT_OVERHEAD_BYTES = 512;

export interface AckerInput {
  readonly facts: Facts;
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

type Args = { readonly context: AckerContext; readonly event: AckerEvent };
type Patch = Partial<AckerContext>;

export const ackerMachine = setup({
  types: {
    context: {} as AckerContext,
    events: {} as AckerEvent,
    input: {} as AckerInput,
  },
  actors: {
    sendAcks: unwired<AckOutcome, AckRequest>('sendAcks'),
  },
  delays: {
    'the chosen delay': ({ context }) => context.delayMs,
  },
  guards: {
    'nothing is owed': ({ context }) => context.facts.outbox.length === 0,
    'something can be sent': ({ context }) => nextBatch(context).length > 0,
    'only some acks wait': onlySomeWait,
    'the server judged': (_, outcome: AckOutcome) => outcome.kind === 'judged',
    'it is refused as a whole': ({ context }, outcome: AckOutcome) =>
      context.batch.length > 1 && (isRefused(outcome) || outcome.kind === 'tooLarge'),
    'the one ack was refused': (_, outcome: AckOutcome) => isRefused(outcome),
    'the one ack is too large for the way': (_, outcome: AckOutcome) => outcome.kind === 'tooLarge',
    'nobody is left to take acks': ({ context }, outcome: AckOutcome) =>
      context.facts.unenrolled !== null && isLocked(outcome),
    'another host has not been tried': otherHostLeft,
    'these verdicts are durable': ({ context, event }) => 'id' in event && event.id === settlementId(context),
  },
  actions: {
    rememberFacts: assign(({ event }: Args): Patch => ('facts' in event ? { facts: event.facts, now: event.at } : {})),
    chooseBatch: assign(chooseBatch),
    halveBatches: assign(halveBatches),
    judge: assign(judge),
    refuseAll: assign(refuseAll),
    putOff: assign(putOff),
    rememberFailure: assign(rememberFailure),
    rememberFault: assign(rememberFault),
    deferUndecided: assign(deferUndecided),
    chooseBackoff: assign(chooseBackoff),
    forgetDeferred: assign({ deferred: [], deferredUntil: null }),
    forgetRound: assign({ tried: [] }),
    forgetAttempts: assign({ attempts: 0, deferred: [], deferredUntil: null, batchLimit: ACK_BATCH_COUNT }),
    numberSettlement: assign(({ context }) => ({ settlement: context.settlement + 1 })),
    settle: tell<AckerContext, AckerEvent, 'store'>('store', ({ context }) => ({
      type: 'store.change',
      from: 'acker',
      id: settlementId(context),
      changes: [{ type: 'acks.settled', verdicts: context.verdicts }],
    })),
  },
}).createMachine({
  id: 'acker',
  context: ({ input }) => initialContext(input),
  initial: 'deciding',
  on: {
    'facts.changed': { actions: 'rememberFacts' },
    'store.committed': { actions: 'rememberFacts' },
  },
  states: {
    deciding: {
      description: 'The committed outbox is looked at. Left at once: to rest, to send, or to wait.',
      always: [
        { guard: 'nothing is owed', target: 'idle' },
        { guard: 'something can be sent', target: 'sending' },
        { target: 'backingOff' },
      ],
    },
    idle: {
      description: 'Nothing is owed. Left when a commit owes an ack.',
      entry: 'forgetAttempts',
      always: { guard: 'something can be sent', target: 'sending' },
    },
    sending: {
      description:
        'A batch of committed acks is with Fleet. Left with its verdicts, a refusal of the whole, or a failure.',
      entry: 'chooseBatch',
      invoke: {
        src: 'sendAcks',
        id: 'sendAcks',
        input: ({ context }) => ({ agentId: context.agentId, host: context.host ?? '', acks: context.batch }),
        onDone: [
          {
            guard: { type: 'the server judged', params: ({ event }) => event.output },
            target: 'settling',
            actions: { type: 'judge', params: ({ event }) => event.output },
          },
          {
            guard: { type: 'it is refused as a whole', params: ({ event }) => event.output },
            target: 'deciding',
            actions: 'halveBatches',
          },
          {
            guard: { type: 'the one ack was refused', params: ({ event }) => event.output },
            target: 'settling',
            actions: { type: 'refuseAll', params: ({ event }) => event.output },
          },
          {
            guard: { type: 'nobody is left to take acks', params: ({ event }) => event.output },
            target: 'settling',
            actions: { type: 'refuseAll', params: ({ event }) => event.output },
          },
          {
            guard: { type: 'the one ack is too large for the way', params: ({ event }) => event.output },
            target: 'settling',
            actions: { type: 'putOff', params: ({ event }) => event.output },
          },
          {
            guard: { type: 'another host has not been tried', params: ({ event }) => event.output },
            target: 'deciding',
            actions: { type: 'rememberFailure', params: ({ event }) => event.output },
          },
          { target: 'backingOff', actions: { type: 'rememberFailure', params: ({ event }) => event.output } },
        ],
        onError: {
          target: 'backingOff',
          actions: { type: 'rememberFault', params: ({ event }) => ({ error: event.error }) },
        },
      },
    },
    settling: {
      description:
        'The verdicts are being made durable; nothing else is sent before they are. Left when they are committed.',
      entry: ['numberSettlement', 'settle'],
      on: {
        'store.committed': {
          guard: 'these verdicts are durable',
          target: 'deciding',
          actions: ['rememberFacts', 'deferUndecided'],
        },
      },
    },
    backingOff: {
      description:
        'What is owed waits: the link failed, or Fleet asked for time. Left after a growing delay, or when the host wakes up.',
      entry: 'chooseBackoff',
      exit: 'forgetRound',
      always: { guard: 'nothing is owed', target: 'idle' },
      after: { 'the chosen delay': { target: 'deciding', actions: 'forgetDeferred' } },
      on: {
        'host.woke': { target: 'deciding', actions: 'forgetDeferred' },
        'facts.changed': { guard: 'only some acks wait', target: 'deciding', actions: 'rememberFacts' },
      },
    },
  },
});

function initialContext({ facts, agentId, hosts, backoff, jitterSeed }: AckerInput): AckerContext {
  return {
    facts,
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
function isRefused(outcome: AckOutcome): boolean {
  return outcome.kind === 'badRequest' && outcome.byFleet === true;
}

/** Whether Fleet has shut this agent out. */
function isLocked(outcome: AckOutcome): boolean {
  return (outcome.kind === 'unauthorised' || outcome.kind === 'forbidden') && outcome.byFleet === true;
}

function otherHostLeft({ context }: { context: AckerContext }, outcome: AckOutcome): boolean {
  if (outcome.kind === 'judged' || !anotherHostMayHelp(outcome) || context.host === null) return false;
  return nextHost(context.hosts, context.now, [...context.tried, context.host]) !== null;
}

/** The link works and one or the other ack has to wait: what is newly owed need not. */
function onlySomeWait({ context, event }: Args): boolean {
  if (event.type !== 'facts.changed' || context.deferred.length === 0) return false;
  return nextBatch({ ...context, facts: event.facts }).length > 0;
}

function settlementId(context: AckerContext): string {
  return `settlement ${context.settlement}`;
}

/** What is sent next: owed and not deferred, bounded in number and bytes; the ack of UNENROLL alone, when nothing else is owed. */
function nextBatch({ facts, deferred, batchLimit }: AckerContext): readonly OwedAck[] {
  const waiting = facts.outbox.filter(({ actionId }) => !deferred.includes(actionId));
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

function chooseBatch({ context }: Args): Patch {
  const { hosts, now, tried } = context;
  return { batch: nextBatch(context), host: nextHost(hosts, now, tried) ?? nextHost(hosts, now) };
}

function halveBatches({ context }: Args): Patch {
  return { batchLimit: Math.max(1, Math.floor(context.batch.length / 2)) };
}

/** The verdict of each ack by its place in the answer; an item that is missing decides nothing. */
function judge({ context }: Args, outcome: AckOutcome): Patch {
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

function refuseAll({ context }: Args, outcome: AckOutcome): Patch {
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
function putOff({ context }: Args, outcome: AckOutcome): Patch {
  if (outcome.kind === 'judged') return {};
  const reason = outcome.message;
  return {
    verdicts: context.batch.map(({ actionId, owedAt }) => ({ actionId, owedAt, verdict: 'retry', reason })),
    now: outcome.at,
    hosts: used(context, outcome.at, false),
    tried: [],
  };
}

function rememberFailure({ context }: Args, outcome: AckOutcome): Patch {
  if (outcome.kind === 'judged') return {};
  const at = outcome.at || context.now;
  const hosts = used(context, at, anotherHostMayHelp(outcome));
  const tried = context.host === null ? context.tried : [...context.tried, context.host];
  return { now: at, hosts, tried, delayMs: outcome.retryAfterMs ?? 0, deferred: [], deferredUntil: null };
}

function rememberFault({ context }: Args, { error }: { error: unknown }): Patch {
  const fault = faultOf(error, context.now);
  return { hosts: used(context, fault.at, true), delayMs: 0, deferred: [], deferredUntil: null };
}

function used({ hosts, host }: AckerContext, at: number, failed: boolean): readonly HostRecord[] {
  return host === null ? hosts : markHost(hosts, host, at, failed);
}

function deferUndecided({ context }: Args): Patch {
  const undecided = context.verdicts.filter(({ verdict }) => verdict === 'retry' || verdict === 'notFound');
  return {
    deferred: [...context.deferred, ...undecided.map(({ actionId }) => actionId)],
    verdicts: [],
    batch: [],
    delayMs: 0,
  };
}

function chooseBackoff({ context }: Args): Patch {
  const { now, deferred, deferredUntil, backoff } = context;
  // Back from sending what was newly owed: what is deferred has waited on. Never longer than was chosen, since clocks jump.
  if (deferredUntil !== null) return { delayMs: Math.min(Math.max(0, deferredUntil - now), backoff.maxMs) };
  const { value, seed } = draw(context.jitterSeed);
  const attempts = context.attempts + 1;
  const delayMs = retryDelay(backoff, attempts, context.delayMs, value);
  return { jitterSeed: seed, attempts, delayMs, deferredUntil: deferred.length > 0 ? now + delayMs : null };
}

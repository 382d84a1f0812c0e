/** Drains the outbox: what is owed is sent in batches until the server has given a verdict on each, however long that takes (P6). Diagram: diagrams/acker.md */
import { assign, setup } from 'xstate';
import type {
  AckerContext,
  AckerInput,
  AckOutcome,
  AckRequest,
  AuditOutcome,
  AuditRequest,
} from './acker-decisions.ts';
import * as decide from './acker-decisions.ts';
import { type AckerEvent, tell, unwired } from './system.ts';

export const ackerMachine = setup({
  types: {
    context: {} as AckerContext,
    events: {} as AckerEvent,
    input: {} as AckerInput,
  },
  actors: {
    sendAcks: unwired<AckOutcome, AckRequest>('sendAcks'),
    tellUnenrolled: unwired<AuditOutcome, AuditRequest>('tellUnenrolled'),
  },
  delays: {
    'the chosen delay': ({ context }) => context.delayMs,
  },
  guards: {
    'nothing is durably owed': ({ context }) => decide.nothingDurablyOwed(context),
    'Fleet is to be told of the end': ({ context }) => decide.auditDue(context),
    'there is no more to say': decide.auditEnds,
    'something can be sent': ({ context }) => decide.nextBatch(context).length > 0,
    'only some acks wait': decide.onlySomeWait,
    'the server judged': (_, outcome: AckOutcome) => outcome.kind === 'judged',
    'it is refused as a whole': ({ context }, outcome: AckOutcome) =>
      context.batch.length > 1 && (decide.isRefused(outcome) || outcome.kind === 'tooLarge'),
    'the one ack was refused': (_, outcome: AckOutcome) => decide.isRefused(outcome),
    'the one ack is too large for the way': (_, outcome: AckOutcome) => outcome.kind === 'tooLarge',
    'nobody is left to take acks': ({ context }, outcome: AckOutcome) =>
      context.facts.unenrolled !== null && decide.isLocked(outcome),
    'another host has not been tried': decide.otherHostLeft,
    'these verdicts are durable': ({ context, event }) => 'id' in event && event.id === decide.settlementId(context),
  },
  actions: {
    rememberFacts: assign(decide.rememberFacts),
    chooseBatch: assign(decide.chooseBatch),
    halveBatches: assign(decide.halveBatches),
    judge: assign(decide.judge),
    refuseAll: assign(decide.refuseAll),
    putOff: assign(decide.putOff),
    rememberFailure: assign(decide.rememberFailure),
    rememberFault: assign(decide.rememberFault),
    deferUndecided: assign(decide.deferUndecided),
    chooseBackoff: assign(decide.chooseBackoff),
    forgetDeferred: assign({ deferred: [], deferredUntil: null }),
    forgetRound: assign({ tried: [] }),
    forgetAttempts: assign({ attempts: 0, deferred: [], deferredUntil: null, batchLimit: decide.ACK_BATCH_COUNT }),
    numberSettlement: assign(({ context }) => ({ settlement: context.settlement + 1 })),
    spendTry: tell<AckerContext, AckerEvent, 'store'>('store', ({ context }) => ({
      type: 'store.change',
      from: 'acker',
      id: decide.settlementId(context),
      changes: [{ type: 'audit.tried' }],
    })),
    settleAudit: tell<AckerContext, AckerEvent, 'store'>('store', ({ context }) => ({
      type: 'store.change',
      from: 'acker',
      id: decide.settlementId(context),
      changes: [{ type: 'audit.settled' }],
    })),
    settle: tell<AckerContext, AckerEvent, 'store'>('store', ({ context }) => ({
      type: 'store.change',
      from: 'acker',
      id: decide.settlementId(context),
      changes: [{ type: 'acks.settled', verdicts: context.verdicts }],
    })),
  },
}).createMachine({
  id: 'acker',
  context: ({ input }) => decide.initialContext(input),
  initial: 'deciding',
  on: {
    'facts.changed': { actions: 'rememberFacts' },
    'store.committed': { actions: 'rememberFacts' },
  },
  states: {
    deciding: {
      description: 'The committed outbox is looked at. Left at once: to rest, to send, or to wait.',
      always: [
        { guard: 'nothing is durably owed', target: 'idle' },
        { guard: 'something can be sent', target: 'sending' },
        { guard: 'Fleet is to be told of the end', target: 'spending' },
        { target: 'backingOff' },
      ],
    },
    idle: {
      description: 'Nothing is durably owed. Left when a commit owes an ack, or shows that what is owed is on disk.',
      entry: 'forgetAttempts',
      always: [
        { guard: 'something can be sent', target: 'sending' },
        { guard: 'Fleet is to be told of the end', target: 'spending' },
      ],
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
    spending: {
      description:
        'A try to tell Fleet that this agent has left is made durable before it is made, so that their number has an end. Left when it is committed.',
      entry: ['numberSettlement', 'spendTry'],
      on: {
        'store.committed': { guard: 'these verdicts are durable', target: 'parting', actions: 'rememberFacts' },
      },
    },
    parting: {
      description: 'Fleet is being told that this agent has left it, and why. Left with its answer, or without one.',
      entry: 'chooseBatch',
      invoke: {
        src: 'tellUnenrolled',
        id: 'tellUnenrolled',
        input: ({ context }) => decide.auditRequest(context),
        onDone: [
          {
            guard: { type: 'there is no more to say', params: ({ event }) => event.output },
            target: 'ending',
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
    ending: {
      description: 'That Fleet knows is being made durable. Left when it is committed.',
      entry: ['numberSettlement', 'settleAudit'],
      on: {
        'store.committed': { guard: 'these verdicts are durable', target: 'deciding', actions: 'rememberFacts' },
      },
    },
    backingOff: {
      description:
        'What is owed waits: the link failed, or Fleet asked for time. Left after a growing delay, or when the host wakes up.',
      entry: 'chooseBackoff',
      exit: 'forgetRound',
      always: { guard: 'nothing is durably owed', target: 'idle' },
      after: { 'the chosen delay': { target: 'deciding', actions: 'forgetDeferred' } },
      on: {
        'host.woke': { target: 'deciding', actions: 'forgetDeferred' },
        'facts.changed': { guard: 'only some acks wait', target: 'deciding', actions: 'rememberFacts' },
      },
    },
  },
});

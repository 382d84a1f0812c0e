/** The conversation with Fleet: one long poll at a time, what it brings handed to the dispatcher, and never faster than it does good. Diagram: diagrams/gateway.md */
import { assign, setup } from 'xstate';
import type { Generation } from './facts.ts';
import {
  type Decoded,
  type GatewayContext,
  type GatewayInput,
  initialContext,
  type PollOutcome,
  type PollRequest,
  type VerifiedHeld,
} from './gateway-context.ts';
import * as decide from './gateway-decisions.ts';
import { type GatewayEvent, tell, unwired } from './system.ts';

export const gatewayMachine = setup({
  types: {
    context: {} as GatewayContext,
    events: {} as GatewayEvent,
    input: {} as GatewayInput,
  },
  actors: {
    verifyHeld: unwired<VerifiedHeld, { generation: Generation | null }>('verifyHeld'),
    checkin: unwired<PollOutcome, PollRequest>('checkin'),
    endPoll: unwired<null, null>('endPoll'),
    decode: unwired<Decoded, { text: string }>('decode'),
  },
  delays: {
    'the chosen delay': ({ context }) => context.delayMs,
    'the least time between urgent reports': ({ context }) => context.timings.urgentEveryMs,
    'time to know that the connection stands': ({ context }) => context.timings.openMs,
    'time to close a connection': ({ context }) => context.timings.closingMs,
    'time to take a delivery': ({ context }) => context.timings.deliveringMs,
  },
  guards: {
    'the agent is unenrolled': ({ context }) => context.facts.unenrolled !== null,
    'the agent became unenrolled': ({ event }) => event.type === 'facts.changed' && event.facts.unenrolled !== null,
    'the last starts died on an answer': ({ context }) => context.facts.answerDeaths > 0,
    'what is held, tried or acked has changed': decide.heldChanged,
    'less is held than this poll says': decide.heldLost,
    'the report is urgent': ({ event }) => event.type === 'report.changed' && event.urgent,
    'an urgent report waits': ({ context }) => context.urgentOwed,
    'the link is not shown as up': ({ context }) => context.link.state !== 'connected',
    'last good was looked at': (_, verified: VerifiedHeld) => verified.verdict !== null,
    'a long poll ran its course': decide.ranItsCourse,
    'an empty answer came early': (_, outcome: PollOutcome) => outcome.kind === 'answered' && outcome.idle,
    'an answer has content': (_, outcome: PollOutcome) => outcome.kind === 'answered',
    'the poll was cut by us': (_, outcome: PollOutcome) => outcome.kind === 'cut',
    'another host has not been tried': decide.otherHostLeft,
    'Fleet does not know this agent': decide.isUnknown,
    'it is our answer': ({ context, event }) => 'id' in event && event.id === decide.answerId(context),
    'only actions answer the question for everything': decide.leavesTheQuestionOpen,
    'it cannot be read': (_, decoded: Decoded) => decoded.kind === 'garbage',
    'it says nothing': decide.saysNothing,
    'the poll had run its course': ({ context }) => (context.answer?.tookMs ?? 0) >= context.timings.idleMs,
    'it brought news': ({ event }) => event.type === 'delivery.taken' && decide.isNews(event.news),
  },
  actions: {
    rememberFacts: assign(decide.rememberFacts),
    rememberReport: assign(decide.rememberReport),
    oweUrgent: assign({ urgentOwed: true }),
    oweEverything: assign({ cutOwed: true }),
    forgetTheQuestion: assign({ cutAskedAt: null }),
    rememberVerified: assign(decide.rememberVerified),
    decideWhatToSay: assign(decide.decideWhatToSay),
    sayNothingIsHeld: assign({ says: null, cutAsked: false, verdict: null }),
    chooseHost: assign(decide.chooseHost),
    rememberAnswer: assign(decide.rememberAnswer),
    rememberCut: assign(decide.rememberCut),
    rememberFailure: assign(decide.rememberFailure),
    rememberFault: assign(decide.rememberFault),
    rememberDelivery: assign(decide.rememberDelivery),
    rememberGarbage: assign(decide.rememberGarbage),
    forgetAnswer: assign({ answer: null, delivery: null }),
    forgetRound: assign({ tried: [] }),
    resetDamping: assign({ staleAnswers: 0 }),
    chooseRest: assign(decide.chooseRest),
    chooseDamping: assign(decide.chooseDamping),
    chooseBackoff: assign(decide.chooseBackoff),
    chooseHourly: assign(decide.chooseHourly),
    chooseSlowdown: assign(decide.chooseSlowdown),
    showOpen: assign(decide.showOpen),
    showConnected: assign(decide.showConnected),
    numberAnswer: assign(({ context }) => ({ answerNumber: context.answerNumber + 1 })),
    markAnswer: tell<GatewayContext, GatewayEvent, 'store'>('store', ({ context }) => ({
      type: 'store.change',
      from: 'gateway',
      id: decide.answerId(context),
      changes: decide.marksOf(context),
    })),
    // The same id: a mark that could not be written yet is replaced, so that it is never written for an answer nobody reads.
    discardAnswer: tell<GatewayContext, GatewayEvent, 'store'>('store', ({ context }) => ({
      type: 'store.change',
      from: 'gateway',
      id: decide.answerId(context),
      changes: [{ type: 'answer.discarded' }],
    })),
    // In a commit of its own: the mark that Fleet has answered was made before anyone could read what.
    reopenQuestion: tell<GatewayContext, GatewayEvent, 'store'>('store', {
      type: 'store.change',
      from: 'gateway',
      id: 'the question',
      changes: [{ type: 'everything.unanswered' }],
    }),
    deliver: tell<GatewayContext, GatewayEvent, 'dispatcher'>('dispatcher', ({ context }) => ({
      type: 'delivery.arrived',
      ...(context.delivery ?? { token: null, actions: [], policy: null }),
    })),
    tellHeld: tell<GatewayContext, GatewayEvent, 'agent'>('agent', ({ context }) => ({
      type: 'held.verified',
      verdict: context.verdict ?? { hash: '', problem: null },
    })),
    tellLink: tell<GatewayContext, GatewayEvent, 'agent'>('agent', ({ context }) => ({
      type: 'link.changed',
      link: context.link,
    })),
  },
}).createMachine({
  id: 'gateway',
  context: ({ input }) => initialContext(input),
  initial: 'opening',
  on: {
    'facts.changed': [
      { guard: 'the agent became unenrolled', target: '.closed', actions: 'rememberFacts' },
      { actions: 'rememberFacts' },
    ],
    'store.committed': { actions: 'rememberFacts' },
    'report.changed': { actions: 'rememberReport' },
    'delivery.taken': { guard: 'it brought news', actions: 'resetDamping' },
  },
  states: {
    opening: {
      description: 'Nothing has been said yet. Left at once for what the facts allow.',
      always: [
        { guard: 'the agent is unenrolled', target: 'closed' },
        { guard: 'the last starts died on an answer', target: 'slowed' },
        { target: 'verifying' },
      ],
    },
    slowed: {
      description:
        'Starts before this one died while they read an answer. Left after a delay that grows with their number, or when the host wakes up.',
      entry: ['chooseSlowdown', 'tellLink'],
      after: { 'the chosen delay': 'verifying' },
      on: { 'host.woke': 'verifying' },
    },
    verifying: {
      description: 'Last good is read back from disk, since only what is held is reported (P7). Left with the verdict.',
      invoke: {
        src: 'verifyHeld',
        id: 'verifyHeld',
        input: ({ context }) => ({ generation: context.facts.generations[0] ?? null }),
        onDone: [
          {
            guard: { type: 'last good was looked at', params: ({ event }) => event.output },
            target: 'checkingIn',
            actions: [{ type: 'rememberVerified', params: ({ event }) => event.output }, 'tellHeld', 'decideWhatToSay'],
          },
          {
            target: 'checkingIn',
            actions: [{ type: 'rememberVerified', params: ({ event }) => event.output }, 'decideWhatToSay'],
          },
        ],
        onError: { target: 'checkingIn', actions: 'sayNothingIsHeld' },
      },
    },
    checkingIn: {
      description: 'The long poll is open. Left with its outcome: an answer, a failure, or our own cut.',
      entry: 'chooseHost',
      initial: 'fresh',
      invoke: {
        src: 'checkin',
        id: 'checkin',
        input: ({ context }) => decide.pollRequest(context),
        onDone: [
          {
            guard: { type: 'a long poll ran its course', params: ({ event }) => event.output },
            target: 'resting',
            actions: [{ type: 'rememberAnswer', params: ({ event }) => event.output }, 'forgetAnswer', 'resetDamping'],
          },
          {
            guard: { type: 'an empty answer came early', params: ({ event }) => event.output },
            target: 'damped',
            actions: [{ type: 'rememberAnswer', params: ({ event }) => event.output }, 'forgetAnswer'],
          },
          {
            guard: { type: 'an answer has content', params: ({ event }) => event.output },
            target: 'marking',
            actions: { type: 'rememberAnswer', params: ({ event }) => event.output },
          },
          {
            guard: { type: 'the poll was cut by us', params: ({ event }) => event.output },
            target: 'verifying',
            actions: { type: 'rememberCut', params: ({ event }) => event.output },
          },
          {
            guard: { type: 'Fleet does not know this agent', params: ({ event }) => event.output },
            target: 'unauthorised',
            actions: { type: 'rememberFailure', params: ({ event }) => event.output },
          },
          {
            guard: { type: 'another host has not been tried', params: ({ event }) => event.output },
            target: 'verifying',
            actions: { type: 'rememberFailure', params: ({ event }) => event.output },
          },
          { target: 'backingOff', actions: { type: 'rememberFailure', params: ({ event }) => event.output } },
        ],
        onError: {
          target: 'backingOff',
          actions: { type: 'rememberFault', params: ({ event }) => ({ error: event.error }) },
        },
      },
      states: {
        fresh: {
          description:
            'The poll has just begun: an urgent report waits. Left when the least time between two has passed.',
          after: {
            'the least time between urgent reports': [
              { guard: 'an urgent report waits', target: 'ending' },
              { target: 'settled' },
            ],
          },
          on: {
            'report.changed': { guard: 'the report is urgent', actions: ['rememberReport', 'oweUrgent'] },
            'facts.changed': { guard: 'less is held than this poll says', actions: ['rememberFacts', 'oweUrgent'] },
            'host.woke': 'ending',
          },
        },
        settled: {
          description:
            'The poll waits for Fleet. Ended for an urgent report, for a lost policy, or after the host slept.',
          after: {
            'time to know that the connection stands': {
              guard: 'the link is not shown as up',
              actions: ['showOpen', 'tellLink'],
            },
          },
          on: {
            'report.changed': { guard: 'the report is urgent', target: 'ending', actions: 'rememberReport' },
            'facts.changed': { guard: 'less is held than this poll says', target: 'ending', actions: 'rememberFacts' },
            'host.woke': 'ending',
          },
        },
        ending: {
          description:
            'The poll is being ended; the next begins when the old connection has closed, or has had its time to.',
          invoke: {
            src: 'endPoll',
            id: 'endPoll',
            input: null,
            onError: { target: '#gateway.verifying', actions: { type: 'rememberCut', params: null } },
          },
          after: {
            'time to close a connection': {
              target: '#gateway.verifying',
              actions: { type: 'rememberCut', params: null },
            },
          },
        },
      },
    },
    marking: {
      description:
        'An answer with content is marked in flight, durably, before it is parsed. Left when the mark is on disk or cannot be.',
      entry: ['numberAnswer', 'markAnswer'],
      on: {
        'store.committed': { guard: 'it is our answer', target: 'decoding', actions: 'rememberFacts' },
        'store.delayed': {
          guard: 'it is our answer',
          target: 'damped',
          actions: ['discardAnswer', 'forgetAnswer', 'oweEverything'],
        },
      },
    },
    decoding: {
      description: 'The answer is parsed. Left with what it delivers, or when it turns out not to be one.',
      invoke: {
        src: 'decode',
        id: 'decode',
        input: ({ context }) => ({ text: context.answer?.text ?? '' }),
        onDone: [
          {
            guard: { type: 'it cannot be read', params: ({ event }) => event.output },
            target: 'backingOff',
            actions: [
              'discardAnswer',
              { type: 'rememberGarbage', params: ({ event }) => event.output },
              'forgetAnswer',
            ],
          },
          {
            guard: { type: 'it says nothing', params: ({ event }) => event.output },
            target: 'emptied',
            actions: 'discardAnswer',
          },
          {
            guard: { type: 'only actions answer the question for everything', params: ({ event }) => event.output },
            target: 'delivering',
            actions: [
              { type: 'rememberDelivery', params: ({ event }) => event.output },
              'oweEverything',
              'forgetTheQuestion',
              'reopenQuestion',
            ],
          },
          { target: 'delivering', actions: { type: 'rememberDelivery', params: ({ event }) => event.output } },
        ],
        onError: {
          target: 'backingOff',
          actions: [
            'discardAnswer',
            { type: 'rememberFault', params: ({ event }) => ({ error: event.error }) },
            'forgetAnswer',
          ],
        },
      },
    },
    emptied: {
      description: 'The answer had nothing in it after all. Left at once, as for any empty answer.',
      exit: 'forgetAnswer',
      always: [
        { guard: 'the poll had run its course', target: 'resting', actions: 'resetDamping' },
        { target: 'damped' },
      ],
    },
    delivering: {
      description: 'The dispatcher has the delivery. Left when it is durable, cannot be made so now, or nobody says.',
      entry: 'deliver',
      exit: 'forgetAnswer',
      on: {
        'delivery.taken': [
          { guard: 'it brought news', target: 'resting', actions: 'resetDamping' },
          { target: 'damped' },
        ],
        'delivery.unstorable': 'damped',
      },
      after: { 'time to take a delivery': 'damped' },
    },
    resting: {
      description: 'The last poll went well. Left after a short pause.',
      entry: ['showConnected', 'chooseRest', 'tellLink'],
      after: { 'the chosen delay': 'verifying' },
    },
    damped: {
      description:
        'The last answer brought nothing new. Left after a growing delay; at once when what is held, tried or acked changes, since the next answer may then differ.',
      entry: ['chooseDamping', 'tellLink'],
      after: { 'the chosen delay': 'verifying' },
      on: {
        'facts.changed': {
          guard: 'what is held, tried or acked has changed',
          target: 'verifying',
          actions: 'rememberFacts',
        },
        'delivery.taken': { guard: 'it brought news', target: 'resting', actions: 'resetDamping' },
        'host.woke': 'verifying',
      },
    },
    backingOff: {
      description:
        'The link failed on every host that was worth trying. Left after a growing delay, or when the host wakes up.',
      entry: ['chooseBackoff', 'tellLink'],
      exit: 'forgetRound',
      after: { 'the chosen delay': 'verifying' },
      on: { 'host.woke': 'verifying' },
    },
    unauthorised: {
      description: 'Fleet has said too often that it does not know this agent. Asked again once an hour.',
      entry: ['chooseHourly', 'tellLink'],
      exit: 'forgetRound',
      after: { 'the chosen delay': 'verifying' },
      on: { 'host.woke': 'verifying' },
    },
    closed: {
      description: 'The agent is unenrolled: nothing is said to Fleet any more.',
      type: 'final',
    },
  },
});

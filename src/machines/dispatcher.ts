/** Orders the actions Fleet delivers, makes them durable before any runs, and hands each to its lane. Diagram: diagrams/dispatcher.md */
import { assign, setup } from 'xstate';
import type { Problem } from '../errors.ts';
import type { PolicyBody } from '../policy/identity.ts';
import { type Lane, laneOf, outcomesOf, reconcile } from './actions.ts';
import { type Change, type DeliveredAction, type DeliveryNews, emptyFacts, type Facts } from './facts.ts';
import { type DispatcherEvent, tell } from './system.ts';

export type { Lane };

interface Delivery {
  readonly token: string | null;
  readonly actions: readonly DeliveredAction[];
  readonly policy: PolicyBody | null;
}

export interface DispatcherContext {
  readonly facts: Facts;
  /** Epoch ms of the newest commit: what an expiry is compared with. */
  readonly at: number;
  readonly delivery: Delivery | null;
}

/**
 * Lanes: `policy` (handed over by being the durable candidate: the newest wins, and the agent decides about it) and `quick` (results that are facts themselves: settled in one
 * commit). Actions that run long or at a set time get lanes of their own beside these two; no type that Holdfast carries out needs one yet.
 */
export const dispatcherMachine = setup({
  types: { context: {} as DispatcherContext, events: {} as DispatcherEvent },
  guards: {
    'the commit was the delivery': ({ event }) => (event as { id: string }).id === 'delivery',
    'the commit was the results': ({ event }) => (event as { id: string }).id === 'results',
    'actions had begun': ({ context }) => context.facts.journal.some((entry) => entry.state === 'started'),
    'actions wait to be carried out': ({ context }) => laneOf(context.facts.journal, 'quick').length > 0,
  },
  actions: {
    'hold the facts': assign(({ context, event }) => {
      const { facts, at } = event as { facts: Facts; at?: number };
      return { facts, at: at ?? context.at };
    }),
    'hold the delivery': assign({
      delivery: ({ event }) => {
        const { token, actions, policy } = event as DispatcherEvent & { type: 'delivery.arrived' };
        return { token, actions, policy };
      },
    }),
    'let go of the delivery': assign({ delivery: null }),
    'ask for the delivery to be made durable': tell('store', ({ context }: { context: DispatcherContext }) => ({
      type: 'store.change',
      from: 'dispatcher',
      id: 'delivery',
      changes: deliveryChanges(context.delivery as Delivery),
    })),
    'say that it is taken': tell('gateway', ({ event }) => ({
      type: 'delivery.taken',
      news: (event as { news: DeliveryNews | null }).news ?? { policy: false, actions: false },
    })),
    'say that it cannot be stored': tell('gateway', ({ event }) => ({
      type: 'delivery.unstorable',
      problem: (event as { problem: Problem }).problem,
    })),
    'give unfinished actions an outcome': tell('store', ({ context }: { context: DispatcherContext }) => ({
      type: 'store.change',
      from: 'dispatcher',
      id: 'results',
      changes: reconcile(context.facts, context.at),
    })),
    'carry out what waits': tell('store', ({ context }: { context: DispatcherContext }) => ({
      type: 'store.change',
      from: 'dispatcher',
      id: 'results',
      changes: outcomesOf(laneOf(context.facts.journal, 'quick'), context.facts, context.at),
    })),
  },
}).createMachine({
  id: 'dispatcher',
  context: { facts: emptyFacts(''), at: 0, delivery: null },
  initial: 'shut',
  states: {
    shut: {
      description: 'Nothing is handed over before the stored policy is being replayed. Opened by the agent.',
      on: {
        'dispatcher.open': { target: 'open', actions: 'hold the facts' },
      },
    },
    open: {
      description:
        'Takes deliveries and carries out what the journal holds, each independent of the other. Ends with the agent.',
      type: 'parallel',
      on: { 'facts.changed': { actions: 'hold the facts' } },
      states: {
        deliveries: {
          description: 'What becomes of an answer with content.',
          initial: 'waiting',
          // Also for a delivery that was overtaken by the next one while the disk was slow.
          on: { 'store.committed': { guard: 'the commit was the delivery', actions: 'say that it is taken' } },
          states: {
            waiting: {
              description: 'The gateway has handed nothing over. Ends with a delivery.',
              on: { 'delivery.arrived': { target: 'storing', actions: 'hold the delivery' } },
            },
            storing: {
              description:
                'Token, actions and candidate are on their way to the disk in one commit; none of them runs before (P4).',
              entry: 'ask for the delivery to be made durable',
              on: {
                'delivery.arrived': { target: 'storing', reenter: true, actions: 'hold the delivery' },
                'store.committed': {
                  guard: 'the commit was the delivery',
                  target: 'waiting',
                  actions: ['let go of the delivery', 'say that it is taken'],
                },
                'store.delayed': { guard: 'the commit was the delivery', actions: 'say that it cannot be stored' },
              },
            },
          },
        },
        quick: {
          description: 'Actions whose result is a durable fact: settled together, result and ack in one commit (P6).',
          initial: 'looking',
          states: {
            looking: {
              description: 'The journal is looked through for actions that had begun. Left at once.',
              always: [{ guard: 'actions had begun', target: 'reconciling' }, { target: 'idle' }],
            },
            reconciling: {
              description:
                'Actions that had begun when the last start ended are given the outcome "unknown" or run again (P5).',
              entry: 'give unfinished actions an outcome',
              on: {
                'store.committed': {
                  guard: 'the commit was the results',
                  target: 'idle',
                  actions: 'hold the facts',
                },
              },
            },
            idle: {
              description: 'No received action waits. Ends when the journal holds one.',
              always: { guard: 'actions wait to be carried out', target: 'settling' },
            },
            settling: {
              description: 'Results and the acks they owe are on their way to the disk in one commit.',
              entry: 'carry out what waits',
              on: {
                'store.committed': {
                  guard: 'the commit was the results',
                  target: 'idle',
                  actions: 'hold the facts',
                },
              },
            },
          },
        },
      },
    },
  },
});

/** The empty policy of a graceful forced unenrollment is an unenrollment, not a policy. */
function deliveryChanges({ token, actions, policy }: Delivery): readonly Change[] {
  if (policy !== null && policy.text === '{}') {
    return [
      { type: 'delivery.received', token, actions, policy: null },
      { type: 'agent.unenrolled', reason: 'Fleet sent the empty policy of a forced unenrollment' },
    ];
  }
  return [{ type: 'delivery.received', token, actions, policy }];
}

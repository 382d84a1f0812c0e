/** The only writer of durable facts: what several actors ask for while it writes becomes the next commit. Diagram: diagrams/store.md */
import { assign, enqueueActions, setup } from 'xstate';
import { ERRORS, type Problem } from '../errors.ts';
import { type Growing, growingDelay } from './deadline.ts';
import { type Change, type DeliveryNews, emptyFacts, type Facts } from './facts.ts';
import { type ActorName, type Inboxes, type StoreEvent, type StoreReply, tell, unwired } from './system.ts';

/** One actor's request, waiting to become part of a commit. */
export interface StoreRequest {
  readonly from: ActorName;
  readonly id: string;
  readonly changes: readonly Change[];
}

export interface StoreOpened {
  readonly facts: Facts | null;
  readonly findings: readonly string[];
  readonly at: number;
}

export interface StoreCommitted {
  readonly facts: Facts;
  readonly at: number;
  /** One entry a request, in order: what its delivery brought. */
  readonly news: readonly (DeliveryNews | null)[];
}

export interface StoreInput {
  readonly agentId: string;
  readonly retry: Growing;
}

export interface StoreContext {
  readonly agentId: string;
  readonly retry: Growing;
  /** As the disk holds them. */
  readonly facts: Facts;
  readonly queue: readonly StoreRequest[];
  /** In the commit that is being made. */
  readonly writing: readonly StoreRequest[];
  /** Failed tries in a row. */
  readonly failures: number;
  readonly problem: Problem | null;
}

/** After a commit that failed. */
const NOT_WRITTEN = [
  {
    type: 'note the failure',
    params: ({ event }: { event: { readonly error: unknown } }) => ({ problem: problemOf(event) }),
  },
  'put back what was not written',
  'tell those who wait',
] as const;

/** Waiting requests are bounded by their ids: a queued request with the same asker and id is replaced, in its place in the line. */
export const storeMachine = setup({
  types: {
    context: {} as StoreContext,
    events: {} as StoreEvent,
    input: {} as StoreInput,
  },
  actors: {
    open: unwired<StoreOpened, { agentId: string }>('store.open'),
    commit: unwired<StoreCommitted, { facts: Facts; requests: readonly StoreRequest[] }>('store.commit'),
    close: unwired<void, void>('store.close'),
  },
  guards: {
    'requests are waiting': ({ context }) => context.queue.length > 0,
    'the disk can be read again': (_, params: { problem: Problem }) => params.problem.code === 'STORE_READABLE_AGAIN',
  },
  actions: {
    'queue the request': assign({ queue: ({ context, event }) => queued(context.queue, requestOf(event)) }),
    'take what is queued': assign({ writing: ({ context }) => context.queue, queue: [] }),
    'put back what was not written': assign({
      queue: ({ context }) => context.queue.reduce(queued, context.writing),
      writing: [],
    }),
    'hold the facts': assign({
      facts: (_, params: { committed: StoreCommitted }) => params.committed.facts,
      failures: 0,
      problem: null,
      writing: [],
    }),
    'hold what was found': assign({
      facts: ({ context }, params: { opened: StoreOpened }) => params.opened.facts ?? emptyFacts(context.agentId),
    }),
    'note the failure': assign({
      failures: ({ context }) => context.failures + 1,
      problem: (_, params: { problem: Problem }) => params.problem,
    }),
    'say what was found': tell('agent', ({ event }) => {
      const opened = (event as unknown as { output: StoreOpened }).output;
      return { type: 'store.opened', facts: opened.facts, findings: opened.findings, at: opened.at };
    }),
    'say that it cannot be opened': tell('agent', ({ event }) => ({
      type: 'store.unopenable',
      problem: problemOf(event),
    })),
    'answer those who asked': enqueueActions(({ context, event, enqueue }) => {
      const committed = (event as unknown as { output: StoreCommitted }).output;
      for (const [index, request] of context.writing.entries()) {
        enqueue(answer(request, committedReply(request, committed, index)));
      }
      const changed = { type: 'facts.changed', facts: committed.facts, at: committed.at } as const;
      // The agent last: what it concludes may end the others.
      enqueue(say('dispatcher', changed));
      enqueue(say('gateway', changed));
      enqueue(say('acker', changed));
      enqueue(say('agent', changed));
      if (context.problem !== null) enqueue(say('agent', { type: 'store.recovered' }));
    }),
    'tell those who wait': enqueueActions(({ context, event, enqueue }) => {
      const problem = problemOf(event);
      // Also who asked while it was being written: nobody is to wait a whole delay before he knows that he waits.
      for (const request of context.queue) enqueue(answer(request, { type: 'store.delayed', id: request.id, problem }));
      enqueue(say('agent', { type: 'store.failing', problem }));
    }),
    'tell the asker to wait': enqueueActions(({ context, event, enqueue }) => {
      const request = requestOf(event);
      const problem = context.problem;
      if (problem !== null) enqueue(answer(request, { type: 'store.delayed', id: request.id, problem }));
    }),
    'say that the disk can be read again': tell('agent', { type: 'store.readable' }),
    'say that it is closed': tell('agent', { type: 'store.closed' }),
  },
  delays: {
    retry: ({ context }) => growingDelay(context.retry, context.failures),
  },
}).createMachine({
  id: 'store',
  context: ({ input }) => ({
    agentId: input.agentId,
    retry: input.retry,
    facts: emptyFacts(input.agentId),
    queue: [],
    writing: [],
    failures: 0,
    problem: null,
  }),
  initial: 'opening',
  states: {
    opening: {
      description:
        'Takes the lock and reads what the disk holds, setting aside what cannot be read. Ends with facts, or none (P11).',
      on: { 'store.change': { actions: 'queue the request' }, 'store.close': 'closing' },
      invoke: {
        src: 'open',
        id: 'open',
        input: ({ context }) => ({ agentId: context.agentId }),
        onDone: {
          target: 'ready',
          actions: [
            { type: 'hold what was found', params: ({ event }) => ({ opened: event.output }) },
            'say what was found',
          ],
        },
        onError: { target: 'closed', actions: 'say that it cannot be opened' },
      },
    },
    ready: {
      description: 'Memory and disk say the same. The next request ends it.',
      always: { guard: 'requests are waiting', target: 'committing' },
      on: {
        'store.change': { target: 'committing', actions: 'queue the request' },
        'store.close': 'closing',
      },
    },
    committing: {
      description:
        'One commit is being made durable: bodies, then the record. Only its end makes anything true (P1, P4, P6).',
      entry: 'take what is queued',
      on: {
        'store.change': { actions: 'queue the request' },
        'store.close': 'closing',
      },
      invoke: {
        src: 'commit',
        id: 'commit',
        input: ({ context }) => ({ facts: context.facts, requests: context.writing }),
        onDone: {
          target: 'ready',
          actions: [
            'answer those who asked',
            { type: 'hold the facts', params: ({ event }) => ({ committed: event.output }) },
          ],
        },
        onError: [
          {
            guard: { type: 'the disk can be read again', params: ({ event }) => ({ problem: problemOf(event) }) },
            target: 'failing',
            actions: [...NOT_WRITTEN, 'say that the disk can be read again'],
          },
          {
            target: 'failing',
            actions: NOT_WRITTEN,
          },
        ],
      },
    },
    failing: {
      description:
        'The disk took no commit, or hides what it holds: memory, reports and Fleet stay as they were. Tried again after a growing delay.',
      on: {
        'store.change': { actions: ['queue the request', 'tell the asker to wait'] },
        'store.close': 'closing',
      },
      after: { retry: 'committing' },
    },
    closing: {
      description: 'Nothing more is written; the lock is given back.',
      invoke: { src: 'close', id: 'close', onDone: 'closed', onError: 'closed' },
    },
    closed: {
      description: 'The store is gone; what was committed is on disk.',
      type: 'final',
      entry: 'say that it is closed',
    },
  },
});

function requestOf(event: { readonly type: string }): StoreRequest {
  const { from, id, changes } = event as StoreRequest & { type: string };
  return { from, id, changes };
}

/** A queued request of the same asker and id is replaced: a repeated delivery does not pile up while the disk is full. */
function queued(queue: readonly StoreRequest[], request: StoreRequest): readonly StoreRequest[] {
  const at = queue.findIndex((one) => one.from === request.from && one.id === request.id);
  return at < 0 ? [...queue, request] : queue.with(at, request);
}

function committedReply(request: StoreRequest, committed: StoreCommitted, index: number): StoreReply {
  return {
    type: 'store.committed',
    id: request.id,
    facts: committed.facts,
    at: committed.at,
    news: committed.news[index] ?? null,
  };
}

function answer(request: StoreRequest, reply: StoreReply) {
  return request.from === 'store' || request.from === 'components' ? say('agent', reply) : say(request.from, reply);
}

/** `tell` for actions that are chosen while others run. */
function say<K extends ActorName>(to: K, event: Inboxes[K]) {
  return tell<StoreContext, StoreEvent, K>(to, event);
}

/** The ports of the store reject with a {@link Problem}-shaped error (HoldfastError has both fields); any other is a fault. */
function problemOf(event: unknown): Problem {
  const { code, message } = (event as { error: Problem }).error;
  return { code: Object.hasOwn(ERRORS, code) ? code : 'INTERNAL', message };
}

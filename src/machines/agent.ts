/** The agent: boot, restore, replay, then check in, apply, persist and ack, for ever; a crash and an orphan are states. Diagram: diagrams/agent.md */
import { type AgentContext, ackerInput, initialContext } from './agent-context.ts';
import { agentSetup } from './agent-setup.ts';
import { nameOf } from './naming.ts';
import { LINK, runningState } from './running.ts';
import { thisStart } from './this-start.ts';

/** One line a start: which it is, how the one before ended, and what is held (P9). */
function startInWords(context: AgentContext): string {
  const { generations, runs } = context.facts;
  const [lastGood] = generations;
  const { number, previous } = thisStart(context);
  const held = lastGood === undefined ? 'holding no policy' : `holding ${nameOf(lastGood)}`;
  const over = runs > 0 ? ', which is passed over' : '';
  return `${context.factsProven ? `start ${number}` : 'a start that is not on record'}, ${HOW[previous]}; ${held}${over}`;
}

function crashInWords(context: AgentContext): string {
  const { number, crashes, inFlight } = thisStart(context);
  return `restarted after a crash (start ${number}, ${crashes} in a row); in flight: ${inFlight ?? 'nothing'}`;
}

const HOW = {
  first: 'the first',
  goodbye: 'after a goodbye',
  crashed: 'after a crash',
  'host-rebooted': 'after the host went down',
} as const;

/** Leaving safe mode is a new start in the same process: it spends an attempt like any other (P10). */
const leaveSafeMode = (reason: string) =>
  ({
    target: 'draining',
    actions: ['ask to leave safe mode', { type: 'note the end', params: { restart: true, reason } }],
  }) as const;

export const agentMachine = agentSetup.createMachine({
  id: 'agent',
  context: ({ input }) => initialContext(input),
  output: ({ context }) => ({ restart: context.ending?.restart === true, problem: context.problem }),
  initial: 'boot',
  invoke: [
    {
      src: 'store',
      id: 'store',
      systemId: 'store',
      input: ({ context }) => ({ agentId: context.settings.agentId, retry: context.settings.storeRetry }),
      onError: {
        target: '.stopped',
        actions: { type: 'note the fault', params: ({ event }) => ({ error: event.error }) },
      },
    },
    {
      src: 'dispatcher',
      id: 'dispatcher',
      systemId: 'dispatcher',
      onError: {
        target: '.stopped',
        actions: { type: 'note the fault', params: ({ event }) => ({ error: event.error }) },
      },
    },
    {
      src: 'components',
      id: 'components',
      systemId: 'components',
      input: ({ context }) => context.settings.components,
      onError: {
        target: '.stopped',
        actions: { type: 'note the fault', params: ({ event }) => ({ error: event.error }) },
      },
    },
  ],
  on: {
    'facts.changed': { actions: ['hold the facts', 'report to Fleet'] },
    'store.failing': { actions: ['note that the store fails', 'report to Fleet'] },
    'store.recovered': { actions: ['note that the store works', 'report to Fleet'] },
    // What could not be read at the start can be now: this start knows less than the disk, and has written nothing.
    'store.readable': {
      target: '.draining',
      actions: { type: 'note the end', params: { restart: true, reason: 'the disk can be read again' } },
    },
    'store.unopenable': { target: '.stopped', actions: 'note why it cannot go on' },
    'components.changed': { actions: ['report the components to Fleet', 'note the components'] },
    'link.changed': { actions: 'note the link' },
    'host.woke': { actions: 'wake the link' },
    'unenroll.requested': { actions: 'ask for the unenrollment' },
    'shutdown.requested': {
      target: '.draining',
      actions: { type: 'note the end', params: ({ event }) => ({ restart: false, reason: event.reason }) },
    },
    'restart.requested': [
      {
        guard: 'a generation is passed over',
        target: '.draining',
        actions: [
          'ask for the passed-over generation',
          { type: 'note the end', params: ({ event }) => ({ restart: true, reason: event.reason }) },
        ],
      },
      {
        target: '.draining',
        actions: { type: 'note the end', params: ({ event }) => ({ restart: true, reason: event.reason }) },
      },
    ],
  },
  states: {
    boot: {
      description: 'Reads the root record, decides how the last start ended, and spends this one durably (P9, P10).',
      initial: 'opening',
      states: {
        opening: {
          description:
            'The store takes the lock and reads what the disk holds. Ends with the facts, or without a lock.',
          on: {
            'store.opened': { target: 'spending', actions: ['hold what the disk held', 'spend this start'] },
            // Nothing was spent yet, so there is no goodbye to say: it would be taken for that of the start before.
            'shutdown.requested': {
              target: '#agent.draining.closingStore',
              actions: { type: 'note the end', params: ({ event }) => ({ restart: false, reason: event.reason }) },
            },
            'restart.requested': {},
          },
        },
        spending: {
          description:
            'This start is on its way to the disk. If it cannot be spent, last good runs all the same, and nothing new is tried.',
          on: {
            'store.committed': {
              guard: { type: 'the commit is', params: { id: 'start' } },
              target: 'deciding',
              actions: 'hold the facts',
            },
            'store.delayed': { guard: { type: 'the commit is', params: { id: 'start' } }, target: 'deciding' },
          },
        },
        deciding: {
          description: 'Chooses what this start may do, from how the ones before it ended.',
          always: [
            { guard: 'it is unenrolled', target: '#agent.unenrolled' },
            { guard: 'the last start ended without a goodbye', target: '#agent.crashed' },
            { guard: 'it is in safe mode', target: '#agent.safeMode' },
            { target: '#agent.restore' },
          ],
        },
      },
    },
    crashed: {
      description:
        'The last start ended without a goodbye. What was in flight is named and counted (P9); then what is held is restored, or left alone.',
      entry: {
        type: 'say',
        params: ({ context }) => ({ level: 'warning', message: crashInWords(context) }),
      },
      always: [{ guard: 'it is in safe mode', target: 'safeMode' }, { target: 'restore' }],
    },
    restore: {
      description: 'Reads last good back from disk and verifies it, falling down the ladder of generations (P8, P11).',
      entry: { type: 'say', params: ({ context }) => ({ level: 'info', message: startInWords(context) }) },
      always: { guard: 'it is unenrolled', target: 'unenrolled' },
      invoke: {
        src: 'readLadder',
        id: 'readLadder',
        input: ({ context }) => ({ generations: context.facts.generations.slice(context.facts.runs) }),
        onDone: {
          target: 'replay',
          actions: [
            { type: 'note what can be read', params: ({ event }) => ({ ladder: event.output }) },
            { type: 'note what is replayed', params: ({ event }) => ({ ladder: event.output }) },
            {
              type: 'record what was lost',
              params: ({ event }) => ({ hashes: event.output.lost.map((one) => one.hash) }),
            },
            'number the plan',
            { type: 'replay it', params: ({ event }) => ({ body: event.output.body }) },
          ],
        },
        onError: { target: 'replay', actions: 'note that it cannot be read' },
      },
    },
    replay: {
      description:
        'The stored policy goes through the planner like a fresh one. Ends when every step of its plan is issued, before any network (P2).',
      entry: 'open the dispatcher',
      always: [
        { guard: 'it is unenrolled', target: 'unenrolled' },
        {
          guard: 'there is nothing to replay',
          target: 'running',
          actions: 'ask for the surviving candidate to be tried',
        },
      ],
      on: {
        'components.issued': { guard: 'the plan is ours', target: 'running' },
        'components.confirmed': {
          guard: 'the plan is ours',
          target: 'running',
          actions: [
            'note that the replay is settled',
            'ask for the replay to be recorded',
            'ask for the surviving candidate to be tried',
          ],
        },
        'components.refused': {
          guard: 'the plan is ours',
          target: 'running',
          actions: ['note that the replay cannot be carried out', 'ask for the surviving candidate to be tried'],
        },
      },
    },
    running: runningState,
    safeMode: {
      description:
        'The agent did not survive what it holds. Nothing is started, stopped or changed; Fleet and the control socket answer. Left on new content, restart, retry, or by itself after a growing delay (P10).',
      entry: [
        'leave the components alone',
        'open the dispatcher',
        // A candidate that is left may be the cure, and is tried from here like new content.
        'ask for the surviving candidate to be tried',
        {
          type: 'say',
          params: ({ context }) => ({ level: 'error', message: `safe mode: ${context.facts.safeMode?.reason}` }),
        },
      ],
      invoke: LINK,
      always: [
        { guard: 'it is unenrolled', target: 'unenrolled' },
        { guard: 'a policy is due', target: 'running.apply' },
      ],
      on: {
        'retry.requested': leaveSafeMode('asked to try again'),
        'restart.requested': leaveSafeMode('asked to restart'),
      },
      after: { 'safe mode ends': leaveSafeMode('safe mode has lasted its time') },
    },
    unenrolled: {
      description:
        'Fleet has let this agent go. Its components are stopped, its last ack is sent; it asks for nothing until it is enrolled again.',
      entry: [
        'stop the components',
        {
          type: 'say',
          params: ({ context }) => ({
            level: 'warning',
            message: `unenrolled: ${context.facts.unenrolled?.reason}; enroll again with \`holdfast enroll\``,
          }),
        },
      ],
      invoke: {
        src: 'acker',
        id: 'acker',
        systemId: 'acker',
        input: ({ context }) => ackerInput(context),
        onError: {
          target: 'stopped',
          actions: { type: 'note the fault', params: ({ event }) => ({ error: event.error }) },
        },
      },
    },
    draining: {
      description:
        'Takes no more work: components are stopped (or left for the next start to adopt), then the goodbye is made durable.',
      initial: 'stoppingComponents',
      on: {
        'restart.requested': {},
        'store.readable': {},
        'shutdown.requested': [
          {
            guard: 'it was to begin anew',
            actions: [
              { type: 'note the end', params: ({ event }) => ({ restart: false, reason: event.reason }) },
              'stop the components',
            ],
          },
          { actions: 'stop them now' },
        ],
      },
      states: {
        stoppingComponents: {
          description:
            'Each component gets its signal and its grace, then its group is killed. A second request takes the grace away.',
          entry: [
            'stop the components',
            {
              type: 'say',
              params: ({ context }) => ({ level: 'info', message: `stopping: ${context.ending?.reason}` }),
            },
          ],
          on: { 'components.stopped': 'sayingGoodbye' },
        },
        sayingGoodbye: {
          description: 'The goodbye, and the attempts it gives back, are on their way to the disk (P10).',
          entry: 'say goodbye',
          on: {
            'store.committed': { guard: { type: 'the commit is', params: { id: 'goodbye' } }, target: 'closingStore' },
            'store.delayed': { guard: { type: 'the commit is', params: { id: 'goodbye' } }, target: 'closingStore' },
          },
          after: { 'last words': 'closingStore' },
        },
        closingStore: {
          description: 'The lock is given back. Ends when the store is closed, or with its time.',
          entry: 'close the store',
          on: { 'store.closed': '#agent.stopped' },
          after: { 'last words': '#agent.stopped' },
        },
      },
    },
    stopped: { description: 'The process may end, or begin anew.', type: 'final' },
  },
});

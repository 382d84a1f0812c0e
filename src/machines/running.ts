/** The policy's life while the agent runs: checkin, apply, persist, ack; rollback when it is bad, orphaned when less is held than Fleet believes. */
import { type AgentContext, ackerInput, gatewayInput } from './agent-context.ts';
import { agentSetup } from './agent-setup.ts';
import { nameOf } from './naming.ts';

const say = (level: 'info' | 'warning' | 'error') => (message: string) => ({ level, message });

/** A new start in the same process, that spends its attempt on the policy that was passed over. */
const tryPassedOver = {
  guard: 'a generation is passed over',
  target: '#agent.draining',
  actions: [
    'ask for the passed-over generation',
    { type: 'note the end', params: { restart: true, reason: 'trying the passed-over policy again' } },
  ],
} as const;

/** What a rejected policy, or a passed-over generation, is tried again by, without being asked. */
const nextTries = {
  'the next try': { guard: 'a rejected policy is due for another try', actions: 'ask for another try' },
  'the passed-over policy is tried again': tryPassedOver,
} as const;

const REPLAY_CONFIRMED = [
  'note that the replay is settled',
  'ask for the replay to be recorded',
  'ask for the surviving candidate to be tried',
  'report to Fleet',
] as const;
const REPLAY_REFUSED = [
  'note that the replay cannot be carried out',
  'ask for the surviving candidate to be tried',
  'report to Fleet',
] as const;

/** Where a next try is waited for: its time counts from when the replay has proven itself, or cannot. */
const replaySettles = <T extends string>(target: T) =>
  ({
    'components.confirmed': { guard: 'the replay is pending', target, reenter: true, actions: REPLAY_CONFIRMED },
    'components.refused': { guard: 'the replay is pending', target, reenter: true, actions: REPLAY_REFUSED },
  }) as const;

const endedByAFault = {
  target: '#agent.stopped',
  actions: {
    type: 'note the fault',
    params: ({ event }: { event: { readonly error: unknown } }) => ({ error: event.error }),
  },
} as const;

/** What talks to Fleet, wherever the agent may: only after the replay (P2), or in safe mode. */
export const LINK = [
  {
    src: 'gateway',
    id: 'gateway',
    systemId: 'gateway',
    input: ({ context }: { context: AgentContext }) => gatewayInput(context),
    onError: endedByAFault,
  },
  {
    src: 'acker',
    id: 'acker',
    systemId: 'acker',
    input: ({ context }: { context: AgentContext }) => ackerInput(context),
    onError: endedByAFault,
  },
] as const;

export const runningState = agentSetup.createStateConfig({
  description:
    'The link to Fleet is open; one policy at a time is applied, made durable and acked. Ends with the agent.',
  initial: 'checkin',
  invoke: LINK,
  always: { guard: 'it is unenrolled', target: '#agent.unenrolled' },
  on: {
    'components.confirmed': { guard: 'the replay is pending', actions: REPLAY_CONFIRMED },
    'components.refused': { guard: 'the replay is pending', actions: REPLAY_REFUSED },
    'retry.requested': [
      { guard: 'a rejected policy can be tried again', actions: 'ask for another try' },
      tryPassedOver,
    ],
  },
  states: {
    checkin: {
      description:
        'Last good runs and Fleet is asked for more. Ends with a policy that is due, or when less is held than Fleet believes.',
      always: [
        { guard: 'a policy is due', target: 'apply' },
        { guard: 'it holds less than Fleet believes', target: 'orphaned' },
      ],
      on: {
        ...replaySettles('checkin'),
        'held.verified': { guard: 'it is damaged', target: 'orphaned', actions: 'note the damage' },
        'facts.changed': {
          guard: 'the next tries have moved',
          target: 'checkin',
          reenter: true,
          actions: ['hold the facts', 'report to Fleet'],
        },
      },
      after: nextTries,
    },
    apply: {
      description:
        'The candidate is durable and its attempt spent; the components are brought to it (P3, P10). Ends with their verdict.',
      entry: [
        'take the policy on',
        {
          type: 'say',
          params: ({ context }) =>
            say('info')(`applying ${context.applying === null ? 'nothing' : nameOf(context.applying)}`),
        },
        'report to Fleet',
      ],
      initial: 'reading',
      always: [
        { guard: 'a policy is due', target: 'apply', reenter: true },
        { guard: 'the candidate is gone', target: 'rollback.restoring' },
      ],
      states: {
        reading: {
          description:
            'The candidate is read back from disk: what is applied is what is held. Ends with it, or without.',
          invoke: {
            src: 'readPolicy',
            id: 'readPolicy',
            input: ({ context }) => ({ ref: context.applying ?? { id: '', revision: 0, hash: '', actionId: '' } }),
            onDone: {
              target: 'confirming',
              actions: ['number the plan', { type: 'apply it', params: ({ event }) => ({ body: event.output }) }],
            },
            onError: {
              target: '#agent.running.rollback.restoring',
              actions: {
                type: 'record what was lost',
                params: ({ context }) => ({ hashes: context.applying === null ? [] : [context.applying.hash] }),
              },
            },
          },
        },
        confirming: {
          description:
            'The plan is being carried out and watched. Ends confirmed, refused, or superseded by a newer policy.',
          on: {
            'components.issued': { guard: 'the plan is ours', actions: 'note that components were touched' },
            'components.confirmed': {
              guard: 'the plan is ours',
              target: '#agent.running.persist',
              actions: 'note what is confirmed',
            },
            'components.refused': {
              guard: 'the plan is ours',
              target: '#agent.running.rollback',
              actions: 'note the refusal',
            },
          },
        },
      },
    },
    persist: {
      description:
        'Confirmed, and on its way to being last good: generations, owed ack and attempt in one commit (P1, P6). A full disk holds it here, unacked. Ends durable, or overtaken.',
      entry: 'ask for the promotion',
      on: {
        'store.committed': [
          { guard: 'it was promoted', target: 'ack', actions: 'hold the facts' },
          {
            guard: { type: 'the commit is', params: { id: 'promoted' } },
            target: 'rollback.restoring',
            actions: 'hold the facts',
          },
        ],
      },
    },
    ack: {
      description:
        'Durable: from now on Fleet may believe it. Ends with its verdict on the ack, or with the next policy.',
      entry: [
        {
          type: 'say',
          params: ({ context }) =>
            say('info')(
              `${context.applying === null ? 'the policy' : nameOf(context.applying)} is last good; acknowledging it`,
            ),
        },
        'report to Fleet',
      ],
      exit: 'the policy is ours',
      always: [
        { guard: 'a policy is due', target: 'apply' },
        {
          guard: 'its ack is not owed any more',
          target: 'checkin',
          actions: {
            type: 'say',
            params: ({ context }) => say('info')(ackInWords(context)),
          },
        },
      ],
      on: { 'held.verified': { guard: 'it is damaged', target: 'orphaned', actions: 'note the damage' } },
    },
    rollback: {
      description:
        'What was applied is not to stay. A verdict is committed before the first step back; then last good is made to run again (P3).',
      initial: 'judging',
      exit: ['let go of the policy', 'report to Fleet'],
      states: {
        judging: {
          description:
            'Hash and reason are on their way to the disk. If that fails the way back is taken all the same.',
          entry: [
            {
              type: 'say',
              params: ({ context }) =>
                say('warning')(
                  `policy rejected: ${context.applying === null ? '' : nameOf(context.applying)}: ${context.refusal?.reason}`,
                ),
            },
            'ask for the verdict',
          ],
          on: {
            'store.committed': { guard: 'the verdict is durable', target: 'restoring', actions: 'hold the facts' },
            'store.delayed': { guard: { type: 'the commit is', params: { id: 'rejected' } }, target: 'restoring' },
          },
        },
        restoring: {
          description:
            'Last good is read back from disk. With none there is nothing to go back to; in safe mode only what a policy has touched is put back (P3); a newer policy overtakes it.',
          always: [
            { guard: 'a policy is due', target: '#agent.running.apply' },
            { guard: 'it is in safe mode and nothing was touched', target: '#agent.safeMode' },
          ],
          invoke: {
            src: 'readLadder',
            id: 'readLastGood',
            input: ({ context }) => ({ generations: context.facts.generations.slice(context.facts.runs) }),
            onDone: [
              {
                guard: { type: 'a policy can be read', params: ({ event }) => ({ ladder: event.output }) },
                target: 'reverting',
                actions: [
                  { type: 'note what can be read', params: ({ event }) => ({ ladder: event.output }) },
                  {
                    type: 'record what was lost',
                    params: ({ event }) => ({ hashes: event.output.lost.map((one) => one.hash) }),
                  },
                  'number the plan',
                  { type: 'go back to it', params: ({ event }) => ({ body: event.output.body ?? NO_BODY }) },
                ],
              },
              {
                target: '#agent.running.checkin',
                actions: [
                  { type: 'note what can be read', params: ({ event }) => ({ ladder: event.output }) },
                  {
                    type: 'record what was lost',
                    params: ({ event }) => ({ hashes: event.output.lost.map((one) => one.hash) }),
                  },
                ],
              },
            ],
            onError: { target: '#agent.running.orphaned.waiting', actions: 'note that it cannot be read' },
          },
        },
        reverting: {
          description:
            'The components are brought back to last good; this cannot be refused. Ends when they are, or when a newer policy overtakes it.',
          always: { guard: 'a policy is due', target: '#agent.running.apply' },
          on: {
            // Taken before the replay was confirmed, the way back stands in for it: what waited for the replay waits no longer (P12).
            'components.confirmed': [
              { guard: 'the replay is pending', target: '#agent.running.checkin', actions: REPLAY_CONFIRMED },
              {
                guard: 'the plan is ours',
                target: '#agent.running.checkin',
                actions: ['note that the replay is settled', 'ask for the way back to be recorded'],
              },
            ],
            'components.refused': [
              { guard: 'the replay is pending', target: '#agent.running.checkin', actions: REPLAY_REFUSED },
              {
                guard: 'the plan is ours',
                target: '#agent.running.checkin',
                actions: 'note that the replay cannot be carried out',
              },
            ],
          },
        },
      },
    },
    orphaned: {
      description:
        'Less is held than Fleet believes. The best there is runs on; Fleet is told "" and 0 and heals it by the first answer with a policy (P8).',
      initial: 'weighing',
      entry: [
        {
          type: 'say',
          params: ({ context }) => say('warning')(`holds less than Fleet believes: ${context.orphaned?.reason}`),
        },
        'report to Fleet',
      ],
      always: [
        { guard: 'a policy is due', target: 'apply' },
        { guard: 'nothing is missing any more', target: 'checkin' },
      ],
      states: {
        weighing: {
          description: 'Is there a last good policy that could be written again? Left at once.',
          always: [{ guard: 'there is no last good policy', target: 'waiting' }, { target: 'repairing' }],
        },
        repairing: {
          description: 'What is still in memory is written to the disk again. Ends when it is, or cannot be now.',
          entry: 'ask for a repair',
          on: {
            'store.committed': { guard: { type: 'the commit is', params: { id: 'repair' } }, target: 'verifying' },
            'store.delayed': { guard: { type: 'the commit is', params: { id: 'repair' } }, target: 'waiting' },
          },
        },
        verifying: {
          description: 'Last good is read back: whole again, and compared with what runs; or lost.',
          invoke: {
            src: 'verifyHeld',
            id: 'verifyHeld',
            input: ({ context }) => ({
              ref: context.facts.generations[0] ?? { id: '', revision: 0, hash: '', actionId: '' },
            }),
            onDone: [
              {
                guard: { type: 'it was only damaged', params: ({ event }) => ({ verdict: event.output }) },
                target: '#agent.running.rollback.restoring',
                actions: [
                  'note that it is whole again',
                  { type: 'say', params: say('info')('last good is whole on disk again') },
                  'report to Fleet',
                ],
              },
              {
                guard: { type: 'it is whole', params: ({ event }) => ({ verdict: event.output }) },
                target: 'waiting',
              },
              { target: 'waiting', actions: 'confess what is lost' },
            ],
            onError: { target: 'waiting', actions: 'confess what is lost' },
          },
        },
        waiting: {
          description: 'Fleet is asked for everything. Ends with a policy that is due, or when nothing is missing.',
          on: {
            ...replaySettles('waiting'),
            'held.verified': {
              guard: 'it is readable again',
              target: '#agent.running.rollback.restoring',
              actions: ['note that it is whole again', 'report to Fleet'],
            },
            'facts.changed': {
              guard: 'the next tries have moved',
              target: 'waiting',
              reenter: true,
              actions: ['hold the facts', 'report to Fleet'],
            },
          },
          after: nextTries,
        },
      },
    },
  },
});

/** Said after the state has let go of its policy, which is last good by then. */
function ackInWords({ facts: { acked, generations } }: AgentContext): string {
  const [lastGood] = generations;
  if (lastGood === undefined) return 'its ack is owed no more';
  const policy = nameOf(lastGood);
  return acked?.hash === lastGood.hash
    ? `Fleet has taken the ack of ${policy}`
    : `the ack of ${policy} is owed no more`;
}

const NO_BODY = { id: '', revision: 0, hash: '', actionId: '', text: '{}' } as const;

/** The supervisor of all components: compares what a policy wants with what runs, makes a plan, runs it, and confirms it or has it run back (P2, P3). Diagram: diagrams/components.md */
import { changedIn, componentsSetup, NOTHING, straysIn } from './components-setup.ts';

/** What counts must become healthy and stay so: on trial as on the way back. */
const PROVING = {
  watching: {
    description: 'Something that counts is not healthy yet. Ends when all of it is.',
    always: { guard: 'all that counts is healthy', target: 'stable' },
  },
  stable: {
    description: 'All that counts is healthy. Ends when it stayed so, or when it did not.',
    always: { guard: 'something that counts is not healthy', target: 'watching' },
    after: { stableFor: { target: '#components.settled', actions: ['tellConfirmed', 'acceptWhatRuns'] } },
  },
} as const;

export const componentsMachine = componentsSetup.createMachine({
  id: 'components',
  description: 'All components of this host, and the plan that is being made of a policy.',
  context: ({ input }) => ({
    ...input,
    plan: '',
    mode: 'replay',
    policyText: '',
    rendering: NOTHING,
    steps: [],
    wanted: [],
    problems: [],
    running: {},
    recorded: [],
    policyHash: '',
    lastGood: null,
    standsFor: null,
    leftAlone: false,
    confirmed: [],
    kept: [],
    letsGo: false,
    baseline: [],
    touched: [],
    restartsBefore: {},
    refusal: null,
    told: '[[],null]',
  }),
  initial: 'settled',
  on: {
    'components.apply': { target: '.planning', actions: 'takeApply' },
    'components.leave': { target: '.left', actions: 'stopAll' },
    'components.stop': { target: '.stopping', actions: 'stopAll' },
    'component.reported': { actions: ['noteReport', 'show'] },
    'xstate.error.actor.*': { actions: ['noteDeath', 'show'] },
  },
  states: {
    settled: {
      description: 'What runs is what was confirmed last, and is supervised. Ends with the next policy.',
      initial: 'resting',
      states: {
        resting: {
          description:
            'Each component looks after itself. Left only when something cannot be carried out here: after a while it is looked at again.',
          entry: 'show',
          after: { lookEvery: { guard: 'something cannot be carried out here', target: 'looking' } },
        },
        looking: {
          description: 'What was left to run on is looked at. Ends with what was seen.',
          invoke: {
            src: 'recorded',
            id: 'recorded',
            onDone: {
              target: 'rendering',
              actions: { type: 'takeRecorded', params: ({ event }) => ({ recorded: event.output }) },
            },
            onError: 'rendering',
          },
        },
        rendering: {
          description:
            'The policy is rendered again: a spec may have been corrected. Ends with a new plan when it comes to something else now.',
          invoke: {
            src: 'prepare',
            id: 'prepare',
            input: ({ context }) => ({ text: context.policyText, mode: context.mode }),
            onDone: [
              {
                guard: {
                  type: 'it comes to something else now',
                  params: ({ event }) => ({ rendering: event.output }),
                },
                target: '#components.planning.comparing',
                actions: { type: 'takeRendering', params: ({ event }) => ({ rendering: event.output }) },
              },
              { target: 'resting' },
            ],
            onError: 'resting',
          },
        },
      },
    },
    planning: {
      description:
        'A policy becomes a plan and, when fresh, is checked; nothing that runs is touched. Ends when the plan is ready to be issued, or the policy refused.',
      initial: 'preparing',
      states: {
        preparing: {
          description: 'The policy is parsed and rendered. Ends with what it comes to, or when it cannot be read.',
          invoke: {
            src: 'prepare',
            id: 'prepare',
            input: ({ context }) => ({ text: context.policyText, mode: context.mode }),
            onDone: {
              target: 'surveying',
              actions: { type: 'takeRendering', params: ({ event }) => ({ rendering: event.output }) },
            },
            onError: {
              target: '#components.refused',
              actions: { type: 'refuseUnprepared', params: ({ event }) => ({ error: event.error }) },
            },
          },
        },
        surveying: {
          description:
            'Looking at what earlier starts left. Ends with what is on record; without it when that cannot be read.',
          always: {
            guard: 'a fresh policy cannot be carried out',
            target: '#components.refused',
            actions: 'refuseUnrendered',
          },
          invoke: {
            src: 'recorded',
            id: 'recorded',
            onDone: {
              target: 'comparing',
              actions: { type: 'takeRecorded', params: ({ event }) => ({ recorded: event.output }) },
            },
            onError: { target: 'comparing', actions: 'forgetRecorded' },
          },
        },
        comparing: {
          description: 'What runs is compared with what is wanted. Ends at once.',
          entry: 'makePlan',
          always: [{ guard: 'it is fresh', target: 'checking' }, { target: '#components.changing' }],
        },
        checking: {
          description: 'Each changed program judges its own new configuration. Ends with their verdicts.',
          invoke: {
            src: 'check',
            id: 'check',
            input: ({ context }) => ({ components: changedIn(context) }),
            onDone: [
              {
                guard: { type: 'a check refused it', params: ({ event }) => ({ refusals: event.output }) },
                target: '#components.refused',
                actions: { type: 'refuseChecked', params: ({ event }) => ({ refusals: event.output }) },
              },
              { target: 'writing' },
            ],
            onError: {
              target: '#components.refused',
              actions: { type: 'refuseUncheckable', params: ({ event }) => ({ error: event.error }) },
            },
          },
        },
        writing: {
          description: 'The new configurations are made durable. Ends when they are, or cannot be.',
          invoke: {
            src: 'write',
            id: 'write',
            input: ({ context }) => ({ components: changedIn(context) }),
            onDone: '#components.changing',
            onError: {
              target: '#components.refused',
              actions: { type: 'refuseUncheckable', params: ({ event }) => ({ error: event.error }) },
            },
          },
        },
      },
    },
    changing: {
      description:
        'The plan is being issued: what is not wanted ends first, then the rest begins. Ends when every step is issued.',
      entry: ['takeBaseline', 'issueStops', 'show'],
      initial: 'deciding',
      states: {
        deciding: {
          description: 'Is anything on record that nobody wants? Ends at once.',
          always: [{ guard: 'strays are on record', target: 'sweeping' }, { target: 'stopping' }],
        },
        sweeping: {
          description:
            'Processes of earlier starts that no policy wants are stopped. Ends when they are gone, or after a while.',
          invoke: {
            src: 'sweep',
            id: 'sweep',
            input: ({ context }) => ({ ids: straysIn(context) }),
            onDone: 'stopping',
            onError: 'stopping',
          },
          after: { patience: 'issuing' },
        },
        stopping: {
          description:
            'Components that are not wanted any more are stopping. Ends when they are gone, or after a while.',
          always: { guard: 'what had to stop has stopped', target: 'issuing' },
          after: { patience: 'issuing' },
        },
        issuing: {
          description: 'Every other step is issued. Ends at once.',
          entry: ['issueRest', 'tellIssued', 'show'],
          always: [
            { guard: 'it is the way back', target: '#components.reverting' },
            { target: '#components.confirming' },
          ],
        },
      },
    },
    confirming: {
      description:
        'Every step is issued and the components show what they are worth. Ends when all that counts was healthy for a while, when what worked is broken, or with its time.',
      initial: 'watching',
      always: [
        { guard: 'what worked is broken', target: 'refused', actions: 'refuseBroken' },
        { guard: 'nothing was changed', target: 'settled', actions: ['tellConfirmed', 'acceptWhatRuns'] },
      ],
      after: {
        timeout: [
          { guard: 'what worked is not healthy by now', target: 'refused', actions: 'refuseBroken' },
          { target: 'settled', actions: ['tellConfirmed', 'acceptWhatRuns'] },
        ],
      },
      states: PROVING,
    },
    refused: {
      description:
        'The policy is refused, and the agent makes the verdict durable before the first step back. Ends with its word to go back, or with another policy.',
      entry: ['tellRefused', 'show'],
    },
    reverting: {
      description:
        'Every step back is issued; nothing is refused here. Ends when all that counts was healthy for a while, or with its time.',
      initial: 'watching',
      always: { guard: 'nothing was changed', target: 'settled', actions: ['tellConfirmed', 'acceptWhatRuns'] },
      after: { timeout: { target: 'settled', actions: ['tellConfirmed', 'acceptWhatRuns'] } },
      states: PROVING,
    },
    left: {
      description:
        'Nothing is started, stopped or changed; what runs is only looked at (safe mode). Ends with the next policy.',
      initial: 'looking',
      on: { 'component.reported': { actions: 'noteReport' } },
      states: {
        looking: {
          description: 'Looking at what is on record. Ends with what was seen.',
          invoke: {
            src: 'recorded',
            id: 'look',
            onDone: {
              target: 'resting',
              actions: [{ type: 'takeRecorded', params: ({ event }) => ({ recorded: event.output }) }, 'showRecorded'],
            },
            onError: { target: 'resting', actions: ['forgetRecorded', 'showRecorded'] },
          },
        },
        resting: { description: 'Between two looks. Ends after a while.', after: { lookEvery: 'looking' } },
      },
    },
    stopping: {
      description: 'Everything is being stopped, or let go of. Ends when nothing runs here any more, or after a while.',
      initial: 'deciding',
      after: { patience: 'stopped' },
      states: {
        deciding: {
          description: 'May what earlier starts left run on? Ends at once.',
          always: [{ guard: 'it is let go of', target: 'waiting' }, { target: 'surveying' }],
        },
        surveying: {
          description:
            'Looking for what an earlier start left and this one has not taken over yet. Ends with what is on record.',
          invoke: {
            src: 'recorded',
            id: 'recorded',
            onDone: {
              target: 'sweeping',
              actions: { type: 'takeRecorded', params: ({ event }) => ({ recorded: event.output }) },
            },
            onError: 'waiting',
          },
        },
        sweeping: {
          description: 'That is stopped, too. Ends when it is gone.',
          always: { guard: 'no strays are on record', target: 'waiting' },
          invoke: {
            src: 'sweep',
            id: 'sweep',
            input: ({ context }) => ({ ids: straysIn(context) }),
            onDone: 'waiting',
            onError: 'waiting',
          },
        },
        waiting: {
          description: 'The components end, each in its own time. Ends when the last one has.',
          always: { guard: 'nothing runs', target: '#components.stopped' },
        },
      },
    },
    stopped: {
      description: 'Nothing runs here any more. Ends with the next policy.',
      entry: ['tellStopped', 'show'],
    },
  },
});

/** A policy or an action arrives while all is well. */
import {
  BAD,
  BASIC,
  CHANGE,
  DRAIN,
  FIRST_RUNS,
  REPLAY,
  RESTARTS,
  ROLLBACK,
  rejected,
  type Scenario,
  SECOND,
  SECOND_RUNS,
  settledOn,
  UNTOUCHED,
} from '../scenario.ts';

const sends = (act: Scenario['steps'][number]['act']) => ({
  steps: [{ waitsFor: 'settled on the first', when: settledOn(2), act }],
  from: 0,
});

export const DELIVERIES: readonly Scenario[] = [
  {
    name: 'first policy',
    base: 'enrolled',
    steps: [],
    settled: settledOn(2),
    outcome: { generations: [2], rejected: [], acked: ['policy:web:2'], runs: FIRST_RUNS, uninterrupted: BASIC },
    undisturbed: [...REPLAY, ...CHANGE],
  },
  {
    name: 'change with a reload and a restart',
    base: 'first',
    ...sends((stage) => stage.policy(SECOND)),
    settled: settledOn(3),
    outcome: {
      generations: [3, 2],
      rejected: [],
      acked: ['policy:web:2', 'policy:web:3'],
      runs: SECOND_RUNS,
      uninterrupted: [UNTOUCHED],
    },
    undisturbed: ['running.checkin', ...CHANGE],
  },
  {
    name: 'bad policy, rolled back',
    base: 'first',
    ...sends((stage) => stage.policy(BAD)),
    settled: rejected(3),
    outcome: {
      generations: [2],
      rejected: [3],
      acked: ['policy:web:2'],
      runs: FIRST_RUNS,
      uninterrupted: [UNTOUCHED],
    },
    undisturbed: ['running.checkin', ...ROLLBACK],
  },
  {
    name: 'policy that a check refuses',
    base: 'first',
    ...sends((stage) => stage.policy([...SECOND, { id: 'd', type: 'checked', config: 'refuse' }])),
    settled: rejected(3),
    outcome: {
      generations: [2],
      rejected: [3],
      acked: ['policy:web:2'],
      runs: FIRST_RUNS,
      uninterrupted: BASIC,
    },
    undisturbed: ['running.checkin', ...ROLLBACK],
  },
  {
    name: 'policy with a component less',
    base: 'first',
    ...sends((stage) => stage.policy(SECOND.slice(0, 2))),
    settled: (status) => settledOn(3, BASIC.slice(0, 2))(status) && typeof status.pids[UNTOUCHED] !== 'number',
    outcome: {
      generations: [3, 2],
      rejected: [],
      acked: ['policy:web:2', 'policy:web:3'],
      runs: { 'reloads-default-a': 'two', [RESTARTS]: 'two' },
      uninterrupted: [],
    },
    undisturbed: ['running.checkin', ...CHANGE],
  },
  {
    name: 'change in an encrypted home',
    base: 'sealed',
    apart: true,
    ...sends((stage) => stage.policy(SECOND)),
    settled: settledOn(3),
    outcome: {
      generations: [3, 2],
      rejected: [],
      acked: ['policy:web:2', 'policy:web:3'],
      runs: SECOND_RUNS,
      uninterrupted: [UNTOUCHED],
    },
    undisturbed: ['running.checkin', ...CHANGE],
  },
  {
    name: 'reassignment to another policy',
    base: 'first',
    ...sends(async (stage) => {
      await stage.fleet.policyText(JSON.stringify({ outputs: { default: { type: 'none' } }, inputs: SECOND }), 'web2');
      await stage.send('POLICY_REASSIGN', { data: '{"policy_id":"web2"}' });
    }),
    settled: (status) => settledOn(1)(status) && status.policy.acked?.id === 'web2',
    outcome: {
      generations: ['web2:1', 2],
      rejected: [],
      acked: ['policy:web:2', 'action', 'policy:web2:1'],
      runs: SECOND_RUNS,
      uninterrupted: [UNTOUCHED],
    },
    undisturbed: ['running.checkin', ...CHANGE],
  },
  {
    name: 'action SETTINGS',
    base: 'first',
    ...sends((stage) => stage.send('SETTINGS', { data: '{"log_level":"debug"}' })),
    settled: (status, stage) => settledOn(2)(status) && stage.fleet.agent().actions.acked === 1,
    outcome: {
      generations: [2],
      rejected: [],
      acked: ['policy:web:2', 'action'],
      runs: FIRST_RUNS,
      logLevel: 'debug',
      uninterrupted: BASIC,
    },
    undisturbed: ['running.checkin'],
  },
  {
    name: 'unenrollment',
    base: 'first',
    ...sends((stage) => stage.send('UNENROLL', {})),
    settled: ({ state, actions, pids }) =>
      state === 'unenrolled' && actions.outbox === 0 && Object.values(pids).every((pid) => pid === null),
    outcome: {
      generations: [2],
      rejected: [],
      acked: ['policy:web:2', 'action'],
      runs: {},
      unenrolled: true,
      uninterrupted: [],
    },
    undisturbed: ['running.checkin', 'unenrolled'],
  },
  {
    name: 'unenrollment asked for at the agent',
    base: 'first',
    ...sends((stage) =>
      stage.insist(
        () => stage.control.unenroll('the test says so'),
        ({ state }) => state === 'unenrolled',
      ),
    ),
    settled: ({ state, actions, pids }, { fleet }) =>
      state === 'unenrolled' &&
      actions.outbox === 0 &&
      Object.values(pids).every((pid) => pid === null) &&
      fleet.requests.some(({ kind, status }) => kind === 'audit' && status === 200),
    outcome: {
      generations: [2],
      rejected: [],
      acked: ['policy:web:2'],
      runs: {},
      unenrolled: true,
      uninterrupted: [],
    },
    undisturbed: ['running.checkin', 'unenrolled'],
  },
  {
    name: 'drain',
    base: 'first',
    ...sends((stage) => stage.drain()),
    settled: (status, stage) => stage.drained && settledOn(2)(status),
    outcome: { generations: [2], rejected: [], acked: ['policy:web:2'], runs: FIRST_RUNS, uninterrupted: [] },
    undisturbed: ['running.checkin', ...DRAIN],
  },
  {
    name: 'drain that leaves the components running',
    base: 'first',
    settings: { components: { on_exit: 'keep' } },
    ...sends((stage) => stage.drain()),
    settled: (status, stage) => stage.drained && settledOn(2)(status),
    outcome: {
      generations: [2],
      rejected: [],
      acked: ['policy:web:2'],
      runs: FIRST_RUNS,
      uninterrupted: BASIC,
      kept: true,
    },
    undisturbed: ['running.checkin', ...DRAIN],
  },
  {
    name: 'restart within the process',
    base: 'first',
    ...sends((stage) => stage.restart()),
    settled: (status, stage) => stage.restarted && settledOn(2)(status),
    outcome: { generations: [2], rejected: [], acked: ['policy:web:2'], runs: FIRST_RUNS, uninterrupted: [] },
    undisturbed: ['running.checkin', ...DRAIN, ...REPLAY],
  },
];

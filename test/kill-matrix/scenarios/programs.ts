/** A component does what programs do: dies, falls ill, is slow, deaf, or hopeless. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { homePaths } from '../../../src/services/home.ts';
import {
  BASIC,
  CHANGE,
  FIRST,
  FIRST_RUNS,
  ON_FIRST,
  REPLAY,
  RESTARTS,
  ROLLBACK,
  rejected,
  type Scenario,
  settledOn,
  whenSettledOn,
} from '../scenario.ts';
import { SPECS } from '../specs.ts';
import type { Stage } from '../stage.ts';

const PROBED = 'probed-default-d';

/** The first policy with one component more: `<type>-default-d`. */
const withOneMore = (type: string, config: string) => (stage: Stage) =>
  stage.policy([...FIRST, { id: 'd', type, config }]);

const grown = (type: string, config: string, revision: number): Scenario['outcome'] => {
  const revisions = Array.from({ length: revision - 1 }, (_, at) => revision - at);
  return {
    generations: revisions,
    rejected: [],
    acked: revisions.toReversed().map((each) => `policy:web:${each}`),
    runs: { ...FIRST_RUNS, [`${type}-default-d`]: config },
    uninterrupted: BASIC,
  };
};

export const PROGRAMS: readonly Scenario[] = [
  {
    name: 'component that dies and comes back',
    base: 'first',
    steps: [whenSettledOn(2, (stage) => stage.endComponent(RESTARTS))],
    from: 0,
    settled: (status, stage) =>
      settledOn(2)(status) && stage.events(RESTARTS).filter((line) => line.startsWith('started')).length > 2,
    outcome: {
      ...ON_FIRST,
      uninterrupted: BASIC.filter((id) => id !== RESTARTS),
    },
    undisturbed: ['running.checkin'],
  },
  {
    name: 'component that fails for good, and a policy that mends it',
    base: 'first',
    steps: [
      whenSettledOn(2, withOneMore('restarts', 'crash')),
      {
        waitsFor: 'a component that is given up',
        when: ({ policy: { acked }, components }) =>
          acked?.revision === 3 && components['restarts-default-d'] === 'failed',
        act: withOneMore('restarts', 'one'),
      },
    ],
    from: 0,
    settled: settledOn(4, [...BASIC, 'restarts-default-d']),
    outcome: grown('restarts', 'one', 4),
    undisturbed: ['running.checkin', ...CHANGE, ...CHANGE],
  },
  {
    name: 'component that is ready late',
    base: 'first',
    steps: [whenSettledOn(2, withOneMore('slow', 'slow'))],
    from: 0,
    settled: settledOn(3, [...BASIC, 'slow-default-d']),
    outcome: grown('slow', 'slow', 3),
    undisturbed: ['running.checkin', ...CHANGE],
  },
  {
    name: 'component that falls ill and gets well',
    base: 'first',
    steps: [
      whenSettledOn(2, withOneMore('probed', 'one')),
      whenSettledOn(3, (stage) => stage.sicken(PROBED), [...BASIC, PROBED]),
      {
        waitsFor: 'Fleet told of the sick component',
        when: ({ components }, stage) => components[PROBED] === 'degraded' && stage.reported(PROBED) === 'DEGRADED',
        act: (stage) => stage.heal(PROBED),
      },
    ],
    from: 0,
    settled: settledOn(3, [...BASIC, PROBED]),
    outcome: grown('probed', 'one', 3),
    undisturbed: ['running.checkin', ...CHANGE],
  },
  {
    name: 'reload that nothing confirms',
    base: 'first',
    settings: { components: { stay_up: '60ms' } },
    steps: [
      whenSettledOn(2, withOneMore('silent', 'one')),
      whenSettledOn(3, withOneMore('silent', 'two'), [...BASIC, 'silent-default-d']),
    ],
    from: 1,
    settled: settledOn(4, [...BASIC, 'silent-default-d']),
    outcome: grown('silent', 'two', 4),
    undisturbed: ['running.checkin', ...CHANGE],
  },
  {
    name: 'reload and signal to stop that are not heard, rolled back',
    base: 'first',
    steps: [
      whenSettledOn(2, withOneMore('deaf', 'deaf one')),
      whenSettledOn(3, withOneMore('deaf', 'deaf two'), [...BASIC, 'deaf-default-d']),
    ],
    from: 1,
    settled: rejected(4, [...BASIC, 'deaf-default-d']),
    outcome: { ...grown('deaf', 'deaf one', 3), rejected: [4] },
    undisturbed: ['running.checkin', ...ROLLBACK],
  },
  {
    name: 'spec that cannot be used, and then can',
    base: 'first',
    settings: { components: { look_every: '60ms' } },
    before: async (stage) => writeSpec(stage, '{"version": 2, "inputs": ['),
    steps: [
      {
        waitsFor: 'a component that cannot be carried out',
        when: ({ path, components }) => path.policy === 'checkin' && components[RESTARTS] === 'healthy',
        act: (stage) => writeSpec(stage, SPECS.reloads ?? ''),
      },
    ],
    settled: settledOn(2),
    outcome: { ...ON_FIRST, uninterrupted: BASIC },
    undisturbed: REPLAY,
  },
];

function writeSpec(stage: Stage, text: string): void {
  writeFileSync(join(homePaths(stage.home).specs, 'reloads.spec.yml'), text);
}

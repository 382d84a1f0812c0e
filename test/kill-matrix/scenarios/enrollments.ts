/** An agent that is not enrolled yet becomes one. */
import { isEnroll } from '../../e2e/support/fleet.ts';
import { BASIC, CHANGE, ON_FIRST, REPLAY, type Scenario, settledOn, type Way, waysAfter } from '../scenario.ts';

const ASKS: Way = ['preparing', 'requesting'].map((state) => `enrollment.${state}`);
const ADOPTS: Way = ['adopting', 'enrolled'].map((state) => `enrollment.${state}`);
const LOST: Way = ['weighing', 'waiting'].map((state) => `running.orphaned.${state}`);
const AGAIN: Way = ['enrollment.backingOff', 'enrollment.requesting'];

const ENROLLS = {
  base: 'bare',
  before: async ({ fleet }) => fleet.answer(isEnroll, () => Response.json({ statusCode: 503 }, { status: 503 })),
  steps: [],
  settled: settledOn(2),
  outcome: { ...ON_FIRST, uninterrupted: BASIC },
  undisturbed: [...ASKS, ...AGAIN, ...ADOPTS, ...REPLAY, ...CHANGE],
  ways: (disk, scenario) => {
    const ways = waysAfter(disk, scenario);
    // An identity without a record may be one that has lost it: Fleet is asked for everything.
    if (disk.enrolled && disk.facts === null) return [[...REPLAY, ...LOST, ...CHANGE]];
    // Fleet refuses one request, and nobody knows from the disk whether that was before the kill.
    return disk.enrolled
      ? ways
      : ways.flatMap((way) => [
          [...ASKS, ...AGAIN, ...ADOPTS, ...way],
          [...ASKS, ...ADOPTS, ...way],
        ]);
  },
} as const satisfies Omit<Scenario, 'name'>;

export const ENROLLMENTS: readonly Scenario[] = [
  { ...ENROLLS, name: 'enrollment that Fleet refuses at first' },
  {
    ...ENROLLS,
    name: 'enrollment into an encrypted home',
    apart: true,
    settings: { encryption: { key: 'generated' } },
  },
];

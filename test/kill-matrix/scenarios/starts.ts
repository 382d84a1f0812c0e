/** How a start finds things: as they were left, after a crash, damaged, or after too many crashes. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { homePaths } from '../../../src/services/home.ts';
import type { Kill } from '../life.ts';
import {
  BASIC,
  BOOT,
  begins,
  CHANGE,
  DRAIN,
  FIRST,
  FIRST_RUNS,
  isUnenrolled,
  ON_FIRST,
  ON_SECOND,
  ORPHANED,
  REPLAY,
  REPLAY_AFTER_A_CRASH,
  type Scenario,
  SECOND,
  settledOn,
  UNTOUCHED,
  type Way,
  waysAfter,
} from '../scenario.ts';
import type { Disk, Stage } from '../stage.ts';

const RECOVERS_SOON = { safe_mode: { initial: '600ms', max: '1s' } };
const RECOVERS_LATE = { safe_mode: { initial: '1h', max: '1h' } };
/** As in the settings. */
const ATTEMPTS = 3;

/** Lives that end at this place, one after the other. */
async function killedAt(stage: Stage, kill: Kill, times = 1): Promise<void> {
  for (let left = times; left > 0; left -= 1) await stage.start(kill).ended;
}

const diesInEveryReplay = (stage: Stage) => killedAt(stage, { state: 'in agent.replay' }, ATTEMPTS);

const SAFE_MODE: Way = [...BOOT, 'crashed', 'safeMode'];

/** Whether the next start finds its attempts spent. Its time may be over by then, and then it is as if there had been none. */
const startsAreSpent = ({ facts }: Disk): boolean =>
  facts !== null && (facts.safeMode !== null || (facts.generations[facts.runs]?.attempts ?? 0) >= ATTEMPTS);

function safeModeIn(begin: Way): Way {
  return [...begin.slice(0, begin.indexOf('restore')), 'safeMode'];
}

export const STARTS: readonly Scenario[] = [
  {
    name: 'replay',
    base: 'first',
    steps: [],
    settled: settledOn(2),
    outcome: { ...ON_FIRST, uninterrupted: BASIC },
    undisturbed: REPLAY,
  },
  {
    name: 'adoption after a crash',
    base: 'first',
    before: async (stage) => {
      const life = stage.start(null);
      await stage.until(settledOn(2), 'settled before it is killed');
      life.signal('SIGKILL');
      await life.ended;
    },
    steps: [],
    settled: settledOn(2),
    outcome: { ...ON_FIRST, uninterrupted: BASIC },
    undisturbed: REPLAY_AFTER_A_CRASH,
  },
  {
    name: 'stray of a policy that was on trial',
    base: 'first',
    before: async (stage) => {
      await stage.policy([...FIRST, { id: 'd', type: 'restarts', config: 'one' }]);
      await killedAt(stage, { state: 'in components.confirming.stable' });
    },
    steps: [],
    settled: settledOn(3, [...BASIC, 'restarts-default-d']),
    outcome: {
      generations: [3, 2],
      rejected: [],
      acked: ['policy:web:2', 'policy:web:3'],
      runs: { ...FIRST_RUNS, 'restarts-default-d': 'one' },
      uninterrupted: BASIC,
    },
    undisturbed: [...REPLAY_AFTER_A_CRASH, ...CHANGE],
  },
  {
    name: 'crash while an answer was read',
    base: 'first',
    before: async (stage) => {
      await stage.policy(SECOND);
      await killedAt(stage, { state: 'in gateway.decoding' });
    },
    steps: [],
    settled: settledOn(3),
    outcome: {
      ...ON_SECOND,
      uninterrupted: [UNTOUCHED],
    },
    undisturbed: [...REPLAY_AFTER_A_CRASH, ...CHANGE],
  },
  {
    name: 'crash while it was being unenrolled',
    base: 'first',
    before: async (stage) => {
      await stage.send('UNENROLL', {});
      await killedAt(stage, { state: 'in agent.unenrolled' });
    },
    steps: [],
    settled: isUnenrolled,
    outcome: {
      ...ON_FIRST,
      acked: ['policy:web:2', 'action'],
      runs: {},
      unenrolled: true,
      uninterrupted: [],
    },
    undisturbed: [...BOOT, 'unenrolled'],
  },
  {
    name: 'safe mode, left by itself',
    base: 'first',
    settings: RECOVERS_SOON,
    before: diesInEveryReplay,
    steps: [],
    settled: settledOn(2),
    outcome: { ...ON_FIRST, uninterrupted: [] },
    undisturbed: [...SAFE_MODE, ...DRAIN, ...REPLAY],
    ways: (disk) => {
      const begin = begins(disk);
      return startsAreSpent(disk) ? [[...safeModeIn(begin), ...DRAIN, ...REPLAY], begin] : [begin];
    },
  },
  {
    name: 'safe mode, left for a new policy',
    base: 'first',
    settings: RECOVERS_LATE,
    before: diesInEveryReplay,
    steps: [
      {
        waitsFor: 'safe mode',
        when: ({ state, policy }) => state === 'safeMode' || policy.received?.revision === 3,
        act: (stage) => stage.policy(SECOND),
      },
    ],
    settled: settledOn(3),
    outcome: {
      ...ON_SECOND,
      uninterrupted: [],
    },
    undisturbed: [...SAFE_MODE, ...CHANGE],
    ways: (disk, scenario) =>
      startsAreSpent(disk) ? [[...safeModeIn(begins(disk)), ...CHANGE]] : waysAfter(disk, scenario),
  },
  {
    name: 'policy passed over, then tried again by itself',
    base: 'second',
    settings: RECOVERS_SOON,
    before: diesInEveryReplay,
    steps: [],
    settled: settledOn(3),
    outcome: {
      ...ON_SECOND,
      uninterrupted: [],
    },
    undisturbed: [...REPLAY_AFTER_A_CRASH, ...DRAIN, ...REPLAY],
    ways: (disk) => {
      const begin = begins(disk);
      const isPassedOver = disk.facts !== null && disk.facts.runs > 0;
      return isPassedOver || startsAreSpent(disk) ? [[...begin, ...DRAIN, ...REPLAY], begin] : [begin];
    },
  },
  {
    name: 'quarantine of a damaged last good and a damaged slot',
    base: 'second',
    before: damage,
    steps: [],
    settled: settledOn(3),
    outcome: {
      ...ON_SECOND,
      uninterrupted: [UNTOUCHED],
    },
    undisturbed: [...REPLAY, ...ORPHANED, ...CHANGE],
  },
];

/** One bit of last good's bytes, and some of the slot with the older record. */
async function damage(stage: Stage): Promise<void> {
  const { facts } = await stage.disk();
  const paths = homePaths(stage.home);
  const object = join(paths.objects, facts?.generations[0]?.hash ?? '');
  const bytes = await readFile(object);
  bytes.writeUInt8(bytes.readUInt8(bytes.length >> 1) ^ 1, bytes.length >> 1);
  await writeFile(object, bytes);
  for (const slot of paths.slots) {
    const before = await readFile(slot);
    await writeFile(slot, Buffer.concat([before.subarray(0, 100), Buffer.alloc(before.length - 100)]));
    if (JSON.stringify((await stage.disk()).facts) === JSON.stringify(facts)) break;
    await writeFile(slot, before);
  }
  if ((await readdir(paths.quarantine).catch(() => [])).length > 0) throw new Error('damaged already');
}

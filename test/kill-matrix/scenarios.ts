/** The scenarios of the kill matrix: what happens to an agent, in steps that a killed agent comes back to, and exactly what is left in the end. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { homePaths } from '../../src/services/home.ts';
import type { LifeStatus } from './life.ts';
import type { Disk, Stage } from './stage.ts';

export const RELOADS = 'reloads-default-a';
export const RESTARTS = 'restarts-default-b';
export const UNTOUCHED = 'restarts-default-c';

export interface Step {
  readonly waitsFor: string;
  readonly when: (status: LifeStatus, stage: Stage) => boolean;
  readonly act: (stage: Stage) => Promise<unknown> | unknown;
}

/** What must be true when all is done and the agent has said goodbye. */
export interface Outcome {
  /** Revisions of the generations, newest first. */
  readonly generations: readonly number[];
  readonly rejected: readonly number[];
  /** Action ids of all acks that the server took, without repetitions, in the order of their first coming. */
  readonly acked: readonly string[];
  /** Acks that say what failed; the others must not. */
  readonly failed?: readonly string[];
  /** What each component runs, before it is stopped for good. */
  readonly runs: Readonly<Record<string, string>>;
  readonly logLevel?: string;
  readonly unenrolled?: true;
  /** Components that go through the whole scenario as the process that they were at the kill, if they were sound then. */
  readonly uninterrupted: readonly string[];
}

export interface Scenario {
  readonly name: string;
  readonly base: BaseName;
  /** Played by a first life that is not killed by the matrix. */
  readonly before?: (stage: Stage) => Promise<void>;
  readonly steps: readonly Step[];
  /** Kill points from the instant on at which this step was taken; absent: from the start of the life. */
  readonly from?: number;
  readonly settled: (status: LifeStatus, stage: Stage) => boolean;
  readonly outcome: Outcome;
  /** The root chart's way in the life that nothing disturbs, from `from` on. */
  readonly undisturbed: readonly string[];
}

export type BaseName = 'enrolled' | 'first' | 'second';

const policy = (a: string, b: string, c = 'one') => [
  { id: 'a', type: 'reloads', config: a },
  { id: 'b', type: 'restarts', config: b },
  { id: 'c', type: 'restarts', config: c },
];

export const FIRST = policy('one', 'one');
export const SECOND = policy('two', 'two');
const BAD = policy('crash', 'two');

/** This revision is held, acked and run, and every component is there. */
export const settledOn =
  (revision: number) =>
  ({ policy: { running, persisted, acked }, health, actions, path, pids, state }: LifeStatus): boolean =>
    state === 'running' &&
    isThere(pids) &&
    [running, persisted, acked].every((one) => one?.revision === revision) &&
    actions.outbox === 0 &&
    path.policy === 'checkin' &&
    health === 'healthy';

const isThere = (pids: LifeStatus['pids']): boolean =>
  [RELOADS, RESTARTS, UNTOUCHED].every((id) => typeof pids[id] === 'number');

const FIRST_RUNS = { [RELOADS]: 'one', [RESTARTS]: 'one', [UNTOUCHED]: 'one' };
const SECOND_RUNS = { [RELOADS]: 'two', [RESTARTS]: 'two', [UNTOUCHED]: 'one' };
const WEB = ['policy:web:2'];

const BOOT = ['boot.opening', 'boot.spending', 'boot.deciding'];
const CHANGE = [
  'running.checkin',
  'running.apply.reading',
  'running.apply.confirming',
  'running.persist',
  'running.ack',
  'running.checkin',
];
const ROLLBACK = [
  ...['judging', 'restoring', 'reverting'].map((state) => `running.rollback.${state}`),
  'running.checkin',
];
const ORPHANED = [
  'running.checkin',
  ...['weighing', 'repairing', 'verifying', 'waiting'].map((state) => `running.orphaned.${state}`),
];
const DRAIN = ['draining.stoppingComponents', 'draining.sayingGoodbye', 'draining.closingStore', 'stopped'];

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'first policy',
    base: 'enrolled',
    steps: [],
    settled: settledOn(2),
    outcome: {
      generations: [2],
      rejected: [],
      acked: WEB,
      runs: FIRST_RUNS,
      uninterrupted: [RELOADS, RESTARTS, UNTOUCHED],
    },
    undisturbed: [...BOOT, 'restore', 'replay', ...CHANGE],
  },
  {
    name: 'replay',
    base: 'first',
    steps: [],
    settled: settledOn(2),
    outcome: {
      generations: [2],
      rejected: [],
      acked: WEB,
      runs: FIRST_RUNS,
      uninterrupted: [RELOADS, RESTARTS, UNTOUCHED],
    },
    undisturbed: [...BOOT, 'restore', 'replay', 'running.checkin'],
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
    outcome: {
      generations: [2],
      rejected: [],
      acked: WEB,
      runs: FIRST_RUNS,
      uninterrupted: [RELOADS, RESTARTS, UNTOUCHED],
    },
    undisturbed: [...BOOT, 'crashed', 'restore', 'replay', 'running.checkin'],
  },
  {
    name: 'change with a reload and a restart',
    base: 'first',
    steps: [{ waitsFor: 'settled on the first', when: settledOn(2), act: (stage) => stage.policy(SECOND) }],
    from: 0,
    settled: settledOn(3),
    outcome: {
      generations: [3, 2],
      rejected: [],
      acked: [...WEB, 'policy:web:3'],
      runs: SECOND_RUNS,
      uninterrupted: [UNTOUCHED],
    },
    undisturbed: CHANGE,
  },
  {
    name: 'bad policy, rolled back',
    base: 'first',
    steps: [{ waitsFor: 'settled on the first', when: settledOn(2), act: (stage) => stage.policy(BAD) }],
    from: 0,
    settled: ({ policy, path, health, actions, pids }) =>
      isThere(pids) &&
      policy.rejected[0]?.revision === 3 &&
      policy.running?.revision === 2 &&
      path.policy === 'checkin' &&
      actions.outbox === 0 &&
      health !== 'starting',
    outcome: { generations: [2], rejected: [3], acked: WEB, runs: FIRST_RUNS, uninterrupted: [UNTOUCHED] },
    undisturbed: [...CHANGE.slice(0, 3), ...ROLLBACK],
  },
  {
    name: 'action SETTINGS',
    base: 'first',
    steps: [
      {
        waitsFor: 'settled on the first',
        when: settledOn(2),
        act: (stage) => stage.send('SETTINGS', { data: '{"log_level":"debug"}' }),
      },
    ],
    from: 0,
    settled: (status, stage) => settledOn(2)(status) && stage.fleet.agent().actions.acked === 1,
    outcome: {
      generations: [2],
      rejected: [],
      acked: [...WEB, 'action'],
      runs: FIRST_RUNS,
      logLevel: 'debug',
      uninterrupted: [RELOADS, RESTARTS, UNTOUCHED],
    },
    undisturbed: ['running.checkin'],
  },
  {
    name: 'drain',
    base: 'first',
    steps: [{ waitsFor: 'settled on the first', when: settledOn(2), act: (stage) => stage.drain() }],
    from: 0,
    settled: (status, stage) => stage.drained && settledOn(2)(status),
    outcome: { generations: [2], rejected: [], acked: WEB, runs: FIRST_RUNS, uninterrupted: [] },
    undisturbed: ['running.checkin', ...DRAIN],
  },
  {
    name: 'unenrollment',
    base: 'first',
    steps: [{ waitsFor: 'settled on the first', when: settledOn(2), act: (stage) => stage.send('UNENROLL', {}) }],
    from: 0,
    settled: ({ state, actions, pids }) =>
      state === 'unenrolled' && actions.outbox === 0 && Object.values(pids).every((pid) => pid === null),
    outcome: {
      generations: [2],
      rejected: [],
      acked: [...WEB, 'action'],
      runs: {},
      unenrolled: true,
      uninterrupted: [],
    },
    undisturbed: ['running.checkin', 'unenrolled'],
  },
  {
    name: 'quarantine of a damaged last good and a damaged slot',
    base: 'second',
    before: damage,
    steps: [],
    settled: settledOn(3),
    outcome: {
      generations: [3, 2],
      rejected: [],
      acked: ['policy:web:2', 'policy:web:3'],
      runs: SECOND_RUNS,
      uninterrupted: [UNTOUCHED],
    },
    undisturbed: [...BOOT, 'restore', 'replay', ...ORPHANED, ...CHANGE.slice(1)],
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

/** The ways that the root chart may take in the life after the last kill, by what the disk held then. */
export function chainsAfter(scenario: Scenario, { facts, readable }: Disk): readonly (readonly string[])[] {
  const start = facts?.starts[0];
  const crashed = start !== undefined && !start.goodbye ? ['crashed'] : [];
  if (facts !== null && facts.unenrolled !== null) return [[...BOOT, 'unenrolled']];
  const begin = [...BOOT, ...crashed, 'restore', 'replay'];
  const lastGood = facts?.generations[0];
  const wanted = scenario.outcome.generations[0];
  const orphaned = lastGood !== undefined && !readable.includes(`web:${lastGood.revision}`);
  if (scenario.outcome.unenrolled) return [[...begin, 'running.checkin', 'unenrolled']];
  const isRejected = facts?.rejected.length === scenario.outcome.rejected.length;
  if (lastGood?.revision === wanted && !orphaned && isRejected) return [[...begin, 'running.checkin']];
  const rejects = scenario.outcome.rejected.length > 0;
  const rest = rejects ? [...CHANGE.slice(1, 3), ...ROLLBACK] : CHANGE.slice(1);
  const plain = [...begin, 'running.checkin', ...rest];
  return orphaned ? [[...begin, ...ORPHANED, ...rest], plain] : [plain];
}

/** What a scenario of the kill matrix is, and the words that scenarios are told in. */
import type { LifeStatus } from './life.ts';
import type { Disk, Stage, StageSettings } from './stage.ts';

export const RELOADS = 'reloads-default-a';
export const RESTARTS = 'restarts-default-b';
export const UNTOUCHED = 'restarts-default-c';
export const BASIC = [RELOADS, RESTARTS, UNTOUCHED];

export interface Step {
  readonly waitsFor: string;
  readonly when: (status: LifeStatus, stage: Stage) => boolean;
  readonly act: (stage: Stage) => Promise<unknown> | unknown;
}

/** What must be true when all is done and the agent has said goodbye. */
export interface Outcome {
  /** Revisions of the generations, newest first; of another policy than `web`: `<id>:<revision>`. */
  readonly generations: readonly (number | string)[];
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
  /** Everything runs on after the goodbye. */
  readonly kept?: true;
}

export type Way = readonly string[];

export interface Scenario {
  readonly name: string;
  readonly base: BaseName;
  /** Laid over those of the stage. */
  readonly settings?: StageSettings;
  /** Its operations are cases of their own, whatever other scenarios have: its files are not what theirs are. */
  readonly apart?: true;
  /** Played by lives that are not killed by the matrix. */
  readonly before?: (stage: Stage) => Promise<void>;
  readonly steps: readonly Step[];
  /** Kill points from the instant on at which this step was taken; absent: from the start of the life. */
  readonly from?: number;
  readonly settled: (status: LifeStatus, stage: Stage) => boolean;
  readonly outcome: Outcome;
  /** The root chart's way in the life that nothing disturbs, from `from` on. */
  readonly undisturbed: Way;
  /** The ways that it may take in the life after the last kill, by what the disk held then; absent: {@link waysAfter}. */
  readonly ways?: (disk: Disk, scenario: Scenario) => readonly Way[];
}

/** `bare`: not enrolled. `sealed`: settled on the first policy, with everything encrypted. */
export type BaseName = 'bare' | 'enrolled' | 'first' | 'second' | 'sealed';

export const policy = (a: string, b: string, c = 'one') => [
  { id: 'a', type: 'reloads', config: a },
  { id: 'b', type: 'restarts', config: b },
  { id: 'c', type: 'restarts', config: c },
];

export const FIRST = policy('one', 'one');
export const SECOND = policy('two', 'two');
export const BAD = policy('crash', 'two');

export const FIRST_RUNS = { [RELOADS]: 'one', [RESTARTS]: 'one', [UNTOUCHED]: 'one' };
export const SECOND_RUNS = { [RELOADS]: 'two', [RESTARTS]: 'two', [UNTOUCHED]: 'one' };

export const ON_FIRST = { generations: [2], rejected: [], acked: ['policy:web:2'], runs: FIRST_RUNS } as const;
export const ON_SECOND = {
  generations: [3, 2],
  rejected: [],
  acked: ['policy:web:2', 'policy:web:3'],
  runs: SECOND_RUNS,
} as const;

/** This revision is held, acked and run, and every one of these components is there and well. */
export const settledOn =
  (revision: number, components: readonly string[] = BASIC) =>
  ({
    policy: { running, persisted, acked },
    health,
    actions,
    path,
    pids,
    state,
    components: states,
  }: LifeStatus): boolean =>
    state === 'running' &&
    areThere(pids, components) &&
    components.every((id) => states[id] === 'healthy') &&
    [running, persisted, acked].every((one) => one?.revision === revision) &&
    actions.outbox === 0 &&
    path.policy === 'checkin' &&
    health === 'healthy';

/** A step that waits until {@link settledOn} holds. */
export const whenSettledOn = (revision: number, act: Step['act'], components = BASIC): Step => ({
  waitsFor: `settled on ${revision}`,
  when: settledOn(revision, components),
  act,
});

/** It is unenrolled, has said all that it owes, and nothing runs. */
export const isUnenrolled = ({ state, actions, pids }: LifeStatus): boolean =>
  state === 'unenrolled' && actions.outbox === 0 && Object.values(pids).every((pid) => pid === null);

/** This revision was rejected, and the one before it runs again. */
export const rejected =
  (revision: number, components: readonly string[] = BASIC) =>
  ({ policy: { running, rejected }, path, actions, components: states }: LifeStatus): boolean =>
    components.every((id) => states[id] === 'healthy') &&
    rejected[0]?.revision === revision &&
    running?.revision === revision - 1 &&
    path.policy === 'checkin' &&
    actions.outbox === 0;

export const areThere = (pids: LifeStatus['pids'], components: readonly string[]): boolean =>
  components.every((id) => typeof pids[id] === 'number');

export const BOOT: Way = ['boot.opening', 'boot.spending', 'boot.deciding'];
export const REPLAY: Way = [...BOOT, 'restore', 'replay', 'running.checkin'];
export const REPLAY_AFTER_A_CRASH: Way = [...BOOT, 'crashed', 'restore', 'replay', 'running.checkin'];
/** From `running.checkin`. */
export const CHANGE: Way = [
  'running.apply.reading',
  'running.apply.confirming',
  'running.persist',
  'running.ack',
  'running.checkin',
];
/** From `running.checkin`. */
export const ROLLBACK: Way = [
  'running.apply.reading',
  'running.apply.confirming',
  ...['judging', 'restoring', 'reverting'].map((state) => `running.rollback.${state}`),
  'running.checkin',
];
/** From `running.checkin`. */
export const ORPHANED: Way = ['weighing', 'repairing', 'verifying', 'waiting'].map(
  (state) => `running.orphaned.${state}`,
);
export const DRAIN: Way = ['draining.stoppingComponents', 'draining.sayingGoodbye', 'draining.closingStore', 'stopped'];

/**
 * By what the disk held at the kill: each generation that is still missing is one more change, and what is to be rejected and is not yet, one more
 * rollback.
 */
export function waysAfter(disk: Disk, { outcome }: Scenario): readonly Way[] {
  const { facts, readable } = disk;
  if (facts !== null && facts.unenrolled !== null) return [[...BOOT, 'unenrolled']];
  const begin = begins(disk);
  if (outcome.unenrolled) {
    // An action that is held already is carried out beside the replay.
    const isHeld = facts?.journal.some(({ type }) => type === 'UNENROLL') === true;
    return [[...begin, 'unenrolled'], ...(isHeld ? [[...begin.slice(0, -1), 'unenrolled']] : [])];
  }
  const lastGood = facts?.generations[0];
  const held = lastGood === undefined ? null : `${lastGood.id}:${lastGood.revision}`;
  const names = outcome.generations.map(nameOf);
  const missing = held === null ? names.length : Math.max(0, names.indexOf(held));
  const orphaned = held !== null && !readable.includes(held);
  const unjudged = outcome.rejected.length - (facts?.rejected.length ?? 0);
  const changes = Array<Way>(Math.max(missing, orphaned ? 1 : 0))
    .fill(CHANGE)
    .flat();
  const rest = [...changes, ...(unjudged > 0 ? ROLLBACK : [])];
  const plain = [...begin, ...rest];
  return orphaned ? [[...begin, ...ORPHANED, ...rest], plain] : [plain];
}

/** Up to `running.checkin`. */
export function begins({ facts }: Disk): Way {
  const [start] = facts?.starts ?? [];
  return start !== undefined && !start.goodbye ? REPLAY_AFTER_A_CRASH : REPLAY;
}

export function nameOf(generation: number | string): string {
  return typeof generation === 'number' ? `web:${generation}` : generation;
}

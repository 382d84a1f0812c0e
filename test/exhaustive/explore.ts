/** One scenario, explored: undisturbed, then every crash, then every crash during the recovery from each. */
import type { World } from '../../src/world.ts';
import type { Violation } from '../simulation/oracle.ts';
import { enrolledDisk } from '../simulation/world.ts';
import type { Scenario } from './scenarios.ts';
import { type Opening, type Point, Stage } from './stage.ts';
import { type Branch, branchNamed, brokenAt, Worlds, type Wreck, wreckOf } from './wreck.ts';

export interface Options {
  /** 1: no crash during recovery. */
  readonly depth: 1 | 2;
  readonly patch?: (world: World) => World;
  /** Broken promises after which to stop. */
  readonly brokenMost?: number;
}

export interface Broken {
  readonly scenario: string;
  readonly promise: string;
  readonly message: string;
  /** Names of the branches, the first crash first; none: it broke undisturbed. */
  readonly path: readonly string[];
  /** What the process was doing when it died. */
  readonly doing: readonly string[];
}

/** Plain data, so that workers can send it. */
export interface Explored {
  readonly scenario: string;
  readonly points: number;
  readonly raw: number;
  readonly distinct: number;
  readonly secondPoints: number;
  readonly secondRaw: number;
  readonly secondDistinct: number;
  /** Un-synced things that could be lost independently, at most at one point. */
  readonly openMost: number;
  readonly broken: readonly Broken[];
  readonly tookMs: number;
}

/** An agent that has enrolled and not begun. */
export async function beginning(): Promise<Opening> {
  const disk = (await enrolledDisk()).clone();
  return { disk, fleet: null, host: null, hostSettled: true, oracle: null, nowMs: 0, delivered: 0 };
}

export async function explore(scenario: Scenario, options: Options): Promise<Explored> {
  // An error of a simulated disk is made for each missing file; nobody reads its stack.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return await exploreAll(scenario, options);
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

async function exploreAll(scenario: Scenario, options: Options): Promise<Explored> {
  const beganAt = performance.now();
  const { depth, patch, brokenMost = 10 } = options;
  const broken: Broken[] = [];
  const report = (violations: readonly Violation[], branches: readonly Branch[]) => {
    const [first] = violations;
    if (first === undefined) return;
    const path = branches.map(({ name }) => name);
    const doing = branches.map(({ what }) => what);
    broken.push({ scenario: scenario.name, promise: first.promise, message: first.message, path, doing });
  };
  const isEnough = () => broken.length >= brokenMost;

  /** Plays on from a world; the wrecks of the points on the way. */
  const play = async (opening: Opening, branches: readonly Branch[], collects: boolean): Promise<Wreck[]> => {
    const wrecks: Wreck[] = [];
    const onPoint = (point: Point, at: Stage) => {
      wrecks.push(wreckOf(point, at));
    };
    const stage = new Stage(opening, { scenario, patch, ...(collects ? { onPoint } : {}) });
    // What an actor throws and nobody handles would be the end of a real process.
    const onThrown = (error: unknown) => stage.oracle.promise('P11', false, () => `thrown: ${error}`);
    process.on('uncaughtException', onThrown);
    const violations = await stage.play();
    process.off('uncaughtException', onThrown);
    report(violations, branches);
    return wrecks;
  };
  /** Every world that the wrecks can become and that was not met before. */
  async function* worldsOf(
    wrecks: readonly Wreck[],
    worlds: Worlds,
    before: readonly Branch[],
  ): AsyncGenerator<Branch> {
    for (const wreck of wrecks) {
      const violations = await brokenAt(wreck);
      const { point } = wreck;
      if (violations.length > 0)
        report(violations, [...before, { name: `${point.number}/kill`, what: point.what } as Branch]);
      yield* worlds.branchesOf(wreck);
    }
  }

  const wrecks = await play(await beginning(), [], true);
  const firsts = new Worlds();
  const branches: Branch[] = [];
  for await (const branch of worldsOf(wrecks, firsts, [])) branches.push(branch);
  const points = wrecks.length;
  wrecks.length = 0;

  const seconds = new Worlds(firsts);
  let secondPoints = 0;
  for (const branch of branches) {
    if (isEnough()) break;
    const after = await play(branch.opening, [branch], depth === 2);
    secondPoints += after.length;
    for await (const second of worldsOf(after, seconds, [branch])) {
      if (isEnough()) break;
      await play(second.opening, [branch, second], false);
    }
  }
  return {
    scenario: scenario.name,
    points,
    raw: firsts.raw,
    distinct: firsts.distinct,
    secondPoints,
    secondRaw: seconds.raw,
    secondDistinct: seconds.distinct,
    openMost: Math.max(firsts.openMost, seconds.openMost),
    broken,
    tookMs: performance.now() - beganAt,
  };
}

/** Plays the one way through a scenario that `path` names, with the trace of all of it. */
export async function replay(
  scenario: Scenario,
  path: readonly string[],
  patch?: (world: World) => World,
): Promise<{ readonly trace: readonly string[]; readonly violations: readonly Violation[] }> {
  const trace: string[] = [];
  let opening = await beginning();
  for (const name of [...path, null]) {
    let wreck: Wreck | null = null;
    const number = name === null ? null : Number.parseInt(name, 10);
    const stage = new Stage(opening, {
      scenario,
      patch,
      traced: true,
      onPoint: (point, at) => {
        if (point.number === number) wreck = wreckOf(point, at);
        if (point.number === number) at.note(`====== the agent dies here: ${name} ======`);
      },
    });
    const violations = await stage.play();
    const end = stage.trace.findIndex((line) => line.includes('====== the agent dies here'));
    trace.push(...(end < 0 ? stage.trace : stage.trace.slice(0, end + 1)));
    if (name === null || violations.length > 0) return { trace, violations };
    if (wreck === null) throw new Error(`${scenario.name} has no point ${name}`);
    const atOnce = await brokenAt(wreck);
    if (atOnce.length > 0) return { trace, violations: atOnce };
    const branch = branchNamed(wreck, name);
    if (branch === undefined) throw new Error(`point ${number} of ${scenario.name} has no branch ${name}`);
    opening = branch.opening;
  }
  throw new Error('a path ends');
}

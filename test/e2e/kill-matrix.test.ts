/** The kill matrix: SIGKILL of the real process at every state and every store operation that the scenarios lead to (P1, P2, P5, P6, P7, P9, P12). */

import { appendFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { type Bases, clear, prepare } from '../kill-matrix/bases.ts';
import { type Case, Enumeration, inParallel, type Recorded, shareOf } from '../kill-matrix/cases.ts';
import { NOT_COME_TO, STATES } from '../kill-matrix/charts.ts';
import type { Killed } from '../kill-matrix/life.ts';
import { type Played, play } from '../kill-matrix/play.ts';
import { programOf } from '../kill-matrix/program.ts';
import { SCENARIOS } from '../kill-matrix/scenarios.ts';

/** A pattern for the titles of cases, which begin with the names of their scenarios; absent: all. */
const ONLY = process.env.KILL_MATRIX_ONLY;
/** `all`; or the number of cases, taken evenly from all of them. */
const SHARE = process.env.KILL_MATRIX ?? '10';
/** The same for those with two kills. */
const TWICE = process.env.KILL_MATRIX_TWICE ?? String(SHARE === 'all' ? 200 : Number(SHARE) / 4);
const WORKERS = Number(process.env.KILL_MATRIX_WORKERS ?? availableParallelism() * 3);
/** A file to which each broken promise is added when it is seen. */
const REPORT = process.env.KILL_MATRIX_REPORT;
const LIMIT_MS = 3 * 60 * 60_000;

let program: string;
let bases: Bases;

beforeAll(async () => {
  program = await programOf(inject('main'));
  bases = await prepare(inject('main'), program);
});

afterAll(() => clear(bases));

test('wherever the agent is killed, and killed again, it ends where Fleet wants it, and no promise is broken on the way', {
  timeout: LIMIT_MS,
}, async () => {
  const matrix = new Matrix();
  const enumeration = new Enumeration();
  const scenarios = SCENARIOS.filter(({ name }) => ONLY === undefined || name.match(ONLY) || ONLY.startsWith(name));
  const undisturbed: Recorded[] = [];
  await matrix.play(
    scenarios.map((scenario) => ({ scenario, kills: [], title: scenario.name })),
    (life) => undisturbed.push(life),
  );
  undisturbed.sort((a, b) => scenarios.indexOf(a.scenario) - scenarios.indexOf(b.scenario));
  const states = new Set(undisturbed.flatMap((one) => one.states.map((state) => state.split(' ')[1])));
  const missing = STATES.filter((state) => !states.has(state));
  for (const state of missing) process.stdout.write(`no scenario comes to ${state}: ${NOT_COME_TO[state]}\n`);

  const first = enumeration.cases(undisturbed);
  const second: Case[] = [];
  await matrix.play(chosen(first, SHARE), (life) => second.push(...enumeration.cases([life])));
  await matrix.play(chosen(second, TWICE));
  process.stdout.write(
    `kill matrix: ${scenarios.length} scenarios through ${STATES.length - missing.length} of ${STATES.length} states, ` +
      `${first.length} places to kill and ${second.length} more in the lives after that; ${matrix.report()}\n`,
  );
  expect(matrix.failures).toEqual([]);
  if (ONLY === undefined) expect(missing.filter((state) => !(state in NOT_COME_TO))).toEqual([]);
});

function chosen(cases: readonly Case[], share: string): readonly Case[] {
  return shareOf(ONLY === undefined ? cases : cases.filter(({ title }) => title.match(ONLY)), share);
}

/** Plays cases, and counts. */
class Matrix {
  readonly failures: string[] = [];
  readonly #pairs = new Set<string>();
  readonly #states = new Set<string>();
  readonly #started = Date.now();
  #cases = 0;
  #kills = 0;
  #notReached = 0;

  /** `watched` is told of the life after the last kill of each. */
  async play(cases: readonly Case[], watched: (life: Recorded) => void = () => undefined): Promise<void> {
    await inParallel(cases, WORKERS, async ({ title, scenario, kills }) => {
      const { broken, killed, operations, states } = await played(title, () =>
        play(program, bases[scenario.base], scenario, kills),
      );
      watched({ scenario, after: kills, operations, states });
      this.failures.push(...broken);
      if (REPORT) appendFileSync(REPORT, broken.map((each) => `${each}\n\n`).join(''));
      this.#count(kills.length, killed);
    });
  }

  #count(planned: number, killed: readonly Killed[]): void {
    if (planned > 0) this.#cases += 1;
    if (this.#cases % 200 === 199) process.stdout.write(`${this.report()}\n`);
    if (killed.length < planned) this.#notReached += 1;
    this.#kills += killed.length;
    for (const { at, states } of killed) {
      for (const state of states) {
        this.#states.add(state);
        this.#pairs.add(`${state} × ${at}`);
      }
    }
  }

  report(): string {
    const seconds = Math.round((Date.now() - this.#started) / 1000);
    return (
      `${this.#cases} cases in ${seconds} s with ${WORKERS} workers: ${this.#kills} kills in ${this.#states.size} states, ` +
      `${this.#pairs.size} pairs of a state and a place; ${this.#notReached} cases ended before their last kill; ${this.failures.length} broken promises`
    );
  }
}

async function played(title: string, run: () => Promise<Played>): Promise<Played> {
  try {
    const result = await run();
    return { ...result, broken: result.broken.map((each) => `${title}: ${each}`) };
  } catch (error) {
    const broken = [`${title}: ${error instanceof Error ? error.message : error}`];
    return { broken, killed: [], operations: [], states: [], chain: [] };
  }
}

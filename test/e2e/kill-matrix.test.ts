/** The kill matrix: SIGKILL of the real process at every state and every store operation that the scenarios lead to (P1, P2, P5, P6, P7, P9, P12). */

import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { type Bases, clear, prepare } from '../kill-matrix/bases.ts';
import { enumerate, inParallel, type Recorded, shareOf, twice } from '../kill-matrix/cases.ts';
import { type Played, play } from '../kill-matrix/play.ts';
import { programOf } from '../kill-matrix/program.ts';
import { SCENARIOS } from '../kill-matrix/scenarios.ts';

/** `all`; or the number of cases, taken evenly from all of them. */
const SHARE = process.env.KILL_MATRIX ?? '10';
const WORKERS = Number(process.env.KILL_MATRIX_WORKERS ?? availableParallelism() * 3);
const LIMIT_MS = 60 * 60_000;

let program: string;
let bases: Bases;

beforeAll(async () => {
  program = await programOf(inject('main'));
  bases = await prepare(inject('main'), program);
});

afterAll(() => clear(bases));

test('wherever the agent is killed, it ends where Fleet wants it, and no promise is broken on the way', {
  timeout: LIMIT_MS,
}, async () => {
  const failures: string[] = [];
  const recorded: Recorded[] = [];
  await inParallel(SCENARIOS, WORKERS, async (scenario) => {
    const { operations, states, broken } = await played(scenario.name, () =>
      play(program, bases[scenario.base], scenario, [], true),
    );
    recorded.push({ scenario, operations, states });
    failures.push(...broken);
  });
  recorded.sort((a, b) => SCENARIOS.indexOf(a.scenario) - SCENARIOS.indexOf(b.scenario));
  const all = enumerate(recorded);
  const cases = [...all, ...twice(all, 12)];
  const only = process.env.KILL_MATRIX_ONLY;
  const share = only === undefined ? shareOf(cases, SHARE) : cases.filter(({ title }) => title.includes(only));
  const started = Date.now();
  const tally = { notReached: 0, kills: 0, pairs: new Set<string>(), states: new Set<string>() };
  await inParallel(share, WORKERS, async ({ title, scenario, kills }) => {
    const { broken, killed } = await played(title, () => play(program, bases[scenario.base], scenario, kills));
    failures.push(...broken);
    if (killed.length < kills.length) tally.notReached += 1;
    tally.kills += killed.length;
    for (const { at, states } of killed) {
      for (const state of states) {
        tally.states.add(state);
        tally.pairs.add(`${state} × ${at}`);
      }
    }
  });
  const seconds = Math.round((Date.now() - started) / 1000);
  process.stdout.write(
    `kill matrix: ${share.length} of ${cases.length} cases in ${seconds} s with ${WORKERS} workers: ${tally.kills} kills in ${tally.states.size} states, ` +
      `${tally.pairs.size} pairs of a state and a place; ${tally.notReached} cases ended before their last kill; ${failures.length} broken promises\n`,
  );
  if (process.env.KILL_MATRIX_REPORT) writeFileSync(process.env.KILL_MATRIX_REPORT, failures.join('\n\n'));
  expect(failures).toEqual([]);
});

async function played(title: string, run: () => Promise<Played>): Promise<Played> {
  try {
    const result = await run();
    return { ...result, broken: result.broken.map((each) => `${title}: ${each}`) };
  } catch (error) {
    const broken = [`${title}: ${error instanceof Error ? error.message : error}`];
    return { broken, killed: [], operations: [], states: [], chain: [] };
  }
}

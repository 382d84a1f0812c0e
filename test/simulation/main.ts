/**
 * `npm run simulate -- --seeds N [--from S] [--scenario NAME] [--seconds T]`: that many worlds, what was covered, and how fast. A failing world prints its seed, the
 * shortest schedule that still fails, and the command that replays it: `npm run simulate -- --seed S --scenario NAME [--only 0,3]`.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { argumentsOf, refuse, wholeNumber } from './arguments.ts';
import { emptyTally, type Failure, merge, scenarioOf, shrink, type Tally, tableOf } from './campaign.ts';
import { type Happening, SCENARIOS, type Scenario, scheduleOf } from './schedule.ts';
import { runWorld } from './world.ts';

/** Seeds a worker is given at a time. */
const BATCH = 10;
const PROGRESS_EVERY_MS = 10_000;
/** Failing worlds that are shrunk and shown. */
const SHOWN = 3;

const USAGE = `npm run simulate -- [--seeds N] [--from S] [--scenario NAME] [--seconds T] [--workers N]
  runs the worlds of N seeds (1000) from S (0) on, for at most T seconds
npm run simulate -- --seed S [--scenario NAME] [--only 0,3]
  replays one world, with those of its happenings only, and prints its trace
scenarios: ${SCENARIOS.join(', ')}`;

const values = argumentsOf(USAGE, {
  seeds: { type: 'string', default: '1000' },
  from: { type: 'string', default: '0' },
  scenario: { type: 'string' },
  seconds: { type: 'string' },
  seed: { type: 'string' },
  only: { type: 'string' },
  workers: { type: 'string', default: String(availableParallelism()) },
});
const numberOf = (name: string, text: string, least: number) => wholeNumber(name, text, least, USAGE);

function scenarioAsked(): Scenario | null {
  if (values.scenario === undefined) return null;
  const scenario = SCENARIOS.find((one) => one === values.scenario);
  return scenario ?? refuse(`there is no scenario ${values.scenario}`, USAGE);
}

async function replay(seed: number, scenario: Scenario, only: readonly number[] | null): Promise<boolean> {
  const whole = scheduleOf(seed, scenario);
  if (only?.some((at) => at >= whole.length)) refuse(`the schedule has the happenings 0 to ${whole.length - 1}`, USAGE);
  const schedule = only === null ? whole : only.map((at) => whole[at] as Happening);
  const { trace, violations } = await runWorld({ seed, schedule, traced: true });
  console.log(trace.join('\n'));
  for (const { promise, atMs, message } of violations) console.log(`BROKEN ${promise} at ${atMs / 1000} s: ${message}`);
  return violations.length === 0;
}

async function runMany(): Promise<{ readonly tally: Tally; readonly tookMs: number }> {
  const scenario = scenarioAsked();
  const from = numberOf('from', values.from, 0);
  const to = from + numberOf('seeds', values.seeds, 1);
  const until =
    values.seconds === undefined
      ? Number.POSITIVE_INFINITY
      : performance.now() + numberOf('seconds', values.seconds, 1) * 1000;
  const began = performance.now();
  const tally = emptyTally();
  let next = from;
  const progress = setInterval(() => {
    const rate = (tally.worlds / (performance.now() - began)) * 1000;
    console.log(`${tally.worlds} of ${to - from} worlds, ${tally.failures.length} broken, ${rate.toFixed(1)} a second`);
  }, PROGRESS_EVERY_MS);
  await Promise.all(
    Array.from({ length: numberOf('workers', values.workers, 1) }, async () => {
      // A process each: threads of one share its garbage collector's helpers, and two of them are half as fast again as one.
      const worker = fork(new URL('./worker.js', import.meta.url), scenario === null ? [] : [scenario], {
        // A world is garbage as soon as it has ended.
        execArgv: ['--max-semi-space-size=64', '--single-threaded-gc'],
      });
      while (next < to && performance.now() < until && tally.failures.length < 100) {
        const batch = { from: next, to: Math.min(to, next + BATCH) };
        next = batch.to;
        worker.send(batch);
        merge(tally, await answerOf(worker));
      }
      worker.kill();
    }),
  );
  clearInterval(progress);
  return { tally, tookMs: performance.now() - began };
}

function answerOf(worker: ChildProcess): Promise<Tally> {
  return new Promise((resolve, reject) => {
    const onEnd = (code: number | null, signal: string | null) =>
      reject(new Error(`a worker ended with ${signal ?? code}`));
    worker.once('exit', onEnd);
    worker.once('message', (tally: Tally) => {
      worker.off('exit', onEnd);
      resolve(tally);
    });
  });
}

async function show(failure: Failure): Promise<void> {
  const { seed, scenario, promise, message } = failure;
  console.log(`\nBROKEN ${promise} in seed ${seed} (${scenario}): ${message}`);
  const kept = await shrink(failure);
  const whole = scheduleOf(seed, scenario);
  console.log(`shortest schedule found (${kept.length} of ${whole.length}):`);
  for (const at of kept) console.log(`  ${JSON.stringify(whole[at])}`);
  console.log(`replay: npm run simulate -- --seed ${seed} --scenario ${scenario} --only ${kept.join(',')}`);
}

if (values.seed !== undefined) {
  const seed = numberOf('seed', values.seed, 0);
  const only =
    values.only
      ?.split(',')
      .filter(Boolean)
      .map((text) => numberOf('only', text, 0)) ?? null;
  process.exitCode = (await replay(seed, scenarioOf(seed, scenarioAsked()), only)) ? 0 : 1;
} else {
  console.warn = () => {};
  const { tally, tookMs } = await runMany();
  console.log(tableOf(tally));
  for (const failure of tally.failures.toSorted((a, b) => a.seed - b.seed).slice(0, SHOWN)) await show(failure);
  const others = tally.failures.slice(SHOWN).map(({ seed, scenario, promise }) => `${seed} (${scenario}, ${promise})`);
  if (others.length > 0) console.log(`\nbroken as well: ${others.join(', ')}`);
  const rate = ((tally.worlds / tookMs) * 1000).toFixed(1);
  console.log(
    `\n${tally.worlds} worlds, ${tally.lives} lives, ${tally.events} events: ${tally.failures.length} broken; ${rate} worlds/s with ${values.workers} workers`,
  );
  process.exitCode = tally.failures.length === 0 ? 0 : 1;
}

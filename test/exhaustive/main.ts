/**
 * `npm run exhaustive [-- --deliveries N] [--depth 1|2] [--workers N] [--scenario NAME]…`: every crash of the whole agent in every scenario of up to N
 * deliveries (3), with one further crash during the recovery (depth 2). A broken promise prints its scenario, its crashes, and the command
 * that replays it with the trace: `--scenario NAME --replay [--at BRANCH [--then BRANCH]]`.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { argumentsOf, refuse, wholeNumber } from '../simulation/arguments.ts';
import { type Explored, type Options, replay } from './explore.ts';
import { SUBSETS_UP_TO } from './losses.ts';
import { brokenInWords, tableOf } from './report.ts';
import { type Scenario, scenarioNamed, scenarios } from './scenarios.ts';

const PROGRESS_EVERY_MS = 10_000;
/** Broken promises that are printed of each scenario. */
const SHOWN = 5;

const USAGE = `npm run exhaustive -- [--deliveries N] [--depth 1|2] [--workers N] [--scenario NAME]...
  explores every crash of the scenarios of up to N deliveries (3), with one further crash during the recovery (depth 2)
npm run exhaustive -- --scenario NAME --replay [--at BRANCH [--then BRANCH]]
  replays one world and prints its trace
scenarios: deliveries with a comma between them, or > where the next one does not wait: ${scenarios(1)
  .map(({ name }) => name)
  .join(', ')}`;

const values = argumentsOf(USAGE, {
  deliveries: { type: 'string', default: '3' },
  depth: { type: 'string', default: '2' },
  workers: { type: 'string', default: String(availableParallelism()) },
  scenario: { type: 'string', multiple: true },
  replay: { type: 'boolean', default: false },
  at: { type: 'string' },
  // biome-ignore lint/suspicious/noThenProperty: the name of an option.
  then: { type: 'string' },
});
const numberOf = (name: string, text: string, least: number) => wholeNumber(name, text, least, USAGE);
if (!['1', '2'].includes(values.depth)) refuse(`--depth takes 1 or 2, and was given ${values.depth}`, USAGE);

const asked = values.scenario?.map(known) ?? scenarios(numberOf('deliveries', values.deliveries, 0));

function known(name: string): Scenario {
  try {
    return scenarioNamed(name);
  } catch (error) {
    return refuse((error as Error).message, USAGE);
  }
}

async function replayed(scenario: Scenario): Promise<boolean> {
  const path = [values.at, values.then].filter((name) => name !== undefined);
  const { trace, violations } = await replay(scenario, path);
  console.log(trace.join('\n'));
  for (const { promise, atMs, message } of violations) console.log(`BROKEN ${promise} at ${atMs / 1000} s: ${message}`);
  return violations.length === 0;
}

async function exploreAll(): Promise<readonly Explored[]> {
  const options: Options = { depth: values.depth === '1' ? 1 : 2, brokenMost: SHOWN };
  const done = new Map<string, Explored>();
  const waiting = [...asked];
  const progress = setInterval(() => {
    const worlds = [...done.values()].reduce((sum, one) => sum + one.distinct + one.secondDistinct, 0);
    const broken = [...done.values()].reduce((sum, one) => sum + one.broken.length, 0);
    console.log(`${done.size} of ${asked.length} scenarios, ${worlds} distinct worlds, ${broken} broken promises`);
  }, PROGRESS_EVERY_MS);
  await Promise.all(
    Array.from({ length: Math.min(numberOf('workers', values.workers, 1), asked.length) }, async () => {
      const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData: options });
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        worker.postMessage(next.name);
        const explored = await answerOf(worker);
        for (const one of explored.broken) console.log(brokenInWords(one));
        done.set(next.name, explored);
      }
      await worker.terminate();
    }),
  );
  clearInterval(progress);
  return asked.flatMap(({ name }) => done.get(name) ?? []);
}

function answerOf(worker: Worker): Promise<Explored> {
  return new Promise((resolve, reject) => {
    worker.once('error', reject);
    worker.once('message', (explored: Explored) => {
      worker.off('error', reject);
      resolve(explored);
    });
  });
}

console.warn = () => {};
if (values.replay) {
  process.exitCode = (await replayed(asked[0] as Scenario)) ? 0 : 1;
} else {
  const beganAt = performance.now();
  const explored = await exploreAll();
  console.log(tableOf(explored));
  const broken = explored.reduce((sum, one) => sum + one.broken.length, 0);
  const openMost = explored.reduce((most, one) => Math.max(most, one.openMost), 0);
  const losses =
    openMost <= SUBSETS_UP_TO
      ? `at most ${openMost} un-synced things were open at once, and every subset of them was lost`
      : `up to ${openMost} un-synced things were open at once; of more than ${SUBSETS_UP_TO}, not every subset was lost`;
  const minutes = ((performance.now() - beganAt) / 60_000).toFixed(1);
  console.log(`\n${losses}; each distinct world was recovered from once.`);
  console.log(`${broken} broken promises; ${minutes} min with ${values.workers} workers`);
  process.exitCode = broken === 0 ? 0 : 1;
}

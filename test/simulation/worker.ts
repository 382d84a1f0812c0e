/** Runs the seeds it is given and sends back what they came to. */
import { parentPort, workerData } from 'node:worker_threads';
import { emptyTally, runSeed, scenarioOf } from './campaign.ts';
import type { Scenario } from './schedule.ts';

const { scenario } = workerData as { readonly scenario: Scenario | null };
// An error of a simulated disk is made for each missing file; nobody reads its stack.
Error.stackTraceLimit = 0;
// An actor that takes an event after its end says so on the console, in every world.
console.warn = () => {};

parentPort?.on('message', async ({ from, to }: { readonly from: number; readonly to: number }) => {
  const tally = emptyTally();
  for (let seed = from; seed < to; seed += 1) {
    const onThrown = (error: unknown) => {
      tally.failures.push({ seed, scenario: scenarioOf(seed, scenario), promise: 'P11', message: `thrown: ${error}` });
    };
    process.on('uncaughtException', onThrown);
    await runSeed(seed, scenario, tally);
    process.off('uncaughtException', onThrown);
  }
  parentPort?.postMessage(tally);
});

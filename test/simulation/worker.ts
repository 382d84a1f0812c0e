/** Runs the seeds it is given and sends back what they came to. */
import { emptyTally, runSeed, scenarioOf } from './campaign.ts';
import type { Scenario } from './schedule.ts';

/** Null: each seed has its own. */
const scenario = (process.argv[2] ?? null) as Scenario | null;
// An error of a simulated disk is made for each missing file; nobody reads its stack.
Error.stackTraceLimit = 0;
// An actor that takes an event after its end says so on the console, in every world.
console.warn = () => {};

process.on('message', async ({ from, to }: { readonly from: number; readonly to: number }) => {
  const tally = emptyTally();
  for (let seed = from; seed < to; seed += 1) {
    const onThrown = (error: unknown) => {
      tally.failures.push({ seed, scenario: scenarioOf(seed, scenario), promise: 'P11', message: `thrown: ${error}` });
    };
    process.on('uncaughtException', onThrown);
    await runSeed(seed, scenario, tally);
    process.off('uncaughtException', onThrown);
  }
  process.send?.(tally);
});

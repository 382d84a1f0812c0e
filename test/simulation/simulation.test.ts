/** A quick share of the simulated worlds; `npm run simulate` runs as many as one likes. */
import { expect, test } from 'vitest';
import { emptyTally, runSeed } from './campaign.ts';

/** As many seeds as there is time for, and no more; at least these many. */
const SEEDS = { least: 15, most: 300 };
const TIME_MS = 10_000;

test('no promise is broken in the first worlds', { timeout: 180_000 }, async () => {
  const tally = emptyTally();
  const began = performance.now();
  for (let seed = 0; seed < SEEDS.most; seed += 1) {
    if (seed >= SEEDS.least && performance.now() - began > TIME_MS) break;
    await runSeed(seed, null, tally);
  }
  console.log(`${tally.worlds} worlds, ${tally.lives} lives of the agent, ${tally.events} events`);
  expect(tally.failures).toEqual([]);
});

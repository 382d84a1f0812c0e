/** Worlds are explored once per fingerprint: here those that were merged are played all the same, and must come to the same end. */
import { expect, test } from 'vitest';
import { beginning } from './explore.ts';
import { scenarioNamed } from './scenarios.ts';
import { type Opening, Stage } from './stage.ts';
import { everyBranchOf, printOf, type Wreck, wreckOf } from './wreck.ts';

/** Members of each class that are played beside the first. */
const OTHERS = 2;

interface Played {
  readonly wrecks: readonly Wreck[];
  /** The fingerprint of the world it has settled in, and what was broken. */
  readonly end: string;
}

async function play(name: string, opening: Opening): Promise<Played> {
  const wrecks: Wreck[] = [];
  let settled: Wreck | null = null;
  const stage = new Stage(opening, {
    scenario: scenarioNamed(name),
    onPoint: (point, at) => {
      wrecks.push(wreckOf(point, at));
    },
    onSettled: (point, at) => {
      settled = wreckOf(point, at);
    },
  });
  const violations = await stage.play();
  const end = settled as unknown as Wreck;
  return { wrecks, end: `${await printOf(end, { ...end, hostSettled: true })} ${JSON.stringify(violations)}` };
}

test.each(['action', 'good,rekey'])('worlds of "%s" with one fingerprint settle in one', async (name) => {
  const { wrecks } = await play(name, await beginning());
  const classes = new Map<string, { readonly names: string[]; readonly ends: Set<string>; raw: number }>();
  for (const wreck of wrecks) {
    for await (const { print, name: branch, opening } of everyBranchOf(wreck)) {
      const one = classes.get(print) ?? { names: [], ends: new Set(), raw: 0 };
      classes.set(print, one);
      one.raw += 1;
      // The first ones of a class are near each other; every other one is farther away.
      if (one.names.length > OTHERS || (one.raw > 1 && one.raw % 2 === 1)) continue;
      one.names.push(branch);
      one.ends.add((await play(name, opening)).end);
    }
  }
  const split = [...classes.values()].filter(({ ends }) => ends.size > 1).map(({ names }) => names);
  expect(split).toEqual([]);
  expect(classes.size).toBeGreaterThan(10);
});

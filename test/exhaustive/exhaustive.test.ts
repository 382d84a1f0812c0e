/** A quick share of the exhaustive crash points; `npm run exhaustive` goes through all of them. */
import { expect, test } from 'vitest';
import { explore } from './explore.ts';
import { brokenInWords } from './report.ts';
import { scenarioNamed, scenarios } from './scenarios.ts';

/** One delivery each; those that take long leave the time for the others to the command. */
const QUICK = ['idle', 'good', 'bad', 'action', 'unenroll', 'unparsable', 'unrendered', 'unchecked'];

test.each(QUICK)('no crash at any point of the scenario "%s" breaks a promise, whatever is lost', async (name) => {
  const { points, raw, distinct, broken } = await explore(scenarioNamed(name), { depth: 1 });
  console.info(`${name}: ${points} points, ${raw} worlds, ${distinct} distinct`);
  expect(broken.map(brokenInWords)).toEqual([]);
  expect(distinct).toBeGreaterThan(points / 2);
});

test('a rotated key that was lost in a crash comes again, also while the policy before it is still tried', async () => {
  const { broken } = await explore(scenarioNamed('bad>action>rekey'), { depth: 1 });
  expect(broken.map(brokenInWords)).toEqual([]);
});

test('a scenario is every sequence of up to three deliveries, each with all its beginnings', () => {
  const calm = scenarios(3).filter(({ tempo }) => tempo === 'calm');
  const names = new Set(calm.map(({ name }) => name));
  expect(names.size).toBe(calm.length);
  for (const { name, deliveries } of calm) {
    const beginning = deliveries.slice(0, -1).join(',') || 'idle';
    expect(names, `${name} begins with ${beginning}`).toContain(beginning);
  }
  expect(names).toContain('good,bad,good');
  expect(names).toContain('good,action,rekey');
});

test('two explorations of the same scenario meet the same worlds', async () => {
  const once = async () => ({ ...(await explore(scenarioNamed('action'), { depth: 1 })), tookMs: 0 });
  expect(await once()).toEqual(await once());
});

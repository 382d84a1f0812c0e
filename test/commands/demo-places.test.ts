/** What a demo lays out before it starts. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { layPolicy, laySpecs, placesIn } from '../../src/commands/demo/places.ts';

async function laid() {
  const directory = mkdtempSync(join(tmpdir(), 'hf-demo-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const places = placesIn(directory);
  await laySpecs(places);
  return { places, text: () => readFileSync(places.policy, 'utf8') };
}

test('the policy looks at the server where it listens, also when that is elsewhere the next time', async () => {
  const { places, text } = await laid();
  await layPolicy(places, '127.0.0.1:9000');
  expect(text()).toContain('127.0.0.1:9000');
  expect(text()).not.toContain('8220');
  await layPolicy(places, 'localhost:9001');
  expect(text()).toContain('localhost:9001');
  expect(text()).not.toContain('9000');
});

test('a policy that somebody has edited is left as it is', async () => {
  const { places, text } = await laid();
  await layPolicy(places, '127.0.0.1:9000');
  const edited = text().replace(/every: \d+s/, 'every: 77s');
  writeFileSync(places.policy, edited);
  await layPolicy(places, '127.0.0.1:9001');
  expect(text()).toBe(edited);
});

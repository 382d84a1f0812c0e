/** `holdfast diagram`: prints what is in the package. */
import { expect, it, test } from 'vitest';
import { views } from '../../scripts/diagrams/views.ts';
import { runProgram } from '../../src/commands/program.ts';
import { EXIT } from '../../src/errors.ts';
import { fakeSurroundings } from '../commands/fakes.ts';

async function run(...argv: string[]) {
  const surroundings = fakeSurroundings();
  const code = await runProgram(['diagram', ...argv], surroundings);
  return { code, ...surroundings.terminal.said };
}

test.each([
  [[], /^---\ntitle: mission\n---\nstateDiagram-v2\n/],
  [['store'], /^---\ntitle: store\n---\nstateDiagram-v2\n/],
  [['system', '--format', 'mermaid'], /flowchart TD/],
  [['gateway', '--format', 'svg'], /^<svg [\s\S]*data-state="gateway\.damped"[\s\S]*<\/svg>\n$/],
])('diagram %j prints it', async (argv, text) => {
  const { code, out } = await run(...argv);
  expect(out).toMatch(text);
  expect(code).toBe(EXIT.success);
});

it('prints the model with its layout as JSON', async () => {
  const { out } = await run('acker', '--format', 'json');
  const { chart, picture } = JSON.parse(out);
  expect(chart).toEqual(views.find(({ name }) => name === 'acker')?.chart);
  expect(picture.boxes.find((box: { id: string }) => box.id === 'acker.sending')).toMatchObject({
    pills: ['sendAcks'],
  });
});

it('lists the charts there are', async () => {
  const { out } = await run('list');
  expect(out.trim().split('\n')).toEqual(['system', ...views.map(({ name }) => name)].sort());
});

test.each([
  [['nowhere'], 'there is no chart of nowhere; there are acker, agent'],
  [['../package'], 'there is no chart of ../package'],
  [['store', '--format', 'png'], "argument 'png' is invalid"],
])('diagram %j is wrong usage', async (argv, sentence) => {
  const { code, err } = await run(...argv);
  expect(err).toContain(sentence);
  expect(code).toBe(EXIT.usage);
});

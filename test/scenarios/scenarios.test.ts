/**
 * Golden scenarios: each .txt file beside this one tells a story. Lines that begin with `>` are what comes in, the lines below each are all
 * that goes out. After a change that is meant: UPDATE_SCENARIOS=1 npx vitest run --project quick test/scenarios, and read the difference.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it, vi } from 'vitest';
import { actionNamed, World } from '../support/agent-world.ts';

beforeAll(() => void vi.spyOn(console, 'warn').mockImplementation(() => {}));

/** What can come in: a sentence, and what it does. */
const SENTENCES: readonly (readonly [RegExp, (world: World, ...words: string[]) => unknown])[] = [
  [/^the agent starts$/, (world) => world.start()],
  [/^the agent is killed$/, (world) => world.die()],
  [/^the agent is killed and starts again$/, (world) => world.die().start()],
  [/^Fleet sends (\S+:\d+)$/, (world, policy) => world.deliver(policy as string)],
  [/^Fleet sends the empty policy$/, (world) => world.deliver('{}')],
  [
    /^Fleet sends the action (\S+) (\S+) (.+)$/,
    (world, id, type, data) =>
      world.deliver(null, [actionNamed(id as string, type as string, JSON.parse(data as string))]),
  ],
  [/^Fleet takes the acks$/, (world) => world.ackedBy()],
  [/^the steps are issued$/, (world) => world.issued()],
  [/^the components are healthy$/, (world) => world.confirmed()],
  [
    /^the components refuse it \((unparsable|unrendered|check|health)\): (.+)$/,
    (world, kind, reason) => world.refused(kind as 'check', reason as string),
  ],
  [/^the disk is full$/, (world) => world.fill()],
  [/^the disk takes writes again$/, (world) => world.heal()],
  [/^the bytes of (\S+) vanish from the disk$/, (world, policy) => world.disk.bodies.delete(`hash-${policy}`)],
  [
    /^the whole state vanishes from the disk$/,
    (world) => {
      world.disk.facts = null;
      world.disk.bodies.clear();
    },
  ],
  [/^the link looks at last good$/, (world) => world.verified()],
  [/^(\d+) (second|minute|hour)s? pass(?:es)?$/, (world, n, unit) => world.pass(Number(n) * UNITS[unit as 'second'])],
  [/^(shutdown|restart) is requested$/, (world, what) => world.send({ type: `${what}.requested`, reason: 'asked to' })],
  [/^retry is requested$/, (world) => world.send({ type: 'retry.requested' })],
];
const UNITS = { second: 1000, minute: 60_000, hour: 3_600_000 };

/** Comments and sentences stay, everything else is written anew. */
function play(script: string): string {
  const world = new World();
  const told: string[] = [];
  for (const line of script.split('\n')) {
    if (line.startsWith('#') || (line === '' && told.length > 0 && told.every((one) => one.startsWith('#'))))
      told.push(line);
    if (!line.startsWith('> ')) continue;
    if (told.length > 0 && told.at(-1) !== '') told.push('');
    told.push(line);
    const sentence = line.slice(2);
    const [found, ...more] = SENTENCES.filter(([pattern]) => pattern.test(sentence));
    if (found === undefined || more.length > 0) throw new Error(`not a sentence of the scenarios: ${sentence}`);
    found[1](world, ...(found[0].exec(sentence)?.slice(1) ?? []));
    told.push(...world.news().map((news) => `  ${news}`));
  }
  return `${told.join('\n')}\n`;
}

const files = readdirSync(import.meta.dirname).filter((file) => file.endsWith('.txt'));

it('there are scenarios', () => expect(files.length).toBeGreaterThanOrEqual(8));

it.each(files)('%s goes as it is written down', (file) => {
  const path = join(import.meta.dirname, file);
  const written = readFileSync(path, 'utf8');
  const played = play(written);
  if (process.env.UPDATE_SCENARIOS) writeFileSync(path, played);
  else expect(played).toBe(written);
});

/** `holdfast demo --tour`: tells a story on real parts, step by step, and believes only what it sees. */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { EXIT, HoldfastError } from '../../errors.ts';
import { controlClient } from '../../services/control/client.ts';
import { homePaths } from '../../services/home.ts';
import { INSPECT_PORT } from '../../services/inspector/address.ts';
import { newToken } from '../../services/inspector/admission.ts';
import type { Surroundings } from '../surroundings.ts';
import { freeAddress, laySpecs, type Places, shortened } from './places.ts';
import { endPrograms, Stage } from './stage.ts';
import { STEPS, type Step } from './tour-steps.ts';

/** In a directory that a tour made, and may therefore empty. */
const MARK = 'made-by-a-tour';

/** Quick, since somebody is looking on. The values of a real agent are slower. */
const SETTINGS = `# Written by the tour.
fleet.checkin.backoff: { initial: 500ms, max: 2s }
fleet.ack.backoff: { initial: 500ms, max: 2s }
fleet.enroll.backoff: { initial: 500ms, max: 2s }
policy.apply.stable_for: 1s
`;

/**
 * Resolves with the exit code: 0 only when each step was seen to happen. Nothing of it is left running, however it ends.
 *
 * @throws HoldfastError USAGE: the directory holds something else; HOME_LOCKED: a tour goes on there
 */
export async function takeTour(places: Places, listen: string, surroundings: Surroundings): Promise<number> {
  await prepare(places, surroundings);
  const interrupted = new AbortController();
  const unlisten = surroundings.onSignal(['SIGINT', 'SIGTERM', 'SIGHUP'], () => interrupted.abort());
  const { terminal } = surroundings;
  const say = (line: string) => terminal.out(`tour  ┃ ${line}\n`);
  const stage = new Stage({
    places,
    listen,
    inspect: { address: await freeAddress(`127.0.0.1:${INSPECT_PORT}`), token: newToken() },
    surroundings,
    interrupted: interrupted.signal,
    onLine: (name, line) => terminal.out(`${name.padEnd(5)} │ ${line}\n`),
  });
  const begun = surroundings.nowMs();
  try {
    say(
      `Everything of this tour is in ${shortened(places.directory)}; the agent's settings are ${shortened(homePaths(places.home).settings)}.`,
    );
    for (const [index, step] of STEPS.entries()) {
      const place = `${index + 1}/${STEPS.length}`;
      try {
        await take(step, place, stage, say, terminal.columns);
      } catch (thrown) {
        say(`✗ ${place} ${step.title} was not seen: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
        return EXIT.failure;
      }
      if (index + 1 < STEPS.length && (await turnPage(surroundings, interrupted.signal)) === 'enough') {
        say(`Ended after step ${place}; the others were not seen.`);
        return EXIT.failure;
      }
    }
    say(`All ${STEPS.length} steps were seen, in ${Math.round((surroundings.nowMs() - begun) / 1000)} s.`);
    return EXIT.success;
  } finally {
    await stage.clear();
    unlisten();
  }
}

async function take(
  step: Step,
  place: string,
  stage: Stage,
  say: (line: string) => void,
  columns: number,
): Promise<void> {
  say('');
  say(`── ${place} ${step.title} ──`);
  for (const line of wrapped(step.tells, columns - 8)) say(line);
  for (const line of await step.act(stage)) say(`✓ ${line}`);
  if (stage.inspector !== null) say(`  See it live, and leave it open: ${stage.inspector}`);
}

/** Lines of whole words, each as long as it may be. */
function wrapped(text: string, columns: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= columns) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** Waits for Enter where somebody can press it. */
async function turnPage(surroundings: Surroundings, signal: AbortSignal): Promise<'on' | 'enough'> {
  if (signal.aborted) return 'enough';
  if (!process.stdin.isTTY || !surroundings.terminal.outIsTerminal) return 'on';
  const reader = createInterface({ input: process.stdin, output: process.stdout });
  // On a terminal that is read, Ctrl-C is a key; Ctrl-D ends the reading.
  const enough = new Promise<'enough'>((resolve) => {
    reader.once('SIGINT', () => resolve('enough'));
    reader.once('close', () => resolve('enough'));
    signal.addEventListener('abort', () => resolve('enough'), { once: true });
  });
  const on = reader.question('tour  ┃ Enter for the next step, Ctrl-C to end. ').then(
    () => 'on' as const,
    () => 'enough' as const,
  );
  try {
    return await Promise.race([on, enough]);
  } finally {
    reader.close();
  }
}

/** An empty place for this tour, where no other one goes on. */
async function prepare(places: Places, { env }: Surroundings): Promise<void> {
  const { directory, home } = places;
  const there = await readdir(directory).catch((): string[] => []);
  if (there.length > 0 && !there.includes(MARK)) {
    throw new HoldfastError('USAGE', `${directory} holds what no tour has made; name another place with --dir`);
  }
  const running = await controlClient(home, env)
    .status()
    .catch(() => null);
  if (running !== null) {
    throw new HoldfastError(
      'HOME_LOCKED',
      `an agent runs in ${home} with pid ${running.pid}; end it, or name another place with --dir`,
    );
  }
  await endPrograms(home);
  for (const name of there) if (name !== MARK) await rm(join(directory, name), { recursive: true });
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, MARK), 'Emptied by the next `holdfast demo --tour`.\n');
  await laySpecs(places);
  await writeFile(homePaths(home).settings, SETTINGS, { mode: 0o600 });
}

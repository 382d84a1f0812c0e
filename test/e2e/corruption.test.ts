/** Every class of damage to every kind of file, through the whole agent: it always starts, says what it found, uses the best it has and heals (P8, P11). */
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { homePaths } from '../../src/services/home.ts';
import { DAMAGES } from '../corruption/damage.ts';
import { SWAPS, TARGETS, type Target } from '../corruption/targets.ts';
import { type Bases, clear, prepare } from '../kill-matrix/bases.ts';
import { inParallel, shareOf } from '../kill-matrix/cases.ts';
import { programOf } from '../kill-matrix/program.ts';
import { RESTARTS, settledOn, UNTOUCHED } from '../kill-matrix/scenario.ts';
import { Stage } from '../kill-matrix/stage.ts';
import { isAlive } from './support/processes.ts';

/** `all`; or the number of cases, taken evenly from all of them. */
const SHARE = process.env.CORRUPTIONS ?? '8';
/** Which of them, so that one run after the other comes to all. */
const OFFSET = Number(process.env.CORRUPTIONS_OFFSET ?? 0);
const WORKERS = Number(process.env.KILL_MATRIX_WORKERS ?? availableParallelism() * 3);
/** The most that an agent may ever have had in memory, in KiB: node itself has some 80 MiB, and nothing here is large. */
const MEMORY_KIB = 320 * 1024;

interface Case {
  readonly title: string;
  readonly target: Pick<Target, 'ends' | 'says' | 'sealed' | 'unseen'> & Partial<Target>;
  readonly inflict: (stage: Stage, hashes: readonly string[]) => readonly string[];
}

let program: string;
let bases: Bases;

beforeAll(async () => {
  program = await programOf(inject('main'));
  bases = await prepare(inject('main'), program);
});

afterAll(() => clear(bases));

test('whatever has become of a file, the agent starts, answers, runs the best it has, and is whole in the end', {
  timeout: 3_600_000,
}, async () => {
  const cases: readonly Case[] = [
    ...DAMAGES.flatMap((damage) =>
      TARGETS.filter(({ except }) => !except?.test(damage.name)).map((target) => ({
        title: `${target.name}: ${damage.name}`,
        target,
        inflict: (stage: Stage, hashes: readonly string[]) => {
          const paths = target.paths(stage, hashes);
          const other = target.other(stage, hashes, bases.stranger);
          for (const path of paths) damage.inflict(path, other);
          return paths;
        },
      })),
    ),
    ...SWAPS.map(({ name, inflict }) => ({
      title: `${name}, each in the place of the other`,
      target: { ends: 'heals' as const },
      inflict: (stage: Stage, hashes: readonly string[]) => {
        inflict(stage, hashes);
        return [];
      },
    })),
  ];
  const only = process.env.CORRUPTIONS_ONLY;
  const share = only === undefined ? shareOf(cases, SHARE, OFFSET) : cases.filter(({ title }) => title.includes(only));
  const failures: string[] = [];
  const started = Date.now();
  await inParallel(share, WORKERS, async (one) => {
    const stage = await Stage.set(program, one.target.sealed ? bases.sealed : bases.second);
    try {
      await suffer(stage, one, failures);
    } catch (error) {
      failures.push(`${one.title}: ${error instanceof Error ? error.message : error}`);
    } finally {
      await stage.strike();
    }
  });
  const seconds = Math.round((Date.now() - started) / 1000);
  process.stdout.write(
    `corruption: ${share.length} of ${cases.length} cases (offset ${OFFSET}) in ${seconds} s, ${failures.length} of them bad\n`,
  );
  if (process.env.KILL_MATRIX_REPORT) writeFileSync(process.env.KILL_MATRIX_REPORT, failures.join('\n\n'));
  expect(failures).toEqual([]);
});

/** The agent is killed while all is well, the damage done, and the next start looked at. */
async function suffer(stage: Stage, { title, target, inflict }: Case, failures: string[]): Promise<void> {
  const fail = (what: string) => failures.push(`${title}: ${what}`);
  const settled = settledOn(target.sealed ? 2 : 3);
  const life = stage.start(null);
  const { pids: ran } = await stage.quiet(settled, 'settled before the damage');
  life.signal('SIGKILL');
  await life.ended;
  const hashes = (await stage.disk()).facts?.generations.map(({ hash }) => hash) ?? [];
  const saved = join(stage.directory, 'saved');
  cpSync(stage.home, saved, { recursive: true, verbatimSymlinks: true, filter: (path) => !path.endsWith('.sock') });
  const log = join(homePaths(stage.home).logs, 'holdfast.ndjson');
  const before = existsSync(log) ? readFileSync(log, 'utf8').length : 0;
  const damaged = inflict(stage, hashes);

  const next = stage.start(null);
  await stage.until(({ state }) => state !== 'boot', 'an agent that starts');
  const answer = await stage.control.status();
  if (answer.pid !== next.pid) fail(`the control socket answers as ${answer.pid} instead of ${next.pid}`);
  const sound = ({ pids, policy: { running } }: { pids: object; policy: { running: { revision: number } | null } }) =>
    running !== null && [RESTARTS, UNTOUCHED].every((id) => typeof (pids as Record<string, unknown>)[id] === 'number');
  if (target.ends === 'heals') await stage.quiet(settled, 'healed by itself');
  else if (target.ends === 'leaves') {
    await stage.quiet(({ store }) => store.failing !== null, 'saying that nothing can be written');
    if (Object.values(ran).some((pid) => pid === null || !isAlive(pid))) fail('has stopped what ran');
  } else await stage.quiet(sound, 'running the best it has');
  const said = existsSync(log) ? readFileSync(log, 'utf8').slice(before) : '';
  const silent = /missing|closed to all|empty|zeroed/.test(title) || target.unseen?.test(title);
  if (target.says !== undefined && !silent && !target.says.test(said)) fail(`not a word of it in the log`);
  if (target.ends !== 'heals') {
    for (const path of damaged) {
      rmSync(path, { recursive: true, force: true });
      cpSync(path.replace(stage.home, saved), path, { verbatimSymlinks: true });
    }
    next.signal('SIGTERM');
    await next.ended;
    stage.start(null);
    await stage.quiet(settled, 'whole after the file was put back');
  }
  const { life: last } = stage;
  const memory = Math.max(next.peakKib(), last.peakKib());
  if (memory > MEMORY_KIB) fail(`had ${memory} KiB in memory`);
  last.signal('SIGTERM');
  if ((await last.ended) !== 0) fail(`ended badly: ${last.errors.join(' ')}`);
  const { facts, readable } = await stage.disk();
  if (readable[0] !== (target.sealed ? 'web:2' : 'web:3')) fail(`holds ${readable.join(', ') || 'nothing'} in the end`);
  if ((facts?.outbox.filter(({ actionId }) => !actionId.startsWith('policy:')).length ?? 1) > 0)
    fail('owes an ack in the end');
  const left = stage.running();
  if (left.length > 0) fail(`left running: ${left.join('; ')}`);
  for (const component of [RESTARTS, UNTOUCHED, 'reloads-default-a']) {
    if (stage.events(component).some((line) => line.startsWith('two'))) fail(`two of ${component}`);
  }
}

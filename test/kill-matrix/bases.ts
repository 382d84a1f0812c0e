/** The prepared homes that scenarios begin with: enrolled; settled on a first policy; settled on a second one, and said goodbye. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { type BaseName, FIRST, SECOND, settledOn } from './scenarios.ts';
import { Stage } from './stage.ts';

const run = promisify(execFile);

/** `stranger`: another agent. */
export type Bases = Readonly<Record<BaseName | 'stranger', Stage>>;

/** `main`: path of the built main.js; `program`: see program.ts. */
export async function prepare(main: string, program: string): Promise<Bases> {
  const [enrolled, stranger] = await Promise.all([enroll(main, program), enroll(main, program)]);
  const first = await settle(program, enrolled, 2);
  const changed = await Stage.set(program, first);
  await changed.policy(SECOND);
  await changed.fleet.stop();
  const second = await settle(program, changed, 3);
  await changed.strike();
  return { enrolled, stranger, first, second };
}

async function enroll(main: string, program: string): Promise<Stage> {
  const stage = await Stage.set(program, null);
  await stage.policy(FIRST);
  const to = ['--url', stage.fleet.url, '--enrollment-token', 'e2e', '--insecure'];
  await run(process.execPath, [main, 'enroll', '--home', stage.home, ...to], { env: { PATH: process.env.PATH } });
  await stage.fleet.stop();
  return stage;
}

async function settle(program: string, base: Stage, revision: number): Promise<Stage> {
  const stage = await Stage.set(program, base);
  const life = stage.start(null);
  await stage.quiet(settledOn(revision), `settled on ${revision}`);
  life.signal('SIGTERM');
  await life.ended;
  await stage.fleet.stop();
  stage.ackedBefore = [...base.ackedBefore, `policy:web:${revision}`];
  return stage;
}

export async function clear(bases: Bases): Promise<void> {
  for (const base of Object.values(bases)) await base.strike();
}

/** The prepared homes that scenarios begin with; those that were run have said goodbye. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { type BaseName, FIRST, SECOND, settledOn } from './scenario.ts';
import { Stage, type StageSettings } from './stage.ts';

const run = promisify(execFile);

/** `stranger`: another agent. */
export type Bases = Readonly<Record<BaseName | 'stranger', Stage>>;

/** `main`: path of the built main.js; `program`: see program.ts. */
export async function prepare(main: string, program: string): Promise<Bases> {
  const bare = await Stage.set(program, null);
  await bare.policy(FIRST);
  await bare.fleet.stop();
  const enrolled = await enroll(main, program, bare);
  const stranger = await enroll(main, program, bare);
  const first = await settle(program, enrolled, 2);
  const locked = await enroll(main, program, bare, { encryption: { key: 'generated' } });
  const sealed = await settle(program, locked, 2);
  await locked.strike();
  const changed = await Stage.set(program, first);
  await changed.policy(SECOND);
  await changed.fleet.stop();
  const second = await settle(program, changed, 3);
  await changed.strike();
  return { bare, enrolled, stranger, first, second, sealed };
}

async function enroll(main: string, program: string, bare: Stage, settings: StageSettings = {}): Promise<Stage> {
  const stage = await Stage.set(program, bare);
  await stage.settings(settings);
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

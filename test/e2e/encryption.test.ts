/** A key as a service manager hands it over, and a change of key in a real process that is killed on the way. */
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, inject, onTestFinished, test } from 'vitest';
import { homePaths } from '../../src/services/home.ts';
import type { Status } from '../../src/wire/control.ts';
import { filesBelow } from './support/planted.ts';
import { settledOn, world } from './support/world.ts';

const KILL_AT = join(import.meta.dirname, 'support', 'programs', 'kill-at.mjs');
/** What a policy says, and an encrypted home does not. */
const WORDS = 'words-of-the-policy';
/** Every one of them is killed at in `rekey.test.ts`, on a simulated disk. */
const EACH = 3;
const AT_ONCE = 4;
const INPUT = { id: 'a', type: 'service', config: WORDS };

test('a systemd credential is the key; without it the agent starts, names it, and has everything again when it is back', async () => {
  const credentials = await mkdtemp(join(tmpdir(), 'hf-credentials-'));
  onTestFinished(() => rm(credentials, { recursive: true, force: true }));
  const key = join(credentials, 'holdfast.key');
  await writeFile(key, `${'5a'.repeat(32)}\n`, { mode: 0o600 });
  const { agent, fleet, home } = await world({
    env: { CREDENTIALS_DIRECTORY: credentials },
    settings: { encryption: { key: 'credential' } },
  });
  const revision = await fleet.policy([INPUT]);
  expect((await agent.start().status(settledOn(revision), 'settled')).store.encrypted).toBe(true);
  await agent.stop();
  expect(await textOf(homePaths(home).state)).not.toContain(WORDS);

  await rename(key, `${key}.elsewhere`);
  const without = await agent
    .start()
    .status(({ store, policy }) => store.failing !== null && policy.orphaned !== null, 'orphaned');
  expect(without.store.failing).toContain(key);
  await rename(`${key}.elsewhere`, key);
  const again = await agent.status(settledOn(revision), 'settled with the key');
  expect(again.store).toMatchObject({ encrypted: true, failing: null, quarantined: 0 });
  expect(await textOf(homePaths(home).state)).not.toContain(WORDS);
});

test('`rekey` killed before every third of its file operations loses nothing, and done again it encrypts everything', {
  timeout: 180_000,
}, async () => {
  const { agent, fleet, home } = await world();
  const revision = await fleet.policy([INPUT]);
  await agent.start().status(settledOn(revision), 'settled');
  await agent.stop();
  const { policy: before } = await fromDisk(home);
  expect(before.persisted?.revision).toBe(revision);
  expect(await textOf(homePaths(home).state)).toContain(WORDS);

  /** False once there is no such operation any more. */
  const killedBefore = async (operation: number): Promise<boolean> => {
    const copy = `${home}-${operation}`;
    await cp(home, copy, { recursive: true });
    const { signal, code, out } = await holdfast(copy, ['rekey', '--to', 'generated'], operation);
    if (signal !== 'SIGKILL') expect(code, out).toBe(0);
    expect((await fromDisk(copy)).policy, `killed before operation ${operation}`).toEqual(before);
    const again = await holdfast(copy, ['rekey', '--to', 'generated']);
    expect(again.code, again.out).toBe(0);
    expect((await fromDisk(copy)).policy).toEqual(before);
    expect(await textOf(homePaths(copy).state)).not.toContain(WORDS);
    await rm(copy, { recursive: true });
    return signal === 'SIGKILL';
  };
  let kills = 0;
  for (let operation = 1, last = false; !last; operation += EACH * AT_ONCE) {
    const killed = await Promise.all(Array.from({ length: AT_ONCE }, (_, at) => killedBefore(operation + EACH * at)));
    kills += killed.filter(Boolean).length;
    last = killed.includes(false);
  }
  expect(kills).toBeGreaterThan(8);
});

interface Ended {
  readonly code: number;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
}

/** `killAt`: the operation on files before which it is killed; null: it is left alone. */
function holdfast(home: string, args: readonly string[], killAt: number | null = null): Promise<Ended> {
  const { PATH, HOME, TMPDIR } = process.env;
  const killed = killAt === null ? {} : { NODE_OPTIONS: `--import=${KILL_AT}`, KILL_AT: String(killAt) };
  const options = { env: { PATH, HOME, TMPDIR, ...killed } };
  return new Promise((resolve) => {
    execFile(process.execPath, [inject('main'), ...args, '--home', home], options, (error, out, err) => {
      resolve({ code: Number(error?.code ?? 0), signal: error?.signal ?? null, out: out + err });
    });
  });
}

async function fromDisk(home: string): Promise<Status> {
  const { out } = await holdfast(home, ['status', '--json']);
  return JSON.parse(out) as Status;
}

/** Everything below a directory, one after the other. */
async function textOf(directory: string): Promise<string> {
  const files = await filesBelow(directory, []);
  return (await Promise.all(files.map((path) => readFile(path, 'latin1')))).join('\n');
}

/** Nothing that people or disks are shown holds a secret of a policy, while the disk is full or cannot be read either. */
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { homePaths } from '../../src/services/home.ts';
import type { Status } from '../../src/wire/control.ts';
import { fill, mountDisk, whyNoMounts } from './support/disks.ts';
import { CARELESS, leaksIn, look, lookAtDiagnostics, lookAtFiles, policyWith, type Shown } from './support/planted.ts';
import { settledOn, type World, world } from './support/world.ts';

const PRELOADED = join(import.meta.dirname, 'support', 'programs', 'bad-disk.mjs');
/** Room for the state, logs and configurations. */
const HOME_BYTES = 8 * 1024 * 1024;
const FULL = /ENOSPC|the disk is full/;
const failing = ({ store }: Status) => store.failing !== null;

const refusal = await whyNoMounts();
if (refusal !== null) console.warn(`secrets are not looked for on a real full disk: ${refusal}`);

// It mounts a disk of its own, which not every host allows; the next test fills one without, everywhere.
test.skipIf(refusal !== null)(
  'no secret shows where the disk of the home is really full',
  { timeout: 180_000 },
  async () => {
    const made = await encrypted();
    const { agent, home } = made;
    await moveToDisk(home);
    try {
      await onAFullDisk(made, () => fill(home));
    } finally {
      if (agent.runs) await agent.stop();
    }
  },
);

test('nor where writes of the state, its keys and its programs’ files are refused as by a full disk', {
  timeout: 180_000,
}, async () => {
  const { made, turn } = await worldOnADisk();
  await onAFullDisk(made, () => turn('ENOSPC', made.home));
});

test('nor where the disk of the programs alone is full, which costs a policy a try', { timeout: 180_000 }, async () => {
  const { made, turn } = await worldOnADisk();
  const { agent, home } = made;
  const said: Shown = [];
  const first = await deliver(made, 'good');
  await agent.start().status(settledOn(first), 'settled');
  await turn('ENOSPC', homePaths(home).components);
  const second = await deliver(made, 'refuse');
  const refused = ({ policy }: Status) => policy.rejected[0]?.revision === second;
  const { policy } = await agent.status(refused, 'cannot carry it out');
  expect(policy.rejected[0]?.reason).toMatch(FULL);
  await look(made, 'refused on a full disk', said);
  await lookAtDiagnostics(made, 'refused on a full disk', said);
  await lookAtFiles(made, said);
  expectSecretless(said, FULL, 2);
});

test('nor where the state and its key cannot be read', { timeout: 180_000 }, async () => {
  const { made, turn } = await worldOnADisk();
  const { agent, home } = made;
  const paths = homePaths(home);
  const said: Shown = [];
  const first = await deliver(made, 'good');
  await agent.start().status(settledOn(first), 'settled');

  const well = await turn('EIO', paths.state, paths.key);
  const second = await deliver(made, 'crash');
  await agent.status(({ policy }) => policy.orphaned !== null && policy.received?.revision === second, 'holds nothing');
  await look(made, 'unreadable under a running agent', said);
  await lookAtDiagnostics(made, 'unreadable under a running agent', said);

  await agent.kill9();
  await agent.start().status(failing, 'has begun without what it cannot read');
  await look(made, 'begun unreadable', said);
  await agent.stop();
  await look(made, 'stopped and unreadable', said);
  await lookAtDiagnostics(made, 'stopped and unreadable', said);
  await rekeyed(made, 'unreadable', said);

  await well();
  const last = await deliver(made, 'good');
  await agent.start().status(settledOn(last), 'settled again');
  await lookAtFiles(made, said);
  expectSecretless(said, /EIO|input\/output error/, 4);
});

/** A policy that quotes itself arrives, the agent starts and its key is changed while the disk is full; then there is room. */
async function onAFullDisk(made: World, fillDisk: () => Promise<() => Promise<void>>): Promise<void> {
  const { agent } = made;
  const said: Shown = [];
  const first = await deliver(made, 'good');
  await agent.start().status(settledOn(first), 'settled');

  const room = await fillDisk();
  const second = await deliver(made, 'crash');
  await agent.status(failing, 'cannot store the policy');
  await look(made, 'on a full disk', said);
  await lookAtDiagnostics(made, 'on a full disk', said);
  await agent.kill9();
  await agent.start().status(failing, 'has begun on a full disk');
  await look(made, 'begun on a full disk', said);
  await lookAtDiagnostics(made, 'begun on a full disk', said);
  await agent.stop();
  await look(made, 'stopped on a full disk', said);
  await rekeyed(made, 'full', said);
  await lookAtFiles(made, said);

  await room();
  await agent.start().status(({ policy }) => policy.rejected[0]?.revision === second, 'has tried it');
  await look(made, 'with room again', said);
  await agent.stop();
  await lookAtFiles(made, said);
  expectSecretless(said, FULL, 4);
}

function deliver({ fleet }: World, word: string): Promise<number> {
  const { inputs, ...more } = policyWith(word);
  return fleet.policy(inputs, more);
}

async function rekeyed({ agent }: World, when: string, said: Shown): Promise<void> {
  const { out, err } = await agent.run('rekey');
  said.push([`rekey, ${when}`, out + err]);
}

/** The test sees what it looks at: the policy is shown, masked, and so is what is wrong with the disk. */
function expectSecretless(said: Shown, disk: RegExp, times: number): void {
  expect(said.find(([what]) => what === 'policy.yml')?.[1]).toContain('REDACTED');
  expect(said.filter(([what, text]) => /^(status|rekey)/.test(what) && disk.test(text)).length).toBeGreaterThanOrEqual(
    times,
  );
  expect(said.filter(([what]) => what.includes('of diagnostics')).length).toBeGreaterThan(10);
  expect(leaksIn(said)).toEqual([]);
}

/** A world whose disk turns bad for some places, until it is made well again. */
async function worldOnADisk() {
  const directory = await mkdtemp(join(tmpdir(), 'hf-bad-disk-'));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  const bad = join(directory, 'bad');
  const made = await encrypted({ NODE_OPTIONS: `--import=${PRELOADED}`, BAD_DISK: bad });
  const turn = async (errno: 'EIO' | 'ENOSPC', ...places: readonly string[]) => {
    await writeFile(bad, [errno, ...places].join('\n'));
    return () => rm(bad);
  };
  return { made, turn };
}

function encrypted(env: NodeJS.ProcessEnv = {}): Promise<World> {
  return world({
    specs: { careless: CARELESS },
    settings: { encryption: { key: 'generated' }, agent: { logging: { level: 'trace' } } },
    env,
  });
}

/** A file system of its own for the home, with what is in it. */
async function moveToDisk(home: string): Promise<void> {
  const aside = await mkdtemp(join(tmpdir(), 'hf-home-'));
  await cp(home, aside, { recursive: true });
  await mountDisk(home, HOME_BYTES);
  await cp(aside, home, { recursive: true });
  await rm(aside, { recursive: true });
}

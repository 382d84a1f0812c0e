/** A change of key, killed at every operation and under every loss: nothing that was acknowledged is lost, and the same command finishes it. */
import { describe, expect, test, vi } from 'vitest';
import { homePaths } from '../../../src/services/home.ts';
import type { EncryptionSettings } from '../../../src/services/settings/settings.ts';
import { READABLE, readKeyring } from '../../../src/services/store/keyring.ts';
import { type RekeyTarget, rekey } from '../../../src/services/store/rekey.ts';
import { openStore } from '../../../src/services/store/store.ts';
import { Disk, everythingSurvives, type Fault, nothingSurvives, type Survivors } from '../../support/disk.ts';
import { AGENT, factsAt, policiesAt, policyText } from '../../support/facts.ts';
import { keyText } from '../../support/keys.ts';

const random = vi.hoisted(() => ({ used: 0 }));

// Keys and nonces that count, so that equal histories make equal disks and each world is looked at once.
vi.mock('node:crypto', async (original) => ({
  ...(await original<typeof import('node:crypto')>()),
  randomBytes: (size: number) => {
    const bytes = Buffer.alloc(size, 0xa5);
    random.used += 1;
    bytes.writeUInt32BE(random.used, 0);
    return bytes;
  },
}));

const HOME = '/home';
const paths = homePaths(HOME);
const SLOT_BYTES = 2048;
const STEP = 6;

const FILES: Readonly<Record<string, string>> = { '/etc/one': keyText(1), '/etc/two': keyText(2) };
const outside = async (path: string) => {
  const text = FILES[path];
  if (text === undefined) throw Object.assign(new Error('ENOENT'), { code: 'ENOENT' });
  return Buffer.from(text);
};

/** As the daemon starts. */
async function start(disk: Disk, settings: EncryptionSettings = READABLE) {
  const keys = await readKeyring({ files: disk, home: HOME, settings, generate: true, outside });
  return openStore({ files: disk, home: HOME, agentId: AGENT, now: () => 0, slotBytes: SLOT_BYTES, keys });
}

const change = (disk: Disk, to: RekeyTarget, settings: EncryptionSettings = READABLE, abandon = false) =>
  rekey({
    files: disk,
    home: HOME,
    agentId: AGENT,
    now: () => 0,
    slotBytes: SLOT_BYTES,
    settings,
    to,
    outside,
    abandon,
  });

async function madeWith(from: RekeyTarget): Promise<Disk> {
  const disk = new Disk(HOME);
  const { store } = await start(disk);
  for (let step = 1; step <= STEP; step += 1) await store.commit({ facts: factsAt(step), policies: policiesAt(step) });
  if (from.kind !== 'none') await change(disk, from);
  return disk.powerCut(everythingSurvives).revive();
}

async function expectWhole(disk: Disk, where: string, settings = READABLE): Promise<void> {
  const { facts, store, locked } = await start(disk, settings);
  if (JSON.stringify(facts) !== JSON.stringify(factsAt(STEP)))
    throw new Error(`${where}: the facts are not what they were`);
  expect(locked, where).toEqual([]);
  for (const { revision, hash } of factsAt(STEP).generations)
    expect(await store.readPolicy(hash), where).toEqual({ text: policyText(revision) });
}

/** Readable remains of facts or policies in any slot or object. */
function isReadable(disk: Disk): boolean {
  const files = [...paths.slots, ...disk.list(paths.objects).map((name) => `${paths.objects}/${name}`)];
  return files.some((path) => /token-|revision/.test((disk.contents(path) ?? '').toString('latin1')));
}

/** The ids of the keys that slots and objects are encrypted with; `''`: readable. */
function keysOnDisk(disk: Disk): ReadonlySet<string> {
  const files = [...paths.slots, ...disk.list(paths.objects).map((name) => `${paths.objects}/${name}`)];
  return new Set(
    files.map((path) => {
      const bytes = disk.contents(path)!;
      return bytes[48] === 0 ? '' : bytes.toString('hex', 64, 80);
    }),
  );
}

const NONE: RekeyTarget = { kind: 'none' };
const GENERATED: RekeyTarget = { kind: 'generated' };
const ONE: RekeyTarget = { kind: 'file', path: '/etc/one' };
const TWO: RekeyTarget = { kind: 'file', path: '/etc/two' };
const nameOf = (target: RekeyTarget) => (target.kind === 'file' ? target.path : target.kind);

const CHANGES: readonly (readonly [RekeyTarget, RekeyTarget])[] = [
  [NONE, GENERATED],
  [NONE, ONE],
  [GENERATED, NONE],
  [GENERATED, GENERATED],
  [GENERATED, ONE],
  [ONE, TWO],
  [ONE, NONE],
];
const NAMED = CHANGES.map(([from, to]) => [nameOf(from), nameOf(to), from, to] as const);

function losses(things: number): readonly Survivors[] {
  const some = [...Array(things).keys()];
  return [
    nothingSurvives,
    everythingSurvives,
    ...some.map((kept) => () => some.map((index) => index === kept)),
    ...some.map((lost) => () => some.map((index) => index !== lost)),
  ];
}

describe.each(NAMED)('from %s to %s', (_from, _to, from, to) => {
  test('everything is encrypted with the new key alone, and no other key is left in the home', async () => {
    const disk = await madeWith(from);
    const before = keysOnDisk(disk);
    const done = await change(disk, to);
    disk.powerCut(nothingSurvives);
    await expectWhole(disk, 'after the change');
    expect(isReadable(disk)).toBe(to.kind === 'none');
    const after = [...keysOnDisk(disk)];
    expect(after).toHaveLength(1);
    expect(after[0]?.slice(0, 12)).toBe(done.keyId ?? '');
    expect(before.has(after[0] ?? '')).toBe(false);
    expect(disk.list(HOME).filter((name) => name.startsWith('key'))).toEqual(to.kind === 'none' ? [] : ['key']);
  });

  test('killed at any operation, under any loss, the next start finds everything, and the same command finishes it', {
    timeout: 120_000,
  }, async () => {
    const base = await madeWith(from);
    const quiet = base.clone();
    await change(quiet, to);
    const seen = new Set<string>();
    for (let at = 0; at < quiet.operations; at += 1) {
      for (const what of ['kill', 'kill-half', 'kill-after'] as const) {
        const disk = base.clone();
        disk.faults = [{ at, what }];
        random.used = 1000;
        await change(disk, to).catch(() => {});
        const killed = disk.clone();
        for (const [index, loss] of [null, ...losses(disk.unsynced)].entries()) {
          const world = loss === null ? killed : disk.clone().powerCut(loss);
          const fingerprint = world.fingerprint();
          if (seen.has(fingerprint)) continue;
          seen.add(fingerprint);
          const where = `${what} at ${at} (${disk.log.at(-1)}), loss ${index}`;
          await expectWhole(world.clone(), where);
          // Every other world is taken to its end by the command, and every fourth after an agent went on working in it.
          if (seen.size % 2 !== 0) continue;
          if (seen.size % 4 === 0) {
            const { store } = await start(world);
            for (let step = 0; step < 3; step += 1) await store.commit({ facts: factsAt(STEP), policies: {} });
            world.powerCut(nothingSurvives);
            await expectWhole(world, `${where}, after an agent worked on`);
          }
          await change(world, to);
          world.powerCut(nothingSurvives);
          await expectWhole(world, `${where}, done again`);
          expect(isReadable(world), where).toBe(to.kind === 'none');
          expect(keysOnDisk(world).size, where).toBe(1);
        }
      }
    }
    console.info(`${nameOf(from)} to ${nameOf(to)}: ${quiet.operations} operations, ${seen.size} distinct worlds`);
  });

  test.each(['EIO', 'ENOSPC', 'EROFS'] as const)(
    '%s at any operation, once or for ever, loses nothing',
    { timeout: 60_000 },
    async (what) => {
      const base = await madeWith(from);
      const quiet = base.clone();
      await change(quiet, to);
      for (let at = 0; at < quiet.operations; at += 1) {
        for (const forEver of [false, true]) {
          const disk = base.clone();
          const fault: Fault = { at, what, forEver };
          disk.faults = [fault];
          random.used = 1000;
          await change(disk, to).catch((error: { code?: string }) =>
            expect(error.code, `${what} at ${at}`).not.toBe('INTERNAL'),
          );
          disk.faults = [];
          await expectWhole(disk.clone(), `${what} at ${at}`);
          await expectWhole(disk.powerCut(nothingSurvives), `${what} at ${at}, then a power cut`);
        }
      }
    },
  );
});

describe('a change of key', () => {
  test('refuses while something needs a key that is not here, and takes it from --from', async () => {
    const disk = await madeWith(ONE);
    disk.put(paths.key, Buffer.from(keyText(3)));
    await expect(change(disk, GENERATED)).rejects.toMatchObject({ code: 'KEY_UNAVAILABLE' });
    const done = await rekey({
      files: disk,
      home: HOME,
      agentId: AGENT,
      now: () => 0,
      slotBytes: SLOT_BYTES,
      settings: READABLE,
      to: GENERATED,
      from: ['/etc/one'],
      outside,
    });
    expect(done.keyId).not.toBeNull();
    await expectWhole(disk, 'after');
  });

  test('refuses a target that the settings would undo', async () => {
    const disk = await madeWith(NONE);
    const settings: EncryptionSettings = { key: 'auto', keyFile: '/etc/one', credentialsDirectory: null };
    await expect(change(disk, NONE, settings)).rejects.toMatchObject({ code: 'USAGE' });
    await expect(change(disk, TWO, settings)).rejects.toMatchObject({ code: 'USAGE' });
    await change(disk, { kind: 'settings' }, settings);
    await expectWhole(disk, 'as the settings say', settings);
    expect(isReadable(disk)).toBe(false);
  });

  test('gives up what needs a lost key only when it is told to, and keeps it in quarantine', async () => {
    const disk = await madeWith(ONE);
    disk.remove(paths.key);
    await expect(change(disk, NONE)).rejects.toMatchObject({ code: 'KEY_UNAVAILABLE' });
    await change(disk, NONE, READABLE, true);
    expect(disk.list(paths.quarantine).filter((name) => !name.endsWith('.note.json'))).toHaveLength(2);
    expect((await start(disk)).facts).toBeNull();
  });
});

describe('a start', () => {
  const GENERATE: EncryptionSettings = { key: 'generated', keyFile: null, credentialsDirectory: null };

  test('with `encryption.key: generated` makes the key once, for its owner alone, and encrypts with it', async () => {
    const disk = await madeWith(NONE);
    const { store } = await start(disk, GENERATE);
    const text = disk.contents(paths.key)?.toString();
    expect(text).toMatch(/^[0-9a-f]{64}\n$/);
    await store.commit({ facts: factsAt(STEP), policies: {} });
    await store.commit({ facts: factsAt(STEP), policies: {} });
    await expectWhole(disk, 'generated', GENERATE);
    expect(disk.contents(paths.key)?.toString()).toBe(text);
    expect(isReadable(disk)).toBe(false);
  });

  test('never makes a new key over data that another one encrypted: it says so and writes nothing', async () => {
    const disk = await madeWith(GENERATED);
    disk.remove(paths.key);
    const { store, facts } = await start(disk, GENERATE);
    expect(facts).toBeNull();
    expect(disk.contents(paths.key)).toBeNull();
    await expect(store.commit({ facts: factsAt(1), policies: policiesAt(1) })).rejects.toMatchObject({
      code: 'KEY_UNAVAILABLE',
    });
  });

  test('nor where both records are gone and only what they named is left', async () => {
    const disk = await madeWith(GENERATED);
    disk.remove(paths.key);
    for (const slot of paths.slots) disk.remove(slot);
    await start(disk, GENERATE);
    expect(disk.contents(paths.key)).toBeNull();
  });

  test('takes the credential before the key file, and that before the key in the home', async () => {
    const disk = new Disk(HOME);
    disk.put(paths.key, Buffer.from(keyText(3)));
    const credential = async (path: string) =>
      path === '/run/c/holdfast.key' ? Buffer.from(keyText(4)) : outside(path);
    const find = (settings: EncryptionSettings) =>
      readKeyring({ files: disk, home: HOME, settings, generate: false, outside: credential });
    const all: EncryptionSettings = { key: 'auto', keyFile: '/etc/one', credentialsDirectory: '/run/c' };
    expect((await find(all)).source).toBe('/run/c/holdfast.key');
    expect((await find({ ...all, credentialsDirectory: null })).source).toBe('/etc/one');
    expect((await find({ ...all, credentialsDirectory: '/run/other' })).source).toBe('/etc/one');
    expect((await find(READABLE)).source).toBe(paths.key);
    expect((await find({ ...all, key: 'none' })).source).toBeNull();
    expect((await find({ ...all, key: 'none' })).read).toHaveLength(3);
    expect((await find({ ...all, key: 'generated' })).source).toBe(paths.key);
  });

  test.each([
    ['a key file that is not there', { key: 'auto', keyFile: '/etc/none', credentialsDirectory: null }],
    ['a credential that is not passed', { key: 'credential', keyFile: null, credentialsDirectory: null }],
    ['no key file where one is asked for', { key: 'file', keyFile: null, credentialsDirectory: null }],
  ] as const)('with %s says so and never goes on readable', async (_, settings) => {
    const ring = await readKeyring({ files: new Disk(HOME), home: HOME, settings, generate: true, outside });
    expect(ring.refusal).toMatchObject({ code: 'KEY_UNAVAILABLE' });
    expect(ring.write).toBeNull();
  });

  test.each(['', 'a passphrase of some words', 'x'.repeat(32), `${'ab'.repeat(31)}\n`, 'file:relative'])(
    'takes %j for no key, and does not repeat it',
    async (content) => {
      const disk = new Disk(HOME);
      disk.put(paths.key, Buffer.from(content));
      const ring = await readKeyring({ files: disk, home: HOME, settings: READABLE, generate: true, outside });
      expect(ring.refusal?.code).toBe('KEY_UNAVAILABLE');
      if (content !== '') expect(ring.refusal?.message).not.toContain(content.trim());
    },
  );

  test.each([
    ['bytes', Buffer.alloc(32, 0xfe)],
    ['hex', Buffer.from(`${'fe'.repeat(32)}\n`)],
    ['base64', Buffer.from(`${Buffer.alloc(32, 0xfe).toString('base64')}\n`)],
  ])('reads a key as %s', async (_, content) => {
    const disk = new Disk(HOME);
    disk.put(paths.key, content);
    const ring = await readKeyring({ files: disk, home: HOME, settings: READABLE, generate: true, outside });
    expect(ring.write?.id).toBe('57e775efef487d77c96ac0fd152dd02e');
  });
});

/** A start while the disk cannot be read: nothing is written over what it hides, and what it holds is found again as soon as it can be (P11, P12). */
import { expect, test } from 'vitest';
import { createActor, toPromise } from 'xstate';
import { type Change, emptyFacts, type Facts } from '../../../src/machines/facts.ts';
import { advance } from '../../../src/machines/rules.ts';
import type { StoreRequest } from '../../../src/machines/store.ts';
import { homePaths } from '../../../src/services/home.ts';
import { SILENT } from '../../../src/services/log/logger.ts';
import { hashOf } from '../../../src/services/store/frame.ts';
import { readIdentity, writeIdentity } from '../../../src/services/store/identity.ts';
import { READABLE } from '../../../src/services/store/keyring.ts';
import { storePorts } from '../../../src/services/store/ports.ts';
import { RULES } from '../../support/agent-world.ts';
import { Disk } from '../../support/disk.ts';
import { AGENT } from '../../support/facts.ts';

const HOME = '/home';
const PATHS = homePaths(HOME);

async function start(disk: Disk, encryption = READABLE) {
  const identityOnDisk = () => readIdentity(disk, HOME, 'machine');
  const ports = storePorts({
    home: HOME,
    files: disk,
    clock: { wallMs: () => 1_000, monotonicMs: () => 0 },
    log: SILENT,
    lock: async () => ({ kind: 'flock', release: async () => {} }),
    identity: await identityOnDisk(),
    readIdentity: identityOnDisk,
    beginWith: null,
    encryption,
    decide: (before, requests, now) => {
      const changes = requests.flatMap((one) => one.changes);
      const { facts, bodies, news } = advance(before, changes, now, RULES);
      return { facts, bodies, news: requests.map(() => news) };
    },
  });
  const { facts } = await toPromise(createActor(ports.store.open, { input: { agentId: AGENT } }).start());
  const commit = async (...changes: readonly Change[]): Promise<Facts> => {
    const requests: readonly StoreRequest[] = [{ from: 'agent', id: 'test', changes }];
    const input = { facts: facts ?? emptyFacts(AGENT), requests };
    return (await toPromise(createActor(ports.store.commit, { input }).start())).facts;
  };
  return { facts, commit, agentId: ports.agentId };
}

const OPENED: Change = { type: 'start.opened', bootId: 'boot' };

async function enrolledDisk(): Promise<Disk> {
  const disk = new Disk(HOME);
  const identity = {
    agentId: AGENT,
    hosts: ['https://fleet:8220'],
    accessApiKey: 'key',
    enrolledAt: 1,
    enrollmentId: null,
    policyId: 'web',
    machineId: 'machine',
    insecure: false,
    certificateAuthorities: [],
  };
  await writeIdentity(disk, HOME, { identity, pending: null });
  for (let life = 1; life <= 2; life += 1) await (await start(disk)).commit(OPENED);
  return disk;
}

const failing = { what: 'EIO', forEver: true } as const;
const READ_ONLY = Object.assign(new Error('refused'), { code: 'EROFS' });
const refused = (code: string) => expect.objectContaining({ code });

test('nothing is written or set aside while it cannot be read, and the start is told as soon as it can be', async () => {
  const disk = await enrolledDisk();
  const slots = () => PATHS.slots.map((path) => hashOf(String(disk.contents(path)?.toString('latin1'))));
  const before = slots();
  disk.faults = [{ ...failing, at: disk.operations }];
  const { facts, commit } = await start(disk);
  expect(facts).toBeNull();
  for (let look = 1; look <= 3; look += 1) await expect(commit(OPENED)).rejects.toEqual(refused('STORE_READ_FAILED'));
  disk.faults = [];
  await expect(commit(OPENED)).rejects.toEqual(refused('STORE_READABLE_AGAIN'));
  expect(slots()).toEqual(before);
  expect((await start(disk)).facts?.starts[0]?.number).toBe(2);
});

test('one slot that cannot be read may be the newer one: the older record is not built upon', async () => {
  const disk = await enrolledDisk();
  const newest = await start(disk);
  expect(newest.facts?.starts[0]?.number).toBe(2);
  for (const path of PATHS.slots) {
    const copy = disk.clone();
    copy.unreadable = (one) => one === path;
    const { facts, commit } = await start(copy);
    await expect(commit(OPENED)).rejects.toEqual(refused('STORE_READ_FAILED'));
    copy.unreadable = () => false;
    if (facts?.starts[0]?.number === 2) expect((await commit(OPENED)).starts[0]?.number).toBe(3);
    else await expect(commit(OPENED)).rejects.toEqual(refused('STORE_READABLE_AGAIN'));
  }
});

test('what stays unreadable is set aside in the end, and the start goes on with what there is', async () => {
  const disk = await enrolledDisk();
  disk.unreadable = (path) => path === PATHS.slots[0] || path === PATHS.slots[1];
  const { commit } = await start(disk);
  const looks: unknown[] = [];
  for (let facts: Facts | null = null; facts === null; ) {
    facts = await commit(OPENED).catch((error: unknown) => {
      looks.push(error);
      return null;
    });
    expect(looks.length).toBeLessThan(20);
  }
  expect(looks).toEqual(Array(9).fill(refused('STORE_READ_FAILED')));
  disk.unreadable = () => false;
  expect((await start(disk)).facts?.starts).toHaveLength(1);
  expect(disk.list(PATHS.quarantine).filter((name) => /root\.[01]$/.test(name))).toHaveLength(2);
});

test.each(['EMFILE', 'EIO'] as const)(
  'while no file at all can be read (%s), however long, nothing is given up',
  async (what) => {
    const disk = await enrolledDisk();
    const before = disk.list(PATHS.state);
    disk.faults = [{ what, forEver: true, at: disk.operations }];
    const { commit } = await start(disk);
    for (let look = 1; look <= 30; look += 1)
      await expect(commit(OPENED)).rejects.toEqual(refused('STORE_READ_FAILED'));
    disk.faults = [];
    await expect(commit(OPENED)).rejects.toEqual(refused('STORE_READABLE_AGAIN'));
    expect(disk.list(PATHS.state)).toEqual(before);
    expect((await start(disk)).facts?.starts[0]?.number).toBe(2);
  },
);

test('what was given up for a commit that failed is found by the next one', async () => {
  const disk = await enrolledDisk();
  disk.unreadable = (path) => path === PATHS.slots[0] || path === PATHS.slots[1];
  const rename = disk.rename.bind(disk);
  const open = disk.open.bind(disk);
  const isRefused = (path: string, how: string) => path.startsWith(PATHS.state) && how !== 'read';
  disk.rename = async (from, to) => (isRefused(from, 'rename') ? Promise.reject(READ_ONLY) : rename(from, to));
  disk.open = async (path, how) => (isRefused(path, how) ? Promise.reject(READ_ONLY) : open(path, how));
  const { commit } = await start(disk);
  for (let look = 1; look <= 9; look += 1) await expect(commit(OPENED)).rejects.toEqual(refused('STORE_READ_FAILED'));
  await expect(commit(OPENED)).rejects.toEqual(refused('STORE_WRITE_FAILED'));
  disk.unreadable = () => false;
  Object.assign(disk, { rename, open });
  await expect(commit(OPENED)).rejects.toEqual(refused('STORE_READABLE_AGAIN'));
  expect((await start(disk)).facts?.starts[0]?.number).toBe(2);
});

test('an identity that was given up is taken as soon as it can be read', async () => {
  const disk = await enrolledDisk();
  disk.unreadable = (path) => path === PATHS.identity;
  const { commit } = await start(disk);
  for (let look = 1; look <= 9; look += 1) await expect(commit(OPENED)).rejects.toEqual(refused('STORE_READ_FAILED'));
  expect((await commit(OPENED)).starts[0]?.number).toBe(3);
  disk.unreadable = () => false;
  await expect(commit(OPENED)).rejects.toEqual(refused('STORE_READABLE_AGAIN'));
});

test('an identity that could not be read ends the start as soon as it can be', async () => {
  const disk = await enrolledDisk();
  disk.unreadable = (path) => path === PATHS.identity;
  const { facts, commit } = await start(disk);
  expect(facts?.starts[0]?.number).toBe(2);
  await expect(commit(OPENED)).rejects.toEqual(refused('STORE_READ_FAILED'));
  disk.unreadable = () => false;
  await expect(commit(OPENED)).rejects.toEqual(refused('STORE_READABLE_AGAIN'));
});

test('a key that is put back is found by the start that missed it', async () => {
  const disk = await enrolledDisk();
  const generated = { ...READABLE, key: 'generated' } as const;
  await (await start(disk, generated)).commit(OPENED);
  await (await start(disk, generated)).commit(OPENED);
  await disk.rename(PATHS.key, `${HOME}/elsewhere`);
  const { facts, commit } = await start(disk, generated);
  expect(facts).toBeNull();
  await expect(commit(OPENED)).rejects.toEqual(refused('KEY_UNAVAILABLE'));
  await disk.rename(`${HOME}/elsewhere`, PATHS.key);
  await expect(commit(OPENED)).rejects.toEqual(refused('STORE_READABLE_AGAIN'));
  expect((await start(disk, generated)).facts?.starts[0]?.number).toBe(4);
});

/** Every corruption through the reader: each truncation, each bit, runs of zeroes, and files in each other's place, of records and of objects, readable and encrypted (P8, P11). */
import { describe, expect, test } from 'vitest';
import type { Facts } from '../../../src/machines/facts.ts';
import { homePaths } from '../../../src/services/home.ts';
import { type Keyring, NO_KEYS } from '../../../src/services/store/keyring.ts';
import { openStore } from '../../../src/services/store/store.ts';
import { Disk, SECTOR_BYTES } from '../../support/disk.ts';
import { AGENT, factsAt, policiesAt, policyHash, policyText } from '../../support/facts.ts';
import { aKey, ringOf } from '../../support/keys.ts';

const HOME = '/home';
const paths = homePaths(HOME);
const NEWEST = factsAt(6);
const OLDER = factsAt(5);
const HELD = NEWEST.generations.map(({ revision }) => revision);
const objectOf = (revision: number) => `${paths.objects}/${policyHash(revision)}`;

const look = (disk: Disk, keys: Keyring, agentId = AGENT) =>
  openStore({ files: disk, home: HOME, agentId, now: () => 0, slotBytes: 4096, keys, lookOnly: true });

async function written(keys: Keyring, agentId = AGENT): Promise<Disk> {
  const disk = new Disk(HOME);
  const { store } = await openStore({ files: disk, home: HOME, agentId, now: () => 0, slotBytes: 4096, keys });
  for (let step = 1; step <= 6; step += 1) {
    await store.commit({ facts: factsAt(step, agentId), policies: policiesAt(step) });
  }
  return disk;
}

function newestSlot(disk: Disk): string {
  const sequence = (slot: string) => disk.contents(slot)!.readBigUInt64BE(56);
  const [a, b] = paths.slots;
  return sequence(a) > sequence(b) ? a : b;
}

/** Bytes of the frame at `path`. */
function usedBytes(disk: Disk, path: string): number {
  const bytes = disk.contents(path)!;
  return bytes.readUInt16BE(10) + bytes.readUInt32BE(12);
}

/** Each damage to the first `used` bytes of a file: a name, and the bytes it leaves. */
function* damagesOf(original: Buffer, used: number): Generator<readonly [string, Buffer]> {
  for (let length = 0; length < used; length += 1) yield [`cut to ${length} bytes`, original.subarray(0, length)];
  for (let bit = 0; bit < used * 8; bit += 1) {
    const bytes = Buffer.from(original);
    bytes[bit >> 3]! ^= 1 << (bit & 7);
    yield [`bit ${bit}`, bytes];
  }
  for (const run of [1, 8, 64, SECTOR_BYTES, original.length]) {
    for (let from = 0; from < used; from += Math.min(run, 64)) {
      const bytes = Buffer.from(original);
      bytes.fill(0, from, Math.min(from + run, bytes.length));
      if (!bytes.equals(original)) yield [`${run} zeroes from ${from}`, bytes];
    }
  }
}

/** Does each damage in turn: how many there were, and the first ones of which `judge` says what is wrong. */
async function surviving(
  disk: Disk,
  path: string,
  judge: () => Promise<string | null>,
): Promise<{ readonly count: number; readonly bad: readonly string[] }> {
  const original = Buffer.from(disk.contents(path)!);
  const bad: string[] = [];
  let count = 0;
  for (const [name, bytes] of damagesOf(original, usedBytes(disk, path))) {
    disk.damage(path, () => bytes);
    const why = await judge();
    if (why !== null) bad.push(`${name}: ${why}`);
    count += 1;
  }
  disk.damage(path, () => original);
  return { count, bad: bad.slice(0, 10) };
}

const isSame = (one: Facts | null, other: Facts) => JSON.stringify(one) === JSON.stringify(other);

describe.each([
  ['readable', NO_KEYS],
  ['encrypted', ringOf(aKey(1))],
] as const)('%s', (_how, keys) => {
  test('no damage to the newest record is taken for anything: the other one counts', { timeout: 120_000 }, async () => {
    const disk = await written(keys);
    const { count, bad } = await surviving(disk, newestSlot(disk), async () => {
      const { facts } = await look(disk, keys);
      return isSame(facts, OLDER) ? null : `found ${facts?.deliveryToken ?? 'nothing'}`;
    });
    console.log(`${count} damages to a record`);
    expect(bad).toEqual([]);
    expect((await look(disk, keys)).facts).toEqual(NEWEST);
  });

  test('no damage to a policy is taken for a policy, and no record suffers by it', { timeout: 120_000 }, async () => {
    const disk = await written(keys);
    const [revision] = HELD as [number];
    const { count, bad } = await surviving(disk, objectOf(revision), async () => {
      const { facts, store } = await look(disk, keys);
      const read = await store.readPolicy(policyHash(revision));
      if (!isSame(facts, NEWEST)) return 'the record was not found';
      return 'problem' in read ? null : `read as ${read.text}`;
    });
    console.log(`${count} damages to a policy`);
    expect(bad).toEqual([]);
  });

  test('records in each other’s place are the same records; policies in each other’s place are none', async () => {
    const disk = await written(keys);
    const swap = (one: string, other: string) => {
      const [a, b] = [disk.contents(one)!, disk.contents(other)!];
      disk.damage(one, () => b);
      disk.damage(other, () => a);
    };
    swap(...paths.slots);
    expect((await look(disk, keys)).facts).toEqual(NEWEST);
    const [first, second] = HELD as [number, number];
    swap(objectOf(first), objectOf(second));
    const { facts, store } = await look(disk, keys);
    expect(facts).toEqual(NEWEST);
    for (const revision of [first, second]) {
      expect(await store.readPolicy(policyHash(revision))).toMatchObject({ problem: { code: 'STORE_UNREADABLE' } });
    }
    swap(objectOf(first), objectOf(second));
    expect(await (await look(disk, keys)).store.readPolicy(policyHash(first))).toEqual({ text: policyText(first) });
  });

  test('a record of another agent is never this one’s', async () => {
    const disk = await written(keys, 'another-agent');
    const { facts, findings } = await look(disk, keys);
    expect(facts).toBeNull();
    expect(findings.map(({ kind }) => kind)).toEqual(['foreign', 'foreign']);
  });
});

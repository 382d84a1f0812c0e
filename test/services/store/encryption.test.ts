/** What lies on disk under a key tells nothing, is bound to its agent and place, and waits for its key when that is not there (P1, P8, P11). */
import { describe, expect, test } from 'vitest';
import { emptyFacts } from '../../../src/machines/facts.ts';
import { homePaths } from '../../../src/services/home.ts';
import { type Keyring, NO_KEYS } from '../../../src/services/store/keyring.ts';
import { openStore, type Store, type StoreOptions } from '../../../src/services/store/store.ts';
import { Disk, nothingSurvives } from '../../support/disk.ts';
import { AGENT, factsAt, policiesAt, policyHash, policyText } from '../../support/facts.ts';
import { aKey, ringOf } from '../../support/keys.ts';

const HOME = '/home';
const paths = homePaths(HOME);
const SLOT_BYTES = 4096;
const ONE = ringOf(aKey(1));
const TWO = ringOf(aKey(2));

const open = (disk: Disk, keys: Keyring, options: Partial<StoreOptions> = {}) =>
  openStore({ files: disk, home: HOME, agentId: AGENT, now: () => 0, slotBytes: SLOT_BYTES, keys, ...options });

async function commitSteps(store: Store, from: number, to: number): Promise<void> {
  for (let step = from; step <= to; step += 1) await store.commit({ facts: factsAt(step), policies: policiesAt(step) });
}

async function diskAt(step: number, keys: Keyring): Promise<Disk> {
  const disk = new Disk(HOME);
  const { store } = await open(disk, keys);
  await commitSteps(store, 1, step);
  return disk;
}

/** Every file below the home in one text. */
function everything(disk: Disk): string {
  const below = (path: string): string[] =>
    disk.list(path).flatMap((name) => {
      const bytes = disk.contents(`${path}/${name}`) ?? Buffer.alloc(0);
      return [`${name} ${bytes.toString('latin1')}`, ...below(`${path}/${name}`)];
    });
  return below(HOME).join('\n');
}

const kinds = (findings: readonly { kind: string }[]) => findings.map((finding) => finding.kind);

describe('an encrypted store', () => {
  test('finds what it committed, says that it is encrypted, and shows none of it on disk', async () => {
    const disk = await diskAt(6, ONE);
    disk.powerCut(nothingSurvives);
    const { facts, store, findings } = await open(disk, ONE);
    expect(facts).toEqual(factsAt(6));
    expect(findings).toEqual([]);
    expect(await store.readPolicy(policyHash(3))).toEqual({ text: policyText(3) });
    expect(await store.verifyHeld(policyHash(3))).toBeTypeOf('object');
    expect(await store.status()).toMatchObject({ encrypted: true });
    expect(everything(disk)).not.toMatch(/token-|revision|promotedAt/);
    // The same would be found in a readable store.
    expect(everything(await diskAt(6, NO_KEYS))).toMatch(/token-6[\s\S]*revision/);
  });

  test('never uses a nonce twice, not even for the same facts', async () => {
    const disk = new Disk(HOME);
    const { store } = await open(disk, ONE);
    const nonces = new Set<string>();
    for (let round = 0; round < 20; round += 1) {
      await store.commit({ facts: factsAt(2), policies: policiesAt(1) });
      for (const slot of paths.slots) nonces.add(disk.contents(slot)!.toString('hex', 80, 92));
    }
    nonces.delete('0'.repeat(24));
    expect(nonces.size).toBe(20);
  });

  test('a header that was changed together with its checksum is refused: it is authenticated', async () => {
    const { createHash } = await import('node:crypto');
    const disk = await diskAt(4, ONE);
    const [a, b] = paths.slots;
    const forge = (slot: string, sequence: bigint) =>
      disk.damage(slot, (bytes) => {
        const length = bytes.readUInt16BE(10) + bytes.readUInt32BE(12);
        bytes.writeBigUInt64BE(sequence, 56);
        bytes.fill(0, 16, 48);
        createHash('sha256').update(bytes.subarray(0, length)).digest().copy(bytes, 16);
        return bytes;
      });
    const older = disk.contents(a)!.readBigUInt64BE(56) < disk.contents(b)!.readBigUInt64BE(56) ? a : b;
    forge(older, 99n);
    const { facts, findings } = await open(disk, ONE);
    expect(facts).toEqual(factsAt(4));
    expect(kinds(findings)).toEqual(['torn']);
  });

  test('slots that were swapped are recognised, named and used', async () => {
    const disk = await diskAt(4, ONE);
    const [a, b] = paths.slots.map((slot) => disk.contents(slot)!) as [Buffer, Buffer];
    disk.put(paths.slots[0], b);
    disk.put(paths.slots[1], a);
    const { facts, findings, store } = await open(disk, ONE);
    expect(facts).toEqual(factsAt(4));
    expect(kinds(findings)).toEqual(['misplaced', 'misplaced']);
    await commitSteps(store, 5, 6);
    expect((await open(disk, ONE)).findings).toEqual([]);
  });

  test('an object of another agent, and one under another name, are refused', async () => {
    const disk = await diskAt(4, ONE);
    const theirs = new Disk(HOME);
    const { store } = await open(theirs, ONE, { agentId: 'another' });
    for (let step = 1; step <= 4; step += 1)
      await store.commit({ facts: { ...factsAt(step), agentId: 'another' }, policies: policiesAt(step) });
    const object = `${paths.objects}/${policyHash(2)}`;
    const own = disk.contents(object)!;
    disk.put(object, theirs.contents(object)!);
    expect((await open(disk, ONE)).findings[0]?.message).toMatch(/for another agent or another place/);
    disk.put(object, disk.contents(`${paths.objects}/${policyHash(1)}`)!);
    expect(await (await open(disk, ONE)).store.readPolicy(policyHash(2))).toHaveProperty('problem');
    disk.put(object, own);
    expect((await open(disk, ONE)).findings).toEqual([]);
  });
});

describe.each([
  ['is missing', NO_KEYS],
  ['is another one', TWO],
])('a key that %s', (_, wrong) => {
  test('does not prevent the start; the finding names the key and what to do', async () => {
    const disk = await diskAt(6, ONE);
    const { facts, findings, locked, store } = await open(disk, wrong);
    expect(facts).toBeNull();
    expect(kinds(findings)).toEqual(['locked']);
    expect(findings[0]?.message).toContain(`encrypted with key ${aKey(1).id.slice(0, 12)}`);
    expect(findings[0]?.message).toContain('put that key back');
    expect(locked).toEqual([aKey(1).id]);
    expect(await store.status()).toMatchObject({ encrypted: true, quarantined: 0 });
  });

  test('back before anything was delivered, everything is as it was, whatever was written meanwhile', async () => {
    const disk = await diskAt(6, ONE);
    const before = paths.slots.map((slot) => disk.contents(slot));
    for (let starts = 1; starts <= 3; starts += 1) {
      const { store, facts } = await open(disk, wrong);
      expect(facts?.generations ?? []).toEqual([]);
      for (let commits = 0; commits < 3; commits += 1) await store.commit({ facts: emptyFacts(AGENT), policies: {} });
      disk.powerCut(nothingSurvives);
    }
    expect(paths.slots.map((slot) => disk.contents(slot))).toEqual(before);
    const { facts, store, locked } = await open(disk, { ...ONE, read: [...ONE.read, ...wrong.read] });
    expect(facts).toEqual(factsAt(6));
    expect(locked).toEqual([]);
    await commitSteps(store, 7, 9);
    disk.powerCut(nothingSurvives);
    expect((await open(disk, ONE)).facts).toEqual(factsAt(9));
  });

  test('back after Fleet delivered anew, what was delivered last counts, and nothing was overwritten', async () => {
    const disk = await diskAt(6, ONE);
    const before = paths.slots.map((slot) => disk.contents(slot));
    const { store } = await open(disk, wrong);
    const policies = { ...policiesAt(7), ...policiesAt(5), ...policiesAt(3), ...policiesAt(1) };
    await store.commit({ facts: factsAt(7), policies });
    await store.commit({ facts: factsAt(8), policies });
    expect(paths.slots.map((slot) => disk.contents(slot))).toEqual(before);
    // The objects of the record that cannot be read were kept, those delivered again are readable with what is here now.
    expect((await open(disk, wrong)).facts).toEqual(factsAt(8));
    const both = { ...ONE, read: [...ONE.read, ...wrong.read] };
    const { facts, store: later } = await open(disk, both);
    expect(facts).toEqual(factsAt(8));
    await commitSteps(later, 9, 11);
    expect((await open(disk, ONE)).facts).toEqual(factsAt(11));
  });

  test('for good, what it encrypted is moved to quarantine when it is given up', async () => {
    const disk = await diskAt(6, ONE);
    const { store, locked } = await open(disk, wrong, { abandonLocked: true });
    expect(locked).toEqual([]);
    expect(await store.status()).toMatchObject({ quarantined: 2 });
    await commitSteps(store, 1, 2);
    expect((await open(disk, wrong)).facts).toEqual(factsAt(2));
  });
});

test('a key that is asked for and cannot be had: the start reads what is readable and writes nothing, readable or not', async () => {
  const disk = await diskAt(6, NO_KEYS);
  const before = everything(disk);
  const refusal = { code: 'KEY_UNAVAILABLE', message: '/etc/key is to hold the key and cannot be used' } as const;
  const { facts, store, findings } = await open(disk, { ...NO_KEYS, refusal });
  expect(facts).toEqual(factsAt(6));
  expect(kinds(findings)).toEqual(['key']);
  await expect(store.commit({ facts: factsAt(7), policies: policiesAt(7) })).rejects.toMatchObject(refusal);
  expect(everything(disk)).toBe(before);
});

describe('a key that is named for the first time over readable data', () => {
  test('encrypts all of it within two commits, and leaves no readable remains in the slots', async () => {
    const disk = await diskAt(6, NO_KEYS);
    const { facts, store } = await open(disk, ONE);
    expect(facts).toEqual(factsAt(6));
    await store.commit({ facts: emptyFacts(AGENT), policies: {} });
    await store.commit({ facts: { ...emptyFacts(AGENT), generations: factsAt(6).generations }, policies: {} });
    disk.powerCut(nothingSurvives);
    expect(everything(disk)).not.toMatch(/token-|revision|promotedAt/);
    expect(await (await open(disk, ONE)).store.readPolicy(policyHash(3))).toEqual({ text: policyText(3) });
  });

  test('and back: without a key to write with, but with the one to read, all of it becomes readable', async () => {
    const disk = await diskAt(6, ONE);
    const { store } = await open(disk, ringOf(null, aKey(1)));
    await commitSteps(store, 7, 8);
    expect((await open(disk, NO_KEYS)).facts).toEqual(factsAt(8));
    expect(await (await open(disk, NO_KEYS)).store.readPolicy(policyHash(4))).toEqual({ text: policyText(4) });
  });
});

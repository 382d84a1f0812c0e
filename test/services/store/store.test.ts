/** What the store finds at a start, whatever lies in its directory, and how it mends what is taken from it. */
import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { emptyFacts, type Facts } from '../../../src/machines/facts.ts';
import { homePaths } from '../../../src/services/home.ts';
import { encodeFrame } from '../../../src/services/store/frame.ts';
import { encodePayload } from '../../../src/services/store/record.ts';
import { openStore, type Store, type StoreOptions } from '../../../src/services/store/store.ts';
import { Disk, nothingSurvives } from '../../support/disk.ts';
import { AGENT, factsAt, policiesAt, policyHash, policyText } from '../../support/facts.ts';

const HOME = '/home';
const paths = homePaths(HOME);
const SLOT_BYTES = 4096;

const open = (disk: Disk, options: Partial<StoreOptions> = {}) =>
  openStore({ files: disk, home: HOME, agentId: AGENT, now: () => 0, slotBytes: SLOT_BYTES, ...options });

async function commitSteps(store: Store, from: number, to: number): Promise<void> {
  for (let step = from; step <= to; step += 1) await store.commit({ facts: factsAt(step), policies: policiesAt(step) });
}

/** A disk on which the facts of `step` were committed, and the slot that holds them. */
async function diskAt(step: number): Promise<{ disk: Disk; newest: string; older: string }> {
  const disk = new Disk(HOME);
  const { store } = await open(disk);
  await commitSteps(store, 1, step);
  const sequence = (slot: string) => disk.contents(slot)!.readBigUInt64BE(56);
  const [a, b] = paths.slots;
  return sequence(a) > sequence(b) ? { disk, newest: a, older: b } : { disk, newest: b, older: a };
}

const kinds = (findings: readonly { kind: string }[]) => findings.map((finding) => finding.kind);

describe('a first use', () => {
  test('an empty home has no facts and nothing to complain about, and nothing is written before the first commit', async () => {
    const disk = new Disk(HOME);
    const { facts, findings, store } = await open(disk);
    expect(facts).toBeNull();
    expect(findings).toEqual([]);
    expect(disk.list(HOME)).toEqual([]);
    expect(await store.verifyHeld('')).toMatchObject({ code: 'STORE_UNREADABLE' });
  });

  test('the first commit preallocates both slots, and what it wrote is found', async () => {
    const { disk } = await diskAt(1);
    expect(paths.slots.map((slot) => disk.contents(slot)?.length)).toEqual([SLOT_BYTES, SLOT_BYTES]);
    disk.powerCut(nothingSurvives);
    expect((await open(disk)).facts).toEqual(factsAt(1));
  });

  test('a home that does not exist yet is made', async () => {
    const disk = new Disk();
    const { store } = await open(disk);
    await commitSteps(store, 1, 2);
    disk.powerCut(nothingSurvives);
    expect((await open(disk)).facts).toEqual(factsAt(2));
  });
});

describe('reading', () => {
  test('every truncation of the newest slot falls back to the other one, counted and not set aside', async () => {
    const { disk, newest } = await diskAt(4);
    const used = disk.contents(newest)!.readUInt16BE(10) + disk.contents(newest)!.readUInt32BE(12);
    for (let length = 0; length < used; length += 1) {
      const cut = disk.clone();
      cut.damage(newest, (bytes) => bytes.subarray(0, length));
      const { facts, findings, store } = await open(cut);
      expect(facts).toEqual(factsAt(3));
      expect(kinds(findings)).toEqual(['torn']);
      expect(await store.status()).toMatchObject({ torn: 1, quarantined: 0 });
    }
  });

  test('two bad slots are set aside with a note each; the agent starts without facts and the next commit heals', async () => {
    const { disk, newest, older } = await diskAt(4);
    disk.flipBit(newest, 2000);
    disk.damage(older, () => Buffer.alloc(0));
    const { facts, findings, store } = await open(disk);
    expect(facts).toBeNull();
    expect(kinds(findings)).toEqual(['damaged', 'damaged']);
    expect(disk.list(paths.quarantine)).toEqual([
      '000001-root.0',
      '000001-root.0.note.json',
      '000002-root.1',
      '000002-root.1.note.json',
    ]);
    const note = JSON.parse(disk.contents(`${paths.quarantine}/000001-root.0.note.json`)!.toString());
    expect(note).toMatchObject({ what: paths.slots[0], why: expect.any(String), at: '1970-01-01T00:00:00.000Z' });
    await commitSteps(store, 1, 1);
    expect((await open(disk)).facts).toEqual(factsAt(1));
  });

  test.each(['directory', 'link', 'other'] as const)(
    'a slot that became a %s is set aside and replaced',
    async (kind) => {
      const { disk, older, newest } = await diskAt(4);
      disk.put(newest, kind);
      const { facts, findings, store } = await open(disk);
      expect(facts).toEqual(factsAt(3));
      expect(kinds(findings)).toEqual(['unreadable']);
      await store.commit({ facts: factsAt(4), policies: {} });
      expect(disk.contents(newest)).not.toBeNull();
      disk.put(older, 'directory');
      expect((await open(disk)).facts).toEqual(factsAt(4));
    },
  );

  test('a slot grown to something huge is not loaded into memory', async () => {
    const { disk, newest } = await diskAt(4);
    disk.damage(newest, () => {
      const header = encodeFrame('root', { sequence: 99, subject: AGENT, payload: Buffer.from('{}') })!;
      header.writeUInt32BE(0xffff_ff00, 12);
      return Buffer.concat([header], SLOT_BYTES);
    });
    expect((await open(disk)).facts).toEqual(factsAt(3));
  });

  test('a quarantine that cannot be written is a finding, and the start and the next commits go on', async () => {
    const { disk, newest, older } = await diskAt(4);
    disk.damage(newest, () => Buffer.from('rubbish'));
    disk.damage(older, () => Buffer.from('rubbish'));
    disk.readOnly = true;
    const { facts, findings, store } = await open(disk);
    expect(facts).toBeNull();
    expect(kinds(findings)).toContain('quarantine');
    disk.readOnly = false;
    await commitSteps(store, 1, 2);
    expect((await open(disk)).facts).toEqual(factsAt(2));
  });

  test('quarantine keeps the newest 8 and never more than 64 MiB', async () => {
    const disk = new Disk(HOME);
    const { store } = await open(disk);
    await commitSteps(store, 1, 2);
    for (let round = 0; round < 12; round += 1) {
      disk.put(paths.slots[0], Buffer.from(`stranger ${round}`));
      await commitSteps(store, 2, 2);
    }
    const kept = disk.list(paths.quarantine).filter((name) => !name.endsWith('.json'));
    expect(kept).toHaveLength(8);
    expect(kept.at(-1)).toBe('000012-root.0');
    disk.put(paths.slots[1], Buffer.alloc(65 * 1024 * 1024));
    await commitSteps(store, 2, 2);
    expect(disk.list(paths.quarantine)).toContain('000013-root.1.note.json');
    expect(disk.list(paths.quarantine)).not.toContain('000013-root.1');
  });

  test("another agent's record is set aside; an unenrolled one's is simply superseded; an unknown agent takes what is there", async () => {
    const { disk } = await diskAt(4);
    expect((await open(disk.clone(), { agentId: null })).facts).toEqual(factsAt(4));
    const foreign = await open(disk, { agentId: 'other' });
    expect(foreign.facts).toBeNull();
    expect(kinds(foreign.findings)).toEqual(['foreign', 'foreign']);
    expect((await foreign.store.status()).quarantined).toBe(2);

    const young = new Disk(HOME);
    await (await open(young, { agentId: '' })).store.commit({ facts: emptyFacts(''), policies: {} });
    const enrolled = await open(young);
    expect(enrolled.facts).toBeNull();
    expect(enrolled.findings).toEqual([]);
    await commitSteps(enrolled.store, 1, 1);
    expect((await open(young)).facts).toEqual(factsAt(1));
  });

  test('looking only changes nothing, not even what is broken', async () => {
    const { disk, newest } = await diskAt(4);
    disk.put(newest, 'directory');
    const before = disk.fingerprint();
    const { facts, store } = await open(disk, { lookOnly: true });
    expect(facts).toEqual(factsAt(3));
    expect(disk.fingerprint()).toBe(before);
    await expect(commitSteps(store, 4, 4)).rejects.toMatchObject({ code: 'INTERNAL' });
  });
});

describe('formats', () => {
  const newerRoot = (sequence: number) => {
    const bytes = encodeFrame('root', {
      sequence,
      subject: AGENT,
      payload: Buffer.from('what a later version writes'),
    })!;
    bytes.writeUInt16BE(2, 8);
    return resealed(bytes);
  };

  test('slots of a newer format stay, nothing is collected beside them, and this version keeps its own record all the same', async () => {
    const { disk, newest, older } = await diskAt(8);
    const object = `${paths.objects}/${policyHash(1)}`;
    disk.put(newest, newerRoot(9));
    disk.put(older, newerRoot(10));
    disk.put(object, Buffer.from('an object of the newer version'));
    const first = await open(disk);
    expect(first.facts).toBeNull();
    expect(kinds(first.findings)).toEqual(['newer', 'newer']);
    await commitSteps(first.store, 1, 8);
    expect(disk.contents(newest)).toEqual(newerRoot(9));
    expect(disk.contents(older)).toEqual(newerRoot(10));
    for (const revision of [1, 2, 3, 4])
      expect(disk.contents(`${paths.objects}/${policyHash(revision)}`)).not.toBeNull();
    expect((await open(disk)).facts).toEqual(factsAt(8));
  });

  test('a flipped bit in the format field is damage, not a newer format', async () => {
    const { disk, newest } = await diskAt(4);
    disk.flipBit(newest, 8 * 9 + 1);
    expect(kinds((await open(disk)).findings)).toEqual(['torn']);
  });

  test('what a newer minor format adds is ignored', async () => {
    const disk = new Disk(HOME, paths.state);
    const extended = { ...factsAt(1), added: { later: 1 }, intents: { logLevel: null, isolated: true } } as Facts;
    const { bytes } = encodePayload(extended);
    disk.put(paths.slots[0], encodeFrame('root', { sequence: 1, subject: AGENT, payload: bytes })!);
    expect((await open(disk)).facts).toEqual(factsAt(1));
  });
});

describe('objects', () => {
  test('each is judged by itself: a damaged last good leaves the generation before it, and the record, as they are', async () => {
    const { disk } = await diskAt(4);
    disk.flipBit(`${paths.objects}/${policyHash(2)}`, 1200);
    const { facts, findings, store } = await open(disk);
    expect(facts).toEqual(factsAt(4));
    expect(kinds(findings)).toEqual(['object']);
    expect(await store.readPolicy(policyHash(2))).toMatchObject({ problem: { code: 'STORE_UNREADABLE' } });
    expect(await store.readPolicy(policyHash(1))).toEqual({ text: policyText(1) });
    // A generation that is lost already does not keep the next commits from being made.
    await store.commit({ facts: { ...factsAt(4), deliveryToken: 'next' }, policies: {} });
    await commitSteps(store, 5, 6);
  });

  test('whatever lies under an object’s name is a problem of that object and never a hang', async () => {
    for (const kind of ['directory', 'link', 'other'] as const) {
      const { disk } = await diskAt(4);
      disk.put(`${paths.objects}/${policyHash(2)}`, kind);
      const { facts, store } = await open(disk);
      expect(facts).toEqual(factsAt(4));
      expect(await store.readPolicy(policyHash(2))).toMatchObject({ problem: { code: 'STORE_UNREADABLE' } });
      // It is given again, as Fleet does on being asked for everything.
      await store.commit({ facts: factsAt(4), policies: { [policyHash(2)]: policyText(2) } });
      expect(await store.readPolicy(policyHash(2))).toEqual({ text: policyText(2) });
    }
  });

  test('only what no record and no generation names is collected', async () => {
    const { disk } = await diskAt(10);
    expect(disk.list(paths.objects)).toEqual([2, 3, 4, 5].map(policyHash).toSorted());
    const { store } = await open(disk);
    await store.commit({ facts: { ...factsAt(10), deliveryToken: 'next' }, policies: {} });
    expect(disk.list(paths.objects)).toEqual([3, 4, 5].map(policyHash).toSorted());
  });

  test('nothing is collected for a record that holds no policy', async () => {
    const { disk, newest, older } = await diskAt(4);
    disk.remove(newest);
    disk.remove(older);
    const { store } = await open(disk);
    await store.commit({ facts: emptyFacts(AGENT), policies: {} });
    expect(disk.list(paths.objects)).toEqual([1, 2].map(policyHash).toSorted());
  });

  test('a policy cannot be promoted or made candidate without its bytes', async () => {
    const { store } = await open(new Disk(HOME));
    await expect(store.commit({ facts: factsAt(1), policies: {} })).rejects.toMatchObject({ code: 'STORE_UNREADABLE' });
    await expect(store.commit({ facts: factsAt(1), policies: { [policyHash(1)]: 'other' } })).rejects.toMatchObject({
      code: 'INTERNAL',
    });
  });
});

describe('a record of any size', () => {
  const entry = (id: string, data: string): Facts['journal'][number] => ({
    id,
    type: 'INPUT_ACTION',
    data,
    inputType: 'osquery',
    startTime: null,
    expiration: null,
    undecodable: null,
    state: 'done',
    receivedAt: 1,
    doneAt: 2,
    outcome: { ok: true, message: `${id} ${'m'.repeat(2000)}` },
  });

  test('long texts are objects: 500 actions with megabytes of data make a record of kilobytes, and come back whole', async () => {
    const disk = new Disk(HOME);
    const { store } = await open(disk);
    const journal = Array.from({ length: 500 }, (_, index) =>
      entry(`action-${index}`, `"${index}${'d'.repeat(9000)}"`),
    );
    const facts = { ...factsAt(2), journal };
    await store.commit({ facts, policies: { [policyHash(1)]: policyText(1) } });
    expect(encodePayload(facts).bytes.length).toBeLessThan(200_000);
    expect((await open(disk)).facts).toEqual(facts);
  });

  test('a lost one costs that text and nothing else, and an action without its data says so', async () => {
    const disk = new Disk(HOME);
    const { store } = await open(disk);
    const facts = { ...emptyFacts(AGENT), journal: [entry('a', 'd'.repeat(5000)), entry('b', 'x')] };
    await store.commit({ facts, policies: {} });
    for (const name of disk.list(paths.objects)) disk.remove(`${paths.objects}/${name}`);
    const { facts: read } = await open(disk);
    expect(read?.journal[0]).toMatchObject({
      data: null,
      undecodable: expect.stringContaining('could not be read back'),
    });
    expect(read?.journal[1]).toMatchObject({
      data: 'x',
      outcome: { ok: true, message: expect.stringContaining('could not') },
    });
  });

  test('a record that is longer than its slot makes the slot grow', async () => {
    const disk = new Disk(HOME);
    const { store } = await open(disk);
    const journal = Array.from({ length: 100 }, (_, index) => entry(`action-${index}`, 'd'));
    for (let round = 0; round < 3; round += 1) {
      await store.commit({ facts: { ...emptyFacts(AGENT), deliveryToken: `${round}`, journal }, policies: {} });
    }
    expect(disk.contents(paths.slots[0])?.length).toBe(32_768);
    disk.powerCut(nothingSurvives);
    expect((await open(disk)).facts).toMatchObject({ deliveryToken: '2', journal });
  });

  test('one that no slot may hold is refused in words', async () => {
    const { store } = await open(new Disk(HOME));
    const facts = { ...emptyFacts(AGENT), deliveryToken: 't'.repeat(65 * 1024 * 1024) };
    await expect(store.commit({ facts, policies: {} })).rejects.toThrow(/root record would have \d+ bytes/);
  });
});

describe('what is taken away while the store is open', () => {
  test.each([
    ['the whole state directory', (disk: Disk) => disk.remove(paths.state)],
    ['everything in it', (disk: Disk) => disk.empty(paths.state)],
    ['the whole home', (disk: Disk) => disk.remove(HOME)],
    ['the objects', (disk: Disk) => disk.remove(paths.objects)],
    ['one object', (disk: Disk) => disk.remove(`${paths.objects}/${policyHash(2)}`)],
    ['the newest slot', (disk: Disk) => disk.remove(paths.slots[1])],
    ['the older slot', (disk: Disk) => disk.remove(paths.slots[0])],
    ['the state, replaced by a file', (disk: Disk) => disk.put(paths.state, Buffer.from('no directory'))],
    ['the objects, replaced by a file', (disk: Disk) => disk.put(paths.objects, Buffer.from('no directory'))],
    ['a slot, replaced by a directory', (disk: Disk) => disk.put(paths.slots[1], 'directory')],
  ])('%s: written again from memory by the next commit, durably', async (_what, take) => {
    const disk = new Disk(HOME);
    const { store } = await open(disk);
    await commitSteps(store, 1, 4);
    take(disk);
    const next = { ...factsAt(4), deliveryToken: 'after' };
    await store.commit({ facts: next, policies: {} });
    expect(await store.verifyHeld(policyHash(2))).toBeNull();
    disk.powerCut(nothingSurvives);
    const reopened = await open(disk);
    expect(reopened.facts).toEqual(next);
    for (const revision of [1, 2])
      expect(await reopened.store.readPolicy(policyHash(revision))).toEqual({ text: policyText(revision) });
  });

  test('what is held is what is on the disk, not what memory says, and a loss that was seen is mended by the next commit', async () => {
    const losses: readonly ((disk: Disk) => void)[] = [
      (disk) => disk.flipBit(paths.slots[1], 1500),
      (disk) => disk.flipBit(`${paths.objects}/${policyHash(2)}`, 1100),
      (disk) => disk.remove(paths.state),
      (disk) => disk.put(paths.slots[1], disk.contents(paths.slots[0])!),
    ];
    for (const lose of losses) {
      const disk = new Disk(HOME);
      const { store } = await open(disk);
      await commitSteps(store, 1, 4);
      expect(await store.verifyHeld(policyHash(2))).toBeNull();
      lose(disk);
      expect(await store.verifyHeld(policyHash(2))).toMatchObject({ code: 'STORE_UNREADABLE' });
      await store.commit({ facts: factsAt(4), policies: {} });
      expect(await store.verifyHeld(policyHash(2))).toBeNull();
    }
  });
});

describe('a disk that takes no writes', () => {
  test.each(['readOnly', 'full'] as const)(
    '%s: the facts are read all the same, a commit says why it failed, and works once the disk does',
    async (how) => {
      const { disk } = await diskAt(4);
      disk[how] = true;
      const { facts, findings, store } = await open(disk);
      expect(facts).toEqual(factsAt(4));
      expect(findings).toEqual([]);
      expect(await store.readPolicy(policyHash(2))).toEqual({ text: policyText(2) });
      const words = how === 'full' ? /the disk is full \(ENOSPC\)/ : /the file system is read-only \(EROFS\)/;
      await expect(commitSteps(store, 5, 5)).rejects.toThrow(words);
      await expect(commitSteps(store, 5, 5)).rejects.toMatchObject({ code: 'STORE_WRITE_FAILED' });
      disk[how] = false;
      await commitSteps(store, 5, 6);
      expect((await open(disk)).facts).toEqual(factsAt(6));
    },
  );

  test('a policy that cannot be read for want of file descriptors, nor written anew, stays where it is (P11)', async () => {
    const { disk } = await diskAt(2);
    const { store, facts } = await open(disk);
    const [good] = facts!.generations;
    await commitSteps(store, 3, 3);
    disk.faults = [{ what: 'EMFILE', at: disk.operations, forEver: true }];
    expect(await store.verifyHeld(good!.hash)).not.toBeNull();
    for (let time = 1; time <= 3; time += 1) {
      await expect(store.commit({ facts: factsAt(4), policies: policiesAt(4) })).rejects.toThrow('EMFILE');
    }
    disk.faults = [];
    const { store: next, facts: found } = await open(disk);
    expect(found).toEqual(factsAt(3));
    for (const { hash } of found!.generations) expect(next.remembered(hash)).not.toBeNull();
  });

  test('a full disk still takes commits that bring nothing new to store', async () => {
    const { disk } = await diskAt(4);
    const { store } = await open(disk);
    disk.full = true;
    await store.commit({ facts: { ...factsAt(4), deliveryToken: 'next' }, policies: {} });
    expect((await open(disk)).facts?.deliveryToken).toBe('next');
  });

  test('a start that could not write yet reports nothing as held', async () => {
    const { disk } = await diskAt(4);
    disk.readOnly = true;
    const { store } = await open(disk);
    expect(await store.verifyHeld(policyHash(2))).toMatchObject({ code: 'STORE_WRITE_FAILED' });
  });
});

/** One slot has rotted; the other is torn in the page cache, whole on the platter, and cannot be moved. */
async function overAWholeRecord() {
  const { disk, newest } = await diskAt(4);
  const first = await open(disk);
  await commitSteps(first.store, 5, 5);
  const [a, b] = paths.slots;
  disk.flipBit(newest === a ? b : a, 1500);
  const takesNoWrites = () => [{ at: disk.operations, what: 'EIO', forEver: true, changesOnly: true } as const];
  // A commit is cut short: the other slot is torn in the page cache, and whole on the platter.
  disk.faults = takesNoWrites();
  const facts = { ...factsAt(5), deliveryToken: 'token-9'.padEnd(600, 'y') };
  await expect(first.store.commit({ facts, policies: {} })).rejects.toMatchObject({ code: 'STORE_WRITE_FAILED' });
  disk.faults = takesNoWrites();
  const second = await open(disk);
  expect(second.facts).toBeNull();
  disk.faults = [];
  return { disk, second };
}

test('a damaged slot that cannot be moved is blanked before anything is committed: an older record never comes back with a power cut', async () => {
  const { disk, second } = await overAWholeRecord();
  await second.store.commit({ facts: factsAt(1), policies: policiesAt(1) });
  disk.powerCut(nothingSurvives);
  expect((await open(disk)).facts).toEqual(factsAt(1));
});

test('nor where the process that blanks it is killed at any operation, and the next one finds it blank', async () => {
  for (let operation = 0, wasKilled = true; wasKilled; operation += 1) {
    const { disk, second } = await overAWholeRecord();
    disk.faults = [{ at: disk.operations + operation, what: 'kill' }];
    wasKilled = await second.store.commit({ facts: factsAt(1), policies: policiesAt(1) }).then(
      () => false,
      () => true,
    );
    disk.faults = [];
    disk.revive();
    const third = await open(disk);
    await third.store.commit({ facts: factsAt(2), policies: policiesAt(2) });
    disk.powerCut(nothingSurvives);
    expect((await open(disk)).facts, `killed at operation ${operation}`).toEqual(factsAt(2));
  }
});

test('policy.yml is written for people and its failure costs nothing', async () => {
  const disk = new Disk(HOME);
  const { store } = await open(disk);
  const commit = (policyYml: string | null) => store.commit({ facts: emptyFacts(AGENT), policies: {}, policyYml });
  await commit('id: web\n');
  expect(disk.contents(paths.policy)?.toString()).toBe('id: web\n');
  disk.put(`${paths.policy}`, 'directory');
  disk.put(`${paths.policy}/in-the-way`, Buffer.from(''));
  expect(kinds((await commit('id: web2\n')).findings)).toEqual(['derived']);
  await commit(null);
  expect(disk.contents(paths.policy)).toBeNull();
});

/** A frame with its checksum made right again. */
function resealed(bytes: Buffer): Buffer {
  bytes.fill(0, 16, 48);
  createHash('sha256').update(bytes).digest().copy(bytes, 16);
  return bytes;
}

/** The identity file survives what the disk does to it, and is never quietly taken for another or for none. */
import { describe, expect, test } from 'vitest';
import { homePaths } from '../../../src/services/home.ts';
import { findIdentity, type Identity, readIdentity, writeIdentity } from '../../../src/services/store/identity.ts';
import { Disk, everythingSurvives, nothingSurvives } from '../../support/disk.ts';

const HOME = '/home';
const { identity: path } = homePaths(HOME);

const identity = (agentId: string): Identity => ({
  agentId,
  hosts: ['https://fleet.example:8220'],
  accessApiKey: 'id:secret',
  enrolledAt: 1,
  enrollmentId: 'e-1',
  policyId: 'web',
  machineId: 'machine-1',
  insecure: false,
  certificateAuthorities: [],
});
const pending = {
  enrollmentId: 'e-2',
  url: 'https://fleet.example:8220',
  since: 2,
  insecure: true,
  certificateAuthorities: ['/ca.pem'],
};

async function enrolled(): Promise<Disk> {
  const disk = new Disk(HOME);
  await writeIdentity(disk, HOME, { identity: identity('a'), pending: null });
  return disk;
}

test('no file is no identity and no problem', async () => {
  expect(await readIdentity(new Disk(HOME), HOME, 'm')).toEqual({
    identity: null,
    pending: null,
    problem: null,
    mayPass: false,
    findings: [],
  });
});

test('a pending enrollment is durable beside the identity that is still in force', async () => {
  const disk = await enrolled();
  await writeIdentity(disk, HOME, { identity: identity('a'), pending });
  disk.powerCut(nothingSurvives);
  expect(await readIdentity(disk, HOME, 'machine-1')).toEqual({
    identity: identity('a'),
    pending,
    problem: null,
    mayPass: false,
    findings: [],
  });
});

test.each(['EIO', 'ENOSPC', 'EROFS', 'kill', 'kill-half', 'kill-after', 'short'] as const)(
  'a switch that is interrupted anywhere (%s) leaves the old identity or the new one, whatever the power does then',
  async (what) => {
    for (let at = 0; at < 12; at += 1) {
      const disk = await enrolled();
      disk.operations = 0;
      disk.faults = [{ at, what }];
      const done = await writeIdentity(disk, HOME, { identity: identity('b'), pending: null }).then(
        () => true,
        (error) => {
          expect(error).toMatchObject({ code: 'STORE_WRITE_FAILED' });
          return false;
        },
      );
      const worlds = [disk.clone(), disk.clone().powerCut(nothingSurvives), disk.clone().powerCut(everythingSurvives)];
      for (const loss of Array(disk.unsynced).keys()) {
        worlds.push(disk.clone().powerCut((things) => Array.from({ length: things }, (_, index) => index === loss)));
      }
      for (const world of worlds) {
        const read = await readIdentity(world, HOME, 'machine-1');
        expect(done ? ['b'] : ['a', 'b']).toContain(read.identity?.agentId);
        await writeIdentity(world, HOME, { identity: identity('c'), pending: null });
        expect((await readIdentity(world, HOME, 'machine-1')).identity?.agentId).toBe('c');
      }
    }
  },
);

describe('a damaged identity', () => {
  test('every truncation and every flipped bit is a problem, never another identity and never none', async () => {
    const disk = await enrolled();
    const whole = disk.contents(path)!;
    for (let length = 0; length < whole.length - 1; length += 1) {
      disk.damage(path, () => whole.subarray(0, length));
      expect((await readIdentity(disk, HOME, 'machine-1')).problem, `${length}`).toMatchObject({
        code: 'IDENTITY_UNREADABLE',
      });
    }
    for (let bit = 0; bit < whole.length * 8; bit += 1) {
      disk.damage(path, () => whole);
      disk.flipBit(path, bit);
      const read = await readIdentity(disk, HOME, 'machine-1');
      // A bit of white space between the values may become another white space; nothing else passes.
      if (read.problem === null) expect(read.identity, `bit ${bit}`).toEqual(identity('a'));
    }
  });

  test('stays in place and is copied once; enrolling again replaces it and leaves the copy', async () => {
    const disk = await enrolled();
    disk.flipBit(path, 900);
    const damaged = disk.contents(path)!;
    await readIdentity(disk, HOME, 'machine-1');
    const { findings } = await readIdentity(disk, HOME, 'machine-1');
    expect(findings).toHaveLength(1);
    expect(disk.contents(path)).toEqual(damaged);
    await writeIdentity(disk, HOME, { identity: identity('b'), pending: null });
    const copies = disk.list(HOME).filter((name) => name.startsWith('identity.damaged-'));
    expect(copies.map((name) => disk.contents(`${HOME}/${name}`))).toEqual([damaged]);
  });

  test('one that is a directory, a link or a device is a problem too, also on a disk that takes no writes', async () => {
    for (const kind of ['directory', 'link', 'other'] as const) {
      const disk = await enrolled();
      disk.put(path, kind);
      disk.readOnly = true;
      expect(await readIdentity(disk, HOME, 'machine-1')).toMatchObject({
        identity: null,
        problem: { code: 'IDENTITY_UNREADABLE' },
      });
      disk.readOnly = false;
      await writeIdentity(disk, HOME, { identity: identity('b'), pending: null });
      expect((await readIdentity(disk, HOME, 'machine-1')).identity?.agentId).toBe('b');
    }
  });
});

test('a copied disk is noticed: the machine is not the one that was enrolled', async () => {
  const disk = await enrolled();
  const { identity: found, findings } = await readIdentity(disk, HOME, 'machine-2');
  expect(found).toEqual(identity('a'));
  expect(findings).toEqual([{ kind: 'identity', message: expect.stringContaining('enrolled on another machine') }]);
});

test('a home that is a file is called unusable, not one that was never enrolled', async () => {
  await expect(findIdentity(import.meta.filename)).rejects.toMatchObject({ code: 'HOME_UNUSABLE' });
});

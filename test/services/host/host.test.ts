/** What this host is, and when it slept. */
import { expect, test } from 'vitest';
import {
  bootId,
  hostFacts,
  machineId,
  osRelease,
  specPlatform,
  variableHost,
} from '../../../src/services/host/host.ts';
import { SLEPT_FROM_MS, watchForSleep } from '../../../src/services/host/sleep.ts';

test.skipIf(process.platform !== 'linux')('a boot has a name that stays', () => {
  expect(bootId()).toMatch(/^[0-9a-f-]{36}$/);
  expect(bootId()).toBe(bootId());
});

test('a host without a machine id has none, and boot ids fall back on the time of boot', () => {
  expect(machineId(() => null)).toBeNull();
  expect(machineId((path) => (path.startsWith('/var') ? 'abc\n' : null))).toBe('abc');
  expect(bootId(() => null)).toMatch(/^booted-\d+$/);
});

test('host facts have the form of ECS', () => {
  const facts = hostFacts((path) =>
    path === '/etc/os-release' ? 'ID=ubuntu\nNAME="Ubuntu"\nVERSION_ID="24.04"\nID_LIKE=debian\n' : null,
  );
  expect(facts.os).toMatchObject({ family: 'debian', platform: 'ubuntu', version: '24.04', full: 'Ubuntu(24.04)' });
  expect(facts.host.id).toBe('');
  expect(facts.host.name).not.toBe('');
  for (const address of facts.host.ip) expect(address).toMatch(/\/\d+$/);
  for (const address of variableHost().ip) expect(address).not.toContain('/');
});

test.each([
  ['ID=alpine\nVERSION_ID=3.20', { family: 'alpine', version: '3.20' }],
  ["ID='rocky'\nID_LIKE='rhel centos fedora'", { family: 'redhat', version: '' }],
  ['ID=mint\nID_LIKE="ubuntu debian"', { family: 'debian' }],
  ['', { name: process.platform }],
])('os-release %j', (text, wanted) => expect(osRelease(text)).toMatchObject(wanted));

test('the platform is named as spec files name it', () => {
  expect(specPlatform()).toMatch(/^(linux|darwin|windows)\/(amd64|arm64|386|arm)$/);
});

test('a gap between wall and monotonic time is a sleep; a slow tick and a clock set back are none', () => {
  let wall = 1_000_000;
  let monotonic = 5_000;
  let tick = () => {};
  const woke: number[] = [];
  const stop = watchForSleep({
    clock: { wallMs: () => wall, monotonicMs: () => monotonic },
    onWake: (gapMs) => woke.push(gapMs),
    every: (_, each) => {
      tick = each;
      return () => {
        tick = () => {};
      };
    },
  });
  const pass = (wallMs: number, monotonicMs: number) => {
    wall += wallMs;
    monotonic += monotonicMs;
    tick();
  };
  pass(5_000, 5_000);
  pass(600_000, 600_000);
  pass(SLEPT_FROM_MS - 1, 0);
  pass(-3_600_000, 5_000);
  expect(woke).toEqual([]);
  pass(3_600_000 + 5_000, 5_000);
  expect(woke).toEqual([3_600_000]);
  stop();
  pass(3_600_000, 0);
  expect(woke).toHaveLength(1);
});

/** Where the home directory and the settings file are looked for. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { homeDirectory, loadSettings, tryLoadSettings } from '../../../src/services/settings/load.ts';

const directory = mkdtempSync(join(tmpdir(), 'hf-settings-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test.each([
  ['/opt/h', { HOLDFAST_HOME: '/env' }, 0, '/opt/h'],
  [undefined, { HOLDFAST_HOME: '/env' }, 0, '/env'],
  [undefined, {}, 0, '/var/lib/holdfast'],
  [undefined, { XDG_STATE_HOME: '/x' }, 1000, '/x/holdfast'],
  [undefined, { HOME: '/home/a' }, 1000, '/home/a/.local/state/holdfast'],
])('home for option %s, environment %j and uid %s is %s', (option, env, uid, home) => {
  expect(homeDirectory(option, env, uid)).toBe(home);
});

test('a missing file in the home is no mistake, a missing --config is one', () => {
  const options = { home: directory, flags: [], env: {} };
  expect(() => loadSettings({ ...options, config: undefined })).not.toThrow();
  expect(() => loadSettings({ ...options, config: join(directory, 'none.yml') })).toThrow(
    /none\.yml: cannot be read: there is no/,
  );
});

test('a link to nothing in its place is one: whoever put it there means a file', () => {
  const home = join(directory, 'linked');
  mkdirSync(home);
  symlinkSync('/nowhere/at/all', join(home, 'holdfast.yml'));
  const { complaints } = tryLoadSettings({ home, config: undefined, flags: [], env: {} });
  expect(complaints).toEqual([`${join(home, 'holdfast.yml')}: cannot be read: it is a link to nothing`]);
});

test('the error carries the code SETTINGS_INVALID and exit code 2', () => {
  const config = join(directory, 'bad.yml');
  writeFileSync(config, 'crash.limit: many\n');
  expect(() => loadSettings({ home: directory, config, flags: [], env: {} })).toThrow(
    expect.objectContaining({
      code: 'SETTINGS_INVALID',
      exitCode: 2,
      message: expect.stringContaining(`${config}:1:14`),
    }),
  );
});

test('a daemon that must start gets what could be read, and what was wrong', () => {
  const config = join(directory, 'half.yml');
  writeFileSync(config, 'crash.limit: many\npolicy.apply.timeout: 9s\n');
  const reading = tryLoadSettings({ home: directory, config, flags: [], env: {} });
  expect(reading.settings.policy.apply.timeoutMs).toBe(9000);
  expect(reading.complaints).toHaveLength(1);
});

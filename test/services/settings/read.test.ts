/** Settings: every key has a default, is read from the file, and every mistake is named with its place. */
import { describe, expect, test } from 'vitest';
import { COMPONENT_TIMING } from '../../../src/machines/component-setup.ts';
import { COMPONENTS_DEFAULTS } from '../../../src/machines/components-setup.ts';
import { KEY_NAMES, KEYS, type KeyName } from '../../../src/services/settings/keys.ts';
import { readSettings } from '../../../src/services/settings/read.ts';
import type { Settings } from '../../../src/services/settings/settings.ts';

const read = (
  text: string,
  env: Record<string, string> = {},
  flags: Parameters<typeof readSettings>[0]['flags'] = [],
) => readSettings({ file: { path: 'holdfast.yml', text }, env, flags });

test('what is not set is what the machines are tested with', () => {
  const { settings } = readSettings({ file: null, env: {}, flags: [] });
  expect(settings.components.timing).toEqual(COMPONENT_TIMING);
  expect({
    timeoutMs: settings.policy.apply.timeoutMs,
    stableForMs: settings.policy.apply.stableForMs,
    lookEveryMs: settings.components.lookEveryMs,
    onFailure: 'reject',
  }).toEqual(COMPONENTS_DEFAULTS);
  expect(settings.policy.freshForMs).toBe(3_600_000);
});

test('a key that stands where its source or its file belongs is not quoted: complaints go to the log', () => {
  const key = 'a5'.repeat(32);
  const { complaints } = read(`encryption.key_file: ${key}`, { HOLDFAST_ENCRYPTION_KEY: key });
  expect(complaints).toHaveLength(2);
  expect(complaints.join()).toContain('not a key itself');
  expect(complaints.join()).not.toContain(key);
});

/** For each key: a good value that is not the default, and a bad one. */
const TABLE: Record<KeyName, { good: unknown; bad: unknown; lands: (settings: Settings) => unknown; as: unknown }> = {
  'fleet.hosts': {
    good: ['https://a:8220/', 'https://b:8220'],
    bad: 'a:8220',
    lands: (s) => s.fleet.hosts,
    as: ['https://a:8220', 'https://b:8220'],
  },
  'fleet.enrollment_token': { good: 'dDpr', bad: 'two words', lands: (s) => s.fleet.enrollmentToken, as: 'dDpr' },
  'fleet.insecure': {
    good: true,
    bad: 'perhaps',
    lands: (s) => [s.fleet.insecure, s.fleet.ssl.verificationMode],
    as: [true, 'none'],
  },
  'fleet.tags': { good: ['eu', 'web'], bad: [{}], lands: (s) => s.fleet.tags, as: ['eu', 'web'] },
  'fleet.agent_version': { good: '9.4.1', bad: '9.4', lands: (s) => s.fleet.agentVersion, as: '9.4.1' },
  'fleet.proxy_url': {
    good: 'http://proxy:3128',
    bad: 'proxy:3128',
    lands: (s) => s.fleet.proxyUrl,
    as: 'http://proxy:3128',
  },
  'fleet.ssl.certificate_authorities': {
    good: '/etc/ca.pem',
    bad: [''],
    lands: (s) => s.fleet.ssl.certificateAuthorities,
    as: ['/etc/ca.pem'],
  },
  'fleet.ssl.certificate': { good: '/c.pem', bad: [], lands: (s) => s.fleet.ssl.certificate, as: '/c.pem' },
  'fleet.ssl.key': { good: '/k.pem', bad: '', lands: (s) => s.fleet.ssl.key, as: '/k.pem' },
  'fleet.ssl.verification_mode': {
    good: 'certificate',
    bad: 'never',
    lands: (s) => s.fleet.ssl.verificationMode,
    as: 'certificate',
  },
  ...growing('fleet.checkin.backoff', (s) => s.fleet.checkin.backoff),
  ...growing('fleet.checkin.damping', (s) => s.fleet.checkin.damping),
  'fleet.checkin.rest': { good: '0s', bad: '-1s', lands: (s) => s.fleet.checkin.restMs, as: 0 },
  'fleet.checkin.poll_timeout': { good: '90s', bad: 300, lands: (s) => s.fleet.checkin.pollTimeoutMs, as: 90_000 },
  ...growing('fleet.ack.backoff', (s) => s.fleet.ack.backoff),
  ...growing('fleet.enroll.backoff', (s) => s.fleet.enroll.backoff),
  'policy.apply.timeout': { good: '1h30m', bad: 'soon', lands: (s) => s.policy.apply.timeoutMs, as: 5_400_000 },
  'policy.apply.stable_for': { good: '250ms', bad: '5', lands: (s) => s.policy.apply.stableForMs, as: 250 },
  'policy.apply.on_failure': { good: 'degrade', bad: 'panic', lands: (s) => s.policy.apply.onFailure, as: 'degrade' },
  'policy.fresh_for': { good: '10m', bad: 10, lands: (s) => s.policy.freshForMs, as: 600_000 },
  ...growing('policy.retry', (s) => s.policy.retry),
  'components.look_every': { good: '9s', bad: '0s', lands: (s) => s.components.lookEveryMs, as: 9_000 },
  'components.probe.every': { good: '50ms', bad: '0s', lands: (s) => s.components.timing.probeEveryMs, as: 50 },
  'components.probe.timeout': { good: '2s', bad: 2, lands: (s) => s.components.timing.probeTimeoutMs, as: 2_000 },
  'components.stay_up': { good: '1s', bad: 'long', lands: (s) => s.components.timing.stayUpMs, as: 1_000 },
  'components.steady': { good: '5m', bad: '-1m', lands: (s) => s.components.timing.steadyMs, as: 300_000 },
  'components.kill_again': { good: '1s', bad: '0s', lands: (s) => s.components.timing.killAgainMs, as: 1_000 },
  ...growing('safe_mode', (s) => s.safeMode),
  ...growing('store.retry', (s) => s.store.retry),
  'encryption.key': { good: 'generated', bad: 'aes', lands: (s) => s.encryption.key, as: 'generated' },
  'encryption.key_file': { good: '/etc/k', bad: 'k', lands: (s) => s.encryption.keyFile, as: '/etc/k' },
  'encryption.credentials_directory': {
    good: '/run/credentials/holdfast.service',
    bad: 'here',
    lands: (s) => s.encryption.credentialsDirectory,
    as: '/run/credentials/holdfast.service',
  },
  'crash.limit': { good: 5, bad: 0, lands: (s) => s.crash.limit, as: 5 },
  'components.on_exit': { good: 'keep', bad: true, lands: (s) => s.components.onExit, as: 'keep' },
  'components.unsupported': { good: 'ignore', bad: 'fail', lands: (s) => s.components.unsupported, as: 'ignore' },
  'providers.local.vars': {
    good: { role: 'web', port: 80 },
    bad: ['web'],
    lands: (s) => s.localVariables,
    as: { role: 'web', port: 80 },
  },
  'agent.logging.level': { good: 'warn', bad: 'loud', lands: (s) => s.logging.level, as: 'warning' },
  'agent.logging.format': { good: 'ecs', bad: 'xml', lands: (s) => s.logging.format, as: 'ecs' },
};

type Growing = { [K in KeyName]: K extends `${infer P}.initial` ? P : never }[KeyName];
function growing<P extends Growing>(prefix: P, of: (settings: Settings) => { initialMs: number; maxMs: number }) {
  const rows = {
    [`${prefix}.initial`]: { good: '20ms', bad: '168h1s', lands: (s: Settings) => of(s).initialMs, as: 20 },
    [`${prefix}.max`]: { good: '3h', bad: '0s', lands: (s: Settings) => of(s).maxMs, as: 3 * 3_600_000 },
  };
  return rows as Record<`${P}.initial` | `${P}.max`, (typeof rows)[string]>;
}

describe.each(KEY_NAMES)('%s', (name) => {
  const { good, bad, lands, as } = TABLE[name];

  test('is read from the file, written with dots or nested', () => {
    const nested = name.split('.').reduceRight<unknown>((inner, key) => ({ [key]: inner }), good);
    for (const text of [`${name}: ${JSON.stringify(good)}`, JSON.stringify(nested)]) {
      const { settings, complaints } = read(text);
      expect(complaints).toEqual([]);
      expect(lands(settings)).toEqual(as);
    }
  });

  test('has a default that differs from the value of this table', () => {
    expect(lands(read('').settings)).not.toEqual(as);
  });

  test('a bad value is refused with its line and column, and the default stays', () => {
    const { settings, complaints } = read(`# settings\n${name}: ${JSON.stringify(bad)}`);
    expect(complaints).toHaveLength(1);
    expect(complaints[0]).toMatch(
      new RegExp(`^holdfast\\.yml:2:${name.length + 3}: ${name.replaceAll('.', '\\.')} wants `),
    );
    expect(lands(settings)).toEqual(lands(read('').settings));
  });
});

test('a key without a value sets nothing', () => {
  const { settings, complaints } = read('fleet:\npolicy:\n  apply:\n    timeout:\n');
  expect(complaints).toEqual([]);
  expect(settings).toEqual(read('').settings);
});

describe('mistakes in the file', () => {
  test.each([
    ['fleet:\n  host: https://a', 'holdfast.yml:2:3: fleet.host is not a setting; did you mean fleet.hosts?'],
    [
      'polcy.apply.timeout: 1s',
      'holdfast.yml:1:1: polcy.apply.timeout is not a setting; did you mean policy.apply.timeout?',
    ],
    ['flet:\n  hosts: []', 'holdfast.yml:1:1: flet is not a setting; did you mean fleet?'],
    ['poll_timeout: 3m', 'holdfast.yml:1:1: poll_timeout is not a setting; did you mean fleet.checkin.poll_timeout?'],
    ['zzzzzzzzzzzz: 1', 'holdfast.yml:1:1: zzzzzzzzzzzz is not a setting'],
    [
      'fleet: yes',
      'holdfast.yml:1:8: fleet wants keys and values (fleet.hosts, fleet.enrollment_token, fleet.insecure)',
    ],
    ['- a', 'holdfast.yml:1:1: the file wants keys and values (fleet.hosts, fleet.enrollment_token, fleet.insecure)'],
    ['safe_mode:\n  initial: 2h\n', 'holdfast.yml:2:3: safe_mode.initial is longer than safe_mode.max'],
    ['crash.limit: 2\ncrash:\n  limit: 4', 'holdfast.yml:3:3: crash.limit was set before, at holdfast.yml:1:1'],
  ])('%j is named', (text, complaint) => {
    expect(read(text).complaints).toEqual([complaint]);
  });

  test('YAML that cannot be parsed is named with its line and column', () => {
    expect(read('fleet:\n  hosts: [a\npolicy: {}\n').complaints[0]).toMatch(/^holdfast\.yml:\d+:\d+: /);
  });

  test('all of them are named at once', () => {
    expect(read('a: 1\nb: 2\ncrash.limit: x').complaints).toHaveLength(3);
  });
});

describe('precedence', () => {
  test('an option wins over the environment, that over the file, that over the default', () => {
    const text = 'agent.logging.level: error';
    expect(read(text).settings.logging.level).toBe('error');
    expect(read(text, { LOG_LEVEL: 'debug' }).settings.logging.level).toBe('debug');
    const flags = [{ option: '--log-level', key: 'agent.logging.level', value: 'trace' }] as const;
    expect(read(text, { LOG_LEVEL: 'debug' }, flags).settings.logging.level).toBe('trace');
  });

  test('an empty variable counts as not set, a bad one is named', () => {
    expect(read('', { FLEET_URL: '' }).complaints).toEqual([]);
    expect(read('', { FLEET_URL: 'a:1' }).complaints[0]).toMatch(
      /^environment variable FLEET_URL: fleet.hosts wants URLs/,
    );
  });

  test.each([
    ['FLEET_URL', 'https://f:8220', (s: Settings) => s.fleet.hosts, ['https://f:8220']],
    ['FLEET_ENROLLMENT_TOKEN', 'tok', (s: Settings) => s.fleet.enrollmentToken, 'tok'],
    ['FLEET_CA', '/ca.pem', (s: Settings) => s.fleet.ssl.certificateAuthorities, ['/ca.pem']],
    ['FLEET_INSECURE', '1', (s: Settings) => s.fleet.insecure, true],
    ['HTTPS_PROXY', 'http://p:1', (s: Settings) => s.fleet.environmentProxy.https, 'http://p:1'],
    ['NO_PROXY', 'localhost', (s: Settings) => s.fleet.environmentProxy.no, 'localhost'],
    ['LOG_LEVEL', 'debug', (s: Settings) => s.logging.level, 'debug'],
  ])('%s is read', (name, value, lands, as) => {
    expect(lands(read('', { [name]: value }).settings)).toEqual(as);
  });
});

test('settings cannot be changed once read', () => {
  const { settings } = read('fleet.hosts: [https://a]');
  expect(() => (settings.fleet.hosts as string[]).push('https://b')).toThrow();
});

test('every default is one that the file would be allowed to set', () => {
  for (const name of KEY_NAMES) {
    if (
      Array.isArray(KEYS[name].fallback) ||
      KEYS[name].fallback === null ||
      ['number', 'object'].includes(typeof KEYS[name].fallback)
    )
      continue;
    expect(() => KEYS[name].read(KEYS[name].fallback)).not.toThrow();
  }
});

/** Every setting by its name in the settings file: how a value is read, its default and the environment variable that overrides it. */
import type { LogLevel } from '../../machines/facts.ts';
import { parseGoDuration } from '../../wire/fleet.ts';
import { isKeyText } from '../store/secret-key.ts';
import type { LogFormat, Settings, VerificationMode } from './settings.ts';

/** Raised by a reader; the one who knows the place adds it. */
export class Unfit extends Error {}

/** One setting. */
export interface Key<T> {
  readonly fallback: T;
  /** Reads a YAML scalar, a list, or the text of a flag or variable. Throws {@link Unfit} with what was expected. */
  readonly read: (value: unknown) => T;
  /** Environment variables that override it, the first one set wins. */
  readonly env?: readonly string[];
}

/** Longest delay that can be set; timers of Node count at most 24.8 days. */
const LONGEST_DELAY_MS = 7 * 24 * 3_600_000;

export const LOG_LEVELS: readonly LogLevel[] = ['trace', 'debug', 'info', 'warning', 'error'];

const shown = (value: unknown): string =>
  isKeyText(String(value)) ? 'a key itself' : (JSON.stringify(value) ?? String(value));

/** Reads `5s`, `2m`, `1h30m`. A number without a unit is refused, since nobody can tell what it means. */
function readDurationMs(value: unknown, leastMs = 1): number {
  const ms = value === 0 ? 0 : typeof value === 'string' ? parseGoDuration(value.trim()) : null;
  if (ms === null)
    throw new Unfit(`wants a duration with its unit, such as 500ms, 5s, 2m or 1h30m, not ${shown(value)}`);
  if (ms < leastMs) throw new Unfit(`wants at least ${leastMs}ms, not ${shown(value)}`);
  if (ms > LONGEST_DELAY_MS) throw new Unfit(`wants at most 168h (a week), not ${shown(value)}`);
  return Math.round(ms);
}

function duration(fallback: string, leastMs = 1): Key<number> {
  const read = (value: unknown) => readDurationMs(value, leastMs);
  return { fallback: read(fallback), read };
}

function text(fallback: string, pattern: RegExp, wanted: string, ...env: string[]): Key<string> {
  return { fallback, env, read: (value) => readText(value, pattern, wanted) };
}

function optionalText(pattern: RegExp, wanted: string, ...env: string[]): Key<string | null> {
  return { fallback: null, env, read: (value) => readText(value, pattern, wanted) };
}

function readText(value: unknown, pattern: RegExp, wanted: string): string {
  const given = typeof value === 'number' ? String(value) : value;
  if (typeof given !== 'string' || !pattern.test(given.trim())) throw new Unfit(`wants ${wanted}, not ${shown(value)}`);
  return given.trim();
}

/** A list, or one text with the items between commas. PEM text is one item. */
function list(item: RegExp, wanted: string, ...env: string[]): Key<readonly string[]> {
  return {
    fallback: [],
    env,
    read: (value) => {
      const items =
        typeof value === 'string' && !value.includes('-----BEGIN') ? value.split(',').filter((s) => s.trim()) : value;
      return (Array.isArray(items) ? items : [items]).map((each) => readText(each, item, wanted));
    },
  };
}

function oneOf<const T extends string>(words: readonly T[], fallback: T, ...env: string[]): Key<T> {
  return {
    fallback,
    env,
    read: (value) => {
      const word = words.find((each) => each === value);
      if (word === undefined) throw new Unfit(`wants one of ${words.join(', ')}, not ${shown(value)}`);
      return word;
    },
  };
}

function flag(fallback: boolean, ...env: string[]): Key<boolean> {
  return {
    fallback,
    env,
    read: (value) => {
      const word = typeof value === 'string' ? value.trim().toLowerCase() : value;
      if (word === true || word === 'true' || word === '1' || word === 'yes') return true;
      if (word === false || word === 'false' || word === '0' || word === 'no' || word === '') return false;
      throw new Unfit(`wants true or false, not ${shown(value)}`);
    },
  };
}

/** Null: nothing was said, which is not the same as having said the default. */
function optional<T>(key: Key<T>): Key<T | null> {
  return { ...key, fallback: null };
}

function count(fallback: number, least: number, most: number): Key<number> {
  return {
    fallback,
    read: (value) => {
      const given = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value;
      if (typeof given !== 'number' || !Number.isInteger(given) || given < least || given > most) {
        throw new Unfit(`wants a whole number from ${least} to ${most}, not ${shown(value)}`);
      }
      return given;
    },
  };
}

/** Free keys and values, nested as one likes. */
function tree(): Key<Readonly<Record<string, unknown>>> {
  return {
    fallback: {},
    read: (value) => {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) {
        throw new Unfit(`wants keys and values, not ${shown(value)}`);
      }
      return value as Record<string, unknown>;
    },
  };
}

/** `warn` is taken for `warning`, the name Elastic Agent has. */
function level(fallback: LogLevel, ...env: string[]): Key<LogLevel> {
  const words = oneOf(LOG_LEVELS, fallback, ...env);
  return { ...words, read: (value) => (value === 'warn' ? 'warning' : words.read(value)) };
}

const ANYTHING = /\S/;
const URL_FORM = /^https?:\/\/[^\s/]+/i;
const PROXY_FORM = /^(https?|socks5):\/\/[^\s/]+/i;
const PEM_OR_PATH = 'the path of a PEM file';

/** The key table. Names are Elastic Agent's where it has one. */
export const KEYS = {
  'fleet.hosts': list(URL_FORM, 'URLs such as https://fleet.example:8220', 'FLEET_URL'),
  'fleet.enrollment_token': optionalText(
    /^[\x21-\x7e]+$/,
    'an enrollment token, of ASCII characters without spaces',
    'FLEET_ENROLLMENT_TOKEN',
  ),
  'fleet.insecure': optional(flag(false, 'FLEET_INSECURE')),
  'fleet.tags': list(ANYTHING, 'tags', 'ELASTIC_AGENT_TAGS'),
  'fleet.agent_version': text('9.2.0', /^\d+\.\d+\.\d+([-+][\w.+-]+)?$/, 'a version such as 9.2.0'),
  'fleet.proxy_url': optionalText(PROXY_FORM, 'a URL such as http://proxy.example:3128'),
  'fleet.ssl.certificate_authorities': list(ANYTHING, PEM_OR_PATH, 'FLEET_CA'),
  'fleet.ssl.certificate': optionalText(ANYTHING, PEM_OR_PATH, 'ELASTIC_AGENT_CERT'),
  'fleet.ssl.key': optionalText(ANYTHING, PEM_OR_PATH, 'ELASTIC_AGENT_CERT_KEY'),
  'fleet.ssl.verification_mode': optional(oneOf<VerificationMode>(['full', 'strict', 'certificate', 'none'], 'full')),
  'fleet.checkin.backoff.initial': duration('5s'),
  'fleet.checkin.backoff.max': duration('5m'),
  'fleet.checkin.damping.initial': duration('1s'),
  'fleet.checkin.damping.max': duration('4m'),
  'fleet.checkin.rest': duration('1s', 0),
  'fleet.checkin.poll_timeout': duration('7m'),
  'fleet.ack.backoff.initial': duration('5s'),
  'fleet.ack.backoff.max': duration('5m'),
  'fleet.enroll.backoff.initial': duration('5s'),
  'fleet.enroll.backoff.max': duration('10m'),
  'policy.apply.timeout': duration('2m'),
  'policy.apply.stable_for': duration('5s', 0),
  'policy.apply.on_failure': oneOf(['rollback', 'degrade'], 'rollback'),
  'policy.fresh_for': duration('1h', 0),
  'policy.retry.initial': duration('1m'),
  'policy.retry.max': duration('1h'),
  'safe_mode.initial': duration('1m'),
  'safe_mode.max': duration('1h'),
  'store.retry.initial': duration('1s'),
  'store.retry.max': duration('1m'),
  'encryption.key': oneOf(['auto', 'credential', 'file', 'generated', 'none'], 'auto', 'HOLDFAST_ENCRYPTION_KEY'),
  'encryption.key_file': optionalText(/^\//, 'an absolute path', 'HOLDFAST_ENCRYPTION_KEY_FILE'),
  'encryption.credentials_directory': optionalText(/^\//, 'an absolute path', 'CREDENTIALS_DIRECTORY'),
  'crash.limit': count(3, 1, 100),
  'components.on_exit': oneOf(['stop', 'keep'], 'stop'),
  'components.look_every': duration('5s'),
  'components.probe.every': duration('200ms'),
  'components.probe.timeout': duration('5s'),
  'components.stay_up': duration('2s', 0),
  'components.steady': duration('1m'),
  'components.kill_again': duration('5s'),
  'components.unsupported': oneOf(['degrade', 'ignore'], 'degrade'),
  'providers.local.vars': tree(),
  'agent.logging.level': level('info', 'LOG_LEVEL'),
  'agent.logging.format': {
    ...oneOf(['ecs', 'pretty', 'auto'], 'auto', 'LOG_FORMAT'),
  } satisfies Key<LogFormat | 'auto'>,
} as const;

export type KeyName = keyof typeof KEYS;
export type Values = { -readonly [K in KeyName]: (typeof KEYS)[K]['fallback'] };

export const KEY_NAMES = Object.keys(KEYS) as readonly KeyName[];

/** The settings that these values make. */
export function settingsOf(values: Values, environmentProxy: Settings['fleet']['environmentProxy']): Settings {
  type Growing = { [K in KeyName]: K extends `${infer P}.initial` ? P : never }[KeyName];
  const growing = (name: Growing) => ({ initialMs: values[`${name}.initial`], maxMs: values[`${name}.max`] });
  const insecure = values['fleet.insecure'];
  const format = values['agent.logging.format'];
  return deepFreeze({
    fleet: {
      hosts: values['fleet.hosts'].map((host) => host.replace(/\/+$/, '')),
      enrollmentToken: values['fleet.enrollment_token'],
      insecure: insecure ?? false,
      tags: values['fleet.tags'],
      agentVersion: values['fleet.agent_version'],
      ssl: {
        certificateAuthorities: values['fleet.ssl.certificate_authorities'],
        certificate: values['fleet.ssl.certificate'],
        key: values['fleet.ssl.key'],
        verificationMode:
          values['fleet.ssl.verification_mode'] ?? (insecure === null ? null : insecure ? 'none' : 'full'),
      },
      proxyUrl: values['fleet.proxy_url'],
      environmentProxy,
      checkin: {
        backoff: growing('fleet.checkin.backoff'),
        damping: growing('fleet.checkin.damping'),
        restMs: values['fleet.checkin.rest'],
        pollTimeoutMs: values['fleet.checkin.poll_timeout'],
      },
      ack: { backoff: growing('fleet.ack.backoff') },
      enroll: { backoff: growing('fleet.enroll.backoff') },
    },
    policy: {
      apply: {
        timeoutMs: values['policy.apply.timeout'],
        stableForMs: values['policy.apply.stable_for'],
        onFailure: values['policy.apply.on_failure'],
      },
      freshForMs: values['policy.fresh_for'],
      retry: growing('policy.retry'),
    },
    safeMode: growing('safe_mode'),
    store: { retry: growing('store.retry') },
    encryption: {
      key: values['encryption.key'],
      keyFile: values['encryption.key_file'],
      credentialsDirectory: values['encryption.credentials_directory'],
    },
    crash: { limit: values['crash.limit'] },
    components: {
      onExit: values['components.on_exit'],
      unsupported: values['components.unsupported'],
      lookEveryMs: values['components.look_every'],
      timing: {
        probeEveryMs: values['components.probe.every'],
        probeTimeoutMs: values['components.probe.timeout'],
        stayUpMs: values['components.stay_up'],
        steadyMs: values['components.steady'],
        killAgainMs: values['components.kill_again'],
      },
    },
    localVariables: values['providers.local.vars'],
    logging: { level: values['agent.logging.level'], format: format === 'auto' ? null : format },
  });
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value;
  for (const inner of Object.values(value)) deepFreeze(inner);
  return Object.freeze(value);
}

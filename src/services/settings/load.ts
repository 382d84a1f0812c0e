/** Finds the home directory and the settings file, and reads the settings from where they are. */
import { lstatSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { HoldfastError } from '../../errors.ts';
import { readRegularSync } from '../durable-file.ts';
import { type Flag, type Reading, readSettings } from './read.ts';
import type { Settings } from './settings.ts';

const SETTINGS_FILE = 'holdfast.yml';

/** Most bytes of a settings file; anything larger is not one. */
const SETTINGS_MAX_BYTES = 1024 * 1024;

export type Environment = Readonly<Record<string, string | undefined>>;

/** The home directory: option, `HOLDFAST_HOME`, else `/var/lib/holdfast` as root, else `$XDG_STATE_HOME/holdfast`. Absolute. */
export function homeDirectory(option: string | undefined, env: Environment, uid: number | undefined): string {
  if (option !== undefined && option.trim() === '')
    throw new HoldfastError('USAGE', 'the option --home names no directory');
  const given = option ?? (env.HOLDFAST_HOME || undefined);
  if (given) return resolve(given);
  if (uid === 0) return '/var/lib/holdfast';
  return join(env.XDG_STATE_HOME || join(env.HOME || homedir(), '.local', 'state'), 'holdfast');
}

export interface LoadOptions {
  readonly home: string;
  /** `--config`; without it `<home>/holdfast.yml`, which may be missing. */
  readonly config: string | undefined;
  readonly flags: readonly Flag[];
  readonly env: Environment;
}

/** Reads the settings as they are now. Throws SETTINGS_INVALID that names every mistake with its place. */
export function loadSettings(options: LoadOptions): Settings {
  const { settings, complaints } = tryLoadSettings(options);
  if (complaints.length > 0) throw new HoldfastError('SETTINGS_INVALID', complaints.join('\n'));
  return settings;
}

/** {@link loadSettings} for a daemon that must start whatever the file says (P11): what is wrong is named and left out. */
export function tryLoadSettings(options: LoadOptions): Reading {
  const path = options.config === undefined ? join(options.home, SETTINGS_FILE) : resolve(options.config);
  const { env, flags } = options;
  try {
    const text = readRegularSync(path, SETTINGS_MAX_BYTES).toString('utf8');
    return readSettings({ file: { path, text }, env, flags });
  } catch (thrown) {
    const reading = readSettings({ file: null, env, flags });
    const cause = whyNot(path, thrown);
    if (options.config === undefined && cause === MISSING) return reading;
    return { ...reading, complaints: [`${path}: cannot be read: ${cause}`, ...reading.complaints] };
  }
}

const MISSING = 'there is no such file';

function whyNot(path: string, thrown: unknown): string {
  const { code, message = String(thrown) } = thrown as NodeJS.ErrnoException;
  if (code !== 'ENOENT' && code !== 'ENOTDIR') return message;
  // Whoever has put a link there means a file, on a volume that is not mounted perhaps.
  return lstatSync(path, { throwIfNoEntry: false }) ? 'it is a link to nothing' : MISSING;
}

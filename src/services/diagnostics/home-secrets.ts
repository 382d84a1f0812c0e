/** Every secret that a home and its settings hold, also where they are damaged: what diagnostics must not carry away. */
import { join } from 'node:path';
import { parse as parseYaml } from 'yaml';
import { type JsonObject, type JsonValue, parseJson } from '../../policy/json.ts';
import { secretsIn } from '../../policy/mask.ts';
import { homePaths } from '../home.ts';
import { nodeFiles } from '../store/files.ts';
import type { Store } from '../store/store.ts';
import { secretsInText } from './redaction.ts';
import { tailOf } from './tail.ts';

/** Most bytes that are looked through of one damaged file. */
const RAW_MAX_BYTES = 16 * 1024 * 1024;
/** Most files that are looked through in one directory. */
const FILES_MOST = 256;
const OBJECT_NAME = /^[0-9a-f]{64}$/;
/** Values of `encryption.key`, which say where the key is and are none. */
const KEY_PLACES = ['auto', 'credential', 'file', 'generated', 'none'];

export interface SecretSources {
  readonly home: string;
  /** Absolute path of the settings file. */
  readonly settingsFile: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Null: it cannot be opened. */
  readonly store: Store | null;
}

/** Never throws: what cannot be read has no secrets that could be shown, but by the names they stand under. */
export async function secretsOfHome({ home, settingsFile, env, store }: SecretSources): Promise<Set<string>> {
  const paths = homePaths(home);
  const found = new Set<string>();
  const take = (secrets: readonly string[]) => {
    for (const secret of secrets) found.add(secret);
  };
  take(secretsIn(withoutUnset(env)));
  take(secretsOfSettings((await raw(settingsFile)) ?? ''));

  for (const name of await namesIn(home)) {
    if (/^identity(\.|$)/.test(name)) take(secretsOfIdentity((await raw(join(home, name))) ?? ''));
  }
  for (const name of await namesIn(paths.objects)) {
    const read = OBJECT_NAME.test(name) && store !== null ? await store.readPolicy(name).catch(() => null) : null;
    const text = read !== null && 'text' in read ? read.text : await raw(join(paths.objects, name));
    if (text !== null) take(secretsOfText(text));
  }
  for (const directory of [paths.quarantine, paths.state]) {
    for (const name of await namesIn(directory)) take(secretsOfText((await raw(join(directory, name))) ?? ''));
  }
  return found;
}

/** Of a policy or the body of an action; of damaged ones what the names in them tell. */
function secretsOfText(text: string): readonly string[] {
  try {
    return secretsIn(parseJson(text));
  } catch {
    return secretsInText(text);
  }
}

function secretsOfSettings(text: string): readonly string[] {
  const inFile = [...secretsInText(text)];
  try {
    inFile.push(...secretsIn(parseYaml(text, { maxAliasCount: 100 }) as JsonValue));
  } catch {
    // What is not YAML was looked through line by line.
  }
  // `fleet.ssl.key` may be a path, and paths are what one looks for when something is wrong with the settings.
  return inFile.filter((secret) => !KEY_PLACES.includes(secret) && !/^\/[\w./-]{1,200}\.(pem|key|crt)$/.test(secret));
}

/** The access key is base64 of an id and the key itself, and either form is worth hiding. */
function secretsOfIdentity(text: string): readonly string[] {
  return secretsInText(text).flatMap((secret) => {
    const decoded = /^[\w+/-]{8,}={0,2}$/.test(secret) ? Buffer.from(secret, 'base64').toString('latin1') : '';
    const key = /^[\w-]{4,}:([\w-]{6,})$/.exec(decoded)?.[1];
    return key === undefined ? [secret] : [secret, decoded, key];
  });
}

async function raw(path: string): Promise<string | null> {
  const tail = await tailOf(path, RAW_MAX_BYTES).catch(() => null);
  return tail?.text ?? null;
}

async function namesIn(directory: string): Promise<readonly string[]> {
  const names = await nodeFiles.readdir(directory).catch(() => []);
  return names.slice(0, FILES_MOST);
}

function withoutUnset(env: SecretSources['env']): JsonObject {
  return Object.fromEntries(Object.entries(env).filter((pair): pair is [string, string] => pair[1] !== undefined));
}

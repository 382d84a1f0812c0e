/**
 * The keys of a home: which one is written with, and every one that may be read with, so that a change of key can be cut short anywhere.
 *
 * Looked for, in this order: the systemd credential `holdfast.key`, the file that `encryption.key_file` names, `<home>/key`. A key that is wanted
 * and cannot be had is never replaced by another, nor by none: then nothing is written at all.
 */
import { constants } from 'node:fs';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { HoldfastError, type Problem } from '../../errors.ts';
import { homePaths } from '../home.ts';
import type { EncryptionSettings } from '../settings/settings.ts';
import { errnoOf, type Files, inWords, openRegular, readSmall, replaceFile, statIfThere } from './files.ts';
import { readFrame } from './frame.ts';
import type { Finding } from './quarantine.ts';
import { KEY_FILE_MAX_BYTES, newKeyText, parseKeyFile, type SecretKey, shortId } from './secret-key.ts';
import { besideSlot, judgeSlot } from './slot.ts';

/** The name under which systemd passes the key: `LoadCredential=holdfast.key:…` or `LoadCredentialEncrypted=`. */
const CREDENTIAL = 'holdfast.key';
/** Keys of a change that is under way or was cut short, beside `<home>/key`. */
const SPARE = /^key\.[0-9a-f]{12}$/;

export interface Keyring {
  /** What is written with; null: readable, or nothing (see `refusal`). */
  readonly write: SecretKey | null;
  /** Where that key is, for people. */
  readonly source: string | null;
  /** Every key there is, that one first. */
  readonly read: readonly SecretKey[];
  /** KEY_UNAVAILABLE: the key that is wanted cannot be had, so nothing may be written. */
  readonly refusal: Problem | null;
  readonly findings: readonly Finding[];
}

/** Everything readable, nothing encrypted. */
export const NO_KEYS: Keyring = { write: null, source: null, read: [], refusal: null, findings: [] };

export const READABLE: EncryptionSettings = { key: 'auto', keyFile: null, credentialsDirectory: null };

export interface KeyringOptions {
  readonly files: Files;
  readonly home: string;
  readonly settings: EncryptionSettings;
  /** Whether `encryption.key: generated` may make the key; false for those who only look. */
  readonly generate: boolean;
  /** More files with keys to read with. */
  readonly from?: readonly string[];
  readonly outside?: OutsideReader;
}

/** Reads a small file that is not the store's, following links (mounted secrets are links). */
export type OutsideReader = (path: string) => Promise<Buffer>;

type Found = { readonly key: SecretKey } | { readonly why: string; readonly absent: boolean };

interface Place {
  /** Which setting asks for it. */
  readonly by: EncryptionSettings['key'];
  readonly path: string;
  readonly found: Found;
}

/** Looks for the keys of `home`. Never throws: what is wrong is a refusal or a finding. */
export async function readKeyring(options: KeyringOptions): Promise<Keyring> {
  const { files, home, settings, from = [] } = options;
  const outside = options.outside ?? readOutside;
  const { key: own } = homePaths(home);
  const places: Place[] = [];
  if (settings.credentialsDirectory !== null) {
    const path = join(settings.credentialsDirectory, CREDENTIAL);
    places.push({ by: 'credential', path, found: await elsewhere(path, outside) });
  }
  if (settings.keyFile !== null)
    places.push({ by: 'file', path: settings.keyFile, found: await elsewhere(settings.keyFile, outside) });
  places.push({ by: 'generated', path: own, found: await inHome(files, own, outside) });

  const findings: Finding[] = [];
  const spares = await spareKeys(files, home);
  const others: Place[] = [];
  for (const path of spares) others.push({ by: 'none', path, found: await inHome(files, path, outside) });
  for (const path of from) others.push({ by: 'none', path, found: await elsewhere(path, outside) });
  for (const { path, found } of others)
    if ('why' in found) findings.push({ kind: 'key', message: `${path} cannot be used as a key: ${found.why}` });
  if (spares.length > 0) {
    const message = `a change of key was cut short (${spares.join(', ')}): run the same \`holdfast rekey\` again to finish it`;
    findings.push({ kind: 'key-change', message });
  }

  const wanted = choose(places, settings);
  let write: SecretKey | null = null;
  let refusal: Problem | null = null;
  const here = [...places, ...others].flatMap(({ found }) => ('key' in found ? [found.key] : []));
  if (wanted !== null) {
    let { found } = wanted;
    if ('why' in found && found.absent && wanted.by === 'generated' && settings.key === 'generated' && options.generate)
      found = await generate(files, home, here);
    if ('key' in found) write = found.key;
    else refusal = unavailable(wanted.path, found.why);
  }
  return {
    write,
    source: write === null ? null : (wanted?.path ?? null),
    read: [...(write === null ? [] : [write]), ...here.filter((key) => key.id !== write?.id)],
    refusal,
    findings,
  };
}

/** The place whose key is wanted; null: none is. Of those that settings do not ask for by name, one that is not there is not wanted. */
function choose(places: readonly Place[], { key, credentialsDirectory }: EncryptionSettings): Place | null {
  if (key === 'none') return null;
  if (key === 'auto') return places.find(({ by, found }) => by === 'file' || 'key' in found || !found.absent) ?? null;
  const asked = places.find(({ by }) => by === key);
  if (asked) return asked;
  const path = key === 'credential' ? join(credentialsDirectory ?? '$CREDENTIALS_DIRECTORY', CREDENTIAL) : 'a key file';
  const why =
    key === 'credential' ? 'no credentials are passed to this process' : 'encryption.key_file does not name one';
  return { by: key, path, found: { why, absent: true } };
}

function unavailable(path: string, why: string): Problem {
  const message =
    `${path} is to hold the key and cannot be used: ${why}. Nothing is written without it: ` +
    'put the key there, where it is looked for again before each try to write, or set `encryption.key: none` to write readable files';
  return { code: 'KEY_UNAVAILABLE', message };
}

/** Makes `<home>/key`, unless something here was encrypted with a key that is gone: a new one would only hide that. */
async function generate(files: Files, home: string, here: readonly SecretKey[]): Promise<Found> {
  try {
    const other = await encryptedHere(files, home, here);
    if (other !== null)
      return {
        absent: true,
        why: `it does not exist, and ${other.path} is encrypted with key ${shortId(other.keyId)}`,
      };
    const text = newKeyText();
    await replaceFile(files, home, 'key', Buffer.from(text));
    const parsed = parseKeyFile(Buffer.from(text));
    return parsed.kind === 'key' ? parsed : { absent: false, why: 'it cannot be read back' };
  } catch (error) {
    return { absent: true, why: `it does not exist and cannot be made: ${inWords(error)}` };
  }
}

/** Something in the state directory that needs a key which is not here; null: nothing does. */
async function encryptedHere(
  files: Files,
  home: string,
  here: readonly SecretKey[],
): Promise<{ readonly path: string; readonly keyId: string } | null> {
  const { slots, objects } = homePaths(home);
  for (const path of [...slots, ...slots.map(besideSlot)]) {
    const { verdict } = await judgeSlot(files, { path, identity: null, wipe: false }, here);
    if (verdict.state === 'locked') return { path, keyId: verdict.keyId };
  }
  // Both records may be gone while what they named is not.
  for (const name of await namesIn(files, objects)) {
    const path = `${objects}/${name}`;
    const opened = (await statIfThere(files, path))?.kind === 'file' ? await openRegular(files, path, 'read') : null;
    if (opened === null) continue;
    const [file, stat] = opened;
    try {
      const verdict = await readFrame('object', file, stat, { keys: here, places: [] });
      if (verdict.state === 'locked') return { path, keyId: verdict.keyId };
    } finally {
      await file.close();
    }
  }
  return null;
}

async function namesIn(files: Files, directory: string): Promise<readonly string[]> {
  if ((await statIfThere(files, directory))?.kind !== 'directory') return [];
  return files.readdir(directory);
}

async function elsewhere(path: string, outside: OutsideReader): Promise<Found> {
  try {
    const parsed = parseKeyFile(await outside(path));
    if (parsed.kind === 'key') return parsed;
    return { absent: false, why: parsed.kind === 'unusable' ? parsed.why : 'it only names another file' };
  } catch (error) {
    return { absent: errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR', why: inWords(error) };
  }
}

async function inHome(files: Files, path: string, outside: OutsideReader): Promise<Found> {
  try {
    const bytes = await readSmall(files, path, KEY_FILE_MAX_BYTES);
    if (bytes === null) return { absent: true, why: 'it does not exist' };
    const parsed = parseKeyFile(bytes);
    if (parsed.kind === 'key') return parsed;
    if (parsed.kind === 'unusable') return { absent: false, why: parsed.why };
    const found = await elsewhere(parsed.path, outside);
    return 'key' in found ? found : { absent: false, why: `it names ${parsed.path}: ${found.why}` };
  } catch (error) {
    return { absent: false, why: inWords(error) };
  }
}

/** The files of keys that a change of key has left, by path. */
export async function spareKeys(files: Files, home: string): Promise<readonly string[]> {
  const names = await files.readdir(home).catch(() => []);
  return names.filter((name) => SPARE.test(name)).map((name) => join(home, name));
}

export function sparePath(home: string, key: SecretKey): string {
  return join(home, `key.${shortId(key.id)}`);
}

/** Why something encrypted cannot be read. */
export function lockedWhy(keyId: string, keys: Keyring): string {
  const here =
    keys.read.length === 0 ? 'there is no key' : `there is only ${keys.read.map(({ id }) => shortId(id)).join(', ')}`;
  return `it is encrypted with key ${shortId(keyId)}, and ${here}`;
}

/** The key in a file, for those who are told its path. Throws KEY_UNAVAILABLE. */
export async function keyIn(path: string, outside: OutsideReader = readOutside): Promise<SecretKey> {
  const found = await elsewhere(path, outside);
  if ('key' in found) return found.key;
  throw new HoldfastError('KEY_UNAVAILABLE', `${path} cannot be used as a key: ${found.why}`);
}

const readOutside: OutsideReader = async (path) => {
  const handle = await fs.open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (!(await handle.stat()).isFile()) throw new Error('it is not a file');
    const bytes = Buffer.alloc(KEY_FILE_MAX_BYTES);
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, 0);
    return bytes.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
};

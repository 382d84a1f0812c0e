/**
 * Changes what the state directory is encrypted with: readable, encrypted, or with another key. Wherever this is killed every key that is needed
 * is still there, so the next start finds everything, and the same command finishes the change.
 *
 * The order: the new key is durable under a name of its own; everything is written anew with it; all of it is read back with that key alone;
 * only then it gets its place, and the keys that are not needed any more are removed.
 */
import { HoldfastError } from '../../errors.ts';
import type { Facts } from '../../machines/facts.ts';
import { homePaths } from '../home.ts';
import type { EncryptionSettings } from '../settings/settings.ts';
import { type Files, inWords, readSmall, replaceFile, statIfThere } from './files.ts';
import { type Keyring, keyIn, NO_KEYS, type OutsideReader, readKeyring, spareKeys, sparePath } from './keyring.ts';
import { policiesNamed } from './record.ts';
import { KEY_FILE_MAX_BYTES, newKeyText, parseKeyFile, referenceText, type SecretKey, shortId } from './secret-key.ts';
import { openStore, type StoreOptions } from './store.ts';

/** `settings`: as the settings say, without a change of which key that is. */
export type RekeyTarget =
  | { readonly kind: 'settings' }
  | { readonly kind: 'none' }
  | { readonly kind: 'generated' }
  /** Absolute path. */
  | { readonly kind: 'file'; readonly path: string };

export interface RekeyOptions extends Pick<StoreOptions, 'files' | 'home' | 'agentId' | 'now' | 'slotBytes'> {
  readonly settings: EncryptionSettings;
  readonly to: RekeyTarget;
  /** More files with keys that something here may be encrypted with. */
  readonly from?: readonly string[];
  /** Give up what needs a key that is not here: it is moved to quarantine. */
  readonly abandon?: boolean;
  readonly outside?: OutsideReader;
}

export interface Rekeyed {
  /** Short id of the key, null: readable. */
  readonly keyId: string | null;
  /** Where the key is, for people. */
  readonly source: string | null;
  /** Objects that were written anew. */
  readonly objects: number;
  readonly findings: readonly string[];
}

/**
 * Encrypts, decrypts or re-encrypts the state of `home`, whose lock the caller holds.
 *
 * @throws HoldfastError KEY_UNAVAILABLE when a key is missing, USAGE when the settings name another key, STORE_WRITE_FAILED
 */
export async function rekey(options: RekeyOptions): Promise<Rekeyed> {
  const { files, home, to } = options;
  const settings = agreed(options.settings, to);
  const found = await readKeyring({ ...options, settings, generate: to.kind === 'settings' });
  // A change that was cut short is what this one ends.
  const ring = { ...found, findings: found.findings.filter(({ kind }) => kind !== 'key-change') };
  const { keys, spare } = await targetOf(options, ring);
  const store = { ...options, keys, abandonLocked: options.abandon ?? false };

  const before = await openStore({ ...store, lookOnly: true });
  if (before.locked.length > 0) {
    throw new HoldfastError(
      'KEY_UNAVAILABLE',
      `${home} needs the key ${before.locked.map(shortId).join(', ')}, which is not here: name the file that holds it with --from, ` +
        'or give up what it encrypts with --abandon',
    );
  }
  const { store: opened, facts } = await openStore(store);
  const objects = facts === null ? 0 : await opened.convert(facts);
  await opened.close();
  const findings = facts === null ? [] : await expectWhole(options, keys, facts);
  await settle(files, home, to, spare);
  return {
    keyId: keys.write === null ? null : shortId(keys.write.id),
    source: keys.source,
    objects,
    findings: [...before.findings.map(({ message }) => message), ...findings],
  };
}

/** The settings under which the change is made, when they leave it to `<home>/key` or want the same. */
function agreed(settings: EncryptionSettings, to: RekeyTarget): EncryptionSettings {
  const { key, keyFile, credentialsDirectory } = settings;
  const wants = (words: readonly EncryptionSettings['key'][]) => words.includes(key);
  const isFree = wants(['auto']) && keyFile === null && credentialsDirectory === null;
  const same =
    to.kind === 'settings' ||
    (to.kind === 'none' && wants(['none'])) ||
    (to.kind === 'generated' && wants(['generated'])) ||
    (to.kind === 'file' && keyFile === to.path && wants(['auto', 'file']));
  if (isFree || same) return settings;
  const named = [`encryption.key: ${key}`, ...(keyFile === null ? [] : [`encryption.key_file: ${keyFile}`])];
  throw new HoldfastError(
    'USAGE',
    `the settings say ${named.join(' and ')}, so the next start would use that again: change them, then run \`holdfast rekey\` without --to`,
  );
}

/** The keys while the change is made: what it changes to is written with, all others are read with. */
async function targetOf(
  { files, home, to, outside }: RekeyOptions,
  ring: Keyring,
): Promise<{ readonly keys: Keyring; readonly spare: string | null }> {
  if (to.kind === 'settings') {
    if (ring.refusal !== null) throw new HoldfastError(ring.refusal.code, ring.refusal.message);
    return { keys: ring, spare: null };
  }
  if (to.kind === 'none') return { keys: { ...ring, write: null, source: null, refusal: null }, spare: null };
  const begun = to.kind === 'generated' ? await begunBefore(files, home) : null;
  const text = begun?.text ?? (to.kind === 'generated' ? newKeyText() : referenceText(to.path));
  const key = begun?.key ?? (to.kind === 'generated' ? parsed(text) : await keyIn(to.path, outside));
  const spare = sparePath(home, key);
  try {
    // Durable before anything is encrypted with it.
    await replaceFile(files, home, spare.slice(home.length + 1), Buffer.from(text));
  } catch (error) {
    throw new HoldfastError('STORE_WRITE_FAILED', `cannot write ${spare}: ${inWords(error)}`, { cause: error });
  }
  const source = to.kind === 'generated' ? homePaths(home).key : to.path;
  const read = [key, ...ring.read.filter(({ id }) => id !== key.id)];
  return { keys: { ...ring, write: key, source, read, refusal: null }, spare };
}

/** The generated key of a change that was cut short: something may be encrypted with it already. */
async function begunBefore(
  files: Files,
  home: string,
): Promise<{ readonly key: SecretKey; readonly text: string } | null> {
  for (const path of await spareKeys(files, home)) {
    const bytes = await readSmall(files, path, KEY_FILE_MAX_BYTES).catch(() => null);
    const found = bytes === null ? null : parseKeyFile(bytes);
    if (bytes !== null && found?.kind === 'key') return { key: found.key, text: bytes.toString('latin1') };
  }
  return null;
}

function parsed(text: string): SecretKey {
  const found = parseKeyFile(Buffer.from(text));
  if (found.kind !== 'key') throw new HoldfastError('INTERNAL', 'a key that was just made cannot be read');
  return found.key;
}

/** Reads everything back with the new key alone, as a later start will, before any other key is removed. */
async function expectWhole(options: RekeyOptions, keys: Keyring, facts: Facts): Promise<readonly string[]> {
  const alone: Keyring = { ...NO_KEYS, write: keys.write, read: keys.write === null ? [] : [keys.write] };
  const { store, facts: found, locked } = await openStore({ ...options, keys: alone, lookOnly: true });
  const findings: string[] = [];
  for (const hash of policiesNamed(facts)) {
    const read = await store.readPolicy(hash);
    if ('problem' in read) findings.push(read.problem.message);
  }
  if (locked.length === 0 && JSON.stringify(found) === JSON.stringify(facts) && !findings.some(isAboutKeys))
    return findings;
  throw new HoldfastError(
    'STORE_UNREADABLE',
    `what was written to ${options.home} cannot be read back; every key is kept`,
  );
}

/** Damage was there before and stays damage; something that still needs another key must keep that key. */
function isAboutKeys(finding: string): boolean {
  return finding.includes('encrypted with key');
}

/** Gives the new key its place, and removes from the home those that nothing needs any more. Keys elsewhere are their owner's. */
async function settle(files: Files, home: string, to: RekeyTarget, spare: string | null): Promise<void> {
  const { key } = homePaths(home);
  try {
    if (spare !== null) await files.rename(spare, key);
    else if (to.kind === 'none' && (await statIfThere(files, key))) await files.unlink(key);
    for (const path of await spareKeys(files, home)) if (path !== spare) await files.unlink(path);
    await files.syncDirectory(home);
  } catch (error) {
    throw new HoldfastError('STORE_WRITE_FAILED', `cannot put the key in its place in ${home}: ${inWords(error)}`, {
      cause: error,
    });
  }
}

/** The folder of objects: policies and other large texts, each in a file named by the SHA-256 of the text, each judged by itself on every read. */
import { HoldfastError, type Problem } from '../../errors.ts';
import { errnoOf, type FileStat, type Files, inWords, openRegular, statIfThere, writeAll } from './files.ts';
import { encodeFrame, FRAME_MAX_BYTES, hashOf, readFrame } from './frame.ts';
import { type Keyring, lockedWhy } from './keyring.ts';
import { type Finding, type Quarantine, setAside } from './quarantine.ts';

const OBJECT_NAME = /^[0-9a-f]{64}(\.tmp)?$/;
const READ_TRIES = 3;
/** Nothing is wrong with a file that cannot be opened for this. */
const OUT_OF_FILES: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE']);

export class ObjectFolder {
  readonly #directory: string;
  readonly #files: Files;
  readonly #quarantine: Quarantine;
  readonly #keys: Keyring;
  /** The agent whose objects these are: what is encrypted is bound to it. */
  #owner = '';
  /** What this process has synced, as the file it was. */
  readonly #synced = new Map<string, FileStat>();
  /** A sync failed on these: they may read as written and not be on disk, so only writing them anew counts. */
  readonly #distrusted = new Set<string>();

  constructor(directory: string, quarantine: Quarantine, keys: Keyring) {
    this.#keys = keys;
    this.#directory = directory;
    this.#files = quarantine.files;
    this.#quarantine = quarantine;
  }

  belongTo(agentId: string): void {
    this.#owner = agentId;
  }

  /** The text named `hash`, verified; or why it cannot be had. */
  async read(hash: string): Promise<{ readonly text: string } | { readonly problem: Problem }> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const read = await this.#read(hash);
        return 'text' in read ? { text: read.text } : { problem: unreadable(this.#path(hash), read.why) };
      } catch (error) {
        if (attempt >= READ_TRIES) return { problem: unreadable(this.#path(hash), inWords(error)) };
      }
    }
  }

  /** With `sync` set, the very file that was verified is synced too; where that fails, or failed before, `synced` is false. */
  async #read(hash: string, sync = false): Promise<ObjectRead> {
    const opened = await openRegular(this.#files, this.#path(hash), 'read');
    if (opened === null) return { why: 'it does not exist' };
    const [file, stat] = opened;
    try {
      const verdict = await readFrame('object', file, stat, { keys: this.#keys.read, places: [this.#owner] });
      if (verdict.state === 'damaged') return { why: verdict.why };
      if (verdict.state === 'locked') return { why: lockedWhy(verdict.keyId, this.#keys) };
      if (verdict.state === 'newer') return { why: `it was written by a newer version (format ${verdict.format})` };
      if (verdict.state === 'blank') return { why: 'it is blank' };
      const text = verdict.frame.payload.toString('utf8');
      if (hashOf(text) !== hash) return { why: 'its content is not what its name says' };
      if (sync) await file.sync().catch(() => this.#distrusted.add(hash));
      const current = verdict.keyId === (this.#keys.write?.id ?? null);
      return { text, stat, current, synced: sync && !this.#distrusted.has(hash) };
    } finally {
      await file.close();
    }
  }

  /**
   * Makes every object of `hashes` durable that this process has not itself synced, from `texts` or by syncing what is there. One of `needed` that
   * cannot be had fails; any other is a finding.
   */
  async sync(
    hashes: readonly string[],
    texts: ReadonlyMap<string, string>,
    needed: ReadonlySet<string>,
    findings: Finding[],
  ): Promise<void> {
    const fresh = new Map<string, FileStat>();
    for (const hash of hashes) {
      const there = await statIfThere(this.#files, this.#path(hash));
      if (there && isUnchanged(this.#synced.get(hash), there)) continue;
      const stat = await this.#makeDurable(hash, there, texts.get(hash), findings);
      if (stat) fresh.set(hash, stat);
      else if (needed.has(hash)) {
        throw new HoldfastError(
          'STORE_UNREADABLE',
          `policy ${hash} cannot be made durable: its text is neither given nor on disk`,
        );
      }
    }
    if (fresh.size === 0) return;
    await this.#files.syncDirectory(this.#directory);
    for (const [hash, stat] of fresh) this.#synced.set(hash, stat);
  }

  async #makeDurable(
    hash: string,
    there: FileStat | null,
    given: string | undefined,
    findings: Finding[],
  ): Promise<FileStat | null> {
    if (there === null) return given === undefined ? null : this.#write(hash, given);
    let noneLeft = false;
    const read = await this.#read(hash, true).catch((error: unknown): ObjectRead => {
      noneLeft = OUT_OF_FILES.has(errnoOf(error));
      return { why: inWords(error) };
    });
    if ('text' in read) return read.synced && read.current ? read.stat : this.#write(hash, read.text);
    if (given === undefined) return null;
    findings.push({ kind: 'object', message: unreadable(this.#path(hash), read.why).message });
    // The file may be whole: it stays until the new one takes its place in one step.
    if (noneLeft && there.kind === 'file') return this.#write(hash, given);
    return this.#write(hash, given, () => setAside(this.#quarantine, this.#path(hash), read.why, findings));
  }

  /** `makeRoom` moves what is in the way. It is called when the new bytes are durable, so that a disk that takes none costs nothing (P11). */
  async #write(hash: string, text: string, makeRoom: () => Promise<unknown> = async () => {}): Promise<FileStat> {
    const path = this.#path(hash);
    const temporary = `${path}.tmp`;
    const frame = { sequence: 0, subject: hash, payload: Buffer.from(text, 'utf8') };
    const { write: key } = this.#keys;
    const bytes = encodeFrame('object', frame, key === null ? null : { key, place: this.#owner });
    if (bytes === null) {
      throw new HoldfastError(
        'STORE_WRITE_FAILED',
        `${path} would have more than ${FRAME_MAX_BYTES} bytes, which are never written`,
      );
    }
    if (await statIfThere(this.#files, temporary)) await this.#files.removeTree(temporary);
    const file = await this.#files.open(temporary, 'create');
    let stat: FileStat;
    try {
      await writeAll(file, bytes, 0);
      await file.sync();
      stat = await file.stat();
    } catch (error) {
      throw error instanceof Error ? Object.assign(error, { path }) : error;
    } finally {
      await file.close();
    }
    await makeRoom();
    await this.#files.rename(temporary, path);
    this.#distrusted.delete(hash);
    return stat;
  }

  /**
   * Writes everything readable here anew that is not encrypted as the rest is now, named by a record or not, durably, and removes left-over
   * temporary files. What cannot be read stays. The number of objects written.
   */
  async convert(): Promise<number> {
    let written = 0;
    for (const name of await this.#files.readdir(this.#directory)) {
      if (!OBJECT_NAME.test(name)) continue;
      if (name.endsWith('.tmp')) {
        await this.#files.unlink(this.#path(name));
        continue;
      }
      const read = await this.#read(name).catch((error: unknown): ObjectRead => ({ why: inWords(error) }));
      if (!('text' in read) || read.current) continue;
      await this.#write(name, read.text);
      written += 1;
    }
    await this.#files.syncDirectory(this.#directory);
    return written;
  }

  /** Removes every object that is not in `kept`, and left-over temporary files. False when it could not. */
  async collect(kept: ReadonlySet<string>): Promise<boolean> {
    try {
      for (const name of await this.#files.readdir(this.#directory)) {
        if (!OBJECT_NAME.test(name) || kept.has(name)) continue;
        await this.#files.unlink(`${this.#directory}/${name}`);
        this.#synced.delete(name);
      }
      return true;
    } catch {
      return false;
    }
  }

  /** What was synced does not count any more: one object, or all. */
  forget(hash?: string): void {
    if (hash === undefined) this.#synced.clear();
    else this.#synced.delete(hash);
  }

  #path(hash: string): string {
    return `${this.#directory}/${hash}`;
  }
}

type ObjectRead =
  | {
      readonly text: string;
      readonly stat: FileStat;
      readonly synced: boolean;
      /** It is encrypted with the key that is written with now, or readable where there is none. */
      readonly current: boolean;
    }
  | { readonly why: string };

function isUnchanged(synced: FileStat | undefined, there: FileStat): boolean {
  return (
    synced !== undefined &&
    there.kind === 'file' &&
    synced.dev === there.dev &&
    synced.ino === there.ino &&
    synced.size === there.size
  );
}

function unreadable(path: string, why: string): Problem {
  return { code: 'STORE_UNREADABLE', message: `${path} cannot be read: ${why}` };
}

/** Reads entries of a zip file that may come from anywhere: each is asked for by name, held in memory and bounded; nothing is unpacked to disk. */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { type Entry, fromFdPromise, type ZipFile } from 'yauzl';
import { HoldfastError } from '../../errors.ts';

/** Far above what `holdfast diagnostics` writes: more is not looked at. */
const ENTRIES_MOST = 10_000;
const NAME_CHARACTERS = 300;

export class ZipReader {
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #zip: ZipFile;
  readonly #entries: ReadonlyMap<string, Entry>;

  private constructor(path: string, file: FileHandle, zip: ZipFile, entries: ReadonlyMap<string, Entry>) {
    this.#path = path;
    this.#file = file;
    this.#zip = zip;
    this.#entries = entries;
  }

  /** Reads the directory of the archive. Rejects with ARCHIVE_UNREADABLE for anything but a regular, whole zip file. */
  static async open(path: string): Promise<ZipReader> {
    // Opening never waits: in the place of the file may be a fifo.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((cause) => {
      throw unreadable(path, cause);
    });
    try {
      if (!(await file.stat()).isFile()) throw new Error('it is not a file');
      const zip = await fromFdPromise(file.fd, { lazyEntries: true, autoClose: false, strictFileNames: true });
      return new ZipReader(path, file, zip, await entriesOf(zip));
    } catch (cause) {
      await file.close();
      throw unreadable(path, cause);
    }
  }

  get names(): readonly string[] {
    return [...this.#entries.keys()];
  }

  /**
   * Null: there is none of that name. Rejects with ARCHIVE_UNREADABLE when it is damaged, encrypted, or larger than `mostBytes`: the size that the
   * directory tells is held against the limit before, and against what comes out of the compressor while it is read.
   */
  async text(name: string, mostBytes: number): Promise<string | null> {
    const entry = this.#entries.get(name);
    if (entry === undefined) return null;
    try {
      if (entry.uncompressedSize > mostBytes)
        throw new Error(`it has ${entry.uncompressedSize} bytes, ${mostBytes} are read`);
      const chunks: Buffer[] = [];
      for await (const chunk of await this.#zip.openReadStreamPromise(entry)) chunks.push(chunk as Buffer);
      return Buffer.concat(chunks).toString('utf8');
    } catch (cause) {
      throw unreadable(`${this.#path}: ${JSON.stringify(name)}`, cause);
    }
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

async function entriesOf(zip: ZipFile): Promise<Map<string, Entry>> {
  if (zip.entryCount > ENTRIES_MOST) throw new Error(`it has ${zip.entryCount} entries`);
  const entries = new Map<string, Entry>();
  for await (const entry of zip.eachEntry()) {
    if (entry.fileName.length > NAME_CHARACTERS) throw new Error('an entry has a name that is too long');
    if (entries.has(entry.fileName)) throw new Error(`${JSON.stringify(entry.fileName)} is in it twice`);
    entries.set(entry.fileName, entry);
  }
  return entries;
}

function unreadable(what: string, cause: unknown): HoldfastError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new HoldfastError('ARCHIVE_UNREADABLE', `${what} cannot be read: ${why}`, { cause });
}

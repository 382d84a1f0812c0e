/** The zip file, written as it grows: one entry in memory at a time, readable by its owner only, never over another file. */
import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import { unlink } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { ZipFile } from 'yazl';
import { HoldfastError } from '../../errors.ts';
import { inWords } from '../store/files.ts';

/** Bytes handed to the compressor at once, so that a slow disk holds up the reading and not the memory. */
const CHUNK_BYTES = 64 * 1024;

export class Archive {
  readonly #path: string;
  readonly #zip = new ZipFile();
  readonly #file: WriteStream;
  readonly #written: Promise<void>;
  readonly #at: Date;

  private constructor(path: string, file: WriteStream, at: Date) {
    this.#path = path;
    this.#file = file;
    this.#at = at;
    this.#zip.outputStream.pipe(file);
    this.#written = finished(file);
    // Whoever waits for an entry or for the end is told; until then nobody is.
    this.#written.catch(() => undefined);
  }

  /** Creates the file, mode 0600. `at` is the time its entries carry. Throws DIAGNOSTICS_FAILED, also when something is there. */
  static async create(path: string, at: Date): Promise<Archive> {
    const file = createWriteStream(path, { flags: 'wx', mode: 0o600 });
    try {
      await once(file, 'open');
    } catch (thrown) {
      throw failed(path, thrown);
    }
    return new Archive(path, file, at);
  }

  /** Adds one entry and resolves when it has been read, compressed and handed on. */
  async add(name: string, text: string): Promise<void> {
    const source = Readable.from(chunks(Buffer.from(text, 'utf8')));
    const read = finished(source);
    read.catch(() => undefined);
    this.#zip.addReadStream(source, name, { mtime: this.#at, mode: 0o100600 });
    await this.#orFailure(read);
  }

  /** Ends the file and resolves to its length in bytes when all of it is written. */
  async end(): Promise<number> {
    this.#zip.end();
    await this.#orFailure(this.#written);
    return this.#file.bytesWritten;
  }

  /** Gives up: the file is removed. Never throws. */
  async abandon(): Promise<void> {
    this.#file.destroy();
    await this.#written.catch(() => undefined);
    await unlink(this.#path).catch(() => undefined);
  }

  async #orFailure(done: Promise<void>): Promise<void> {
    try {
      // When the disk takes no more, nobody reads on and `done` would never come.
      await Promise.race([done, this.#written.then(() => done)]);
    } catch (thrown) {
      throw failed(this.#path, thrown);
    }
  }
}

function* chunks(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) yield bytes.subarray(at, at + CHUNK_BYTES);
}

function failed(path: string, thrown: unknown): HoldfastError {
  return new HoldfastError('DIAGNOSTICS_FAILED', `${path} cannot be written: ${inWords(thrown)}`, { cause: thrown });
}

/** The log on disk: bounded, rotated, and never a reason to stop: what cannot be written is lost and the next line is tried again. */
import { closeSync, constants, fstatSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

/** A file grows to this size before the next is begun. */
const LOG_FILE_MAX_BYTES = 10 * 1024 * 1024;
/** Files that are kept: `holdfast.ndjson`, `.1`, `.2`. */
export const LOG_FILES_KEPT = 3;

/** A fifo that nobody reads must not hold up the daemon: it refuses, and the line is lost. */
const APPEND_WITHOUT_WAITING = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK;

export class LogFile {
  readonly #path: string;
  readonly #maxBytes: number;
  #descriptor: number | null = null;
  #bytes = 0;
  /** The last write was cut: the next line begins with a line break, so that only one line is lost. */
  #torn = false;
  #lost = 0;

  constructor(path: string, maxBytes: number = LOG_FILE_MAX_BYTES) {
    this.#path = path;
    this.#maxBytes = maxBytes;
  }

  /** Lines that could not be written. */
  get lost(): number {
    return this.#lost;
  }

  /** Appends one line that ends with a line break. Never throws. */
  write(line: string): void {
    try {
      const descriptor = this.#open(Buffer.byteLength(line));
      const bytes = Buffer.from(this.#torn ? `\n${line}` : line);
      const written = writeSync(descriptor, bytes);
      this.#bytes += written;
      this.#torn = written < bytes.length;
      if (this.#torn) this.#lost++;
    } catch {
      this.#lost++;
      this.close();
    }
  }

  close(): void {
    if (this.#descriptor === null) return;
    const descriptor = this.#descriptor;
    this.#descriptor = null;
    try {
      closeSync(descriptor);
    } catch {
      // nothing that could be done about it
    }
  }

  /** The descriptor to append to, after the files were moved on if this line would make the first one too large. */
  #open(lineBytes: number): number {
    // Somebody removed the file: lines would go nowhere.
    if (this.#descriptor !== null && fstatSync(this.#descriptor).nlink === 0) this.close();
    if (this.#descriptor !== null && this.#bytes > 0 && this.#bytes + lineBytes > this.#maxBytes) {
      this.close();
      for (let number = LOG_FILES_KEPT - 1; number >= 1; number--) {
        try {
          renameSync(number === 1 ? this.#path : `${this.#path}.${number - 1}`, `${this.#path}.${number}`);
        } catch {
          // not there yet
        }
      }
    }
    if (this.#descriptor === null) {
      mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
      this.#descriptor = openSync(this.#path, APPEND_WITHOUT_WAITING, 0o600);
      this.#bytes = fstatSync(this.#descriptor).size;
    }
    return this.#descriptor;
  }
}

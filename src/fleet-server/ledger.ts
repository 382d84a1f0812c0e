/**
 * The server's state on disk: one file, replaced as a whole. Changes made while a write is under way are carried by the next one
 * together, and an answer that depends on a change waits for `durable()` first.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { HoldfastError } from '../errors.ts';
import { ensureDirectory, readFileIfThere, replaceFile } from '../services/durable-file.ts';
import { describeIssues } from '../wire/fleet.ts';
import type { Clock } from './clock.ts';
import type { Log } from './log.ts';
import { readState, type ServerState, writeState } from './state.ts';

/** How long what may be forgotten (last seen, status) waits to be written. */
const LAZY_WRITE_MS = 1000;

/** What is not the state of a server is left as it is: written over, its agents would be nobody's. */
function readable(text: string): ServerState {
  try {
    return readState(text);
  } catch (error) {
    const why = error instanceof z.ZodError ? describeIssues(error) : error instanceof Error ? error.message : error;
    throw new Error(
      `it is not the state of a Fleet server (${why}); put a copy back, or move it away to begin anew, after which agents must enroll again`,
      { cause: error },
    );
  }
}

export class Ledger {
  readonly state: ServerState;
  readonly #path: string;
  readonly #clock: Clock;
  readonly #log: Log;
  #changes = 0;
  #durableChanges = 0;
  #writing: Promise<void> | null = null;
  #touched = false;
  #timer: unknown = null;
  #closed = false;
  #abandoned = false;

  private constructor(path: string, state: ServerState, clock: Clock, log: Log) {
    this.#path = path;
    this.state = state;
    this.#clock = clock;
    this.#log = log;
  }

  /** Opens the state in `directory`, creating both when they are not there; `initial` is asked only then. */
  static async open(directory: string, initial: () => ServerState, clock: Clock, log: Log): Promise<Ledger> {
    const path = join(directory, 'fleet-server.json');
    try {
      await ensureDirectory(directory);
      const content = await readFileIfThere(path);
      const ledger = new Ledger(path, content === null ? initial() : readable(content.toString('utf8')), clock, log);
      if (content === null) ledger.changed();
      await ledger.durable();
      return ledger;
    } catch (error) {
      throw new HoldfastError('SERVER_STATE', `${path}: ${error instanceof Error ? error.message : error}`, {
        cause: error,
      });
    }
  }

  /** Says that the state was changed in a way that answers depend on. */
  changed(): void {
    this.#changes += 1;
  }

  /** Says that the state was changed in a way that may be forgotten; it is written soon, and nobody waits. */
  touched(): void {
    this.#touched = true;
    if (this.#timer !== null || this.#closed) return;
    this.#timer = this.#clock.setTimeout(() => {
      this.#timer = null;
      this.#writeTouched().catch((error: unknown) => this.#log('error', `state not written: ${String(error)}`));
    }, LAZY_WRITE_MS);
  }

  /** Resolves when all that was `changed()` before this call is on disk; rejects when it could not be written (the next call tries again). */
  async durable(): Promise<void> {
    const wanted = this.#changes;
    while (this.#durableChanges < wanted) await (this.#writing ?? this.#write());
  }

  /** Writes what is left. */
  async close(): Promise<void> {
    this.#stopTimer();
    await this.#writing?.catch(() => undefined);
    if (this.#touched || this.#durableChanges < this.#changes) await this.#write();
  }

  /** Writes nothing more: what was not on disk is lost, and whoever waits for it is refused. */
  async abandon(): Promise<void> {
    this.#abandoned = true;
    this.#stopTimer();
    await this.#writing?.catch(() => undefined);
  }

  #stopTimer(): void {
    this.#closed = true;
    if (this.#timer !== null) this.#clock.clearTimeout(this.#timer);
    this.#timer = null;
  }

  async #writeTouched(): Promise<void> {
    await this.#writing?.catch(() => undefined);
    if (this.#touched && !this.#closed) await (this.#writing ?? this.#write());
  }

  #write(): Promise<void> {
    if (this.#abandoned) return Promise.reject(new Error('the server has ended'));
    const changes = this.#changes;
    this.#touched = false;
    this.#writing = replaceFile(this.#path, writeState(this.state))
      .then(
        () => {
          this.#durableChanges = Math.max(this.#durableChanges, changes);
        },
        (error: unknown) => {
          this.#touched = true;
          throw error;
        },
      )
      .finally(() => {
        this.#writing = null;
      });
    return this.#writing;
  }
}

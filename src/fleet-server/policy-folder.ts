/**
 * The watched folder of policies: every `<policy id>.yml` is one. What is seen is handed over whole after each look; a look follows a
 * change by a short while, so that an editor has finished writing, and happens now and then anyway, since not every file system tells.
 */
import { type FSWatcher, watch } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { HoldfastError } from '../errors.ts';
import { type ReadPolicy, readPolicyYaml } from './policy-yaml.ts';

/** One policy file as it is now. */
export interface PolicyFile {
  readonly id: string;
  readonly file: string;
  readonly policy: ReadPolicy;
}

export interface PolicyFolderTimes {
  /** Quiet time after a change before the folder is read. */
  readonly debounceMs: number;
  /** How often it is read without being told of a change. */
  readonly rescanMs: number;
}

export interface PolicyFolderOptions extends PolicyFolderTimes {
  readonly directory: string;
  readonly seen: (files: readonly PolicyFile[]) => Promise<void>;
  /** The folder itself cannot be read; what was seen before stays. */
  readonly failed: (problem: string) => void;
}

export class PolicyFolder {
  readonly #options: PolicyFolderOptions;
  #watcher: FSWatcher | null = null;
  #debounce: NodeJS.Timeout | null = null;
  #rescan: NodeJS.Timeout | null = null;
  #looking: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: PolicyFolderOptions) {
    this.#options = options;
  }

  /** Looks once, then goes on watching. Throws when there is no such directory. */
  async open(): Promise<void> {
    const { directory, seen, rescanMs } = this.#options;
    const folder = await stat(directory).catch(() => null);
    if (!folder?.isDirectory()) throw new HoldfastError('SERVER_POLICIES', `${directory} is not a directory`);
    this.#watch();
    await seen((await this.#read()).files);
    this.#rescan = setInterval(() => {
      if (!this.#watcher) this.#watch();
      void this.look(true);
    }, rescanMs);
  }

  /** Reads the folder now and hands over what is there. */
  look(patient = false): Promise<void> {
    this.#looking = this.#looking.then(async () => {
      if (this.#closed) return;
      try {
        const { files, unsettled } = await this.#read();
        if (patient && unsettled) return this.#lookSoon();
        await this.#options.seen(files);
      } catch (error) {
        this.#options.failed(error instanceof Error ? error.message : String(error));
      }
    });
    return this.#looking;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#watcher?.close();
    if (this.#debounce) clearTimeout(this.#debounce);
    if (this.#rescan) clearInterval(this.#rescan);
    await this.#looking;
  }

  #watch(): void {
    try {
      this.#watcher = watch(this.#options.directory, () => this.#lookSoon());
      this.#watcher.on('error', () => {
        this.#watcher?.close();
        this.#watcher = null;
      });
    } catch {
      this.#watcher = null;
    }
  }

  #lookSoon(): void {
    if (this.#closed) return;
    if (this.#debounce) clearTimeout(this.#debounce);
    this.#debounce = setTimeout(() => void this.look(true), this.#options.debounceMs);
  }

  async #read(): Promise<{ readonly files: readonly PolicyFile[]; readonly unsettled: boolean }> {
    const { directory, debounceMs } = this.#options;
    const names = (await readdir(directory)).filter(isPolicyFileName).sort();
    const files: PolicyFile[] = [];
    let unsettled = false;
    for (const name of names) {
      const file = join(directory, name);
      const id = basename(name, extname(name));
      try {
        const source = await readFile(file, 'utf8');
        // A file still being written may read as a shorter policy that is valid.
        const ageMs = Date.now() - (await stat(file)).mtimeMs;
        if (ageMs >= 0 && ageMs < debounceMs) unsettled = true;
        files.push({ id, file, policy: checkName(id, files) ?? readPolicyYaml(source) });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
        files.push({ id, file, policy: { ok: false, problem: `cannot be read: ${String(error)}` } });
      }
    }
    return { files, unsettled };
  }
}

function isPolicyFileName(name: string): boolean {
  return /^[^.].*\.ya?ml$/.test(name);
}

function checkName(id: string, before: readonly PolicyFile[]): ReadPolicy | null {
  if (/[:\s]/.test(id)) {
    return { ok: false, problem: 'a policy id has no colon or space: agents could not name it; rename the file' };
  }
  if (before.some((file) => file.id === id)) {
    return { ok: false, problem: `another file is the policy ${id} already; remove one of them` };
  }
  return null;
}

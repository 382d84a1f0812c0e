/** The agent as a real child process of the built program, followed over its control socket. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { inject } from 'vitest';
import { type ControlClient, controlClient } from '../../../src/services/control/client.ts';
import type { ComponentStatusLine, Status } from '../../../src/wire/control.ts';
import { TOKEN } from './fleet.ts';
import { Signal } from './waiting.ts';

/** Between two tries to reach a socket that is not there yet: nothing tells of it in a way that is not itself a race. */
const SOCKET_RETRY_MS = 10;

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class TestAgent {
  /** Every status seen, over all lives. */
  readonly history: Status[] = [];
  /** What was written to standard output and error, a line each, over all lives. */
  readonly lines: string[] = [];
  readonly home: string;
  readonly #url: string;
  readonly #env: NodeJS.ProcessEnv;
  readonly #signal = new Signal();
  #child: ChildProcess | null = null;
  #ended: Promise<Ended> = Promise.resolve({ code: 0, signal: null });
  #lastEnd: Ended | null = null;
  /** Where the history of this life begins. */
  #since = 0;
  #watched: Promise<void> = Promise.resolve();

  constructor(home: string, url: string, env: NodeJS.ProcessEnv = {}) {
    this.home = home;
    this.#url = url;
    // Nothing of what the machine has set may change a test.
    const { PATH, HOME, TMPDIR, LANG } = process.env;
    this.#env = { PATH, HOME, TMPDIR, LANG, ...env };
  }

  get pid(): number {
    if (!this.#child?.pid) throw new Error('the agent does not run');
    return this.#child.pid;
  }

  get runs(): boolean {
    return this.#child !== null;
  }

  /** How the last life ended; null: none has. */
  get lastEnd(): Ended | null {
    return this.#lastEnd;
  }

  get ended(): Promise<Ended> {
    return this.#ended;
  }

  /** Its control socket. */
  get control(): ControlClient {
    return controlClient(this.home, this.#env);
  }

  /** Starts a process; what becomes of it is awaited with {@link status}. */
  start(...more: readonly string[]): this {
    if (this.#child !== null) throw new Error('the agent runs already');
    const args = ['run', '--home', this.home, '--log-format', 'ecs'];
    const fleet = ['--url', this.#url, '--enrollment-token', TOKEN, '--insecure'];
    const child = spawn(process.execPath, [inject('main'), ...args, ...fleet, ...more], {
      env: this.#env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    this.#since = this.history.length;
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        this.lines.push(line);
        this.#signal.changed();
      });
    }
    const gone = new AbortController();
    this.#ended = once(child, 'exit').then(([code, signal]) => {
      this.#child = null;
      this.#lastEnd = { code, signal };
      gone.abort();
      this.#signal.changed();
      return { code, signal };
    });
    this.#watched = this.#watch(gone.signal);
    return this;
  }

  /** SIGKILL; resolves when the process is gone. */
  async kill9(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#ended;
    await this.#watched;
  }

  /** SIGTERM; resolves with how it ended. */
  async stop(): Promise<Ended> {
    this.#child?.kill('SIGTERM');
    const ended = await this.#ended;
    await this.#watched;
    return ended;
  }

  /** Resolves with the first status of this life that fits: the newest now, or any later one. */
  status(matches: (status: Status) => boolean, what: string, patienceMs?: number): Promise<Status> {
    let next = Math.max(this.#since, this.history.length - 1);
    return this.#until(
      () => {
        for (; next < this.history.length; next += 1) {
          const status = this.history[next];
          if (status !== undefined && matches(status)) return status;
        }
        return undefined;
      },
      what,
      patienceMs,
    );
  }

  /** The newest status of this life. */
  get now(): Status {
    const status = this.history.at(-1);
    if (status === undefined || this.history.length === this.#since) throw new Error('no status was seen yet');
    return status;
  }

  /** Resolves with the first line of output that fits, among those from number `from` on. */
  line(pattern: RegExp, from = 0): Promise<string> {
    return this.#until(() => this.lines.slice(from).find((line) => pattern.test(line)), `a line like ${pattern}`);
  }

  /** Runs a command of the built program on this home. */
  run(...args: readonly string[]): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
    return new Promise((resolve) => {
      execFile(
        process.execPath,
        [inject('main'), ...args, '--home', this.home],
        { env: this.#env, timeout: 20_000 },
        (error, out, err) => resolve({ code: error === null ? 0 : Number(error.code ?? 1), out, err }),
      );
    });
  }

  #until<T>(look: () => T | undefined, what: string, patienceMs?: number): Promise<T> {
    return this.#signal.until(
      look,
      `the agent: ${what}`,
      () => `${shortly(this.history.at(-1))}\n${this.lines.slice(-25).map(readable).join('\n')}`,
      patienceMs,
    );
  }

  async #watch(gone: AbortSignal): Promise<void> {
    while (!gone.aborted) {
      try {
        for await (const status of this.control.watch(gone)) {
          this.history.push(status);
          this.#signal.changed();
        }
      } catch {
        // not listening yet, or not any more
      }
      if (!gone.aborted) await pause(SOCKET_RETRY_MS);
    }
  }
}

/** The component of this id in a status. */
export function componentIn(status: Status, id: string): ComponentStatusLine | undefined {
  return status.components.find((one) => one.id === id);
}

function shortly(status: Status | undefined): string {
  if (status === undefined) return 'no status was seen';
  const { state, path, health, message, start, fleet, policy, components, store, actions } = status;
  return JSON.stringify({ state, path, health, message, start, fleet, policy, components, store, actions }, null, 1);
}

function readable(line: string): string {
  try {
    const { '@timestamp': at, message, 'log.level': level, log } = JSON.parse(line);
    return `  ${at} ${level ?? log?.level} ${message}`;
  } catch {
    return `  ${line}`;
  }
}

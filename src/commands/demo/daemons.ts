/** The two daemons of a demo as real processes: started, listened to, signalled and seen to end. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Places } from './places.ts';

const MAIN = fileURLToPath(new URL('../../main.js', import.meta.url));
const TOKEN = 'demo';

export type DaemonName = 'fleet' | 'agent';

/** What the Fleet server says once it listens there; `host:port`. */
export const listeningOn = (listen: string) => `Fleet server on http://${listen}`;

export interface End {
  readonly pid: number;
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface DaemonOptions {
  readonly places: Places;
  /** `host:port` of the Fleet server. */
  readonly listen: string;
  /** `--inspect` as the agent is given it; null: without. */
  readonly inspect: string | null;
  readonly onLine: (name: DaemonName, line: string) => void;
  /** Called when it has ended and said everything. */
  readonly onEnd?: (name: DaemonName, end: End) => void;
}

interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<End>;
}

export class Daemons {
  readonly #options: DaemonOptions;
  readonly #running = new Map<DaemonName, Running>();

  constructor(options: DaemonOptions) {
    this.#options = options;
  }

  /** None of the two runs. */
  get idle(): boolean {
    return this.#running.size === 0;
  }

  /** Process id; null: it does not run. */
  pid(name: DaemonName): number | null {
    return this.#running.get(name)?.child.pid ?? null;
  }

  /** One process a name: a second start is ignored. */
  start(name: DaemonName): void {
    if (this.#running.has(name)) return;
    // A session of its own: Ctrl-C reaches the demo alone, which then ends both in order.
    const child = spawn(process.execPath, [MAIN, ...this.#words(name)], {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => this.#options.onLine(name, line));
    }
    const ended = new Promise<End>((resolve) => {
      child.once('exit', (code, signal) => {
        const end = { pid: child.pid ?? 0, code, signal };
        this.#running.delete(name);
        resolve(end);
        this.#options.onEnd?.(name, end);
      });
    });
    this.#running.set(name, { child, ended });
  }

  /** Sends a signal; resolves with how it ended, null when it did not run. */
  async end(name: DaemonName, signal: NodeJS.Signals = 'SIGTERM'): Promise<End | null> {
    const running = this.#running.get(name);
    if (running === undefined) return null;
    running.child.kill(signal);
    return await running.ended;
  }

  #words(name: DaemonName): string[] {
    const { places, listen, inspect } = this.#options;
    const { policies, fleet, home } = places;
    if (name === 'fleet') {
      return ['fleet', '--policies', policies, '--listen', listen, '--state', fleet, '--token', TOKEN];
    }
    const server = ['--url', `http://${listen}`, '--enrollment-token', TOKEN, '--insecure'];
    return ['run', '--home', home, ...server, '--log-format', 'pretty', ...(inspect === null ? [] : [inspect])];
  }
}

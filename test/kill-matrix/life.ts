/** One life of the built program as a child process (life.mjs), followed through its pipe. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import type { Status } from '../../src/wire/control.ts';

const PROGRAM = join(import.meta.dirname, 'life.mjs');

/** Where a life ends itself. */
export type Kill =
  | { readonly operation: number; readonly when: 'before' | 'middle' | 'after' }
  /** `entering <state>`: before its actions; `in <state>`: after them. `operationsLater`: before so many operations from there on. */
  | { readonly state: string; readonly operationsLater?: number };

/** What the agent says of itself; see life.mjs. */
export type LifeStatus = Pick<Status, 'state' | 'path' | 'health' | 'start' | 'policy' | 'actions' | 'store'> & {
  readonly pids: Readonly<Record<string, number | null>>;
  /** State of each. */
  readonly components: Readonly<Record<string, string>>;
  /** How the link to Fleet is. */
  readonly link: string;
};

export interface Operation {
  readonly number: number;
  readonly label: string;
  /** It can be done by half. */
  readonly half: boolean;
  /** The state of every chart at that instant. */
  readonly states: readonly string[];
}

/** Where it was killed: the point, and the state of every chart at that instant. */
export interface Killed {
  readonly at: string;
  readonly states: readonly string[];
}

export class Life {
  /** Leaves of the root chart in the order they were entered, transient ones included. */
  readonly chain: string[] = [];
  readonly operations: Operation[] = [];
  readonly states: string[] = [];
  readonly errors: string[] = [];
  status: LifeStatus | null = null;
  killed: Killed | null = null;
  /** Resolves with the exit code, or null after a kill. */
  readonly ended: Promise<number | null>;
  readonly #child: ChildProcess;
  #peakKib = 0;

  constructor(options: {
    /** Path of the program as one module; see program.ts. */
    readonly program: string;
    readonly home: string;
    readonly kill: Kill | null;
    readonly record: boolean;
    /** A file that makes the disk fail; see life.mjs. */
    readonly fault: string;
    readonly onStatus: () => void;
  }) {
    const { program, home, kill, record, fault, onStatus } = options;
    const argv = ['run', '--home', home, '--log-format', 'ecs'];
    const { PATH, HOME, TMPDIR } = process.env;
    this.#child = spawn(process.execPath, [PROGRAM, JSON.stringify({ program, argv, kill, record, fault })], {
      env: { PATH, HOME, TMPDIR },
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    });
    createInterface({ input: this.#child.stderr as Readable }).on('line', (line) => {
      this.errors.push(line);
      if (this.errors.length > 30) this.errors.shift();
    });
    const told = createInterface({ input: this.#child.stdio[3] as Readable });
    told.on('line', (line) => this.#hear(line, onStatus));
    this.ended = Promise.all([once(this.#child, 'exit'), once(told, 'close')]).then(([[code]]) => {
      this.status = null;
      onStatus();
      return code as number | null;
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** The most that it has had in memory so far; seen while it lives. */
  peakKib(): number {
    try {
      const peak = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'));
      this.#peakKib = Math.max(this.#peakKib, Number(peak?.[1] ?? 0));
    } catch {
      // It has gone.
    }
    return this.#peakKib;
  }

  signal(signal: NodeJS.Signals): void {
    this.peakKib();
    this.#child.kill(signal);
  }

  #hear(line: string, onStatus: () => void): void {
    const space = line.indexOf(' ');
    const what = line.slice(space + 1);
    switch (line.slice(0, space)) {
      case 'at':
        if (this.chain.at(-1) !== what) this.chain.push(what);
        return;
      case 'op':
        this.operations.push(JSON.parse(what));
        return;
      case 'state':
        this.states.push(what);
        return;
      case 'killed':
        this.killed = JSON.parse(what);
        return;
      case 'status':
        this.status = JSON.parse(what);
        onStatus();
    }
  }
}

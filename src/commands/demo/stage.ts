/** What a tour acts on and what it believes: real processes and files, the agent's status, the server's view, and /proc. */
import { rm, writeFile } from 'node:fs/promises';
import { fetchListing } from '../../fleet-server/admin-client.ts';
import type { AgentView } from '../../fleet-server/views.ts';
import { homePaths } from '../../services/home.ts';
import { leaveToken } from '../../services/inspector/token-file.ts';
import { allProcesses, lives, readEnvironment, readProcess } from '../../services/process/proc.ts';
import type { Status } from '../../wire/control.ts';
import { statusSentence } from '../status-sentence.ts';
import type { Surroundings } from '../surroundings.ts';
import { type DaemonName, Daemons, listeningOn } from './daemons.ts';
import { followAgent } from './follow.ts';
import type { Places } from './places.ts';

/** The longest that a thing may take to be seen. Far above what it takes, since a busy machine is no failure. */
const PATIENCE_MS = 60_000;
/** Between two looks at what tells of no change by itself: the server's view and /proc. */
const LOOK_EVERY_MS = 100;

export interface StageOptions {
  readonly places: Places;
  readonly listen: string;
  /** `host:port` of the page that shows the agent live, and the token that lets in: the same in each of its lives, so that an open page goes on. */
  readonly inspect: { readonly address: string; readonly token: string };
  readonly surroundings: Surroundings;
  /** Every wait ends when it is aborted. */
  readonly interrupted: AbortSignal;
  readonly onLine: (name: DaemonName, line: string) => void;
}

export class Stage {
  readonly #options: StageOptions;
  readonly #daemons: Daemons;
  readonly #down = new AbortController();
  readonly #followed: Promise<void>;
  readonly #waiting = new Set<() => void>();
  #heard = '';
  #now: Status | null = null;
  #program = 0;
  /** Of the page that shows the agent live; null: no agent lives. */
  inspector: string | null = null;

  constructor(options: StageOptions) {
    const { places, listen, inspect, surroundings } = options;
    this.#options = options;
    this.#daemons = new Daemons({
      places,
      listen,
      inspect: `--inspect=${inspect.address}`,
      onLine: (name, line) => this.#line(name, line),
    });
    this.#followed = followAgent(places.home, surroundings.env, this.#down.signal, (status) => {
      // What a process said last may arrive after its end.
      if (status.pid !== this.#daemons.pid('agent')) return;
      this.#now = status;
      this.#program = status.components[0]?.pid ?? this.#program;
      for (const look of [...this.#waiting]) look();
    });
  }

  /** The last status of the agent that runs. */
  get now(): Status {
    if (this.#now === null) throw new Error('the agent has not said anything yet');
    return this.#now;
  }

  /** Process id of the program that the agent manages. */
  get program(): number {
    const pid = this.now.components[0]?.pid;
    if (!pid) throw new Error('no program runs');
    return pid;
  }

  /** Its last process id that was known, also of an agent that knows of no program any more. */
  get lastProgram(): number {
    return this.#program;
  }

  /** Saves a policy that checks the tour's own Fleet server this often. */
  async savePolicy(every: string): Promise<void> {
    const { places, listen } = this.#options;
    const policy = [
      '# Written by the tour.',
      'outputs:',
      '  default: { type: none }',
      'inputs:',
      '  - id: tour',
      '    type: uptime',
      '    streams:',
      `      - { id: fleet, url: "http://${listen}/api/status", every: ${every} }`,
    ];
    await writeFile(places.policy, `${policy.join('\n')}\n`);
  }

  async startServer(): Promise<void> {
    const listening = listeningOn(this.#options.listen);
    this.#heard = '';
    this.#daemons.start('fleet');
    await this.#until(() => this.#heard.includes(listening), 'the Fleet server to listen');
  }

  async stopServer(): Promise<void> {
    await this.#ended('fleet', 'SIGTERM');
  }

  startAgent(): void {
    this.#now = null;
    leaveToken(this.#options.places.home, this.#options.inspect.token);
    this.#daemons.start('agent');
  }

  /** Ends the agent; `SIGKILL` leaves it no time for anything. Returns its process id. */
  async endAgent(signal: 'SIGKILL' | 'SIGTERM'): Promise<number> {
    return await this.#ended('agent', signal);
  }

  async removeState(): Promise<void> {
    await rm(homePaths(this.#options.places.home).state, { recursive: true });
  }

  /** The first status, from the last one on, of the agent that runs now. Rejects when it does not come in time. */
  async status(seen: (status: Status) => boolean, what: string): Promise<Status> {
    await this.#until(() => this.#now !== null && seen(this.#now), what);
    return this.now;
  }

  /** The server's view of the agent, once it is as said. */
  async view(seen: (view: AgentView) => boolean, what: string): Promise<AgentView> {
    let found: AgentView | undefined;
    await this.#look(async () => {
      const { agents } = await fetchListing(this.#options.places.fleet).catch(() => ({ agents: [] }));
      found = agents.find((agent) => agent.id === this.now.agent.id && seen(agent));
      return found !== undefined;
    }, `the Fleet server to see ${what}`);
    return found as AgentView;
  }

  async lives(pid: number): Promise<boolean> {
    return lives(await readProcess(pid));
  }

  /** Ends what still runs, whatever has happened; resolves when nothing does. */
  async clear(): Promise<void> {
    const ends = (['agent', 'fleet'] as const).map((name) => this.#endHard(name));
    await Promise.all(ends);
    this.#down.abort();
    await this.#followed;
    // An agent that was killed and not started again has left its program.
    await endPrograms(this.#options.places.home);
  }

  /** Programs of this tour that live. */
  async programs(): Promise<number[]> {
    return await programsOf(this.#options.places.home);
  }

  async #endHard(name: DaemonName): Promise<void> {
    const hurry = setTimeout(() => void this.#daemons.end(name, 'SIGKILL'), PATIENCE_MS);
    await this.#daemons.end(name);
    clearTimeout(hurry);
  }

  async #ended(name: DaemonName, signal: NodeJS.Signals): Promise<number> {
    let pid: number | null = null;
    if (name === 'agent') this.inspector = null;
    void this.#daemons.end(name, signal).then((end) => {
      pid = end?.pid ?? 0;
      for (const look of [...this.#waiting]) look();
    });
    await this.#until(() => pid !== null, `the ${name === 'agent' ? 'agent' : 'Fleet server'} to end`);
    return pid ?? 0;
  }

  #line(name: DaemonName, line: string): void {
    this.inspector = /inspector: (http\S+)/.exec(line)?.[1] ?? this.inspector;
    if (name === 'fleet') this.#heard += `${line}\n`;
    this.#options.onLine(name, line);
    for (const look of [...this.#waiting]) look();
  }

  /** Resolves when `seen` is true, now or after something was heard. */
  #until(seen: () => boolean, what: string): Promise<void> {
    const { interrupted } = this.#options;
    return new Promise((resolve, reject) => {
      const done = (finish: () => void) => {
        clearTimeout(timer);
        this.#waiting.delete(look);
        interrupted.removeEventListener('abort', stop);
        finish();
      };
      const look = () => {
        if (seen()) done(resolve);
      };
      const stop = () => done(() => reject(new Error(`interrupted while waiting for ${what}`)));
      const timer = setTimeout(() => done(() => reject(this.#inVain(what))), PATIENCE_MS);
      this.#waiting.add(look);
      interrupted.addEventListener('abort', stop);
      if (interrupted.aborted) stop();
      else look();
    });
  }

  async #look(seen: () => Promise<boolean>, what: string): Promise<void> {
    const until = Date.now() + PATIENCE_MS;
    while (!(await seen())) {
      if (this.#options.interrupted.aborted) throw new Error(`interrupted while waiting for ${what}`);
      if (Date.now() > until) throw this.#inVain(what);
      await pause(LOOK_EVERY_MS);
    }
  }

  #inVain(what: string): Error {
    const last = this.#now === null ? 'it has said nothing' : statusSentence(this.#now, Date.now());
    return new Error(`waited ${PATIENCE_MS / 1000} s in vain for ${what}; the agent's last status: ${last}`);
  }
}

/** Ends what an earlier tour's agent has left running in this home. */
export async function endPrograms(home: string): Promise<void> {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    for (const pid of await programsOf(home)) signalTo(pid, signal);
    const until = Date.now() + 5_000;
    while (Date.now() < until) {
      if ((await programsOf(home)).length === 0) return;
      await pause(LOOK_EVERY_MS);
    }
  }
}

/** Live processes that carry the home's name in their environment. */
async function programsOf(home: string): Promise<number[]> {
  const found: number[] = [];
  for (const { pid } of await allProcesses()) {
    const environment = await readEnvironment(pid);
    if (environment.get('HOLDFAST_HOME') === home && environment.has('HOLDFAST_COMPONENT')) found.push(pid);
  }
  return found;
}

function signalTo(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended by itself.
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Where a case of the matrix is played: a copy of a prepared home and Fleet server, watched by the oracle, gone when the case ends. */

import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Facts } from '../../src/machines/facts.ts';
import { type ControlClient, controlClient } from '../../src/services/control/client.ts';
import { componentPaths, homePaths } from '../../src/services/home.ts';
import { machineId } from '../../src/services/host/host.ts';
import { nodeFiles } from '../../src/services/store/files.ts';
import { readIdentity } from '../../src/services/store/identity.ts';
import { readKeyring } from '../../src/services/store/keyring.ts';
import { openStore } from '../../src/services/store/store.ts';
import { type PolicyInput, type SeenRequest, TestFleet } from '../e2e/support/fleet.ts';
import { componentsOf, isAlive } from '../e2e/support/processes.ts';
import { Signal } from '../e2e/support/waiting.ts';
import { type Kill, Life, type LifeStatus } from './life.ts';
import { SPECS } from './specs.ts';

/** Memory where there is some: a kill loses nothing that a disk would lose, so nothing is proven by waiting for one. */
const DIRECTORY = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
/** How long nothing must change until a scenario counts as settled: some times what a commit and a message take. */
const QUIET_MS = 150;
/** The longest that one case may take, in milliseconds. */
export const CASE_MS = 60_000;

const SETTINGS = {
  encryption: { key: 'none' } as const,
  fleet: {
    checkin: { backoff: { initial: '20ms', max: '100ms' }, damping: { initial: '20ms', max: '100ms' }, rest: '10ms' },
    ack: { backoff: { initial: '20ms', max: '100ms' } },
    enroll: { backoff: { initial: '20ms', max: '100ms' } },
  },
  policy: { apply: { timeout: '40s', stable_for: '60ms' }, retry: { initial: '1h', max: '1h' } },
  store: { retry: { initial: '20ms', max: '100ms' } },
};

/** Laid over those of all stages. */
export interface StageSettings {
  readonly encryption?: { readonly key: 'none' | 'generated' };
  readonly [section: string]: unknown;
}

/** A request with what the disk held when it came. */
export interface Witnessed {
  readonly request: SeenRequest;
  readonly held: readonly string[];
}

/** What the disk holds, read as a start would read it. */
export interface Disk {
  readonly facts: Facts | null;
  /** `<id>:<revision>` of the generations whose bytes can be read, newest first. */
  readonly readable: readonly string[];
  /** It holds an identity. */
  readonly enrolled: boolean;
}

export class Stage {
  readonly directory: string;
  readonly home: string;
  readonly fleet: TestFleet;
  readonly lives: Life[] = [];
  /** Promises seen broken, in words. */
  readonly broken: string[] = [];
  readonly #program: string;
  readonly #signal = new Signal();

  private constructor(program: string, directory: string, fleet: TestFleet) {
    this.#program = program;
    this.directory = directory;
    this.home = join(directory, 'home');
    this.fleet = fleet;
    fleet.intercept((request) => this.#witness(request));
  }

  /** A stage that is a copy of `base`, or an empty one. */
  static async set(program: string, base: Stage | null): Promise<Stage> {
    const directory = await mkdtemp(join(DIRECTORY, 'hfk-'));
    if (base !== null) await cp(base.directory, directory, { recursive: true, verbatimSymlinks: true });
    const home = join(directory, 'home');
    await mkdir(join(home, 'specs'), { recursive: true, mode: 0o700 });
    const fleet = await TestFleet.resume(join(directory, 'fleet'), 20_000);
    for (const [name, text] of Object.entries(SPECS)) await writeFile(join(home, 'specs', `${name}.spec.yml`), text);
    const stage = new Stage(program, directory, fleet);
    if (base !== null) stage.ackedBefore = [...base.ackedBefore];
    await stage.settings(base === null ? {} : base.#settings);
    return stage;
  }

  #settings: StageSettings = {};

  /** Lays these over the settings of all stages. */
  settings(more: StageSettings): Promise<void> {
    this.#settings = { ...this.#settings, ...more };
    const { fleet } = SETTINGS;
    const settings = {
      ...SETTINGS,
      ...this.#settings,
      fleet: { ...fleet, hosts: [this.fleet.url], insecure: true, enrollment_token: 'e2e' },
    };
    return writeFile(homePaths(this.home).settings, JSON.stringify(settings));
  }

  get life(): Life {
    const life = this.lives.at(-1);
    if (life === undefined) throw new Error('nothing was started');
    return life;
  }

  get status(): LifeStatus | null {
    return this.lives.at(-1)?.status ?? null;
  }

  start(kill: Kill | null, record = false): Life {
    const life = new Life({
      program: this.#program,
      home: this.home,
      kill,
      record,
      fault: this.#fault,
      onStatus: () => this.#signal.changed(),
    });
    this.lives.push(life);
    return life;
  }

  /** Resolves when a status has fitted for a while in which nothing changed. */
  async quiet(fits: (status: LifeStatus) => boolean, what: string): Promise<LifeStatus> {
    for (;;) {
      const seen = await this.until(fits, what);
      await pause(QUIET_MS);
      if (this.status !== null && still(this.status) === still(seen)) return this.status;
    }
  }

  /** Resolves when the newest life's status fits. */
  until(fits: (status: LifeStatus) => boolean, what: string): Promise<LifeStatus> {
    return this.#signal.until(
      () => (this.status !== null && fits(this.status) ? this.status : undefined),
      what,
      () => this.shown(),
      CASE_MS,
    );
  }

  shown(): string {
    const { status, chain, errors } = this.life;
    const log = join(homePaths(this.home).logs, 'holdfast.ndjson');
    const lines = existsSync(log) ? readFileSync(log, 'utf8').split('\n').slice(-25) : [];
    return [JSON.stringify(status), `chain: ${chain.join(' > ')}`, ...errors, ...lines].join('\n');
  }

  async disk(): Promise<Disk> {
    const encryption = {
      keyFile: null,
      credentialsDirectory: null,
      ...SETTINGS.encryption,
      ...this.#settings.encryption,
    };
    const keys = await readKeyring({ files: nodeFiles, home: this.home, settings: encryption, generate: false });
    const { store, facts } = await openStore({
      files: nodeFiles,
      home: this.home,
      agentId: null,
      now: Date.now,
      lookOnly: true,
      keys,
    });
    const readable: string[] = [];
    for (const { id, revision, hash } of facts?.generations ?? []) {
      if ('text' in (await store.readPolicy(hash))) readable.push(`${id}:${revision}`);
    }
    const { identity } = await readIdentity(nodeFiles, this.home, machineId() ?? '');
    return { facts, readable, enrolled: identity !== null };
  }

  /** What service.sh did in this component. */
  events(component: string): readonly string[] {
    const path = join(componentPaths(this.home, component).data, 'events');
    return existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter(Boolean) : [];
  }

  /** The record of a component's process; null: none that can be read. */
  async process(component: string): Promise<ProcessFound | null> {
    try {
      const record = JSON.parse(await readFile(componentPaths(this.home, component).process, 'utf8'));
      return { pid: record.pid, settled: record.confirmed !== null && record.changing === null && isAlive(record.pid) };
    } catch {
      return null;
    }
  }

  /** Action ids that were acked on the base, as {@link Outcome} names them. */
  ackedBefore: readonly string[] = [];
  drained = false;

  /** Sends an action to the one agent that there is. */
  async send(type: string, more: object): Promise<void> {
    await this.fleet.server.send(this.fleet.agent().id, type, more);
  }

  get control(): ControlClient {
    return controlClient(this.home, {});
  }

  /** Asks the agent to end; the next life counts as the one after it. */
  drain(): void {
    const { life } = this;
    life.signal('SIGTERM');
    void life.ended.then(() => {
      this.drained = true;
    });
  }

  #restartedAfter = Number.POSITIVE_INFINITY;

  /** Asks the agent to begin anew within its process. A life that is killed meanwhile has begun anew, too. */
  async restart(): Promise<void> {
    this.#restartedAfter = this.status?.start.number ?? 0;
    await this.control.restart('the test says so').catch(() => undefined);
  }

  get restarted(): boolean {
    return (this.status?.start.number ?? 0) > this.#restartedAfter;
  }

  /** Asks every life anew until one shows it. */
  async insist(ask: () => Promise<unknown>, shown: (status: LifeStatus) => boolean): Promise<void> {
    for (let asked: Life | null = null; ; ) {
      const isAnswered = await this.#signal.until(
        () => {
          if (this.status === null) return undefined;
          if (shown(this.status)) return true;
          return this.life !== asked && this.status.state === 'running' ? false : undefined;
        },
        'what was insisted on',
        () => this.shown(),
        CASE_MS,
      );
      if (isAnswered) return;
      asked = this.life;
      await ask().catch(() => undefined);
    }
  }

  /** From now on the disk takes no writes. */
  failDisk(code: 'ENOSPC' | 'EROFS'): void {
    writeFileSync(this.#fault, code);
  }

  mendDisk(): void {
    rmSync(this.#fault);
  }

  get #fault(): string {
    return join(this.directory, 'fault');
  }

  #accepts: () => void = () => undefined;

  /** Fleet answers every request of this kind with this status, until it accepts them again. */
  refuse(kind: SeenRequest['kind'], statusCode: number): void {
    const body = { statusCode, error: 'Refused', message: 'refused by the test' };
    this.#accepts = this.fleet.intercept((request) =>
      request.kind === kind ? Response.json(body, { status: statusCode }) : undefined,
    );
  }

  accept(): void {
    this.#accepts();
  }

  /** Kills what runs as this component. */
  endComponent(component: string): void {
    process.kill(this.status?.pids[component] as number, 'SIGKILL');
  }

  sicken(component: string): void {
    writeFileSync(join(componentPaths(this.home, component).data, 'sick'), '');
  }

  heal(component: string): void {
    rmSync(join(componentPaths(this.home, component).data, 'sick'));
  }

  /** What Fleet was told last of this component. */
  reported(component: string): string | undefined {
    const last = this.fleet.requests.findLast(({ kind }) => kind === 'checkin');
    const { components } = JSON.parse(last?.body ?? '{"components":[]}');
    return components?.find(({ id }: { id: string }) => id === component)?.status;
  }

  running(): string[] {
    return componentsOf(this.home).map(({ pid, command }) => `${pid} ${command}`);
  }

  /** No life is to follow. */
  over = false;

  /** Ends what runs; what was still there although the agent had said goodbye is returned. */
  async strike(): Promise<string[]> {
    this.over = true;
    const life = this.lives.at(-1);
    life?.signal('SIGKILL');
    await life?.ended;
    const left = componentsOf(this.home).map(({ pid, command }) => {
      process.kill(pid, 'SIGKILL');
      return `${pid} ${command}`;
    });
    await this.fleet.stop();
    await rm(this.directory, { recursive: true, force: true, maxRetries: 3 });
    return left;
  }

  policy(inputs: readonly PolicyInput[]): Promise<number> {
    return this.fleet.policy(inputs);
  }

  /** P1 and P7 at the instant at which the server learns something: what it is told is what the real reader finds on disk. */
  async #witness(request: SeenRequest): Promise<undefined> {
    const told = toldBy(request);
    if (told.length === 0) return;
    // The agent may be committing meanwhile: a reader that gets in between looks again.
    for (let looks = 3; ; looks -= 1) {
      const { readable } = await this.disk();
      const missing = told.filter((name) => !readable.some((held) => covers(held, name)));
      if (missing.length === 0) return;
      if (looks > 0) continue;
      this.broken.push(
        `${request.kind} tells of ${missing.join(', ')}, and the disk holds ${readable.join(', ') || 'nothing'}`,
      );
      return;
    }
  }
}

export interface ProcessFound {
  readonly pid: number;
  /** Alive, confirmed, and nothing was being done to it. */
  readonly settled: boolean;
}

/** What must not change any more. A policy that was rejected comes again and again, and each answer is a commit. */
function still({ store: { sequence, ...store }, ...status }: LifeStatus): string {
  return JSON.stringify({ ...status, store });
}

/** The policies that a request says are held. */
function toldBy({ kind, body }: SeenRequest): string[] {
  if (kind === 'checkin') {
    const { agent_policy_id: id, policy_revision_idx: revision } = JSON.parse(body);
    return revision > 0 ? [`${id}:${revision}`] : [];
  }
  if (kind !== 'acks') return [];
  return JSON.parse(body)
    .events.filter((event: { error?: string }) => !event.error)
    .map((event: { action_id: string }) => /^policy:(.*)$/.exec(event.action_id)?.[1])
    .filter((name: string | undefined) => name !== undefined);
}

/** P1: the policy itself, or a newer one that was made good. Every agent begins with the policy `web`. */
function covers(held: string, told: string): boolean {
  const [heldId, heldRevision] = held.split(':');
  const [toldId, toldRevision] = told.split(':');
  return heldId === toldId ? Number(heldRevision) >= Number(toldRevision) : toldId === 'web';
}

/** One world from one seed: the production composition on a simulated host, beside a simulated Fleet, until everything has healed or time is up. */
import type { AnyActorRef, InspectionEvent } from 'xstate';
import { startAgent } from '../../src/agent.ts';
import type { AgentContext } from '../../src/machines/agent-context.ts';
import { emptyFacts, type Facts } from '../../src/machines/facts.ts';
import { canonicalJson, sha256 } from '../../src/policy/canonical.ts';
import type { HostFacts } from '../../src/services/host/host.ts';
import { type Logger, SILENT } from '../../src/services/log/logger.ts';
import { readSettings } from '../../src/services/settings/read.ts';
import type { Settings } from '../../src/services/settings/settings.ts';
import { writeIdentity } from '../../src/services/store/identity.ts';
import { openStore } from '../../src/services/store/store.ts';
import type { World } from '../../src/world.ts';
import { Disk, type Fault } from '../support/disk.ts';
import { Incarnation, never } from './incarnation.ts';
import { Oracle, type Violation } from './oracle.ts';
import { HOME, policyOf, renderHere, type SimPolicy, VARIABLES } from './policies.ts';
import { Random } from './random.ts';
import { type Reading, readDisk } from './reading.ts';
import { ACTIVE_MS, type Happening, type HappeningKind, ORDINARY } from './schedule.ts';
import { simFiles } from './sim-files.ts';
import { SimFleet } from './sim-fleet.ts';
import { SimHost } from './sim-host.ts';
import { SimNetwork } from './sim-network.ts';
import { quiescent, Timeline } from './timeline.ts';

export const AGENT_ID = 'agent-1';
export const ACCESS_KEY = 'YWdlbnQtMTprZXk=';
const HOST = 'https://fleet:8220';
const STATE = `${HOME}/state`;
/** How long a healed world may take to converge: beyond the longest wait of any chart, an hour after seven refusals. */
const TAIL_MS = 4 * 3_600_000;
/** Longer than the longest idle poll, its rest and what its answer may start. */
const A_POLL_MS = 330_000;
/** A world that does more than this is running in circles. */
const EVENTS_MOST = 60_000;

/** Short delays, as in every end-to-end test; what a user may choose otherwise is chosen by the seed. */
const CHOSEN = {
  stop: settingsWith({}),
  keep: settingsWith({ 'components.on_exit': 'keep' }),
  encrypted: settingsWith({ 'encryption.key': 'generated' }),
} as const;

/** What a user gets who chooses nothing. */
export const SETTINGS = CHOSEN.stop;

function settingsOf(seed: number): Settings {
  return CHOSEN[seed % 4 === 1 ? 'keep' : seed % 4 === 3 ? 'encrypted' : 'stop'];
}

function settingsWith(chosen: Readonly<Record<string, string>>): Settings {
  const values = {
    'fleet.checkin.backoff.initial': '1s',
    'fleet.checkin.backoff.max': '1m',
    'fleet.checkin.damping.max': '1m',
    'fleet.ack.backoff.initial': '1s',
    'fleet.ack.backoff.max': '1m',
    'policy.apply.timeout': '20s',
    'policy.apply.stable_for': '2s',
    'policy.retry.initial': '20s',
    'policy.retry.max': '5m',
    'safe_mode.initial': '20s',
    'safe_mode.max': '5m',
    'store.retry.max': '10s',
    'components.on_exit': 'stop',
    ...chosen,
  };
  const flags = Object.entries(values).map(([key, value]) => ({ option: key, key: key as never, value }));
  const { settings, complaints } = readSettings({ file: null, env: {}, flags });
  if (complaints.length > 0) throw new Error(complaints.join('\n'));
  return settings;
}

export const FACTS_OF_HOST: HostFacts = {
  host: { architecture: 'x86_64', hostname: 'host', name: 'host', id: 'machine', ip: [], mac: [] },
  os: { family: 'debian', kernel: '6.1', platform: 'debian', version: '12', name: 'Debian', full: 'Debian(12)' },
};

/** Counted where they strike, and not when they come to nothing. */
const STRIKES_LATER: ReadonlySet<string> = new Set([
  'message',
  'kill',
  'powerCut',
  'crashLoop',
  'serverRestore',
  'stateOlder',
]);

/** Those of a disk's states that show as errors of its operations. */
const LASTING = {
  diskFailing: { what: 'EIO', changesOnly: true },
  diskUnreadable: { what: 'EIO' },
  diskShort: { what: 'short' },
  noFilesLeft: { what: 'EMFILE' },
} as const satisfies Partial<Record<HappeningKind, Pick<Fault, 'what' | 'changesOnly'>>>;
type Ailment = keyof typeof LASTING | 'diskFull' | 'diskReadOnly';

export interface Outcome {
  readonly seed: number;
  readonly violations: readonly Violation[];
  /** How often each promise was looked at. */
  readonly checks: ReadonlyMap<string, number>;
  /** `<fault kind>|<state of the agent when it struck>` → times. */
  readonly struck: ReadonlyMap<string, number>;
  readonly events: number;
  readonly lives: number;
  readonly trace: readonly string[];
}

export interface WorldOptions {
  readonly seed: number;
  readonly schedule: readonly Happening[];
  /** Write down every transition, message and disk operation. */
  readonly traced?: boolean;
  /** Breaks a port on purpose, to see whether the oracle notices. */
  readonly patch?: (world: World) => World;
}

/** A disk with an enrolled agent and nothing else, to be cloned. */
let enrolled: Promise<Disk> | null = null;

export function enrolledDisk(): Promise<Disk> {
  enrolled ??= (async () => {
    const disk = new Disk(HOME);
    await writeIdentity(disk, HOME, {
      identity: {
        agentId: AGENT_ID,
        hosts: [HOST],
        accessApiKey: ACCESS_KEY,
        enrolledAt: Date.UTC(2026, 0, 1) - 1_000,
        enrollmentId: null,
        policyId: 'web',
        machineId: 'machine',
        insecure: false,
        certificateAuthorities: [],
      },
      pending: null,
    });
    return disk;
  })();
  return enrolled;
}

/** The state directory of another agent. */
let foreign: Promise<Tree> | null = null;

function foreignState(): Promise<Tree> {
  foreign ??= (async () => {
    const disk = new Disk(HOME);
    const { store } = await openStore({ files: disk, home: HOME, agentId: 'agent-2', now: () => 0 });
    await store.commit({ facts: { ...emptyFacts('agent-2'), deliveryToken: 'document-77' }, policies: {} });
    return treeOf(disk, STATE);
  })();
  return foreign;
}

export async function runWorld(options: WorldOptions): Promise<Outcome> {
  const world = new SimWorld(options, (await enrolledDisk()).clone(), await foreignState());
  return world.run();
}

class SimWorld {
  readonly #options: WorldOptions;
  readonly #timeline = new Timeline();
  /** For what is decided while the world runs; what happens is in the schedule, so that leaving things out changes little else. */
  readonly #random: Random;
  /** For power cuts that do not happen. */
  readonly #fate: Random;
  readonly #disk: Disk;
  readonly #foreign: Tree;
  readonly #fleet: SimFleet;
  readonly #network: SimNetwork;
  readonly #host: SimHost;
  readonly #oracle: Oracle;
  readonly #trace: string[] = [];
  readonly #struck = new Map<string, number>();
  #life: Incarnation | null = null;
  #lives = 0;
  #starts = 0;
  #context: AgentContext | null = null;
  #state = 'down';
  #sends = 0;
  /** Warnings of the life that is being begun. */
  #warnings: string[] = [];
  /** Disk operations before that life. */
  #begunAtOperation = 0;
  #wantsPowerCut = false;
  #crashesLeft = 0;
  #serverBackup: string | null = null;
  #stateBackup: Tree | null = null;
  /** What the disk suffers from for a while, whichever process uses it. */
  #ailments: { readonly what: Ailment; readonly untilMs: number }[] = [];
  #revision = 0;
  #keys = 0;
  #healed = false;
  #platter: { readonly changes: number; readonly reading: Promise<Reading> } | null = null;

  constructor(options: WorldOptions, disk: Disk, foreignTree: Tree) {
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#fate = new Random(options.seed ^ 0xfa7e);
    this.#disk = disk;
    // After a failed sync the pages read as written; on the platter they are or are not.
    disk.failedSyncWrites = () => this.#fate.chance(0.5);
    this.#foreign = foreignTree;
    const timeline = this.#timeline;
    this.#oracle = new Oracle(this.#observed());
    const oracle = this.#oracle;
    this.#host = new SimHost(timeline, this.#random, {
      launched: (component, hash, others, by) => {
        this.#note(`host: ${component} begins with ${hash.slice(0, 8)}`);
        oracle.launched(component, others);
        this.#mustNotTouch(component, 'it is started');
        if (by.alive) oracle.claims(by, component);
      },
      reloaded: (component, hash, by) => {
        this.#note(`host: ${component} is reloaded with ${hash.slice(0, 8)}`);
        this.#mustNotTouch(component, 'it is reloaded');
        if (by.alive) oracle.claims(by, component);
      },
      claimed: (component, _hash, by) => oracle.begins(by, component),
      touched: (component, what) => {
        const main = this.#host.main(component);
        // A kill is a stop of its own where nothing was asked to end before.
        if (what === 'terminate' || (what === 'kill' && main?.asked === false))
          oracle.stops(component, main?.hash ?? null);
        this.#mustNotTouch(component, what);
      },
    });
    this.#host.takesNoWrites = () => this.#disk.full || this.#disk.readOnly;
    this.#fleet = new SimFleet({
      agentId: AGENT_ID,
      key: ACCESS_KEY,
      policyId: 'web',
      timeline,
      forgetsSubscriptions: this.#random.chance(0.5),
      jitter: () => this.#random.next(),
      witness: {
        checkedIn: (said) =>
          this.#note(
            `fleet: check-in ${said.policyId}:${said.revision} token=${said.token} ${said.status}: ${said.message}`,
          ),
        acked: (acks, statuses) => {
          this.#note(
            `fleet: acks ${acks.map((ack, at) => `${ack.actionId}${ack.error ? ` (${ack.error})` : ''} → ${statuses[at]}`).join(', ')}`,
          );
          oracle.acked(acks, statuses);
        },
        delivered: (policy) => {
          this.#note(`fleet: delivers ${policy.id}:${policy.revision} (${policy.kind}, ${policy.hash.slice(0, 8)})`);
          oracle.delivered(policy);
        },
        dispatched: (token, actions) => {
          this.#note(`fleet: dispatches ${actions.map(({ id, type }) => `${id} ${type}`).join(', ')} with ${token}`);
          oracle.dispatched(token, actions);
        },
        refused: (path, body, status) => oracle.refused(path, body, status),
        retired: (keys, believed) => {
          this.#note(`fleet: retires ${keys.join(', ')}, since ${believed.id}:${believed.revision} is held`);
          oracle.retired(keys, believed);
        },
      },
    });
    this.#network = new SimNetwork({
      timeline,
      random: this.#random,
      fleet: this.#fleet,
      onSend: (exchange, by) => {
        this.#sends += 1;
        oracle.sends(by, exchange);
      },
      onMishap: (what) => {
        this.#note(`network: ${what}`);
        this.#strike(`message ${what}`);
      },
      onRefused: (exchange, status) => oracle.refused(exchange.path, exchange.body, status),
    });
  }

  #observed() {
    const world = this;
    return {
      get nowMs() {
        return world.#timeline.nowMs;
      },
      get wallMs() {
        return world.#timeline.wallMs();
      },
      get bootId() {
        return world.#host.bootId;
      },
      durable: () => world.#durable(),
      readyComponents: () => world.#host.ready(),
      attemptLimit: CHOSEN.stop.crash.limit,
    };
  }

  #durable(): Promise<Reading> {
    const changes = this.#disk.platterChanges;
    if (this.#platter?.changes !== changes) {
      this.#platter = { changes, reading: readDisk(this.#disk.platter(), AGENT_ID) };
    }
    return this.#platter.reading;
  }

  #mustNotTouch(component: string, what: string): void {
    if (this.#state === 'safeMode') this.#oracle.touchedInSafeMode(component, what);
  }

  // ---- the run ----

  async run(): Promise<Outcome> {
    for (const happening of this.#options.schedule) {
      this.#timeline.in(happening.atMs, () => this.#happen(happening));
    }
    this.#timeline.in(this.#random.whole(0, 1_000), () => this.#begin());
    await this.#until(() => this.#timeline.nowMs >= ACTIVE_MS || this.#isQuietEnough());
    this.#heal();
    const healedAtMs = this.#timeline.nowMs;
    let verdict = '';
    let looked = 0;
    await this.#until(async () => {
      if (this.#timeline.nowMs - healedAtMs > TAIL_MS) return true;
      // Cheap things change often; what converging means is looked at twice a second at most.
      if (this.#timeline.nowMs - looked < 500) return false;
      looked = this.#timeline.nowMs;
      verdict = await this.#unconverged();
      return verdict === '';
    });
    // The last event of all may have been what was waited for.
    if (verdict !== '') verdict = await this.#unconverged();
    // And it stays so: every fifth world is watched over its next check-in, with all settings.
    if (verdict === '' && this.#options.seed % 5 === 0) {
      const convergedAtMs = this.#timeline.nowMs;
      // What was rejected may be on trial again just then.
      await this.#until(async () => {
        const sinceMs = this.#timeline.nowMs - convergedAtMs;
        if (sinceMs < A_POLL_MS) return false;
        verdict = await this.#unconverged();
        return verdict === '' || sinceMs > 2 * A_POLL_MS;
      });
    }
    const late = `${Math.round((this.#timeline.nowMs - healedAtMs) / 1000)} s after the last fault: ${verdict}`;
    this.#oracle.promise('P12', verdict === '', () => late);
    const outcome: Outcome = {
      seed: this.#options.seed,
      violations: this.#oracle.violations,
      checks: this.#oracle.checks,
      struck: this.#struck,
      events: this.#timeline.happened,
      lives: this.#lives,
      trace: this.#trace,
    };
    const last = this.#life;
    this.#life = null;
    last?.die('the end of the world');
    return outcome;
  }

  /** Everything that was to happen has, and nothing is under way: the rest of the time would be idle polls. */
  #isQuietEnough(): boolean {
    const last = this.#options.schedule.at(-1)?.atMs ?? 0;
    return this.#timeline.nowMs > last + 240_000;
  }

  async #until(done: () => boolean | Promise<boolean>): Promise<void> {
    await quiescent();
    while (this.#oracle.violations.length === 0) {
      if (await done()) return;
      if (this.#timeline.nextAtMs() === null) return;
      if (this.#timeline.happened > EVENTS_MOST) {
        this.#oracle.promise('P12', false, () => `after ${EVENTS_MOST} events the world has not come to rest`);
        return;
      }
      this.#timeline.step();
      await quiescent();
      await this.#oracle.look();
    }
  }

  // ---- the agent ----

  #begin(): void {
    if (this.#life !== null) return;
    const { faults, operations } = this.#disk;
    this.#disk.revive();
    // What was to strike the process before strikes this one.
    const left = faults.filter(({ at, forEver }) => !forEver && at >= operations);
    this.#disk.faults = left.map((fault) => ({ ...fault, at: fault.at - operations }));
    this.#ail();
    this.#warnings = [];
    this.#begunAtOperation = this.#disk.operations;
    const process = new Incarnation({
      number: ++this.#lives,
      pid: 50 + (this.#lives % 5),
      timeline: this.#timeline,
      onDeath: (one) => this.#died(one),
    });
    this.#life = process;
    this.#note(`agent: life ${process.number} begins`);
    void this.#live(process);
  }

  async #live(process: Incarnation): Promise<void> {
    const found = await readDisk(lookingAt(this.#disk), AGENT_ID);
    this.#oracle.began(process, found);
    if (this.#crashesLeft > 0) {
      this.#crashesLeft -= 1;
      process.diesAt = this.#random.whole(0, 80);
    }
    const lookAgainMs = 300_000;
    this.#timeline.in(lookAgainMs, () => {
      if (this.#life !== process || !process.alive) return;
      this.#oracle.promise(
        'P11',
        process.handle !== null && this.#state !== 'boot.opening',
        () => `life ${process.number} has not begun after ${lookAgainMs / 1000} s`,
      );
    });
    const sendsBefore = this.#sends;
    this.#timeline.in(900_000, () => {
      if (this.#life !== process || !process.alive || this.#context === null) return;
      const { unenrolled, answerDeaths } = this.#context.facts;
      if (unenrolled !== null || answerDeaths > 0 || this.#state.startsWith('draining')) return;
      this.#oracle.promise(
        'P11',
        this.#sends > sendsBefore,
        () => `life ${process.number} has not called Fleet after 15 min`,
      );
    });
    let again = true;
    while (again && process.alive) {
      try {
        const handle = await startAgent({
          home: HOME,
          settings: settingsOf(this.#options.seed),
          log: this.#logger(process),
          version: '0.0.0-simulated',
          world: this.#options.patch?.(this.#worldOf(process)) ?? this.#worldOf(process),
          inspect: (event) => this.#inspect(process, event),
        });
        if (!process.alive) return;
        process.handle = handle;
        const { restart, problem } = await handle.ended;
        if (!process.alive) return;
        this.#note(
          `agent: life ${process.number} ended${restart ? ', to begin anew' : ''}${problem ? `: ${problem.message}` : ''}`,
        );
        this.#oracle.promise('P11', problem === null, () => `the agent ended by itself: ${problem?.message}`);
        again = restart;
        this.#oracle.ended(process, 'ended');
        if (again) this.#oracle.began(process, await readDisk(lookingAt(this.#disk), AGENT_ID));
      } catch (error) {
        if (!process.alive) return;
        this.#oracle.promise(
          'P11',
          false,
          () => `the agent does not start: ${error instanceof Error ? error.stack : error}`,
        );
        return;
      }
    }
    if (this.#life === process) {
      process.alive = false;
      this.#life = null;
      this.#state = 'down';
      this.#context = null;
      this.#timeline.in(this.#random.whole(500, 20_000), () => this.#begin());
    }
  }

  #died(process: Incarnation): void {
    if (this.#life !== process) return;
    this.#note(`agent: life ${process.number} is killed (${process.diedAt})`);
    this.#strike(this.#wantsPowerCut ? 'powerCut' : 'kill');
    // The power might have gone at the same instant, in more than one way.
    for (let cut = 0; cut < 2; cut += 1) {
      const disk = this.#disk
        .clone()
        .powerCut((things) => Array.from({ length: things }, () => this.#fate.chance(0.5)));
      this.#oracle.mightFind(() => readDisk(disk.pageCache(), AGENT_ID));
    }
    this.#oracle.ended(process, 'died');
    this.#life = null;
    this.#state = 'down';
    this.#context = null;
    if (this.#wantsPowerCut) this.#cutPower();
    this.#timeline.in(this.#random.whole(300, 10_000), () => this.#begin());
  }

  #cutPower(): void {
    this.#wantsPowerCut = false;
    this.#note('host: the power goes');
    const survival = this.#random.pick([0, 0.5, 0.5, 1]);
    this.#disk.powerCut((things) => Array.from({ length: things }, () => this.#random.chance(survival)));
    this.#host.powerCut();
  }

  #worldOf(process: Incarnation): World {
    const { timeline, host } = { timeline: this.#timeline, host: this.#host };
    return {
      files: simFiles(this.#disk, process, timeline, { syncMs: () => this.#syncMs() }),
      clock: { wallMs: () => timeline.wallMs(), monotonicMs: () => timeline.monotonicMs() },
      timers: process.timers as NonNullable<World['timers']>,
      lock: async () => ({ kind: 'flock', release: async () => {} }),
      transport: () => this.#network.transport(process),
      processes: () => host.ports(process),
      render: async (text) => {
        await timeline.pass(3);
        return process.alive ? renderHere(text) : never();
      },
      host: {
        bootId: () => host.bootId,
        machineId: () => 'machine',
        facts: () => FACTS_OF_HOST,
        isRoot: true,
      },
      variables: () => VARIABLES,
      onWake: (wake) => {
        process.wake = wake;
        return () => {
          process.wake = null;
        };
      },
      seed: () => this.#random.whole(0, 2 ** 30),
      // The first life is the one that enrolled, and lost nothing before its first start.
      processStartedAt: this.#starts++ === 0 ? Date.UTC(2026, 0, 1) - 2_000 : timeline.wallMs(),
      pid: process.pid,
    };
  }

  #syncMs(): number {
    const draw = this.#random.next();
    if (draw < 0.9) return 1 + draw * 8;
    return draw < 0.99 ? 100 : 3_000;
  }

  #logger(process: Incarnation): Logger {
    const line = (level: string) => (message: string) => {
      if (!process.alive) return;
      if (level === 'warning') this.#warnings.push(message);
      this.#note(`log: ${level}: ${message}`);
    };
    return {
      ...SILENT,
      info: line('info'),
      warning: line('warning'),
      error: line('error'),
      debug: () => {},
      child: () => this.#logger(process),
    };
  }

  #inspect(process: Incarnation, event: InspectionEvent): void {
    if (!process.alive || this.#life !== process) return;
    const isRoot = (event.actorRef as AnyActorRef).sessionId === event.rootId;
    if (event.type === '@xstate.event') {
      if (isRoot && (event.event.type === 'facts.changed' || event.event.type === 'store.committed')) {
        const { facts } = event.event as unknown as { facts: Facts };
        this.#oracle.committed(process, facts);
      }
      if (isRoot && event.event.type === 'store.opened') {
        const clean = !this.#disk.faults.some(({ at, forEver }) => forEver || at >= this.#begunAtOperation);
        this.#oracle.opened(process, this.#warnings, clean);
        this.#warnings = [];
      }
      if (event.event.type === 'components.apply') {
        const { mode, policy } = event.event as unknown as {
          mode: string;
          policy: { hash: string; id: string; revision: number };
        };
        this.#note(`agent: apply ${policy.id}:${policy.revision} (${mode}, ${policy.hash.slice(0, 8)})`);
        this.#oracle.applies(process, mode, policy.hash);
      }
      return;
    }
    if (event.type !== '@xstate.snapshot') return;
    if (isRoot) {
      const { context, value } = event.snapshot as unknown as { context: AgentContext; value: unknown };
      this.#context = context;
      this.#oracle.sees(process, context);
      const state = pathOf(value);
      if (state !== this.#state) this.#note(`agent: ${state}`);
      this.#state = state;
    } else if (this.#options.traced) {
      const { value } = event.snapshot as { value?: unknown };
      const name = (event.actorRef as AnyActorRef).id;
      if (value !== undefined) this.#note(`${name}: ${event.event.type} → ${pathOf(value)}`);
    }
  }

  // ---- what happens ----

  #happen(happening: Happening): unknown {
    if (this.#healed) return;
    const { kind } = happening;
    this.#note(`happens: ${JSON.stringify(happening)}`);
    // A death is counted where it strikes.
    if (!ORDINARY.has(kind) && !STRIKES_LATER.has(kind)) this.#strike(kind);
    switch (kind) {
      case 'publish':
        return this.#publish(happening);
      case 'rekey':
        return this.#rekey();
      case 'reassign':
        if (this.#fleet.policies.has(happening.policy)) this.#fleet.reassign(happening.policy);
        return;
      case 'actions':
        return this.#fleet.dispatch(happening.types.map((type) => actionOf(type)));
      case 'repeatAction': {
        const last = this.#fleet.actions.at(-1);
        if (last) this.#fleet.dispatch([last]);
        return;
      }
      case 'unenroll':
        return this.#fleet.dispatch([{ type: 'UNENROLL', data: null }]);
      case 'message':
        this.#network.mishaps.push(...happening.mishaps);
        return;
      case 'partition':
        this.#network.downUntilMs = this.#timeline.nowMs + happening.forMs;
        return this.#network.breakAll();
      case 'serverRestart':
        this.#fleet.restart();
        if (!happening.silently) this.#network.breakAll();
        return;
      case 'serverSnapshot':
        this.#serverBackup = this.#fleet.snapshot();
        this.#stateBackup = treeOf(this.#disk, STATE);
        return;
      case 'cursorReset':
        this.#fleet.resetCursor();
        return this.#network.breakAll();
      case 'serverRestore':
        if (this.#serverBackup === null) return;
        this.#strike(kind);
        this.#oracle.serverForgot();
        this.#fleet.restore(this.#serverBackup);
        return this.#network.breakAll();
      case 'diskError':
        this.#disk.faults.push({ at: this.#disk.operations + happening.inOperations, what: happening.what });
        return;
      case 'diskFull':
      case 'diskReadOnly':
      case 'diskShort':
      case 'noFilesLeft':
      case 'diskFailing':
      case 'diskUnreadable':
        if (kind === 'noFilesLeft' || kind === 'diskUnreadable')
          this.#oracle.readsFailUntil(this.#timeline.nowMs + happening.forMs + 60_000);
        this.#ailments.push({ what: kind, untilMs: this.#timeline.nowMs + happening.forMs });
        this.#timeline.in(happening.forMs, () => this.#ail());
        return this.#ail();
      case 'bitRot':
        return this.#tamper(happening.stopped, () => this.#rot(happening.where, happening.bit));
      case 'stateEmptied':
        return this.#tamper(happening.stopped, () => this.#disk.empty(STATE));
      case 'stateOlder':
        if (this.#stateBackup === null) return;
        this.#strike(kind);
        return this.#tamper(happening.stopped, () => replaceTree(this.#disk, STATE, this.#stateBackup as Tree));
      case 'stateForeign':
        return this.#tamper(happening.stopped, () => replaceTree(this.#disk, STATE, this.#foreign));
      case 'kill':
      case 'powerCut':
        if (kind === 'powerCut') this.#wantsPowerCut = true;
        if (this.#life === null) {
          if (kind === 'powerCut') this.#cutPower();
        } else if (happening.points === 0) this.#life.die('at rest');
        else this.#life.diesAt = this.#life.points + happening.points;
        return;
      case 'crashLoop':
        this.#crashesLeft = happening.times;
        return this.#life?.die('the first of several');
      case 'clockJump':
        this.#oracle.clockJumped();
        return this.#timeline.jumpWall(happening.byMs);
      case 'sleep':
        // Nothing happens here meanwhile; the rest of the world has long forgotten the connections.
        this.#timeline.jumpWall(happening.forMs);
        this.#fleet.restart();
        this.#life?.wake?.();
        return;
      case 'programEnds':
        this.#oracle.programFailed();
        return this.#host.endSome((running) => (running.length > 0 ? this.#random.pick(running) : undefined));
      case 'flaky':
        this.#oracle.programFailed();
        this.#host.flakyUntilMs = this.#timeline.nowMs + happening.forMs;
        return;
      case 'sick':
        this.#host.sickUntilMs = this.#timeline.nowMs + happening.forMs;
        this.#oracle.programsAreSick(this.#host.sickUntilMs);
        return;
      case 'asked':
        if (this.#life?.handle == null) return;
        this.#oracle.asked(happening.event);
        return this.#life.handle.send({ type: happening.event, reason: 'asked by a person' } as never);
    }
  }

  #publish(wish: Happening & { kind: 'publish' }): void {
    this.#revision += 1;
    const revision = (this.#fleet.policies.get(wish.policy)?.revision ?? 0) + 1;
    const policy = policyOf({
      id: wish.policy,
      revision,
      kind: wish.what,
      // Only servers have a check of their own.
      webs: wish.what === 'unchecked' && wish.webs.length === 0 ? ['a'] : wish.webs,
      jobs: wish.jobs.length + wish.webs.length === 0 ? ['c'] : wish.jobs,
      key: `key-${this.#revision}`,
      breaks: wish.breaks,
      stubborn: wish.stubborn,
      contradicts: wish.contradicts,
    });
    this.#note(`users: publish ${policy.id}:${revision} (${policy.kind}, ${policy.hash.slice(0, 8)})`);
    this.#oracle.knows(policy);
    this.#fleet.publish(policy);
  }

  /** Other bytes under the same revision. */
  #rekey(): void {
    const policy = this.#fleet.assigned;
    if (policy === undefined || typeof policy.body !== 'object' || policy.body === null) return;
    this.#keys += 1;
    const outputs = {
      default: { type: 'elasticsearch', hosts: ['https://es:9200'], api_key: `rotated-${this.#keys}` },
    };
    const body = { ...policy.body, outputs } as SimPolicy['body'];
    const rekeyed: SimPolicy = { ...policy, body, hash: hashOf(body) };
    this.#oracle.knows(rekeyed);
    this.#fleet.rekey(rekeyed);
  }

  #tamper(stopped: boolean, act: () => void): void {
    if (stopped) this.#life?.die('stopped, to be tampered with');
    this.#oracle.tampered(!stopped);
    act();
  }

  #rot(where: number, bit: number): void {
    const files = [...treeOf(this.#disk, STATE)].filter(([, content]) => content !== null && content.length > 0);
    const chosen = files[where % Math.max(1, files.length)];
    if (chosen === undefined) return;
    const [path, content] = chosen as [string, Buffer];
    // Where something stands: the rest of a slot is blank.
    const used = Math.max(
      1,
      content.findLastIndex((byte) => byte !== 0),
    );
    this.#disk.flipBit(path, bit % (used * 8));
  }

  /** Makes the disk suffer from what lasts, and from nothing that is over. */
  #ail(): void {
    this.#ailments = this.#ailments.filter(({ untilMs }) => untilMs > this.#timeline.nowMs);
    const suffers = (what: Ailment) => this.#ailments.some((one) => one.what === what);
    this.#disk.full = suffers('diskFull');
    this.#disk.readOnly = suffers('diskReadOnly');
    const once = this.#disk.faults.filter(({ forEver }) => !forEver);
    const lasting = (Object.keys(LASTING) as (keyof typeof LASTING)[]).filter(suffers);
    const at = this.#disk.operations;
    this.#disk.faults = [...once, ...lasting.map((what) => ({ ...LASTING[what], at, forEver: true }))];
  }

  #strike(kind: string): void {
    const key = `${kind}|${this.#state}`;
    this.#struck.set(key, (this.#struck.get(key) ?? 0) + 1);
  }

  // ---- P12 ----

  #heal(): void {
    this.#note('healed: no more faults');
    this.#healed = true;
    this.#disk.faults = [];
    this.#ailments = [];
    this.#ail();
    this.#network.mishaps.length = 0;
    this.#network.downUntilMs = 0;
    this.#host.flakyUntilMs = 0;
    this.#host.sickUntilMs = 0;
    this.#crashesLeft = 0;
    this.#wantsPowerCut = false;
    if (this.#life !== null) this.#life.diesAt = null;
    else this.#begin();
  }

  /** Why the world has not converged; `''`: it has. */
  async #unconverged(): Promise<string> {
    const context = this.#context;
    if (this.#life === null || context === null) return 'no agent runs';
    const { agent, assigned } = this.#fleet;
    if (!agent.active) return this.#unconvergedUnenrolled(context);
    if (assigned === undefined) return context.facts.outbox.length === 0 ? '' : 'acks are owed';
    const { facts, readable } = await this.#durable();
    if (facts === null) return 'the disk holds no record';
    if (facts.unenrolled !== null) return facts.outbox.length === 0 ? '' : 'acks are owed after the unenrollment';
    if (facts.outbox.length > 0) return `acks are owed: ${facts.outbox.map(({ actionId }) => actionId).join(', ')}`;
    if (facts.safeMode !== null) return 'safe mode lasts';
    const [good] = facts.generations;
    if (facts.candidate !== null) return 'a candidate is tried';
    const isGood = good?.id === assigned.id && good.revision === assigned.revision;
    const rejection = facts.rejected.find(({ hash }) => hash === assigned.hash);
    if (isGood) {
      if (!readable.has(good.hash)) return 'last good cannot be read';
      if (facts.runs !== 0) return 'last good is passed over';
      if (agent.reportedId !== assigned.id || agent.reportedRevision !== assigned.revision) {
        return `the server believes ${agent.reportedId}:${agent.reportedRevision}`;
      }
      return this.#unlike(good.hash) || (this.#state === 'running.checkin' ? '' : `the agent is in ${this.#state}`);
    }
    if (rejection === undefined)
      return `${assigned.id}:${assigned.revision} is assigned; held is ${good ? `${good.id}:${good.revision}` : 'nothing'}`;
    if (['good', 'unsupported'].includes(assigned.kind))
      return `${assigned.id}:${assigned.revision} is good and rejected: ${rejection.reason}`;
    if (!this.#said().startsWith('policy rejected')) return `the rejection is not said: ${this.#said()}`;
    if (good === undefined) return '';
    return this.#unlike(good.hash);
  }

  #unconvergedUnenrolled(context: AgentContext): string {
    if (context.facts.unenrolled === null) {
      // A server that let it go without its knowing: it asks on, once an hour in the end.
      return this.#oracle.serverHasForgotten || context.link.state === 'unauthorised'
        ? ''
        : 'the server has let the agent go';
    }
    return this.#host.running().length === 0 ? '' : 'components of an unenrolled agent run';
  }

  #said(): string {
    return this.#life?.handle?.status().message ?? '';
  }

  /** How what runs differs from what this policy wants; `''`: it does not. */
  #unlike(hash: string): string {
    const policy = this.#policies().get(hash);
    if (policy === undefined) return '';
    const wanted = renderHere(canonicalJson(policy.body)).components;
    for (const { id, hash: rendered } of wanted) {
      const running = this.#host.running(id).filter(({ forked }) => !forked);
      if (running.length > 1) return `${id} runs ${running.length} times`;
      const left = this.#host.running(id).length > 0 && running.length === 0;
      if (left && !this.#gaveUp(id)) return `only what ${id} has forked runs`;
      const behaviour = policy.behaviours[id];
      if (behaviour !== 'ok' && behaviour !== 'stubborn') continue;
      // Its spec lets it be given up; that is said, and not the policy's fault.
      if (running.length === 0 && this.#gaveUp(id)) continue;
      if (running.length === 0) return `${id} does not run`;
      if (running[0]?.hash !== rendered) return `${id} runs another configuration`;
    }
    const stray = this.#host.running().find(({ component }) => !wanted.some(({ id }) => id === component));
    return stray === undefined ? '' : `${stray.component} runs and nobody wants it`;
  }

  #gaveUp(component: string): boolean {
    return this.#context?.components.some(({ id, state }) => id === component && state === 'failed') ?? false;
  }

  #policies(): ReadonlyMap<string, SimPolicy> {
    return this.#oracle.known;
  }

  #note(line: string): void {
    if (!this.#options.traced) return;
    this.#trace.push(`${(this.#timeline.nowMs / 1000).toFixed(3).padStart(10)}  ${line}`);
  }
}

// ---- small parts ----

function hashOf(body: SimPolicy['body']): string {
  return sha256(canonicalJson(body));
}

export function actionOf(type: string) {
  switch (type) {
    case 'SETTINGS':
      return { type, data: { log_level: 'info' } };
    case 'SETTINGS_BAD':
      return { type: 'SETTINGS', data: { log_level: 'loud' } };
    case 'CANCEL':
      return { type, data: { target_id: 'action-0' } };
    default:
      return { type, data: { anything: 1 } };
  }
}

/** Everything below a directory; null: a directory. */
type Tree = ReadonlyMap<string, Buffer | null>;

function treeOf(disk: Disk, path: string): Tree {
  const tree = new Map<string, Buffer | null>();
  const walk = (at: string) => {
    for (const name of disk.list(at)) {
      const child = `${at}/${name}`;
      const isDirectory = disk.kindOf(child) === 'directory';
      tree.set(child, isDirectory ? null : disk.contents(child));
      if (isDirectory) walk(child);
    }
  };
  walk(path);
  return tree;
}

function replaceTree(disk: Disk, path: string, tree: Tree): void {
  if (disk.kindOf(path) === null) disk.put(path, 'directory');
  disk.empty(path);
  for (const [child, content] of tree) disk.put(child, content ?? 'directory');
}

/** The disk as its new owner finds it: the page cache, without faults and without counting. */
function lookingAt(disk: Disk) {
  return disk.pageCache();
}

export function pathOf(value: unknown): string {
  if (typeof value === 'string') return value;
  return Object.entries(value as Record<string, unknown>)
    .map(([key, inner]) => {
      const below = pathOf(inner);
      return below === '' ? key : `${key}.${below}`;
    })
    .join(' ');
}

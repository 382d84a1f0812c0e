/** One world without chance: the production composition on the simulation's disk, host, network and Fleet, played until it has settled. */
import type { AnyActorRef, InspectionEvent } from 'xstate';
import { startAgent } from '../../src/agent.ts';
import type { AgentContext } from '../../src/machines/agent-context.ts';
import type { Facts } from '../../src/machines/facts.ts';
import { canonicalJson, sha256 } from '../../src/policy/canonical.ts';
import { type Logger, SILENT } from '../../src/services/log/logger.ts';
import type { World } from '../../src/world.ts';
import type { Incarnation } from '../simulation/incarnation.ts';
import { never } from '../simulation/incarnation.ts';
import { type Observed, Oracle, type Violation } from '../simulation/oracle.ts';
import { HOME, policyOf, renderHere, type SimPolicy, VARIABLES } from '../simulation/policies.ts';
import { type Reading, readDisk } from '../simulation/reading.ts';
import { simFiles } from '../simulation/sim-files.ts';
import type { FleetImage } from '../simulation/sim-fleet.ts';
import { type HostImage, SimHost } from '../simulation/sim-host.ts';
import { SimNetwork } from '../simulation/sim-network.ts';
import { quiescent, Timeline } from '../simulation/timeline.ts';
import { ACCESS_KEY, AGENT_ID, actionOf, FACTS_OF_HOST, pathOf, SETTINGS } from '../simulation/world.ts';
import type { Disk } from '../support/disk.ts';
import { unsettled } from './convergence.ts';
import { halving } from './halving.ts';
import { type Delivery, HASTE_MS, kindOf, type Scenario } from './scenarios.ts';
import { NoChance, RESTART_MS, SYNC_MS } from './stillness.ts';
import { type Request, WatchedFleet, WatchedIncarnation } from './watched.ts';

/** How long a world may take to settle: beyond the longest wait of any chart. */
const SETTLES_WITHIN_MS = 4 * 3_600_000;
/** What settling means is looked at this often, and when nothing is going on. */
const LOOK_EVERY_MS = 500;
const EVENTS_MOST = 40_000;
/** Longer than a request is on its way to the server. */
const ON_ITS_WAY_MS = 30;

/** A world in which no process runs. */
export interface Opening {
  readonly disk: Disk;
  readonly fleet: FleetImage | null;
  readonly host: HostImage | null;
  /** What the programs were about to do when the agent died has happened. */
  readonly hostSettled: boolean;
  /** Knows what was before; null: nothing was. */
  readonly oracle: Oracle | null;
  readonly nowMs: number;
  /** How many of the deliveries have come. */
  readonly delivered: number;
}

/** A point where the process could die: everything as it is at this instant. */
export interface Point {
  /** Its place among the points of this play. */
  readonly number: number;
  readonly what: string;
  readonly nowMs: number;
  readonly delivered: number;
  readonly inFlight: readonly Request[];
}

export interface PlayOptions {
  readonly scenario: Scenario;
  /** Called, synchronously, at each point that belongs to this scenario. */
  readonly onPoint?: (point: Point, stage: Stage) => void;
  /** Called when the world has settled, with the agent still there. */
  readonly onSettled?: (point: Point, stage: Stage) => void;
  readonly patch?: ((world: World) => World) | undefined;
  readonly traced?: boolean;
}

export class Stage {
  readonly disk: Disk;
  readonly host: SimHost;
  readonly fleet: WatchedFleet;
  readonly oracle: Oracle;
  readonly trace: string[] = [];
  readonly #options: PlayOptions;
  readonly #timeline: Timeline;
  readonly #network: SimNetwork;
  readonly #observed: Observed;
  #delivered: number;
  #lastDeliveryAtMs: number;
  #life: Incarnation | null = null;
  #handle: Awaited<ReturnType<typeof startAgent>> | null = null;
  #lives = 0;
  #points = 0;
  #context: AgentContext | null = null;
  #state = 'down';
  /** Of the life that is being begun. */
  #warnings: string[] = [];
  #requests: (Request & { readonly sentAtMs: number })[] = [];
  #platter: { readonly changes: number; readonly reading: Promise<Reading> } | null = null;
  readonly #isFirstOfAll: boolean;

  constructor(opening: Opening, options: PlayOptions) {
    this.#options = options;
    this.disk = opening.disk;
    this.#delivered = opening.delivered;
    this.#lastDeliveryAtMs = opening.nowMs;
    this.#isFirstOfAll = opening.oracle === null;
    const timeline = new Timeline(opening.nowMs);
    this.#timeline = timeline;
    const random = new NoChance();
    this.#observed = this.#observable();
    const oracle = opening.oracle?.copy(this.#observed) ?? new Oracle(this.#observed);
    this.oracle = oracle;
    this.host = new SimHost(timeline, random, {
      launched: (component, hash, others, by) => {
        this.note(`host: ${component} begins with ${hash.slice(0, 8)}`);
        oracle.launched(component, others);
        this.#mustNotTouch(component, 'it is started');
        if (by.alive) oracle.claims(by, component);
      },
      reloaded: (component, hash, by) => {
        this.note(`host: ${component} is reloaded with ${hash.slice(0, 8)}`);
        this.#mustNotTouch(component, 'it is reloaded');
        if (by.alive) oracle.claims(by, component);
      },
      claimed: (component, _hash, by) => oracle.begins(by, component),
      touched: (component, what) => {
        const main = this.host.main(component);
        // A kill is a stop of its own where nothing was asked to end before.
        if (what === 'terminate' || (what === 'kill' && main?.asked === false))
          oracle.stops(component, main?.hash ?? null);
        this.#mustNotTouch(component, what);
      },
    });
    if (opening.host !== null) this.host.take(opening.host, opening.hostSettled);
    this.fleet = fleetOf(timeline, oracle, {
      note: (line) => this.note(line),
      onArrival: (request) => this.#arrived(request),
    });
    if (opening.fleet !== null) this.fleet.take(opening.fleet);
    else this.#publish({ id: 'db', kind: 'good', breaks: 'ok' });
    this.#network = new SimNetwork({
      timeline,
      random,
      fleet: this.fleet,
      onSend: ({ path, key, body, ...rest }, by) => {
        this.#requests.push({ path, key, body, sentAtMs: timeline.nowMs });
        oracle.sends(by, { path, key, body, ...rest });
      },
      onMishap: () => {},
      onRefused: () => {},
    });
  }

  get nowMs(): number {
    return this.#timeline.nowMs;
  }

  #observable(): Observed {
    const stage = this;
    return {
      get nowMs() {
        return stage.#timeline.nowMs;
      },
      get wallMs() {
        return stage.#timeline.wallMs();
      },
      get bootId() {
        return stage.host.bootId;
      },
      durable: () => stage.durable(),
      readyComponents: () => stage.host.ready(),
      attemptLimit: SETTINGS.crash.limit,
    };
  }

  #mustNotTouch(component: string, what: string): void {
    if (this.#state === 'safeMode') this.oracle.touchedInSafeMode(component, what);
  }

  durable(): Promise<Reading> {
    const changes = this.disk.platterChanges;
    if (this.#platter?.changes !== changes) {
      this.#platter = { changes, reading: readDisk(this.disk.platter(), AGENT_ID) };
    }
    return this.#platter.reading;
  }

  // ---- the play ----

  /** Brings what is still to be delivered and lets the world settle. The promises that were broken. */
  async play(): Promise<readonly Violation[]> {
    const { deliveries, tempo } = this.#options.scenario;
    this.#timeline.in(RESTART_MS, () => this.#begin());
    if (tempo === 'hasty') {
      for (let at = this.#delivered; at < deliveries.length; at += 1) {
        const isOpening = at === 0;
        const afterMs = isOpening
          ? RESTART_MS + 2_000
          : RESTART_MS + 2_000 + (at - Math.max(0, this.#delivered - 1)) * HASTE_MS;
        this.#timeline.in(afterMs, () => this.#deliver(deliveries[at] as Delivery));
      }
    }
    let verdict = '';
    let lookedAtMs = this.nowMs;
    await quiescent();
    while (this.oracle.violations.length === 0) {
      const rests = (this.#timeline.nextAtMs() ?? 0) - this.nowMs > LOOK_EVERY_MS;
      if (this.nowMs - lookedAtMs >= LOOK_EVERY_MS || (rests && this.nowMs > lookedAtMs)) {
        lookedAtMs = this.nowMs;
        verdict = await this.#unsettled();
        const next = deliveries[this.#delivered];
        if (verdict === '' && tempo === 'calm' && next !== undefined) this.#deliver(next);
        else if (verdict === '') break;
        await quiescent();
      }
      const takenMs = this.nowMs - this.#lastDeliveryAtMs;
      const isLate = takenMs > SETTLES_WITHIN_MS || this.#timeline.happened > EVENTS_MOST;
      if (isLate || this.#timeline.nextAtMs() === null) {
        verdict = await this.#unsettled();
        this.oracle.promise('P12', verdict === '', () => `after ${Math.round(takenMs / 1000)} s: ${verdict}`);
        break;
      }
      this.#timeline.step();
      await quiescent();
      await this.oracle.look();
    }
    if (this.oracle.violations.length === 0) this.oracle.promise('P12', true, () => '');
    const { nowMs } = this;
    this.#options.onSettled?.(
      { number: this.#points, what: 'settled', nowMs, delivered: this.#delivered, inFlight: [] },
      this,
    );
    const last = this.#life;
    this.#life = null;
    last?.die('the end of the play');
    return this.oracle.violations;
  }

  async #unsettled(): Promise<string> {
    if (this.#delivered < this.#options.scenario.deliveries.length && this.#options.scenario.tempo === 'hasty')
      return 'more is to be delivered';
    return unsettled({
      fleet: this.fleet,
      host: this.host,
      known: this.oracle.known,
      context: this.#life === null ? null : this.#context,
      state: this.#state,
      said: this.#handle?.status().message ?? '',
      durable: () => this.durable(),
    });
  }

  // ---- what Fleet brings ----

  #deliver(delivery: Delivery): void {
    this.#delivered += 1;
    this.#lastDeliveryAtMs = this.nowMs;
    this.note(`users: ${delivery}`);
    const { fleet } = this;
    const policy = kindOf(delivery);
    if (policy !== null) this.#publish({ id: fleet.agent.policyId, ...policy });
    else if (delivery === 'rekey') this.#rekey();
    else if (delivery === 'reassign') fleet.reassign(fleet.agent.policyId === 'web' ? 'db' : 'web');
    else fleet.dispatch([delivery === 'unenroll' ? { type: 'UNENROLL', data: null } : actionOf('SETTINGS')]);
  }

  #publish({
    id,
    kind,
    breaks,
  }: Pick<SimPolicy, 'id' | 'kind'> & { breaks: 'ok' | Parameters<typeof policyOf>[0]['breaks'] }) {
    const revision = (this.fleet.policies.get(id)?.revision ?? 0) + 1;
    const policy = policyOf({
      id,
      revision,
      kind,
      webs: ['a'],
      // Something comes, something goes.
      jobs: revision % 2 === 0 ? ['c'] : [],
      key: `key-${id}-${revision}`,
      breaks,
      stubborn: false,
      contradicts: false,
    });
    this.note(`users: publish ${id}:${revision} (${kind}, ${policy.hash.slice(0, 8)})`);
    this.oracle.knows(policy);
    this.fleet.publish(policy);
  }

  #rekey(): void {
    const policy = this.fleet.assigned;
    if (policy === undefined || typeof policy.body !== 'object' || policy.body === null) return;
    const api_key = `rotated-${this.#delivered}`;
    const outputs = { default: { type: 'elasticsearch', hosts: ['https://es:9200'], api_key } };
    const body = { ...policy.body, outputs } as SimPolicy['body'];
    const rekeyed: SimPolicy = { ...policy, body, hash: sha256(canonicalJson(body)) };
    this.oracle.knows(rekeyed);
    this.fleet.rekey(rekeyed);
  }

  // ---- the agent ----

  #begin(): void {
    if (this.#life !== null) return;
    this.disk.revive();
    const process = new WatchedIncarnation({
      number: ++this.#lives,
      pid: 50,
      timeline: this.#timeline,
      onDeath: (one) => this.#died(one),
      onPoint: (what) => this.#pass(what),
    });
    this.#life = process;
    this.#warnings = [];
    this.note(`agent: life ${process.number} begins`);
    void this.#live(process);
  }

  #pass(what: string): void {
    const { scenario, onPoint } = this.#options;
    const number = this.#points++;
    if (this.#options.traced) this.note(`point ${number}: ${what}`);
    if (onPoint === undefined) return;
    // What comes before the last delivery of a calm scenario is a shorter scenario's.
    if (scenario.tempo === 'calm' && this.#delivered < scenario.deliveries.length) return;
    const { nowMs } = this;
    const inFlight = this.#requests.filter(({ sentAtMs }) => nowMs - sentAtMs < ON_ITS_WAY_MS);
    onPoint({ number, what, nowMs, delivered: this.#delivered, inFlight }, this);
  }

  #arrived(request: Request): void {
    const at = this.#requests.findIndex(({ path, body }) => path === request.path && body === request.body);
    if (at >= 0) this.#requests.splice(at, 1);
  }

  async #live(process: WatchedIncarnation): Promise<void> {
    const found = () => readDisk(this.disk.pageCache(), AGENT_ID);
    this.oracle.began(process, await found());
    await this.oracle.look();
    const worldOf = this.#worldOf(process);
    for (let again = true; again && process.alive; ) {
      try {
        const handle = await startAgent({
          home: HOME,
          settings: SETTINGS,
          log: this.#logger(process),
          version: '0.0.0-simulated',
          world: this.#options.patch?.(worldOf) ?? worldOf,
          inspect: (event) => this.#inspect(process, event),
        });
        if (!process.alive) return;
        this.#handle = handle;
        const { restart, problem } = await handle.ended;
        if (!process.alive) return;
        this.note(`agent: life ${process.number} ended${problem ? `: ${problem.message}` : ''}`);
        this.oracle.promise('P11', problem === null, () => `the agent ended by itself: ${problem?.message}`);
        this.oracle.ended(process, 'ended');
        again = restart;
        if (again) this.oracle.began(process, await found());
      } catch (error) {
        if (!process.alive) return;
        const why = error instanceof Error ? error.stack : error;
        this.oracle.promise('P11', false, () => `the agent does not start: ${why}`);
        return;
      }
    }
    if (this.#life !== process) return;
    process.alive = false;
    this.#gone();
  }

  /** Only what a policy does to it kills the process of this play: deaths at points are other worlds. */
  #died(process: Incarnation): void {
    if (this.#life !== process) return;
    this.note(`agent: life ${process.number} is killed (${process.diedAt})`);
    this.oracle.ended(process, 'died');
    this.#gone();
  }

  #gone(): void {
    this.#life = null;
    this.#handle = null;
    this.#state = 'down';
    this.#context = null;
    this.#timeline.in(RESTART_MS, () => this.#begin());
  }

  #worldOf(process: WatchedIncarnation): World {
    const timeline = this.#timeline;
    return {
      files: simFiles(
        halving(this.disk, (path) => process.passes('disk', `write ${path} (half)`)),
        process,
        timeline,
        { syncMs: () => SYNC_MS },
      ),
      clock: { wallMs: () => timeline.wallMs(), monotonicMs: () => timeline.monotonicMs() },
      timers: process.timers as NonNullable<World['timers']>,
      lock: async () => ({ kind: 'flock', release: async () => {} }),
      transport: () => this.#network.transport(process),
      processes: () => this.host.ports(process),
      render: async (text) => {
        await timeline.pass(3);
        return process.alive ? renderHere(text) : never();
      },
      host: { bootId: () => this.host.bootId, machineId: () => 'machine', facts: () => FACTS_OF_HOST, isRoot: true },
      variables: () => VARIABLES,
      onWake: () => () => {},
      seed: () => 1,
      // The first life is the one that enrolled, and lost nothing before its first start.
      processStartedAt: this.#isFirstOfAll && process.number === 1 ? Date.UTC(2026, 0, 1) - 2_000 : timeline.wallMs(),
      pid: process.pid,
    };
  }

  #logger(process: Incarnation): Logger {
    const line = (level: string) => (message: string) => {
      if (!process.alive) return;
      if (level === 'warning') this.#warnings.push(message);
      this.note(`log: ${level}: ${message}`);
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
      const { type } = event.event;
      if (isRoot && (type === 'facts.changed' || type === 'store.committed')) {
        this.oracle.committed(process, (event.event as unknown as { facts: Facts }).facts);
      }
      if (isRoot && type === 'store.opened') {
        this.oracle.opened(process, this.#warnings, true);
        this.#warnings = [];
      }
      if (type === 'components.apply') {
        const { mode, policy } = event.event as unknown as {
          mode: string;
          policy: { hash: string; id: string; revision: number };
        };
        this.note(`agent: apply ${policy.id}:${policy.revision} (${mode}, ${policy.hash.slice(0, 8)})`);
        this.oracle.applies(process, mode, policy.hash);
      }
      return;
    }
    if (event.type !== '@xstate.snapshot') return;
    if (isRoot) {
      const { context, value } = event.snapshot as unknown as { context: AgentContext; value: unknown };
      this.#context = context;
      this.oracle.sees(process, context);
      const state = pathOf(value);
      if (state !== this.#state) this.note(`agent: ${state}`);
      this.#state = state;
    } else if (this.#options.traced) {
      const { value } = event.snapshot as { value?: unknown };
      if (value !== undefined)
        this.note(`${(event.actorRef as AnyActorRef).id}: ${event.event.type} → ${pathOf(value)}`);
    }
  }

  note(line: string): void {
    if (!this.#options.traced) return;
    this.trace.push(`${(this.nowMs / 1000).toFixed(3).padStart(10)}  ${line}`);
  }
}

/** A server whose witness is the oracle. */
export function fleetOf(
  timeline: Timeline,
  oracle: Oracle,
  told: { readonly note: (line: string) => void; readonly onArrival: (request: Request) => void },
): WatchedFleet {
  const { note, onArrival } = told;
  return new WatchedFleet({
    agentId: AGENT_ID,
    key: ACCESS_KEY,
    policyId: 'web',
    timeline,
    forgetsSubscriptions: true,
    jitter: () => 0,
    onArrival,
    witness: {
      checkedIn: ({ policyId, revision, token, status, message }) =>
        note(`fleet: check-in ${policyId}:${revision} token=${token} ${status}: ${message}`),
      acked: (acks, statuses) => {
        const each = acks.map(
          ({ actionId, error }, at) => `${actionId}${error ? ` (${error})` : ''} → ${statuses[at]}`,
        );
        note(`fleet: acks ${each.join(', ')}`);
        oracle.acked(acks, statuses);
      },
      delivered: (policy) => {
        note(`fleet: delivers ${policy.id}:${policy.revision} (${policy.kind}, ${policy.hash.slice(0, 8)})`);
        oracle.delivered(policy);
      },
      dispatched: (token, actions) => {
        note(`fleet: dispatches ${actions.map(({ id, type }) => `${id} ${type}`).join(', ')} with ${token}`);
        oracle.dispatched(token, actions);
      },
      refused: (path, body, status) => oracle.refused(path, body, status),
      retired: (keys, believed) => {
        note(`fleet: retires ${keys.join(', ')}, since ${believed.id}:${believed.revision} is held`);
        oracle.retired(keys, believed);
      },
    },
  });
}

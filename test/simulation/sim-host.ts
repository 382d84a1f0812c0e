/** The simulated host's processes: programs that do what their configuration says, records that outlive the agent, pids, boots. */
import { fromPromise } from 'xstate';
import { HoldfastError } from '../../src/errors.ts';
import type { Claimed, Launched, ProbeInput, Reloaded } from '../../src/machines/component-setup.ts';
import type { CheckRefusal, Recorded } from '../../src/machines/components-setup.ts';
import type { WantedComponent } from '../../src/policy/component.ts';
import type { processPorts } from '../../src/services/process/ports.ts';
import { type Incarnation, never } from './incarnation.ts';
import type { Ready } from './oracle.ts';
import { type Behaviour, behaviourIn } from './policies.ts';
import type { Random } from './random.ts';
import type { Timeline } from './timeline.ts';

export interface Process {
  readonly pid: number;
  readonly component: string;
  hash: string;
  behaviour: Behaviour;
  alive: boolean;
  readySince: number | null;
  reloaded: boolean;
  /** Dead, in the program's words. */
  end: string;
  readonly whenEnded: Set<() => void>;
  /** A child of the program, in its group: it outlives the program when that ends by itself, and is nobody's but the component's. */
  readonly forked: boolean;
  /** It has been asked to end. */
  asked: boolean;
  /** A signal that ends it is on its way. */
  ending?: boolean;
}

/** What a host keeps when no agent runs on it. */
export interface HostImage {
  readonly bootNumber: number;
  readonly nextPid: number;
  readonly records: ReadonlyMap<string, Readonly<Record>>;
  readonly written: ReadonlyMap<string, ReadonlySet<string>>;
  /** Those that live. */
  readonly processes: readonly Readonly<Omit<Process, 'whenEnded'>>[];
}

interface Record {
  readonly type: string;
  readonly pid: number;
  readonly bootId: string;
  confirmed: string | null;
  changing: string | null;
}

/** Told to the oracle. */
export interface HostWitness {
  /** `others`: processes of it that live. */
  launched(component: string, hash: string, others: number, by: Incarnation): void;
  reloaded(component: string, hash: string, by: Incarnation): void;
  claimed(component: string, hash: string, by: Incarnation): void;
  touched(component: string, what: string, by: Incarnation): void;
}

const STEP_MS = 20;

export class SimHost {
  bootNumber = 1;
  readonly records = new Map<string, Record>();
  readonly processes = new Map<number, Process>();
  /** Programs end or fail for no reason of theirs until this time. */
  flakyUntilMs = 0;
  /** Until then no probe of what it does succeeds. */
  sickUntilMs = 0;
  /** Configurations cannot be written. */
  takesNoWrites: () => boolean = () => false;
  readonly #written = new Map<string, Set<string>>();
  #nextPid = 100;
  readonly #timeline: Timeline;
  readonly #random: Random;
  readonly #witness: HostWitness;

  constructor(timeline: Timeline, random: Random, witness: HostWitness) {
    this.#timeline = timeline;
    this.#random = random;
    this.#witness = witness;
  }

  get bootId(): string {
    return `boot-${this.bootNumber}`;
  }

  newPid(): number {
    // Pids come round again.
    this.#nextPid = this.#nextPid > 160 ? 100 : this.#nextPid + 1;
    while (this.processes.get(this.#nextPid)?.alive) this.#nextPid += 1;
    return this.#nextPid;
  }

  running(component?: string): Process[] {
    return [...this.processes.values()].filter(
      (one) => one.alive && (component === undefined || one.component === component),
    );
  }

  /** The program itself. */
  main(component: string): Process | undefined {
    return this.running(component).find(({ forked }) => !forked);
  }

  /** Those that are ready, by component, with what they run. */
  ready(): Map<string, Ready> {
    const ready = this.running().filter(({ readySince, forked }) => readySince !== null && !forked);
    return new Map(
      ready.map(({ pid, component, hash }) => {
        const record = this.records.get(component);
        const confirmed = record?.pid === pid && record.changing === null && record.confirmed === hash;
        return [component, { hash, confirmed }];
      }),
    );
  }

  /** A program ends for a reason of its own. */
  endSome(choose: (running: readonly Process[]) => Process | undefined): void {
    const chosen = choose(this.running().filter(({ forked }) => !forked));
    if (chosen) this.#end(chosen, 'was killed by the kernel');
  }

  powerCut(): void {
    for (const one of this.running()) this.#end(one, 'the host went down');
    this.processes.clear();
    this.bootNumber += 1;
  }

  image(): HostImage {
    return {
      bootNumber: this.bootNumber,
      nextPid: this.#nextPid,
      records: new Map([...this.records].map(([id, record]) => [id, { ...record }])),
      written: new Map([...this.#written].map(([id, hashes]) => [id, new Set(hashes)])),
      processes: this.running().map(({ whenEnded: _, ...process }) => ({ ...process })),
    };
  }

  /** Becomes the host of the image. What its programs were about to do begins anew; `settled`: has happened already. */
  take(image: HostImage, settled: boolean): void {
    this.bootNumber = image.bootNumber;
    this.#nextPid = image.nextPid;
    for (const [id, record] of image.records) this.records.set(id, { ...record });
    for (const [id, hashes] of image.written) this.#written.set(id, new Set(hashes));
    for (const left of image.processes) {
      const process: Process = { ...left, whenEnded: new Set() };
      if (!settled) {
        this.processes.set(process.pid, process);
        if (process.ending) this.#timeline.in(50, () => this.#end(process, 'was stopped'));
        if (process.readySince === null || process.behaviour === 'crashesLater') this.#begin(process);
        continue;
      }
      if (process.ending || process.behaviour === 'crashes' || process.behaviour === 'crashesLater') continue;
      this.processes.set(process.pid, process);
      if (process.behaviour !== 'hangs') process.readySince ??= this.#timeline.nowMs;
    }
  }

  ports(by: Incarnation): ReturnType<typeof processPorts> {
    const step = async <T>(what: string, ms: number, act: () => T): Promise<T> => {
      if (!by.passes('process', what)) return never();
      if (ms > 0) await this.#timeline.pass(ms);
      if (!by.alive) return never();
      const result = act();
      return by.passes('process', `${what} (done)`) ? result : never();
    };
    const later = (what: string, act: () => Promise<unknown>): Promise<void> =>
      by.passes('process', what)
        ? act().then(() => (by.passes('process', `${what} (done)`) ? undefined : never()))
        : never();

    const underWay = new Map<string, Promise<unknown>>();
    /** One step of a component at a time, as in the real ports: what a step leaves is what the next one finds, also when nobody waits for the first. */
    const alone = <T>(id: string, signal: AbortSignal, act: () => Promise<T>): Promise<T> => {
      const before = underWay.get(id);
      const begin = () => {
        signal.throwIfAborted();
        return act();
      };
      const result = before === undefined ? begin() : before.then(begin);
      const over = result.then(
        () => {},
        () => {},
      );
      underWay.set(id, over);
      void over.then(() => {
        if (underWay.get(id) === over) underWay.delete(id);
      });
      return result;
    };
    /** A wait for an end is given up when nobody wants it any more. */
    const unlessAborted = <T>(signal: AbortSignal, waited: Promise<T>): Promise<T> =>
      Promise.race([
        waited,
        new Promise<never>((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason), { once: true });
        }),
      ]);

    return {
      component: {
        claim: fromPromise<Claimed, { readonly component: WantedComponent }>(({ input: { component }, signal }) => {
          this.#witness.claimed(component.id, component.hash, by);
          const { id } = component;
          return alone(id, signal, () => step(`claim ${id}`, STEP_MS, () => this.#claim(component)));
        }),
        launch: fromPromise<Launched, { readonly component: WantedComponent }>(({ input: { component }, signal }) =>
          alone(component.id, signal, () => step(`launch ${component.id}`, STEP_MS, () => this.#launch(component, by))),
        ),
        watch: fromPromise<string, { readonly id: string; readonly pid: number }>(({ input }) =>
          by.alive ? this.#watch(input.pid, by) : never(),
        ),
        probe: fromPromise<void, ProbeInput>(async ({ input }) => {
          await this.#timeline.pass(input.probe.kind === 'after' ? input.probe.ms : STEP_MS);
          if (!by.alive) return never();
          this.#probe(input);
        }),
        reload: fromPromise<Reloaded, { readonly component: WantedComponent; readonly pid: number }>(
          ({ input: { component }, signal }) =>
            alone(component.id, signal, () =>
              step(`reload ${component.id}`, STEP_MS, () => this.#reload(component, by)),
            ),
        ),
        confirm: fromPromise<void, { readonly id: string; readonly hash: string }>(({ input, signal }) =>
          alone(input.id, signal, () => step(`confirm ${input.id}`, 0, () => this.#confirm(input.id, input.hash))),
        ),
        terminate: fromPromise<void, { readonly id: string; readonly signal: NodeJS.Signals }>(({ input, signal }) => {
          this.#witness.touched(input.id, 'terminate', by);
          return alone(input.id, signal, () =>
            unlessAborted(
              signal,
              later(`terminate ${input.id}`, () => this.#terminate(input.id, false)),
            ),
          );
        }),
        kill: fromPromise<void, { readonly id: string }>(({ input, signal }) => {
          this.#witness.touched(input.id, 'kill', by);
          return alone(input.id, signal, () =>
            unlessAborted(
              signal,
              later(`kill ${input.id}`, () => this.#terminate(input.id, true)),
            ),
          );
        }),
      },
      components: {
        recorded: fromPromise<readonly Recorded[], undefined>(() => step('recorded', 5, () => this.#recorded())),
        check: fromPromise<readonly CheckRefusal[], { readonly components: readonly WantedComponent[] }>(({ input }) =>
          step('check', STEP_MS, () => this.#check(input.components)),
        ),
        write: fromPromise<void, { readonly components: readonly WantedComponent[] }>(({ input }) =>
          step('write', 0, () => {
            for (const component of input.components) this.#write(component);
          }),
        ),
        sweep: fromPromise<void, { readonly ids: readonly string[] }>(({ input, signal }) => {
          for (const id of input.ids) this.#witness.touched(id, 'sweep', by);
          return later('sweep', () =>
            Promise.all(input.ids.map((id) => alone(id, signal, () => this.#terminate(id, true)))),
          );
        }),
      },
    };
  }

  #claim(wanted: WantedComponent): Claimed {
    const record = this.records.get(wanted.id);
    const process = this.#recorded_(wanted.id);
    if (record && process && record.changing === null && record.confirmed === wanted.hash) return { pid: process.pid };
    for (const left of this.running(wanted.id)) this.#end(left, 'was stopped');
    this.records.delete(wanted.id);
    return { pid: null };
  }

  #launch(wanted: WantedComponent, by: Incarnation): Launched {
    this.#write(wanted);
    const behaviour = behaviourIn(wanted.daemon.files);
    this.#witness.launched(wanted.id, wanted.hash, this.running(wanted.id).length, by);
    if (behaviour === 'poison') {
      by.die(`launch of ${wanted.id}: out of memory`);
      throw new Error('dead');
    }
    if (behaviour === 'refuses' || (this.#isFlaky() && this.#random.chance(0.3))) {
      throw new HoldfastError('COMPONENT_START_FAILED', `${wanted.daemon.run.command}: it refuses to start`);
    }
    const process: Process = {
      pid: this.newPid(),
      component: wanted.id,
      hash: wanted.hash,
      behaviour,
      alive: true,
      readySince: null,
      reloaded: false,
      end: '',
      whenEnded: new Set(),
      forked: false,
      asked: false,
    };
    this.processes.set(process.pid, process);
    if (wanted.type === 'job') this.#fork(process);
    this.records.set(wanted.id, {
      type: wanted.type,
      pid: process.pid,
      bootId: this.bootId,
      confirmed: null,
      changing: wanted.hash,
    });
    this.#begin(process);
    return { pid: process.pid, outputFrom: 0 };
  }

  #fork(parent: Process): void {
    const pid = this.newPid();
    const behaviour = parent.behaviour === 'stubborn' ? 'stubborn' : 'ok';
    const readySince = this.#timeline.nowMs;
    this.processes.set(pid, { ...parent, pid, behaviour, readySince, whenEnded: new Set(), forked: true });
  }

  /** What the program does of itself with the configuration it has now. */
  #begin(process: Process): void {
    const { behaviour, hash } = process;
    const still = (act: () => void) => () => {
      if (process.alive && process.hash === hash) act();
    };
    if (behaviour === 'crashes')
      this.#timeline.in(
        60,
        still(() => this.#end(process, 'exited with code 1')),
      );
    else if (behaviour !== 'hangs') {
      this.#timeline.in(
        80,
        still(() => {
          process.readySince = this.#timeline.nowMs;
        }),
      );
    }
    if (behaviour === 'crashesLater')
      this.#timeline.in(
        700,
        still(() => this.#end(process, 'was killed by SIGSEGV')),
      );
    if (this.#isFlaky() && this.#random.chance(0.3)) {
      this.#timeline.in(
        this.#random.whole(50, 3_000),
        still(() => this.#end(process, 'exited with code 3')),
      );
    }
  }

  #isFlaky(): boolean {
    return this.#timeline.nowMs < this.flakyUntilMs;
  }

  #watch(pid: number, by: Incarnation): Promise<string> {
    const process = this.processes.get(pid);
    if (!process?.alive) return Promise.resolve(process?.end ?? 'has ended');
    return new Promise((resolve) => {
      process.whenEnded.add(() => this.#timeline.in(1, () => by.alive && resolve(process.end)));
    });
  }

  #probe({ id, pid, probe }: ProbeInput): void {
    const process = this.processes.get(pid);
    const fail = (why: string) => new HoldfastError('COMPONENT_UNHEALTHY', `${id}: ${why}`);
    if (!process?.alive || process.component !== id) throw fail('it does not run');
    if (probe.kind === 'output' && probe.pattern === 'reloaded') {
      if (!process.reloaded) throw fail('it did not confirm its reload');
      return;
    }
    if (process.readySince === null) throw fail('it is not ready');
    if (probe.kind === 'tcp' && this.#timeline.nowMs < this.sickUntilMs) throw fail('it does not answer');
  }

  #reload(wanted: WantedComponent, by: Incarnation): Reloaded {
    const record = this.records.get(wanted.id);
    const process = this.#recorded_(wanted.id);
    if (!record || !process) throw new HoldfastError('COMPONENT_UNHEALTHY', `${wanted.id}: nothing to reload`);
    record.changing = wanted.hash;
    this.#write(wanted);
    const behaviour = behaviourIn(wanted.daemon.files);
    this.#witness.reloaded(wanted.id, wanted.hash, by);
    if (behaviour === 'poison') {
      by.die(`reload of ${wanted.id}: out of memory`);
      throw new Error('dead');
    }
    process.reloaded = false;
    if (behaviour === 'refuses') return { outputFrom: 0 };
    process.hash = wanted.hash;
    process.behaviour = behaviour;
    process.readySince = null;
    this.#timeline.in(40, () => {
      if (process.hash === wanted.hash && behaviour !== 'hangs') process.reloaded = true;
    });
    this.#begin(process);
    return { outputFrom: 0 };
  }

  #confirm(id: string, hash: string): void {
    const record = this.records.get(id);
    if (!record) return;
    record.confirmed = hash;
    record.changing = null;
  }

  /** Resolves when nothing of the component is left. */
  #terminate(id: string, force: boolean): Promise<unknown> {
    const record = this.records.get(id);
    if (record && record.changing === null) record.changing = record.confirmed ?? '';
    const ends = this.running(id).map((process) => {
      const gone = new Promise<void>((resolve) => process.whenEnded.add(resolve));
      process.asked = true;
      if (force || process.behaviour !== 'stubborn') {
        process.ending = true;
        this.#timeline.in(force ? 1 : 50, () => this.#end(process, force ? 'was killed' : 'was stopped'));
      }
      return gone;
    });
    return Promise.all(ends).then(() => {
      const now = this.records.get(id);
      if (now === record && this.running(id).length === 0) this.records.delete(id);
    });
  }

  #recorded(): Recorded[] {
    const ids = new Set([...this.records.keys(), ...this.running().map(({ component }) => component)]);
    return [...ids].map((id) => {
      const record = this.records.get(id);
      const process = this.#recorded_(id) ?? this.running(id)[0];
      return {
        id,
        type: record?.type ?? id,
        pid: process?.pid ?? record?.pid ?? 0,
        hash: record?.confirmed ?? null,
        alive: process !== undefined,
      };
    });
  }

  #recorded_(id: string): Process | undefined {
    const record = this.records.get(id);
    if (!record || record.bootId !== this.bootId) return undefined;
    const process = this.processes.get(record.pid);
    return process?.alive && process.component === id ? process : undefined;
  }

  #check(components: readonly WantedComponent[]): CheckRefusal[] {
    return components
      .filter(({ daemon }) => daemon.check !== null && behaviourIn(daemon.files) === 'unchecked')
      .map(({ id }) => ({ component: id, reason: 'unknown directive in line 1' }));
  }

  #write({ id, hash }: WantedComponent): void {
    const written = this.#written.get(id) ?? new Set();
    this.#written.set(id, written);
    if (written.has(hash)) return;
    if (this.takesNoWrites()) throw new HoldfastError('STORE_WRITE_FAILED', `${id}: no space left on device`);
    written.add(hash);
  }

  #end(process: Process, how: string): void {
    if (!process.alive) return;
    process.alive = false;
    process.end = how;
    for (const act of process.whenEnded) act();
    process.whenEnded.clear();
  }
}

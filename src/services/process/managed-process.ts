/** The one process of a component, as the machine's ports see it: steps that touch it run one after the other, and each is on record before it is done. */
import { readlink } from 'node:fs/promises';
import { asHoldfastError, HoldfastError } from '../../errors.ts';
import type { Claimed, Launched, ProbeInput, Reloaded } from '../../machines/component-setup.ts';
import type { WantedComponent } from '../../policy/component.ts';
import { ensureDirectory } from '../durable-file.ts';
import { type ComponentPaths, componentPaths } from '../home.ts';
import type { Clock } from './clock.ts';
import { collectConfigurations, makeCurrent, writeConfiguration } from './configuration.ts';
import { launchProcess } from './launch.ts';
import { recordedProcess, type World } from './members.ts';
import { lastLine, nextLookMs, outputLength, outputSince, rotateOutput } from './output.ts';
import type { ProcessLog } from './ports.ts';
import { request, tryProbe } from './probe.ts';
import { type ProcessRecord, readRecord, removeRecord, writeRecord } from './record.ts';
import { runSideCommand, usefulLines } from './side-command.ts';
import { end, killAll, type Target, terminate } from './termination.ts';
import { accountOf, letThrough } from './user.ts';

/** How often an adopted process is looked at, in ms. Only a parent is told of an end; Node has no pidfd that could be waited for. */
const WATCH_EVERY_MS = 250;
/** What is swept belongs to no spec any more, so its end has Holdfast's own grace, in ms. */
const SWEEP_GRACE_MS = 10_000;

export interface ManagedProcessOptions {
  readonly id: string;
  readonly world: World;
  readonly clock: Clock;
  readonly log: ProcessLog;
}

export class ManagedProcess {
  readonly #id: string;
  readonly #world: World;
  readonly #clock: Clock;
  readonly #log: ProcessLog;
  readonly #paths: ComponentPaths;
  /** As this start knows it: also when the disk takes no record. Undefined: not read yet. */
  #record: ProcessRecord | null | undefined;
  /** How our own child ended; null for an adopted process. */
  #ended: Promise<string> | null = null;
  #outputFrom = 0;
  #steps: Promise<unknown> = Promise.resolve();
  #writes: Promise<unknown> = Promise.resolve();

  constructor({ id, world, clock, log }: ManagedProcessOptions) {
    this.#id = id;
    this.#world = world;
    this.#clock = clock;
    this.#log = log;
    this.#paths = componentPaths(world.home, id);
  }

  /** Adopts what runs if it is exactly what is wanted; ends anything else that is left of this component first. */
  claim(wanted: WantedComponent, abort: AbortSignal): Promise<Claimed> {
    return this.#step(abort, async () => {
      const record = await this.#known();
      const running = await recordedProcess(record, this.#id, this.#world);
      if (running && record?.changing === null && record.confirmed === wanted.hash) {
        this.#outputFrom = await outputLength(this.#paths.output);
        return { pid: running.pid };
      }
      const { signal, graceMs } = wanted.daemon.stop;
      await this.#markChanging();
      await end(await this.#target(), signal, graceMs, abort);
      await this.#forget();
      return { pid: null };
    });
  }

  /** Makes the configuration current and starts the program. Not stopped half-way: an abort only means that nobody waits for it. */
  launch(wanted: WantedComponent, abort: AbortSignal): Promise<Launched> {
    return this.#step(abort, async () => {
      await this.write(wanted);
      await makeCurrent(this.#paths, wanted.hash).catch(async (error: unknown) => {
        // On a disk that takes no writes, last good still runs when it is the current one already.
        if (!(await this.#isCurrent(wanted.hash))) throw error;
      });
      await rotateOutput(this.#paths.output).catch(() => false);
      const outputFrom = await outputLength(this.#paths.output);
      const { run, limits } = wanted.daemon;
      const { bootId, pidNamespace } = this.#world;
      const launched = await launchProcess({
        id: this.#id,
        home: this.#world.home,
        run,
        limits,
        cwd: run.cwd ?? this.#paths.current,
        outputPath: this.#paths.output,
        recordPath: this.#paths.process,
        stub: { type: wanted.type, bootId, pidNamespace, confirmed: null, changing: wanted.hash },
      }).catch(async (thrown: unknown) => {
        const said = lastLine(await outputSince(this.#paths.output, outputFrom));
        const error = asHoldfastError(thrown, 'COMPONENT_START_FAILED', wanted.daemon.run.command);
        throw said === '' ? error : new HoldfastError(error.code, `${error.message}: ${said}`, { cause: error });
      });
      this.#record = launched.record;
      this.#ended = launched.ended;
      this.#outputFrom = outputFrom;
      return { pid: launched.record.pid, outputFrom };
    });
  }

  /** Resolves with how the process ended and the last it said. Rotates its output meanwhile. */
  async watch(abort: AbortSignal): Promise<string> {
    const rotation = new AbortController();
    void this.#rotate(AbortSignal.any([abort, rotation.signal]));
    try {
      const how = this.#ended ? await unlessAborted(this.#ended, abort) : await this.#endOfAdopted(abort);
      const said = lastLine(await outputSince(this.#paths.output, this.#outputFrom));
      return said === '' ? how : `${how}: ${said}`;
    } finally {
      rotation.abort();
    }
  }

  probe({ probe, outputFrom, timeoutMs }: ProbeInput, abort: AbortSignal): Promise<void> {
    return tryProbe(probe, {
      id: this.#id,
      home: this.#world.home,
      cwd: this.#paths.current,
      outputPath: this.#paths.output,
      outputFrom,
      timeoutMs,
      clock: this.#clock,
      abort,
    });
  }

  /** Puts on record that the process is changing, makes the new configuration current, then tells the program. */
  reload(wanted: WantedComponent, abort: AbortSignal): Promise<Reloaded> {
    return this.#step(abort, async () => {
      const { reload } = wanted.daemon;
      const record = await this.#known();
      const running = await recordedProcess(record, this.#id, this.#world);
      if (reload === null || record === null || running === null) {
        throw new HoldfastError('COMPONENT_UNHEALTHY', `component ${this.#id} has no process that could be reloaded`);
      }
      await this.#put({ ...record, changing: wanted.hash });
      await this.write(wanted);
      await makeCurrent(this.#paths, wanted.hash);
      const outputFrom = await outputLength(this.#paths.output);
      this.#outputFrom = outputFrom;
      const { action } = reload;
      if (action.kind === 'signal') process.kill(running.pid, action.signal);
      else if (action.kind === 'http') await request(action.url, action.method, { timeoutMs: reload.timeoutMs, abort });
      else {
        const options = {
          id: this.#id,
          home: this.#world.home,
          cwd: this.#paths.current,
          timeoutMs: reload.timeoutMs,
          abort,
        };
        const { ok, how, output } = await runSideCommand(action.run, options);
        if (!ok) {
          const said = usefulLines(output);
          throw new HoldfastError('COMPONENT_UNHEALTHY', said || `${action.run.command} ${how}`);
        }
      }
      return { outputFrom };
    });
  }

  /** The process runs this configuration: from now on the next start may adopt it. */
  confirm(hash: string, abort?: AbortSignal): Promise<void> {
    return this.#step(abort, async () => {
      const record = await this.#known();
      if (record === null) return;
      await this.#put({ ...record, confirmed: hash, changing: null });
      await collectConfigurations(this.#paths, hash);
    });
  }

  terminate(signal: NodeJS.Signals, abort: AbortSignal): Promise<void> {
    return this.#step(abort, async () => {
      await this.#markChanging();
      await terminate(await this.#target(), signal, abort);
      await this.#forget();
    });
  }

  kill(abort: AbortSignal): Promise<void> {
    return this.#step(abort, async () => {
      await this.#markChanging();
      await killAll(await this.#target(), abort);
      await this.#forget();
    });
  }

  /** Ends what no policy wants any more. */
  sweep(abort: AbortSignal): Promise<void> {
    return this.#step(abort, async () => {
      await this.#markChanging();
      await end(await this.#target(), 'SIGTERM', SWEEP_GRACE_MS, abort);
      await this.#forget();
    });
  }

  /** Makes the component's configuration durable without putting it to use. One write at a time, beside the steps. */
  write(wanted: WantedComponent): Promise<void> {
    const written = this.#writes.then(async () => {
      const owner = await accountOf(wanted.daemon.run.user);
      await ensureDirectory(this.#paths.data);
      await ensureDirectory(this.#paths.configurations);
      if (owner) await letThrough(owner, this.#paths, this.#world.home);
      await writeConfiguration(`${this.#paths.configurations}/${wanted.hash}`, wanted.daemon.files, owner);
    });
    this.#writes = written.catch(() => undefined);
    return written;
  }

  /** One step at a time: what a step left is what the next one finds, also when nobody waits for the first any more. */
  #step<T>(abort: AbortSignal | undefined, run: () => Promise<T>): Promise<T> {
    const result = this.#steps.then(() => {
      abort?.throwIfAborted();
      return run();
    });
    this.#steps = result.catch(() => undefined);
    return result;
  }

  async #known(): Promise<ProcessRecord | null> {
    if (this.#record === undefined) this.#record = await readRecord(this.#paths.process);
    return this.#record;
  }

  async #put(record: ProcessRecord): Promise<void> {
    this.#record = record;
    await writeRecord(this.#paths.process, record);
  }

  /** A disk that takes no writes must not keep a process from being stopped. */
  async #markChanging(): Promise<void> {
    const record = await this.#known();
    if (record === null || record.changing !== null) return;
    await this.#put({ ...record, changing: record.confirmed ?? '' }).catch((error: unknown) => this.#complain(error));
  }

  async #forget(): Promise<void> {
    this.#record = null;
    this.#ended = null;
    await removeRecord(this.#paths.process).catch((error: unknown) => this.#complain(error));
  }

  async #target(): Promise<Target> {
    return { record: await this.#known(), id: this.#id, world: this.#world, clock: this.#clock };
  }

  async #isCurrent(hash: string): Promise<boolean> {
    return (await readlink(this.#paths.current).catch(() => '')).endsWith(`/${hash}`);
  }

  async #endOfAdopted(abort: AbortSignal): Promise<string> {
    while (await recordedProcess(await this.#known(), this.#id, this.#world)) {
      await this.#clock.sleep(WATCH_EVERY_MS, abort);
    }
    return 'has ended (how is told only to the start that began it)';
  }

  /** Looks at once: while no start watched it, the program wrote on. */
  async #rotate(abort: AbortSignal): Promise<void> {
    const { output } = this.#paths;
    let lookMs = 0;
    let before = await outputLength(output);
    while (!abort.aborted) {
      const length = await outputLength(output);
      const rotated = await rotateOutput(output).catch((error: unknown) => this.#complain(error));
      lookMs = nextLookMs(length - before, lookMs);
      before = rotated === false ? length : await outputLength(output);
      await this.#clock.sleep(lookMs, abort).catch(() => undefined);
    }
  }

  #complain(error: unknown): void {
    const { message } = asHoldfastError(error, 'STORE_WRITE_FAILED', `component ${this.#id}`);
    this.#log.warning(message, { 'component.id': this.#id });
  }
}

/** Ends the waiting, not what is waited for. */
function unlessAborted<T>(promise: Promise<T>, abort: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    abort.addEventListener('abort', () => reject(abort.reason), { once: true });
    if (abort.aborted) reject(abort.reason);
    promise.then(resolve, reject);
  });
}

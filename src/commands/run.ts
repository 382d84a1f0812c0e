/** `holdfast run`: the daemon, in the foreground, until a signal ends it. */
import { Command } from 'commander';
import type { InspectionEvent } from 'xstate';
import { asHoldfastError, asProblem, ERRORS, EXIT, HoldfastError } from '../errors.ts';
import { type Controlled, type ControlServer, startControlServer } from '../services/control/server.ts';
import { type InspectTarget, inspectTarget } from '../services/inspector/address.ts';
import { FlightRecorder } from '../services/inspector/flight-recorder.ts';
import type { Inspected } from '../services/inspector/server.ts';
import { SecretKeeper } from '../services/log/earlier-secrets.ts';
import type { Logger } from '../services/log/logger.ts';
import { maskText } from '../services/log/mask.ts';
import { type LoadOptions, tryLoadSettings } from '../services/settings/load.ts';
import type { Settings } from '../services/settings/settings.ts';
import type { Standing } from '../wire/inspector.ts';
import { enrollNow } from './enroll.ts';
import { addFleetOptions, type FleetOptions, fleetFlags } from './fleet-options.ts';
import { daemonLogger, settingsSources } from './options.ts';
import { standingOf } from './standing.ts';
import type { RunningAgent, Surroundings } from './surroundings.ts';

export function runCommand(surroundings: Surroundings, exit: (code: number) => void): Command {
  return addFleetOptions(new Command('run'))
    .description('run the daemon in the foreground; with --url and --enrollment-token it enrolls first if it is not')
    .option(
      '--inspect [where]',
      'serve the live inspector on 127.0.0.1:8229, or where it says; stately[:URL]: send to Stately’s',
    )
    .action(async (options: FleetOptions & { inspect?: string | true }, command: Command) => {
      const inspect = options.inspect === undefined ? null : inspectTarget(options.inspect);
      exit(await runDaemon(settingsSources(command, surroundings, fleetFlags(options)), surroundings, inspect));
    });
}

/** Runs until a signal, or until going on makes no sense; returns the exit code. `inspect`: who looks on; null: nobody. */
export async function runDaemon(
  sources: LoadOptions,
  surroundings: Surroundings,
  inspect: InspectTarget | null = null,
): Promise<number> {
  const { home } = sources;
  const identity = await surroundings.identity(home);
  const { settings, complaints } = tryLoadSettings(sources);
  // Without an identity there is nothing to lose by stopping here; with one, what worked last must run whatever the file says (P11).
  if (complaints.length > 0 && identity.kind === 'none') {
    throw new HoldfastError('SETTINGS_INVALID', complaints.join('\n'));
  }
  const { hosts, enrollmentToken } = settings.fleet;
  if (identity.kind === 'none' && (hosts.length === 0 || enrollmentToken === null)) {
    throw new HoldfastError(
      'NOT_ENROLLED',
      `${home} holds no identity, and --url and --enrollment-token were not both given`,
    );
  }

  const log = daemonLogger(home, settings, surroundings);
  const stopWatchingFaults = dieLoudly(log, surroundings);
  try {
    if (identity.kind === 'none') {
      await enrollNow({ home, settings, attempts: null }, surroundings, (message) => log.warning(message));
    }
    for (const complaint of complaints) log.error(`settings: ${complaint}`, { error: { code: 'SETTINGS_INVALID' } });
    return await new Daemon(sources, settings, log, surroundings, inspect).run();
  } finally {
    log.close();
    stopWatchingFaults();
  }
}

/** Sees every event of every actor. */
interface OnLooker {
  readonly observe: (event: InspectionEvent) => void;
  close(): Promise<void>;
}

/** One process: agents one after the other, the control socket and the signals beside them. */
class Daemon implements Controlled {
  readonly #sources: LoadOptions;
  readonly #log: Logger;
  readonly #surroundings: Surroundings;
  readonly #listeners = new Set<() => void>();
  readonly #inspect: InspectTarget | null;
  #inspector: OnLooker | null = null;
  #settings: Settings;
  #agent: RunningAgent | null = null;
  /** A signal that came before there was an agent to tell. */
  #earlyShutdown: string | null = null;

  constructor(
    sources: LoadOptions,
    settings: Settings,
    log: Logger,
    surroundings: Surroundings,
    inspect: InspectTarget | null,
  ) {
    this.#sources = sources;
    this.#settings = settings;
    this.#log = log;
    this.#surroundings = surroundings;
    this.#inspect = inspect;
  }

  async run(): Promise<number> {
    const { onSignal } = this.#surroundings;
    const unlisten = [
      onSignal(['SIGTERM', 'SIGINT'], (signal) => this.#shutdown(signal)),
      onSignal(['SIGHUP'], () => this.#reload()),
    ];
    let control: ControlServer | null = null;
    try {
      if (this.#inspect !== null) this.#inspector = await this.#startInspector(this.#inspect);
      for (;;) {
        const agent = await this.#startAgent();
        // An agent that found the home locked has stopped already: the socket there is another daemon's.
        if (agent.status().state !== 'stopped') control ??= await this.#listen();
        const { restart, problem } = await agent.ended;
        if (restart && this.#earlyShutdown === null) continue;
        if (problem === null) return EXIT.success;
        this.#log.error(problem.message, { error: { code: problem.code } });
        this.#surroundings.terminal.err(
          `holdfast: ${problem.code}: ${maskText(problem.message)}\n  ${ERRORS[problem.code].help}\n`,
        );
        return ERRORS[problem.code].exit || EXIT.failure;
      }
    } finally {
      for (const end of unlisten) end();
      await control?.close();
      await this.#inspector?.close();
    }
  }

  async #startAgent(): Promise<RunningAgent> {
    const { version, startAgent } = this.#surroundings;
    const { home } = this.#sources;
    const recorder = new FlightRecorder(home);
    const keeper = new SecretKeeper(home);
    const inspector = this.#inspector;
    const inspect = (event: InspectionEvent) => {
      recorder.observe(event);
      keeper.observe(event);
      inspector?.observe(event);
    };
    const agent = await startAgent({ home, settings: this.#settings, log: this.#log, version, inspect });
    this.#agent = agent;
    agent.onChange(() => {
      if (this.#agent === agent) for (const listener of this.#listeners) listener();
    });
    if (this.#earlyShutdown !== null) agent.send({ type: 'shutdown.requested', reason: this.#earlyShutdown });
    return agent;
  }

  /** Started while the agent holds the lock. A daemon without a socket still does its work, so that is no reason to stop. */
  async #listen(): Promise<ControlServer | null> {
    try {
      const { home, env } = this.#sources;
      return await startControlServer({ home, env, controlled: this, log: this.#log });
    } catch (thrown) {
      const problem = asProblem(thrown, 'CONTROL_FAILED');
      this.#log.error(problem.message, { error: { code: problem.code } });
      return null;
    }
  }

  /** Loaded only when it is asked for. A daemon that cannot be looked into still does its work, so that is no reason to stop. */
  async #startInspector(target: InspectTarget): Promise<OnLooker | null> {
    const { home } = this.#sources;
    const { version, terminal } = this.#surroundings;
    const inspected: Inspected = {
      standing: () => this.#standing(),
      onChange: (listener) => this.onChange(listener),
      heldPolicy: (hash) => this.#running().heldPolicy(hash),
      secrets: () => this.#running().secrets(),
    };
    try {
      if (target.kind === 'stately') {
        const { startStately } = await import('../services/inspector/stately.ts');
        return await startStately(target.url);
      }
      const { startInspector } = await import('../services/inspector/server.ts');
      const inspector = await startInspector({ address: target.address, home, version, inspected, log: this.#log });
      terminal.err(`holdfast: inspector: ${inspector.url}\n`);
      return inspector;
    } catch (thrown) {
      const problem = asProblem(thrown, 'CONTROL_FAILED');
      this.#log.error(problem.message, { error: { code: problem.code } });
      return null;
    }
  }

  #standing(): Standing | null {
    if (this.#agent === null) return null;
    const status = this.#agent.status();
    const { journal, outbox, starts } = this.#agent.inspect();
    return standingOf(status, { journal, outbox, starts }, this.#surroundings.nowMs());
  }

  /** Drains; the agent hurries when it is told a second time. */
  #shutdown(signal: NodeJS.Signals): void {
    this.#earlyShutdown = signal;
    this.#agent?.send({ type: 'shutdown.requested', reason: signal });
  }

  /** Reads the settings again. Changed ones need a new agent, which takes over what runs; wrong ones leave those that hold. */
  #reload(): void {
    const { settings, complaints } = tryLoadSettings(this.#sources);
    if (complaints.length > 0) {
      for (const complaint of complaints) this.#log.error(`settings were not taken over: ${complaint}`);
      return;
    }
    if (JSON.stringify(settings) === JSON.stringify(this.#settings)) {
      this.#log.info('settings read again: nothing has changed');
      return;
    }
    this.#settings = settings;
    this.#log.setLevel(settings.logging.level);
    this.#log.info('settings read again: starting anew with what has changed');
    this.#agent?.send({ type: 'restart.requested', reason: 'the settings have changed' });
  }

  // ---- what the control socket asks for

  status() {
    return this.#running().status();
  }

  inspect() {
    return this.#running().inspect();
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  retry(): string | null {
    return this.#running().retry();
  }

  restart(reason: string): void {
    this.#running().send({ type: 'restart.requested', reason });
  }

  unenroll(reason: string): void {
    this.#running().send({ type: 'unenroll.requested', reason });
  }

  identityChanged(): void {
    this.#running().send({ type: 'restart.requested', reason: 'the identity was replaced' });
  }

  #running(): RunningAgent {
    if (this.#agent === null) throw new HoldfastError('CONTROL_FAILED', 'the agent has not started yet');
    return this.#agent;
  }
}

/** An error that nobody expected ends the process, as a crash that the next start will name; first it is written down. */
function dieLoudly(log: Logger, { terminal }: Surroundings): () => void {
  const die = (thrown: unknown) => {
    const error = asHoldfastError(thrown);
    log.error(`ending after a fault: ${error.message}`, { err: thrown instanceof Error ? thrown : error });
    terminal.err(`holdfast: ${error.code}: ${maskText(error.message)}\n`);
    process.exit(EXIT.failure);
  };
  process.on('uncaughtException', die);
  process.on('unhandledRejection', die);
  return () => {
    process.removeListener('uncaughtException', die);
    process.removeListener('unhandledRejection', die);
  };
}

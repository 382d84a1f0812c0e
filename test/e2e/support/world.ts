/** One test's world: a home, specs of small real programs, a Fleet server and an agent; all of it gone, and proven gone, when the test ends. */
import { existsSync, readFileSync, watch } from 'node:fs';
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { componentPaths, homePaths } from '../../../src/services/home.ts';
import { nodeFiles } from '../../../src/services/store/files.ts';
import { openStore } from '../../../src/services/store/store.ts';
import type { Status } from '../../../src/wire/control.ts';
import { componentIn, TestAgent } from './agent.ts';
import { TestFleet } from './fleet.ts';
import { componentsOf, isAlive } from './processes.ts';
import { Signal } from './waiting.ts';

const SERVICE = join(import.meta.dirname, 'programs', 'service.sh');
const EXAMPLES = join(import.meta.dirname, '..', '..', '..', 'examples');

/** Everything that waits, in tenths of what it is in earnest. */
const FAST = {
  fleet: {
    checkin: {
      backoff: { initial: '50ms', max: '400ms' },
      damping: { initial: '50ms', max: '500ms' },
      rest: '20ms',
      poll_timeout: '60s',
    },
    ack: { backoff: { initial: '50ms', max: '400ms' } },
    enroll: { backoff: { initial: '50ms', max: '400ms' } },
  },
  policy: { apply: { timeout: '6s', stable_for: '100ms' }, retry: { initial: '1h', max: '1h' } },
  safe_mode: { initial: '1h', max: '1h' },
  store: { retry: { initial: '50ms', max: '200ms' } },
};

type Settings = { readonly [key: string]: unknown };

/** How a type of input runs `service.sh`. */
export interface ServiceSpec {
  /** Default: reloads by SIGHUP and says so. false: a change is a restart. */
  readonly reload?: boolean;
  /** Default: refuses a configuration that says `bad`. false: none. */
  readonly check?: boolean | Readonly<Record<string, unknown>>;
  readonly [key: string]: unknown;
}

/** A spec whose inputs' `config` is the configuration of service.sh; the component is `<type>-default-<input id>`. */
export function serviceSpec(name: string, { reload = true, check = true, ...more }: ServiceSpec = {}): string {
  return JSON.stringify({
    version: 2,
    inputs: [
      {
        name,
        description: 'a small service',
        outputs: ['*'],
        daemon: {
          command: 'sh',
          // biome-ignore-start lint/suspicious/noTemplateCurlyInString: variables of a spec.
          args: [SERVICE, '${component.dir}/service.conf', '${data.dir}'],
          files: [{ path: 'service.conf', from: 'config' }],
          ...(check === true && {
            check: { command: 'sh', args: [SERVICE, '--check', '${component.dir}/service.conf'], timeout: '5s' },
          }),
          // biome-ignore-end lint/suspicious/noTemplateCurlyInString: variables of a spec.
          ...(reload && { reload: { signal: 'SIGHUP', confirm: { output: 'reconfigured' }, timeout: '1500ms' } }),
          ...(typeof check === 'object' && { check }),
          ready: { output: 'ready', timeout: '1500ms' },
          stop: { signal: 'SIGTERM', grace: '2s' },
          restart: { initial: '50ms', max: '100ms', give_up_after: 2 },
          ...more,
        },
      },
    ],
  });
}

/** Input types that are there without asking: one that reloads and one that restarts. */
const SPECS: Readonly<Record<string, string>> = {
  service: serviceSpec('service'),
  plain: serviceSpec('plain', { reload: false }),
};

export interface WorldOptions {
  /** Laid over the fast ones, key by key. */
  readonly settings?: Settings;
  /** Text of more specs, by name. */
  readonly specs?: Readonly<Record<string, string>>;
  /** More environment of the agent. */
  readonly env?: NodeJS.ProcessEnv;
  /** How long the server holds an idle poll. */
  readonly pollMs?: number;
}

export interface World {
  readonly home: string;
  readonly fleet: TestFleet;
  readonly agent: TestAgent;
  /** What the disk holds now, read as the store reads it, beside whatever runs. */
  disk(): Promise<Disk>;
  /** What service.sh has done in this component, a line an event: `started <pid> <configuration>`, `reloaded …`, `stopped <pid>`. */
  events(component: string): readonly string[];
  /** Resolves when service.sh has done this. */
  event(component: string, matches: (line: string) => boolean, what: string): Promise<string>;
  /** Opens the gate for configurations that say `gated`. */
  openGate(component: string): Promise<void>;
  /** Resolves with what `look` finds, now or after a change of the directory. */
  file<T>(directory: string, look: () => T | undefined, what: string): Promise<T>;
  /** Replaces the settings file; counts from the next start. */
  settings(settings: Settings): Promise<void>;
}

export interface Disk {
  readonly facts: NonNullable<Awaited<ReturnType<typeof openStore>>['facts']> | null;
  /** The bytes of a policy, or why they cannot be read. */
  policy(hash: string): Promise<{ readonly text: string } | { readonly problem: { readonly message: string } }>;
  readonly findings: readonly string[];
}

/** Makes a world with the agent not started yet. When the test ends the agent is stopped, and the test fails if anything is left running. */
export async function world(options: WorldOptions = {}): Promise<World> {
  const directory = await mkdtemp(join(tmpdir(), 'hf-'));
  const home = join(directory, 'home');
  await mkdir(join(home, 'specs'), { recursive: true, mode: 0o700 });
  const specs = { ...SPECS, ...options.specs };
  for (const [name, text] of Object.entries(specs)) await writeFile(join(home, 'specs', `${name}.spec.yml`), text);
  for (const name of ['uptime.spec.yml', 'uptime.json.liquid']) {
    await copyFile(join(EXAMPLES, 'uptime', name), join(home, 'specs', name));
  }
  const settings = (more: Settings) =>
    writeFile(homePaths(home).settings, JSON.stringify(laidOver(laidOver(FAST, options.settings ?? {}), more)));
  await settings({});
  const fleet = await TestFleet.start(join(directory, 'fleet'), options.pollMs ?? 20_000);
  const agent = new TestAgent(home, fleet.url, options.env);
  onTestFinished(() => end(directory, home, fleet, agent));

  const file = <T>(watched: string, look: () => T | undefined, what: string): Promise<T> => {
    const signal = new Signal();
    const watcher = watch(watched, () => signal.changed());
    return signal.until(look, what, () => agent.lines.slice(-10).join('\n')).finally(() => watcher.close());
  };
  const events = (component: string) => linesOf(join(componentPaths(home, component).data, 'events'));
  return {
    home,
    fleet,
    agent,
    disk: () => readDisk(home),
    events,
    event: async (component, matches, what) => {
      const { data } = componentPaths(home, component);
      await mkdir(data, { recursive: true });
      return file(data, () => events(component).find(matches), `${component}: ${what}`);
    },
    openGate: async (component) => {
      const gate = join(componentPaths(home, component).data, 'gate');
      await mkdir(dirname(gate), { recursive: true });
      await writeFile(gate, '');
    },
    file,
    settings,
  };
}

/** True when this revision runs, is durable and acked, nothing is owed, and every component is healthy. */
export const settledOn =
  (revision: number) =>
  ({ policy, health, actions, path, components }: Status): boolean =>
    policy.running?.revision === revision &&
    policy.persisted?.revision === revision &&
    policy.acked?.revision === revision &&
    actions.outbox === 0 &&
    path.policy === 'checkin' &&
    health === 'healthy' &&
    components.every(({ state }) => state === 'healthy');

/** Pid of a component in a status; a test without one has failed. */
export function pidIn(status: Status, component: string): number {
  const pid = componentIn(status, component)?.pid;
  if (typeof pid !== 'number') throw new Error(`${component} has no pid: ${JSON.stringify(status.components)}`);
  return pid;
}

/** Reads `state/` as a start would, and changes nothing. */
async function readDisk(home: string): Promise<Disk> {
  const { store, facts, findings } = await openStore({
    files: nodeFiles,
    home,
    agentId: null,
    now: Date.now,
    lookOnly: true,
  });
  return { facts, policy: (hash) => store.readPolicy(hash), findings: findings.map(({ message }) => message) };
}

async function end(directory: string, home: string, fleet: TestFleet, agent: TestAgent): Promise<void> {
  // Killed by the test and not started again: what runs is to run, and nobody could have stopped it.
  const drained = agent.runs || agent.lastEnd?.signal !== 'SIGKILL';
  const left: string[] = [];
  try {
    const hangs = setTimeout(() => void agent.kill9(), 15_000);
    const { signal } = agent.runs ? await agent.stop() : { signal: null };
    clearTimeout(hangs);
    if (signal === 'SIGKILL') left.push('the agent itself, which did not end on SIGTERM');
    for (const { pid, command } of componentsOf(home)) {
      if (drained) left.push(`${pid} ${command}`);
      process.kill(pid, 'SIGKILL');
    }
    await fleet.stop();
  } finally {
    await rm(directory, { recursive: true, force: true, maxRetries: 3 });
  }
  expect(left, 'processes left running').toEqual([]);
}

function linesOf(path: string): string[] {
  return existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter(Boolean) : [];
}

function laidOver(below: Settings, above: Settings): Settings {
  const entries = Object.entries(above).map(([key, value]) => {
    const under = below[key];
    return [key, isTree(under) && isTree(value) ? laidOver(under, value) : value];
  });
  return { ...below, ...Object.fromEntries(entries) };
}

function isTree(value: unknown): value is Settings {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export { componentIn, componentsOf, isAlive };

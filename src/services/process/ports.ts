/** The ports of the component machines, on real processes and files of a Linux host. */
import { readdir } from 'node:fs/promises';
import { fromPromise } from 'xstate';
import { asHoldfastError } from '../../errors.ts';
import type { Claimed, Launched, ProbeInput, Reloaded } from '../../machines/component-setup.ts';
import type { CheckRefusal, Recorded } from '../../machines/components-setup.ts';
import type { WantedComponent } from '../../policy/component.ts';
import { componentPaths, homePaths } from '../home.ts';
import { runCheck } from './check.ts';
import { type Clock, realClock } from './clock.ts';
import { ManagedProcess } from './managed-process.ts';
import { membersOf, survey, type World } from './members.ts';
import { pidNamespaceOf } from './proc.ts';
import { readRecord } from './record.ts';

export interface ProcessPortsOptions {
  /** The home directory, absolute. */
  readonly home: string;
  /** Names this boot of the host; a process on record of another boot is not looked for. */
  readonly bootId: string;
  readonly log: ProcessLog;
  readonly clock?: Clock;
}

/** The part of the daemon's log that is used here. */
export interface ProcessLog {
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void;
  warning(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** The checks that run at the same time. */
const CHECKS_AT_ONCE = 4;

/**
 * What `.provide({ actors })` of both machines takes: `component` for componentMachine, `components` for componentsMachine (which besides
 * these needs `prepare` and the provided componentMachine as `component`). Nothing is started before a port is used.
 */
export function processPorts(options: ProcessPortsOptions) {
  const { home, log, clock = realClock } = options;
  const world = once(
    async (): Promise<World> => ({
      home,
      bootId: options.bootId,
      pidNamespace: await pidNamespaceOf('self'),
    }),
  );
  const managed = new Map<string, ManagedProcess>();
  const processOf = async (id: string): Promise<ManagedProcess> => {
    const known = managed.get(id) ?? new ManagedProcess({ id, world: await world(), clock, log });
    if (!managed.has(id)) managed.set(id, known);
    return managed.get(id) ?? known;
  };

  return {
    component: {
      claim: fromPromise<Claimed, { readonly component: WantedComponent }>(async ({ input, signal }) =>
        (await processOf(input.component.id)).claim(input.component, signal),
      ),
      launch: fromPromise<Launched, { readonly component: WantedComponent }>(async ({ input, signal }) =>
        (await processOf(input.component.id)).launch(input.component, signal),
      ),
      watch: fromPromise<string, { readonly id: string; readonly pid: number }>(async ({ input, signal }) =>
        (await processOf(input.id)).watch(signal),
      ),
      probe: fromPromise<void, ProbeInput>(async ({ input, signal }) =>
        (await processOf(input.id)).probe(input, signal),
      ),
      reload: fromPromise<Reloaded, { readonly component: WantedComponent; readonly pid: number }>(
        async ({ input, signal }) => (await processOf(input.component.id)).reload(input.component, signal),
      ),
      confirm: fromPromise<void, { readonly id: string; readonly hash: string }>(async ({ input, signal }) =>
        (await processOf(input.id)).confirm(input.hash, signal),
      ),
      terminate: fromPromise<void, { readonly id: string; readonly signal: NodeJS.Signals }>(
        async ({ input, signal }) => (await processOf(input.id)).terminate(input.signal, signal),
      ),
      kill: fromPromise<void, { readonly id: string }>(async ({ input, signal }) =>
        (await processOf(input.id)).kill(signal),
      ),
    },
    components: {
      recorded: fromPromise<readonly Recorded[], undefined>(async () => listRecorded(await world())),
      check: fromPromise<readonly CheckRefusal[], { readonly components: readonly WantedComponent[] }>(
        async ({ input, signal }) => checkAll(home, input.components, signal),
      ),
      write: fromPromise<void, { readonly components: readonly WantedComponent[] }>(async ({ input }) => {
        for (const component of input.components) await (await processOf(component.id)).write(component);
      }),
      sweep: fromPromise<void, { readonly ids: readonly string[] }>(async ({ input, signal }) => {
        await Promise.all(input.ids.map(async (id) => (await processOf(id)).sweep(signal)));
      }),
    },
  };
}

/** Runs the checks of all components that have one, a few at once. */
async function checkAll(
  home: string,
  components: readonly WantedComponent[],
  abort?: AbortSignal,
): Promise<CheckRefusal[]> {
  const queue = [...components];
  const refusals: CheckRefusal[] = [];
  const worker = async () => {
    for (let component = queue.shift(); component; component = queue.shift()) {
      const reason = await runCheck(home, component, abort);
      if (reason !== null) refusals.push({ component: component.id, reason });
    }
  };
  await Promise.all(Array.from({ length: CHECKS_AT_ONCE }, worker));
  return refusals.sort((a, b) => (a.component < b.component ? -1 : 1));
}

async function listRecorded(world: World): Promise<Recorded[]> {
  const directory = homePaths(world.home).components;
  const entries = await readdir(directory, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw asHoldfastError(error, 'HOME_UNUSABLE', `reading ${directory}`);
  });
  const seen = await survey();
  const found = await Promise.all(
    entries
      .filter((entry) => entry.isDirectory())
      .map(async ({ name: id }): Promise<Recorded | null> => {
        const record = await readRecord(componentPaths(world.home, id).process);
        const [main] = await membersOf(record, id, world, seen);
        if (record === null && main === undefined) return null;
        return {
          id,
          type: record?.type ?? id,
          pid: main?.pid ?? record?.pid ?? 0,
          hash: record?.confirmed ?? null,
          alive: main !== undefined,
        };
      }),
  );
  return found.filter((each) => each !== null);
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

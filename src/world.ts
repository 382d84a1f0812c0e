/** Everything outside the process, as the agent is given it: the real one here, a simulated one in tests. */
import type { ActorOptions, AnyStateMachine } from 'xstate';
import type { Rendering } from './policy/component.ts';
import type { Variables } from './policy/variables.ts';
import { createTransport, type Transport, type TransportSettings } from './services/fleet/transport.ts';
import { type HostClock, systemClock } from './services/host/clock.ts';
import { bootId, type HostFacts, hostFacts, machineId } from './services/host/host.ts';
import { watchForSleep } from './services/host/sleep.ts';
import type { Logger } from './services/log/logger.ts';
import { processPorts } from './services/process/ports.ts';
import { EXAMPLES, type HostRendering, hostVariables, renderOnHost } from './services/specs/render-on-host.ts';
import { type Files, nodeFiles } from './services/store/files.ts';
import { type HomeLock, lockHome } from './services/store/lock.ts';

export interface World {
  readonly files: Files;
  readonly clock: HostClock;
  /** Drives the delays of the charts; null: real timers. */
  readonly timers: NonNullable<ActorOptions<AnyStateMachine>['clock']> | null;
  readonly lock: (home: string) => Promise<HomeLock>;
  /** Connections to Fleet; nothing is opened, nor the network stack loaded, before the first exchange (P2). */
  readonly transport: (settings: TransportSettings) => Transport;
  readonly processes: (options: { home: string; bootId: string; log: Logger }) => ReturnType<typeof processPorts>;
  readonly render: (policyText: string, host: HostRendering) => Promise<Rendering>;
  readonly host: {
    bootId(): string;
    machineId(): string;
    facts(): HostFacts;
    readonly isRoot: boolean;
  };
  readonly variables: (agent: {
    readonly home: string;
    readonly agentId: string;
    readonly agentVersion: string;
    readonly local: Readonly<Record<string, unknown>>;
  }) => Variables;
  /** Calls back after the host slept, until the returned function is called. */
  readonly onWake: (wake: () => void) => () => void;
  /** Any integer. */
  readonly seed: () => number;
  /** Epoch ms at which this process began. */
  readonly processStartedAt: number;
  readonly pid: number;
}

/** The real one: this host, its disk, its processes and its network. */
export const realWorld: World = {
  files: nodeFiles,
  clock: systemClock,
  timers: null,
  lock: lockHome,
  transport: (settings) => createTransport(settings, systemClock),
  processes: processPorts,
  render: renderOnHost,
  host: { bootId, machineId: () => machineId() ?? '', facts: hostFacts, isRoot: process.getuid?.() === 0 },
  variables: (agent) => hostVariables({ ...agent, examples: EXAMPLES, env: process.env }),
  onWake: (wake) => watchForSleep({ clock: systemClock, onWake: wake }),
  seed: () => Math.floor(Math.random() * 2 ** 31),
  processStartedAt: systemClock.wallMs() - systemClock.monotonicMs(),
  pid: process.pid,
};

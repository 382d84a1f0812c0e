/** What the chart of a component speaks of: its context, its ports, and the bodies behind the names of its guards, actions and delays. */
import { and, assign, enqueueActions, setup, stateIn } from 'xstate';
import type { ComponentState, Probe, WantedComponent } from '../policy/component.ts';
import { growingDelay } from './deadline.ts';
import { unwired } from './system.ts';

/** Delays that are Holdfast's own; those of the program come from its spec. All in ms. */
export interface ComponentTiming {
  /** Between two tries of a `ready` or reload `confirm` probe. */
  readonly probeEveryMs: number;
  /** The most one try of a probe may take. */
  readonly probeTimeoutMs: number;
  /** Alive for this long after a reload without a confirmation counts as reloaded. */
  readonly stayUpMs: number;
  /** Healthy for this long forgets the restarts before, so that `give_up_after` counts crashes in a row. */
  readonly steadyMs: number;
  /** A group that survives SIGKILL (uninterruptible sleep) is killed again this often. */
  readonly killAgainMs: number;
}

export const COMPONENT_TIMING: ComponentTiming = {
  probeEveryMs: 200,
  probeTimeoutMs: 5_000,
  stayUpMs: 2_000,
  steadyMs: 60_000,
  killAgainMs: 5_000,
};

export interface ComponentInput {
  readonly wanted: WantedComponent;
  readonly timing: ComponentTiming;
}

/** What the parent tells a component. `reload` falls back to a restart where there is nothing healthy to reload. */
export type ComponentEvent =
  | { readonly type: 'component.reload'; readonly wanted: WantedComponent }
  | { readonly type: 'component.restart'; readonly wanted: WantedComponent }
  /** Nothing of the process changes; probes, units and restart policy may. */
  | { readonly type: 'component.keep'; readonly wanted: WantedComponent }
  /** `keep`: let go of it, it runs on. `hurry`: no grace. */
  | { readonly type: 'component.stop'; readonly keep: boolean; readonly hurry: boolean };

/** What a component tells its parent after each step. */
export interface ComponentReported {
  readonly type: 'component.reported';
  readonly id: string;
  readonly state: ComponentState;
  readonly message: string;
  readonly pid: number | null;
  /** Restarts after an unexpected end since it was first started here. */
  readonly restarts: number;
  /** Unexpected ends in a row, until it was healthy for long enough to forget them. */
  readonly endsInARow: number;
  readonly hash: string;
  readonly processHash: string;
  /** The step that was asked for last did not take: the program could not be started, or did not take its new configuration. */
  readonly refusal: { readonly step: 'start' | 'reload'; readonly reason: string } | null;
}

/** The outcome of claiming: the pid of a process that was adopted, or null when there is none (any more). */
export interface Claimed {
  readonly pid: number | null;
}
export interface Launched {
  readonly pid: number;
  /** Length of the output, in bytes, when the step began: an output probe looks from here on. */
  readonly outputFrom: number;
}
export interface Reloaded {
  readonly outputFrom: number;
}
export interface ProbeInput {
  readonly id: string;
  readonly pid: number;
  readonly probe: Probe;
  readonly outputFrom: number;
  readonly timeoutMs: number;
}

type Phase =
  | 'claiming'
  | 'launching'
  | 'starting'
  | 'unready'
  | 'confirming'
  | 'healthy'
  | 'degraded'
  | 'reloading'
  | 'unsure'
  | 'clearing'
  | 'backingOff'
  | 'failed'
  | 'stopping'
  | 'killing'
  | 'cornered'
  | 'stopped'
  | 'released';

export interface ComponentContext {
  readonly wanted: WantedComponent;
  readonly timing: ComponentTiming;
  /** What the stopping is for. */
  readonly goal: 'run' | 'stop';
  readonly pid: number | null;
  readonly outputFrom: number;
  readonly adopted: boolean;
  readonly unconfirmedReload: boolean;
  /** Ends in a row, not forgotten yet. */
  readonly failures: number;
  readonly restarts: number;
  /** Health probes in a row that failed. */
  readonly misses: number;
  /** The last thing that went wrong, in words. */
  readonly problem: string;
  readonly refusal: ComponentReported['refusal'];
}

export const componentSetup = setup({
  types: {
    context: {} as ComponentContext,
    events: {} as ComponentEvent,
    input: {} as ComponentInput,
  },
  actors: {
    /** Adopts the process on record when it is exactly the wanted one; stops anything else on record, with its group, first. */
    claim: unwired<Claimed, { readonly component: WantedComponent }>('component.claim'),
    /** Writes the configuration, makes it current and starts the program through the launcher. */
    launch: unwired<Launched, { readonly component: WantedComponent }>('component.launch'),
    /** Resolves with how the process ended. */
    watch: unwired<string, { readonly id: string; readonly pid: number }>('component.watch'),
    /** One try; rejects with what it saw. */
    probe: unwired<void, ProbeInput>('component.probe'),
    /** Marks the process as changing, makes the new configuration current and tells the program. */
    reload: unwired<Reloaded, { readonly component: WantedComponent; readonly pid: number }>('component.reload'),
    /** Records that the process runs this configuration, so that the next start may adopt it. */
    confirm: unwired<void, { readonly id: string; readonly hash: string }>('component.confirm'),
    /** Sends the signal and resolves when the process and its group are gone; has no patience of its own. */
    terminate: unwired<void, { readonly id: string; readonly signal: NodeJS.Signals }>('component.terminate'),
    /** SIGKILL to the whole group; resolves when it is gone. */
    kill: unwired<void, { readonly id: string }>('component.kill'),
  },
  actions: {
    report: enqueueActions(({ context, enqueue, system }, params: { state: ComponentState; phase: Phase }) => {
      const parent = system.get('components');
      if (parent) enqueue.sendTo(parent, reportOf(context, params.state, params.phase));
    }),
    takeWanted: assign(({ event }) => ('wanted' in event ? { wanted: event.wanted } : {})),
    aimToRun: assign({ goal: 'run', failures: 0, refusal: null }),
    aimToStop: assign({ goal: 'stop' }),
    takeAdopted: assign((_, params: Claimed) => ({ pid: params.pid, adopted: true, outputFrom: 0, refusal: null })),
    takeLaunched: assign((_, params: Launched) => ({ ...params, adopted: false, unconfirmedReload: false })),
    takeReloaded: assign((_, params: Reloaded) => params),
    noteProblem: assign((_, params: { error: unknown }) => ({ problem: words(params.error) })),
    noteMiss: assign(({ context }, params: { error: unknown }) => ({
      problem: words(params.error),
      misses: context.misses + 1,
    })),
    noteEnd: assign((_, params: { how: string }) => ({ problem: params.how })),
    countFailure: assign(({ context }) => ({ failures: context.failures + 1 })),
    countRestart: assign(({ context }) => ({ restarts: context.restarts + 1 })),
    forgetFailures: assign({ failures: 0 }),
    forgetMisses: assign({ misses: 0 }),
    forgetProcess: assign({ pid: null, misses: 0, adopted: false }),
    clearRefusal: assign({ refusal: null, problem: '' }),
    refuseStart: assign(({ context }) => ({ refusal: { step: 'start' as const, reason: context.problem } })),
    refuseReload: assign(({ context }) => ({ refusal: { step: 'reload' as const, reason: context.problem } })),
    refuseSilentReload: assign(({ context }) => ({ refusal: { step: 'reload' as const, reason: silence(context) } })),
    markUnconfirmedReload: assign({ unconfirmedReload: true }),
    markConfirmedReload: assign({ unconfirmedReload: false }),
  },
  guards: {
    'it runs on unasked': ({ event }) => event.type === 'component.stop' && event.keep,
    'there is no time': ({ event }) => event.type === 'component.stop' && event.hurry,
    'it was adopted': (_, params: Claimed) => params.pid !== null,
    'it was adopted and readiness shows only at a start': ({ context }, params: Claimed) =>
      params.pid !== null && !canBeAskedAgain(context.wanted.daemon.ready.probe),
    'readiness can be asked again': ({ context }) => canBeAskedAgain(context.wanted.daemon.ready.probe),
    'it ended before it was told': and(['it is being told', 'a signal tells it']),
    'it is being told': stateIn('#component.up.reloading.telling'),
    /** A command that tells it runs for a while, and the program may end of it meanwhile; a signal is sent last. */
    'a signal tells it': ({ context }) => context.wanted.daemon.reload?.action.kind === 'signal',
    'a reload is under way': stateIn('#component.up.reloading'),
    'health is probed': ({ context }) => context.wanted.daemon.health !== null,
    'too many probes failed': ({ context }) =>
      context.wanted.daemon.health !== null && context.misses >= context.wanted.daemon.health.failAfter,
    'the reload can be confirmed': ({ context }) => context.wanted.daemon.reload?.confirm != null,
    'the attempts are used up': ({ context }) => context.failures > context.wanted.daemon.restart.giveUpAfter,
    'it is to run again': ({ context }) => context.goal === 'run',
  },
  delays: {
    probeEvery: ({ context }) => context.timing.probeEveryMs,
    readyTimeout: ({ context }) => readyTimeoutMs(context.wanted),
    reloadTimeout: ({ context }) => context.wanted.daemon.reload?.timeoutMs ?? 0,
    stayUp: ({ context }) => context.timing.stayUpMs,
    steady: ({ context }) => context.timing.steadyMs,
    healthEvery: ({ context }) => context.wanted.daemon.health?.everyMs ?? 0,
    backoff: ({ context }) => growingDelay(context.wanted.daemon.restart, context.failures),
    grace: ({ context }) => context.wanted.daemon.stop.graceMs,
    killAgain: ({ context }) => context.timing.killAgainMs,
  },
});

function reportOf(context: ComponentContext, state: ComponentState, phase: Phase): ComponentReported {
  return {
    type: 'component.reported',
    id: context.wanted.id,
    state,
    message: SENTENCES[phase](context),
    pid: context.pid,
    restarts: context.restarts,
    endsInARow: context.failures,
    hash: context.wanted.hash,
    processHash: context.wanted.processHash,
    refusal: context.refusal,
  };
}

const SENTENCES: Readonly<Record<Phase, (context: ComponentContext) => string>> = {
  claiming: () => 'looking for a process of an earlier start',
  launching: () => 'being started',
  starting: ({ wanted }) => `waiting for ${inWords(wanted.daemon.ready.probe)}`,
  unready: ({ wanted, problem }) =>
    `not ready after ${readyTimeoutMs(wanted) / 1000} s: ${problem || `waiting for ${inWords(wanted.daemon.ready.probe)}`}`,
  confirming: () => 'ready',
  healthy: ({ adopted, unconfirmedReload }) => {
    if (unconfirmedReload) return 'running; its last reload is unconfirmed, it only stayed up';
    return adopted ? 'running since an earlier start' : 'running';
  },
  degraded: ({ misses, problem }) => `${misses} health probes in a row failed: ${problem}`,
  reloading: ({ wanted }) => {
    const confirm = wanted.daemon.reload?.confirm;
    return confirm ? `waiting for ${inWords(confirm)}` : 'waiting whether it stays up';
  },
  unsure: ({ problem, refusal }) => `did not take its new configuration: ${refusal?.reason ?? problem}`,
  clearing: ({ problem }) => problem,
  backingOff: ({ wanted, failures, problem }) =>
    `${problem}; starts again in ${growingDelay(wanted.daemon.restart, failures) / 1000} s (${failures} of ${wanted.daemon.restart.giveUpAfter})`,
  failed: ({ wanted, problem }) => `gave up after ${restartsOf(wanted)}: ${problem}`,
  stopping: ({ wanted }) => `waiting for its end after ${wanted.daemon.stop.signal}`,
  killing: () => 'waiting for its end after SIGKILL',
  cornered: ({ problem }) => `survived SIGKILL: ${problem}`,
  stopped: () => 'stopped',
  released: () => 'left to run on',
};

function restartsOf({ daemon: { restart } }: WantedComponent): string {
  return restart.giveUpAfter === 1 ? '1 restart' : `${restart.giveUpAfter} restarts`;
}

/** A probe as a person reads it after "waiting for". */
function inWords(probe: Probe): string {
  switch (probe.kind) {
    case 'tcp':
      return `tcp ${probe.host}:${probe.port}`;
    case 'http':
      return probe.url;
    case 'output':
      return `its output "${probe.pattern}"`;
    case 'command':
      return `command ${probe.run.command}`;
    case 'after':
      return `it to stay up for ${probe.ms / 1000} s`;
  }
}

/** What a program writes or how long it lives tells about its start only; a port or a command can be asked at any time. */
function canBeAskedAgain(probe: Probe): boolean {
  return probe.kind === 'tcp' || probe.kind === 'http' || probe.kind === 'command';
}

function readyTimeoutMs({ daemon: { ready } }: WantedComponent): number {
  return ready.probe.kind === 'after' ? ready.timeoutMs + ready.probe.ms : ready.timeoutMs;
}

export function probeInput(context: ComponentContext, probe: Probe): ProbeInput {
  return {
    id: context.wanted.id,
    pid: context.pid ?? 0,
    probe,
    outputFrom: context.outputFrom,
    timeoutMs: context.timing.probeTimeoutMs,
  };
}

export function healthInput(context: ComponentContext): ProbeInput {
  return probeInput(context, context.wanted.daemon.health?.probe ?? context.wanted.daemon.ready.probe);
}

export function confirmInput(context: ComponentContext): ProbeInput {
  return probeInput(context, context.wanted.daemon.reload?.confirm ?? context.wanted.daemon.ready.probe);
}

/** Why a reload that was not confirmed in time counts as refused. */
function silence({ wanted, problem }: ComponentContext): string {
  const reload = wanted.daemon.reload;
  const what = reload?.confirm ? inWords(reload.confirm) : 'the reload to end';
  return `waited ${(reload?.timeoutMs ?? 0) / 1000} s for ${what}${problem && `: ${problem}`}`;
}

function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * What a policy comes to on this host: the components it wants, rendered down to commands and files. Pure data; the same
 * policy, specs and host facts always give the same value.
 */
import type { Problem } from '../errors.ts';

export interface Unit {
  /** `<component id>-<input id>`, or the component id for its output unit (as Elastic Agent has it). */
  readonly id: string;
  readonly type: 'input' | 'output';
  /** Why this unit is degraded whatever the program does (e.g. "processors not carried out"); null when it is not. */
  readonly degraded: string | null;
}

export interface RenderedFile {
  /** Path inside the configuration directory, `/`-separated, never leaving it. */
  readonly path: string;
  readonly content: string;
}

/** A command line, ready to run. `cwd` null: the configuration directory. */
export interface Command {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string | null;
  readonly user: string | null;
}

export type Probe =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'http'; readonly url: string }
  /** A JavaScript regular expression, looked for in what the program has written since the step began. */
  | { readonly kind: 'output'; readonly pattern: string }
  | { readonly kind: 'command'; readonly run: Command }
  /** Counts as ready after this long alive. */
  | { readonly kind: 'after'; readonly ms: number };

export interface Check {
  readonly run: Command;
  /** The files as they are when `${component.dir}` is the new directory itself. */
  readonly files: readonly RenderedFile[];
  readonly timeoutMs: number;
}

export type ReloadAction =
  | { readonly kind: 'signal'; readonly signal: NodeJS.Signals }
  | { readonly kind: 'command'; readonly run: Command }
  | { readonly kind: 'http'; readonly url: string; readonly method: string };

export interface Reload {
  readonly action: ReloadAction;
  /** Null: a reload counts only by staying up, and status says so. */
  readonly confirm: Probe | null;
  readonly timeoutMs: number;
}

/** The `daemon` runtime of one component, rendered. */
export interface Daemon {
  readonly run: Command;
  /** Limits by name (`nofile`, `core`, …), in the units of ulimit (policy/spec.ts). */
  readonly limits: Readonly<Record<string, number>>;
  readonly files: readonly RenderedFile[];
  readonly check: Check | null;
  readonly reload: Reload | null;
  readonly ready: { readonly probe: Probe; readonly timeoutMs: number };
  readonly health: { readonly probe: Probe; readonly everyMs: number; readonly failAfter: number } | null;
  readonly stop: { readonly signal: NodeJS.Signals; readonly graceMs: number };
  readonly restart: { readonly initialMs: number; readonly maxMs: number; readonly giveUpAfter: number };
}

export interface WantedComponent {
  /** `<type>-<output>`, isolated `<type>-<output>-<input id>` (as Elastic Agent has it). Safe as a directory name. */
  readonly id: string;
  readonly type: string;
  /** SHA-256 (hex) of the rendered command, environment and files: the identity of the daemon. */
  readonly hash: string;
  /** SHA-256 (hex) of what only a restart can change (command, args, env, user, cwd, limits): equal means a reload is enough. */
  readonly processHash: string;
  readonly units: readonly Unit[];
  readonly daemon: Daemon;
}

/** An input or component that cannot be carried out as the policy wants it. */
export interface ComponentProblem extends Problem {
  /** Component id, or `<type>-<output>` of an input without a spec. */
  readonly component: string;
  readonly type: string;
  readonly units: readonly string[];
  /** Other ids that its component has if each of its inputs has one of its own, where nothing here says whether that is so. */
  readonly mayBe?: readonly string[];
  /** True: only degrades (no spec here). False: the policy is rejected for it when fresh, the component failed when replayed. */
  readonly degradesOnly: boolean;
}

export interface Rendering {
  readonly components: readonly WantedComponent[];
  readonly problems: readonly ComponentProblem[];
  /** Said once at info: parts of a stock policy that are noted and not carried out (agent.monitoring, …). */
  readonly notes: readonly string[];
}

/** One component as it is, for the planner. */
export interface RunningComponent {
  readonly id: string;
  readonly hash: string;
  readonly processHash: string;
  /** False: it failed, backs off or was stopped: it has to be started anew even when its hash is the wanted one. */
  readonly alive: boolean;
}

export type StepKind = 'stop' | 'start' | 'reload' | 'restart' | 'keep';

/** One step of a plan. `id` is `<kind> <component id>`; status can say which step is awaited. */
export interface Step {
  readonly id: string;
  readonly kind: StepKind;
  readonly component: string;
}

/** Health of a component as `status` and Fleet show it. */
export type ComponentState =
  | 'starting'
  | 'healthy'
  | 'degraded'
  | 'reloading'
  | 'stopping'
  | 'backingOff'
  | 'failed'
  | 'stopped';

const WORST_FIRST: readonly string[] = [
  'failed',
  'backingOff',
  'degraded',
  'stopping',
  'reloading',
  'starting',
  'stopped',
  'healthy',
] satisfies ComponentState[];

/** In the order in which a person should hear of them; equals stay as they are. */
export function worstFirst<T extends { readonly state: string }>(components: readonly T[]): T[] {
  return components.toSorted((a, b) => WORST_FIRST.indexOf(a.state) - WORST_FIRST.indexOf(b.state));
}

export interface UnitStatus {
  readonly id: string;
  readonly type: 'input' | 'output';
  readonly state: ComponentState;
  readonly message: string;
}

export interface ComponentStatus {
  readonly id: string;
  readonly type: string;
  readonly state: ComponentState;
  readonly message: string;
  readonly pid: number | null;
  readonly restarts: number;
  readonly hash: string;
  readonly units: readonly UnitStatus[];
}

/** P3 as pure functions: from how the components are, whether a policy broke what worked, is good, or only degrades; and how all that is shown. */
import type {
  ComponentProblem,
  ComponentState,
  ComponentStatus,
  RunningComponent,
  Step,
  UnitStatus,
  WantedComponent,
} from '../policy/component.ts';
import type { ComponentReported } from './component-setup.ts';
import { timesOf } from './naming.ts';

/** A component that has been started here: what it is to be and what it said last. */
export interface Running {
  readonly wanted: WantedComponent;
  readonly report: ComponentReported;
}

/** What a verdict is made of. */
export interface Trial {
  readonly mode: 'fresh' | 'replay' | 'revert';
  readonly onFailure: 'reject' | 'degrade';
  readonly wanted: readonly WantedComponent[];
  readonly problems: readonly ComponentProblem[];
  readonly running: Readonly<Record<string, Running>>;
  /** Components that were healthy under last good. */
  readonly baseline: readonly string[];
  /** Components changed since the last confirmation. */
  readonly touched: readonly string[];
  /** Each component's restarts when its step was issued. */
  readonly restartsBefore: Readonly<Record<string, number>>;
}

/** The longest reason of a refusal, in characters: it goes into the message for Fleet. */
const REASON_CHARACTERS = 800;

/** Ends in a row that are no accident any more. */
const CRASH_LOOP = 2;

/** May health refuse this policy at all? */
function mayRefuse(trial: Trial): boolean {
  return trial.mode === 'fresh' && trial.onFailure === 'reject';
}

function judged(trial: Trial): WantedComponent[] {
  return mayRefuse(trial) ? trial.wanted.filter(({ id }) => trial.baseline.includes(id)) : [];
}

/** Why the policy is refused now: what worked has failed, or its step did not take; null when that is not so. */
export function refusalOf(trial: Trial): string | null {
  const broken = judged(trial).flatMap(({ id }) => {
    const report = trial.running[id]?.report;
    if (report?.refusal) return [`${id}: ${report.refusal.reason}`];
    return report?.state === 'failed' ? [`${id}: ${report.message}`] : [];
  });
  return broken.length === 0 ? null : bounded(broken.join('; '));
}

/** The same at the end of its time: what worked and is not healthy by then, or only between two crashes, is broken. */
export function verdictAtTheEnd(trial: Trial): string | null {
  const broken = judged(trial).flatMap(({ id }) => {
    const report = trial.running[id]?.report;
    if (report === undefined) return [`${id}: it does not run`];
    if (report.state !== 'healthy') return [`${id}: ${report.message}`];
    const crashes = report.restarts - (trial.restartsBefore[id] ?? 0);
    return crashes > 0 ? [`${id}: it ended ${timesOf(crashes)} while it was tried`] : [];
  });
  return broken.length === 0 ? null : bounded(broken.join('; '));
}

/** True when all that counts is healthy, or has failed: where a failure refuses the policy, {@link refusalOf} has said so before. */
export function confirmable(trial: Trial): boolean {
  const judgedIds = judged(trial).map(({ id }) => id);
  return trial.wanted
    .filter(({ id }) => trial.touched.includes(id) || judgedIds.includes(id))
    .every(({ id }) => {
      const state = trial.running[id]?.report.state;
      return state === 'healthy' || state === 'failed';
    });
}

/** Ids of the components that are not as the policy wants them, for the confirmation. */
export function degradedIn(trial: Trial): string[] {
  const unwell = trial.wanted.filter(
    ({ id, units }) => trial.running[id]?.report.state !== 'healthy' || units.some((unit) => unit.degraded !== null),
  );
  return [...new Set([...unwell.map(({ id }) => id), ...trial.problems.map(({ component }) => component)])].sort();
}

/**
 * What is healthy under last good. What is on its way there for the first time since its step counts too: it was confirmed once, and a new
 * policy must not gain by coming early. What ends again and again does not count while it is up in between: it is down by itself at any
 * moment, and the policy that cures it, or leaves it alone, would be refused for that.
 */
export function healthyIn({ running, restartsBefore }: Pick<Trial, 'running' | 'restartsBefore'>): string[] {
  const onItsWay: readonly ComponentState[] = ['starting', 'reloading'];
  return Object.values(running)
    .map(({ report }) => report)
    .filter(({ id, state, restarts, endsInARow, refusal }) => {
      const stumbled = refusal !== null || restarts > (restartsBefore[id] ?? 0);
      return (state === 'healthy' && endsInARow < CRASH_LOOP) || (onItsWay.includes(state) && !stumbled);
    })
    .map(({ id }) => id);
}

/** The running components as the planner takes them. */
export function forPlanner(
  running: Readonly<Record<string, Running>>,
  wanted: readonly WantedComponent[],
): RunningComponent[] {
  const down: readonly ComponentState[] = ['backingOff', 'failed', 'stopping', 'stopped'];
  return Object.values(running).map(({ report }) => {
    // One that did not take a configuration may take another by a reload; the same again only by a restart.
    const sameAgain = wanted.some(({ id, hash }) => id === report.id && hash === report.hash);
    const unsure = report.refusal?.step === 'reload' && sameAgain;
    return {
      id: report.id,
      hash: report.hash,
      processHash: report.processHash,
      alive: !down.includes(report.state) && !unsure,
    };
  });
}

/** Whether a problem is, or may be, one of the component of this id. */
export function concerns({ component, mayBe = [] }: ComponentProblem, id: string): boolean {
  return component === id || mayBe.includes(id);
}

/** A component of an earlier start that runs on, since what it would have to be cannot be rendered here. */
export interface LeftRunning {
  readonly id: string;
  readonly type: string;
  readonly pid: number;
  readonly hash: string | null;
}

/** Everything as `status` and Fleet show it, by id. `kept`: components that run as they were confirmed, since they cannot be rendered here. */
export function shownIn(
  running: Readonly<Record<string, Running>>,
  problems: readonly ComponentProblem[],
  kept: readonly string[] = [],
  left: readonly LeftRunning[] = [],
): ComponentStatus[] {
  const whyNot = (id: string): string => {
    const problem = problems.find((each) => concerns(each, id));
    return `runs on as it was confirmed: ${problem?.message ?? 'it cannot be rendered here'}`;
  };
  const managed = Object.values(running).map(({ wanted, report }) =>
    shown(wanted, report, kept.includes(report.id) ? whyNot(report.id) : null),
  );
  const leftRunning = left.map(
    ({ id, type, pid, hash }): ComponentStatus => ({
      id,
      type,
      state: 'degraded',
      message: whyNot(id),
      pid,
      restarts: 0,
      hash: hash ?? '',
      units: [],
    }),
  );
  const all = [...managed, ...leftRunning];
  const named = [...kept, ...left.map(({ id }) => id)];
  const troubled = problems
    .filter((it) => !all.some(({ id }) => id === it.component) && !named.some((id) => concerns(it, id)))
    .map((problem): ComponentStatus => {
      const state = problem.degradesOnly ? 'degraded' : 'failed';
      return {
        id: problem.component,
        type: problem.type,
        state,
        message: problem.message,
        pid: null,
        restarts: 0,
        hash: '',
        units: problem.units.map((id) => ({ id, type: 'input', state, message: problem.message })),
      };
    });
  return [...all, ...troubled].sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** One that is managed here. `lack`: why it is not as the policy wants it, however well it is. */
function shown(wanted: WantedComponent, report: ComponentReported, lack: string | null): ComponentStatus {
  const units = wanted.units.map((unit): UnitStatus => {
    const degraded = unit.degraded ?? lack;
    return degraded !== null && report.state === 'healthy'
      ? { id: unit.id, type: unit.type, state: 'degraded', message: degraded }
      : { id: unit.id, type: unit.type, state: report.state, message: report.message };
  });
  const lessened =
    report.state === 'healthy' ? (lack ?? units.find((unit) => unit.state === 'degraded')?.message) : undefined;
  return {
    id: report.id,
    type: wanted.type,
    state: lessened === undefined ? report.state : 'degraded',
    message: lessened ?? report.message,
    pid: report.pid,
    restarts: report.restarts,
    hash: report.hash,
    units,
  };
}

/** A plan that is being carried out, or was last. */
export interface PlanInHand extends Pick<Trial, 'running' | 'touched'> {
  readonly steps: readonly Step[];
  readonly stableForMs: number;
  readonly refusal: unknown;
}

/** The step that is awaited and for what (its end, readiness, health, or that it stays so), or null when none is. */
export function awaitedIn(plan: PlanInHand): string | null {
  if (plan.refusal !== null) return null;
  const [first] = plan.steps.flatMap((step) => {
    const waits = waitsFor(step, plan);
    return waits === null ? [] : [`${step.id}: ${waits}`];
  });
  if (first !== undefined) return first;
  // What failed is not waited for: it refuses the policy, or is named when it is confirmed without it.
  const last = plan.steps.find(({ component }) => plan.touched.includes(component));
  return last === undefined ? null : `${last.id}: ${staying(plan)}`;
}

/** Null: it is done, or there was nothing to do. */
function waitsFor({ kind, component }: Step, { running, touched }: PlanInHand): string | null {
  const report = running[component]?.report;
  if (report === undefined || kind === 'keep') return null;
  if (kind === 'stop') return report.message;
  return touched.includes(component) && report.state !== 'healthy' ? report.message : null;
}

function staying({ stableForMs }: PlanInHand): string {
  return `healthy, and has to stay so for ${stableForMs / 1000} s (policy.apply.stable_for)`;
}

/** A step as people are shown it. */
export interface StepShown {
  readonly id: string;
  readonly state: 'ahead' | 'awaited' | 'done' | 'refused';
  /** What is waited for, or what came of it. */
  readonly note: string;
}

/** The plan step by step; `phase` is the state of the components' chart. */
export function stepsShown(plan: PlanInHand, phase: string): StepShown[] {
  return plan.steps.map((step) => {
    const { id, kind, component } = step;
    const report = plan.running[component]?.report;
    const waits = waitsFor(step, plan);
    if (kind === 'keep') return { id, state: 'done', note: 'unchanged, and not touched' };
    if (phase === 'planning') return { id, state: 'ahead', note: 'nothing is touched before every check has passed' };
    if (phase === 'refused') return { id, state: 'refused', note: report?.refusal?.reason ?? report?.message ?? '' };
    if (waits !== null) return { id, state: 'awaited', note: waits };
    if (kind === 'stop') return { id, state: 'done', note: 'gone' };
    if (phase === 'changing') return { id, state: 'ahead', note: 'what is not wanted any more ends first' };
    if (plan.touched.includes(component)) return { id, state: 'awaited', note: staying(plan) };
    return { id, state: 'done', note: report === undefined ? '' : `${report.state}: ${report.message}` };
  });
}

export function bounded(text: string): string {
  return text.length > REASON_CHARACTERS ? `${text.slice(0, REASON_CHARACTERS - 1)}…` : text;
}

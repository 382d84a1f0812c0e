/** What the chart of the components speaks of: its context, its ports, and the bodies behind the names of its guards, actions and delays. */
import { assign, enqueueActions, setup } from 'xstate';
import { HoldfastError } from '../errors.ts';
import type { ComponentProblem, ComponentStatus, Rendering, Step, WantedComponent } from '../policy/component.ts';
import { plan } from '../policy/plan.ts';
import { componentMachine } from './component.ts';
import type { ComponentEvent, ComponentReported, ComponentTiming } from './component-setup.ts';
import { type ComponentsEvent, tell, unwired } from './system.ts';
import {
  awaitedIn,
  bounded,
  concerns,
  confirmable,
  degradedIn,
  forPlanner,
  healthyIn,
  type Running,
  refusalOf,
  shownIn,
  verdictAtTheEnd,
} from './verdict.ts';

export interface ComponentsInput {
  readonly stableForMs: number;
  readonly timeoutMs: number;
  /** `degrade`: a component that breaks only degrades, the policy is not refused for it. */
  readonly onFailure: 'reject' | 'degrade';
  /** How often what is left alone is looked at, in ms. */
  readonly lookEveryMs: number;
  readonly component: ComponentTiming;
}

/** `policy.apply` as it is without settings. */
export const COMPONENTS_DEFAULTS = {
  stableForMs: 5_000,
  timeoutMs: 120_000,
  onFailure: 'reject',
  lookEveryMs: 5_000,
} as const satisfies Omit<ComponentsInput, 'component'>;

/** What a component's `process` record says, and whether that process (or a rest of its group) lives. */
export interface Recorded {
  readonly id: string;
  readonly type: string;
  readonly pid: number;
  readonly hash: string | null;
  readonly alive: boolean;
}

export interface CheckRefusal {
  readonly component: string;
  /** The program's own words, bounded. */
  readonly reason: string;
}

type Apply = Extract<ComponentsEvent, { type: 'components.apply' }>;
type Event = ComponentsEvent | ComponentReported | ChildDied;

/** What XState sends when a child's own logic threw; no component machine does by intent. */
interface ChildDied {
  readonly type: `xstate.error.actor.${string}`;
  readonly error: unknown;
}

interface Refusal {
  readonly kind: 'unparsable' | 'unrendered' | 'check' | 'health';
  readonly reason: string;
}

export interface ComponentsContext extends ComponentsInput {
  /** The plan in flight, or the last one. */
  readonly plan: string;
  readonly mode: Apply['mode'];
  readonly policyText: string;
  /** What the plan in flight comes to. */
  readonly rendering: Rendering;
  readonly steps: readonly Step[];
  /** What has been issued, and so is to run. */
  readonly wanted: readonly WantedComponent[];
  readonly problems: readonly ComponentProblem[];
  readonly running: Readonly<Record<string, Running>>;
  readonly recorded: readonly Recorded[];
  /** Hash of the policy in flight, or of the last one. */
  readonly policyHash: string;
  /** Hash of what is last good, as the agent knew when it asked for that. */
  readonly lastGood: string | null;
  /** Hash of the policy that what runs was confirmed for, or is on its way back to; null: it is a candidate's, on trial. */
  readonly standsFor: string | null;
  /** What runs was left alone in safe mode: it is on record, and nobody here looks after it. */
  readonly leftAlone: boolean;
  /** As it was confirmed last: what the way back brings when it cannot be rendered any more. */
  readonly confirmed: readonly WantedComponent[];
  /** Of what is wanted, the ids of what is so only because it was confirmed before: it cannot be rendered now. */
  readonly kept: readonly string[];
  /** While it is stopped: what runs may run on, for the next start to adopt. */
  readonly letsGo: boolean;
  readonly baseline: readonly string[];
  readonly touched: readonly string[];
  readonly restartsBefore: Readonly<Record<string, number>>;
  readonly refusal: Refusal | null;
  /** What was told last, as JSON, so that nothing is told twice. */
  readonly told: string;
}

export const NOTHING: Rendering = { components: [], problems: [], notes: [] };

export const componentsSetup = setup({
  types: {
    context: {} as ComponentsContext,
    events: {} as Event,
    input: {} as ComponentsInput,
  },
  actors: {
    component: componentMachine,
    /** Parses and renders a policy; rejects with POLICY_UNPARSABLE when it cannot be read at all. */
    prepare: unwired<Rendering, { readonly text: string; readonly mode: Apply['mode'] }>('components.prepare'),
    recorded: unwired<readonly Recorded[], undefined>('components.recorded'),
    /** Runs the checks of these components on their new configurations; rejects only when they could not be run. */
    check: unwired<readonly CheckRefusal[], { readonly components: readonly WantedComponent[] }>('components.check'),
    write: unwired<void, { readonly components: readonly WantedComponent[] }>('components.write'),
    /** Stops what is on record under these ids, with its groups. */
    sweep: unwired<void, { readonly ids: readonly string[] }>('components.sweep'),
  },
  actions: {
    takeApply: assign(({ event }) => takeApply(event)),
    takeRendering: assign(({ context }, params: { rendering: Rendering }) => takeRendering(context, params.rendering)),
    takeRecorded: assign((_, params: { recorded: readonly Recorded[] }) => ({ recorded: params.recorded })),
    forgetRecorded: assign({ recorded: [] }),
    makePlan: assign(({ context }) => ({
      steps: plan(forPlanner(context.running, context.rendering.components), context.rendering.components),
    })),
    takeBaseline: assign(({ context }) => takeBaseline(context)),
    issueStops: enqueueActions(({ context, enqueue, system }) => {
      const running = { ...context.running };
      for (const { kind, component } of context.steps) {
        const known = running[component];
        if (kind !== 'stop' || known === undefined) continue;
        const child = system.get(systemIdOf(component));
        if (child) enqueue.sendTo(child, LEAVE);
        running[component] = {
          ...known,
          report: { ...known.report, state: 'stopping', message: 'its step was issued' },
        };
      }
      enqueue.assign({ running });
    }),
    issueRest: enqueueActions(({ context, enqueue, system }) => {
      for (const { kind, component } of context.steps) {
        const wanted = context.rendering.components.find(({ id }) => id === component);
        if (kind === 'stop' || wanted === undefined) continue;
        const child = context.running[component] ? system.get(systemIdOf(component)) : undefined;
        if (child) enqueue.sendTo(child, orderFor(kind, wanted));
        else enqueue.spawnChild('component', spawnOptions(context, wanted));
      }
      enqueue.assign(issued(context));
    }),
    noteReport: enqueueActions(({ context, enqueue, event, system }) => {
      if (event.type !== 'component.reported') return;
      const known = context.running[event.id];
      if (known === undefined) return;
      if (event.state !== 'stopped') {
        enqueue.assign({ running: { ...context.running, [event.id]: { ...known, report: event } } });
        if (mustBeMended(context, event)) {
          const child = system.get(systemIdOf(event.id));
          if (child) enqueue.sendTo(child, orderFor('restart', known.wanted));
        }
        return;
      }
      enqueue.stopChild(event.id);
      const wanted = context.wanted.find(({ id }) => id === event.id);
      if (wanted) enqueue.spawnChild('component', spawnOptions(context, wanted));
      enqueue.assign({
        running: wanted
          ? { ...context.running, [event.id]: { wanted, report: freshReport(wanted) } }
          : without(context.running, event.id),
      });
    }),
    noteDeath: enqueueActions(({ context, enqueue, event }) => {
      if (!('error' in event)) return;
      const id = event.type.slice('xstate.error.actor.'.length);
      const known = context.running[id];
      if (known === undefined) return;
      const message = `its supervision failed: ${words(event.error)}`;
      const report = { ...known.report, state: 'failed' as const, message };
      enqueue.assign({ running: { ...context.running, [id]: { ...known, report } } });
    }),
    stopAll: enqueueActions(({ context, enqueue, event, system }) => {
      const stop = event.type === 'components.stop' ? event : { keep: true, hurry: false };
      const order: ComponentEvent = { type: 'component.stop', keep: stop.keep, hurry: stop.hurry };
      for (const id of Object.keys(context.running)) {
        const child = system.get(systemIdOf(id));
        if (child) enqueue.sendTo(child, order);
      }
      enqueue.assign({
        letsGo: stop.keep,
        leftAlone: event.type === 'components.leave',
        rendering: NOTHING,
        wanted: [],
        problems: [],
        steps: [],
        touched: [],
        baseline: [],
        kept: [],
        standsFor: null,
      });
    }),
    show: enqueueActions(({ context, enqueue }) => {
      const components = shownIn(context.running, context.problems, context.kept, leftRunningIn(context));
      const awaiting = awaitedIn(context);
      const told = JSON.stringify([components, awaiting]);
      if (told === context.told) return;
      enqueue.assign({ told });
      enqueue(tell('agent', { type: 'components.changed', components, awaiting }));
    }),
    showRecorded: enqueueActions(({ context, enqueue }) => {
      const components = leftAlone(context.recorded);
      const told = JSON.stringify([components, null]);
      if (told === context.told) return;
      enqueue.assign({ told });
      enqueue(tell('agent', { type: 'components.changed', components, awaiting: null }));
    }),
    refuseUnprepared: assign((_, params: { error: unknown }) => ({
      refusal: unprepared(params.error),
      policyText: '',
    })),
    refuseUnrendered: assign(({ context }) => ({ refusal: unrendered(context.rendering.problems) })),
    refuseChecked: assign((_, params: { refusals: readonly CheckRefusal[] }) => ({
      refusal: checked(params.refusals),
    })),
    refuseUncheckable: assign((_, params: { error: unknown }) => ({
      refusal: { kind: 'check' as const, reason: bounded(words(params.error)) },
    })),
    refuseBroken: assign(({ context }) => ({
      refusal: { kind: 'health' as const, reason: refusalOf(context) ?? verdictAtTheEnd(context) ?? '' },
    })),
    acceptWhatRuns: assign(({ context }) => ({
      standsFor: context.policyHash,
      touched: [],
      confirmed: context.wanted,
    })),
    tellIssued: tell('agent', ({ context }) => ({ type: 'components.issued', plan: context.plan })),
    tellConfirmed: tell('agent', ({ context }) => ({
      type: 'components.confirmed',
      plan: context.plan,
      degraded: degradedIn(context),
    })),
    tellRefused: tell('agent', ({ context }) => ({
      type: 'components.refused',
      plan: context.plan,
      kind: context.refusal?.kind ?? 'unrendered',
      reason: context.refusal?.reason ?? '',
    })),
    tellStopped: tell('agent', { type: 'components.stopped' }),
  },
  guards: {
    'a fresh policy cannot be carried out': ({ context }) =>
      context.mode === 'fresh' && context.rendering.problems.some(({ degradesOnly }) => !degradesOnly),
    'something cannot be carried out here': ({ context }) => hardOnes(context.problems).length > 0,
    'it comes to something else now': ({ context }, params: { rendering: Rendering }) =>
      JSON.stringify(params.rendering.problems) !== JSON.stringify(context.problems),
    'it is fresh': ({ context }) => context.mode === 'fresh',
    'it is the way back': ({ context }) => context.mode === 'revert',
    'a check refused it': (_, params: { refusals: readonly CheckRefusal[] }) => params.refusals.length > 0,
    'strays are on record': ({ context }) => straysIn(context).length > 0,
    'no strays are on record': ({ context }) => straysIn(context).length === 0,
    'it is let go of': ({ context }) => context.letsGo,
    'what had to stop has stopped': ({ context }) =>
      context.steps.every(({ kind, component }) => kind !== 'stop' || context.running[component] === undefined),
    'what worked is broken': ({ context }) => refusalOf(context) !== null,
    'what worked is not healthy by now': ({ context }) => verdictAtTheEnd(context) !== null,
    'nothing was changed': ({ context }) => context.touched.length === 0,
    'all that counts is healthy': ({ context }) => confirmable(context),
    'something that counts is not healthy': ({ context }) => !confirmable(context),
    'nothing runs': ({ context }) => Object.keys(context.running).length === 0,
  },
  delays: {
    stableFor: ({ context }) => context.stableForMs,
    timeout: ({ context }) => context.timeoutMs,
    patience: ({ context }) => patienceMs(context),
    lookEvery: ({ context }) => context.lookEveryMs,
  },
});

const LEAVE: ComponentEvent = { type: 'component.stop', keep: false, hurry: false };

function systemIdOf(id: string): string {
  return `component:${id}`;
}

function takeApply(event: Event): Partial<ComponentsContext> {
  if (event.type !== 'components.apply') return {};
  return {
    plan: event.plan,
    mode: event.mode,
    policyText: event.policy.text,
    policyHash: event.policy.hash,
    lastGood: event.lastGood,
    rendering: NOTHING,
    steps: [],
    refusal: null,
  };
}

/**
 * Taken before the first change to last good; a candidate that supersedes another is held against the same, also one that was confirmed and could
 * not be made durable meanwhile: the way back leads to last good, not to it. While the way back or a replay is not confirmed, what was healthy
 * before it is still what a policy can break. So is what safe mode left running, and what runs on from an earlier start since its spec cannot
 * be used.
 */
function takeBaseline(context: ComponentsContext): Partial<ComponentsContext> {
  const worked = workedIn(context);
  const left = leftRunningIn(context).map(({ id }) => id);
  return {
    baseline: context.leftAlone ? confirmedIn(context.recorded) : [...new Set([...worked, ...left])].sort(),
    leftAlone: false,
    kept: context.mode === 'fresh' || hardOnes(context.rendering.problems).length === 0 ? [] : context.kept,
    standsFor: context.mode === 'fresh' ? null : context.policyHash,
    wanted: context.rendering.components,
    problems: context.rendering.problems,
  };
}

/** What worked under last good, or worked before and is on its way there again. */
function workedIn(context: ComponentsContext): readonly string[] {
  const { mode, standsFor, lastGood, touched, baseline } = context;
  const isOnTrial = standsFor === null || (mode === 'fresh' && standsFor !== lastGood);
  if (isOnTrial) return baseline;
  return touched.length > 0 ? [...baseline, ...healthyIn(context)] : healthyIn(context);
}

/**
 * What a replay or the way back cannot render (a spec that was edited and cannot be used any more) has worked before, so it stays as it was
 * confirmed; and the text is kept, to be rendered again when the spec is corrected.
 */
function takeRendering(context: ComponentsContext, rendering: Rendering): Partial<ComponentsContext> {
  const problems = hardOnes(rendering.problems);
  if (context.mode === 'fresh' || problems.length === 0) return { rendering, policyText: '' };
  const rendered = new Set(rendering.components.map(({ id }) => id));
  const kept = context.confirmed.filter(({ id }) => !rendered.has(id) && problems.some((it) => concerns(it, id)));
  return {
    rendering: { ...rendering, components: [...rendering.components, ...kept] },
    kept: kept.map(({ id }) => id),
  };
}

/** What holds up a replay or the way back; a fresh policy is refused for it. */
function hardOnes(problems: readonly ComponentProblem[]): readonly ComponentProblem[] {
  return problems.filter(({ degradesOnly }) => !degradesOnly);
}

/** On record as confirmed, and what it would have to be cannot be rendered here: it runs on as it is. */
function leftRunningIn({ problems, recorded, running }: ComponentsContext): readonly Recorded[] {
  return recorded.filter(
    ({ id, alive, hash }) =>
      alive && hash !== null && running[id] === undefined && hardOnes(problems).some((it) => concerns(it, id)),
  );
}

/** The context once every step is issued: what was told to change counts as changing from now on. */
function issued(context: ComponentsContext): Partial<ComponentsContext> {
  const running: Record<string, Running> = { ...context.running };
  const restartsBefore: Record<string, number> = {};
  for (const { kind, component } of context.steps) {
    const wanted = context.rendering.components.find(({ id }) => id === component);
    if (wanted === undefined) continue;
    const before = running[component]?.report;
    const report = before && kind === 'keep' ? before : issuedReport(kind, wanted, before, context.recorded);
    running[component] = { wanted, report };
    restartsBefore[component] = before?.restarts ?? 0;
  }
  const changed = context.steps.filter(({ kind }) => kind !== 'keep').map(({ component }) => component);
  return { running, restartsBefore, touched: [...new Set([...context.touched, ...changed])].sort() };
}

/** What is known of a component from its step alone, until it speaks for itself. */
function issuedReport(
  kind: Step['kind'],
  wanted: WantedComponent,
  before: ComponentReported | undefined,
  recorded: readonly Recorded[],
): ComponentReported {
  const report = freshReport(wanted, before);
  if (kind === 'reload') return { ...report, state: 'reloading' };
  const left = recorded.find(({ id, alive, hash }) => id === wanted.id && alive && hash === wanted.hash);
  if (kind !== 'start' || left === undefined) return report;
  return { ...report, pid: left.pid, message: `taking over pid ${left.pid} of an earlier start` };
}

function freshReport(wanted: WantedComponent, before?: ComponentReported): ComponentReported {
  return {
    type: 'component.reported',
    id: wanted.id,
    state: 'starting',
    message: 'its step was issued',
    pid: before?.pid ?? null,
    restarts: before?.restarts ?? 0,
    endsInARow: before?.endsInARow ?? 0,
    hash: wanted.hash,
    processHash: wanted.processHash,
    refusal: null,
  };
}

function spawnOptions(context: ComponentsContext, wanted: WantedComponent) {
  return { id: wanted.id, systemId: systemIdOf(wanted.id), input: { wanted, timing: context.component } };
}

function orderFor(kind: Step['kind'], wanted: WantedComponent): ComponentEvent {
  if (kind === 'keep') return { type: 'component.keep', wanted };
  return { type: kind === 'reload' ? 'component.reload' : 'component.restart', wanted };
}

/** A refused reload that does not refuse the policy is made good by a restart. */
function mustBeMended(context: ComponentsContext, report: ComponentReported): boolean {
  const unsure = report.state === 'degraded' && report.refusal?.step === 'reload';
  const known = context.running[report.id];
  if (!unsure || known === undefined) return false;
  return refusalOf({ ...context, running: { ...context.running, [report.id]: { ...known, report } } }) === null;
}

/** What a plan starts, reloads or restarts. */
export function changedIn({ steps, rendering }: ComponentsContext): WantedComponent[] {
  const changed = new Set(steps.filter(({ kind }) => kind !== 'keep').map(({ component }) => component));
  return rendering.components.filter(({ id }) => changed.has(id));
}

/** On record, wanted by nobody, and no child of ours looks after it. */
export function straysIn(context: ComponentsContext): string[] {
  const { recorded, running, rendering } = context;
  const mayStay = new Set([...rendering.components, ...leftRunningIn(context)].map(({ id }) => id));
  return recorded.map(({ id }) => id).filter((id) => !mayStay.has(id) && running[id] === undefined);
}

/** Longer than any component may take by its own spec. */
function patienceMs({ running }: ComponentsContext): number {
  const graces = Object.values(running).map(({ wanted }) => wanted.daemon.stop.graceMs);
  return Math.max(10_000, ...graces) + 20_000;
}

/** On record as confirmed, and alive. */
function confirmedIn(recorded: readonly Recorded[]): string[] {
  return recorded
    .filter(({ alive, hash }) => alive && hash !== null)
    .map(({ id }) => id)
    .sort();
}

function leftAlone(recorded: readonly Recorded[]): ComponentStatus[] {
  return recorded
    .filter(({ alive }) => alive)
    .map(({ id, type, pid, hash }) => ({
      id,
      type,
      state: 'degraded',
      message: 'left running as it is, not managed in safe mode',
      pid,
      restarts: 0,
      hash: hash ?? '',
      units: [],
    }));
}

function unprepared(error: unknown): Refusal {
  const code = error instanceof HoldfastError ? error.code : 'INTERNAL';
  return { kind: code === 'POLICY_UNPARSABLE' ? 'unparsable' : 'unrendered', reason: bounded(words(error)) };
}

function unrendered(problems: readonly ComponentProblem[]): Refusal {
  const hard = problems.filter(({ degradesOnly }) => !degradesOnly);
  return { kind: 'unrendered', reason: bounded(hard.map((it) => `${it.component}: ${it.message}`).join('; ')) };
}

function checked(refusals: readonly CheckRefusal[]): Refusal {
  return { kind: 'check', reason: bounded(refusals.map((it) => `${it.component}: ${it.reason}`).join('; ')) };
}

function without<T>(record: Readonly<Record<string, T>>, id: string): Record<string, T> {
  const { [id]: _, ...others } = record;
  return others;
}

function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Turns a machine into tests: the shortest paths over its own statechart (bounded by a projection of its context), each walked by a
 * started actor beside the pure transition function, and the proof that together they reach every state and walk every transition.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { TestModel } from '@xstate/test';
import { describe, expect, it } from 'vitest';
import {
  type ActorLogic,
  type AnyActorRef,
  type AnyMachineSnapshot,
  type AnyStateMachine,
  type EventFromLogic,
  type EventObject,
  getInitialMicrosteps,
  type InputFrom,
  type InspectionEvent,
  initialTransition,
  __unsafe_getAllOwnEventDescriptors as ownDescriptors,
  type SnapshotFrom,
  type TransitionDefinition,
  transition,
} from 'xstate';
import { controllable, settledActor, startControlled, stateNodes, stimulate, type Told } from './machine-kit.ts';

export {
  type Call,
  type Controlled,
  type Port,
  startControlled,
  stimulate,
  type Told,
  VirtualClock,
} from './machine-kit.ts';

/** An event with a payload the model is to try. `xstate.done.actor.*` and the like give one payload to all events with that beginning. */
export type Case<M extends AnyStateMachine> =
  | EventFromLogic<M>
  | { readonly type: `xstate.${string}`; readonly output?: unknown; readonly error?: unknown };

export interface PathOptions<M extends AnyStateMachine> {
  readonly input?: InputFrom<M>;
  /** Payload variants. An event without a case is tried bare. */
  readonly cases: readonly Case<M>[];
  /**
   * What tells two situations apart beside the state value: bounded (`Math.min(failures, 2)`), and with everything the guards read.
   * Absent: the state value alone.
   */
  readonly project?: (snapshot: SnapshotFrom<M>) => unknown;
  /** Names of the actors to control; all that the machine declares when absent. */
  readonly ports?: readonly string[];
  readonly systemId?: string;
  readonly deaf?: readonly string[];
  /** Runs after each step of each path; throw (or `expect`) to fail it. */
  readonly invariants?: (snapshot: SnapshotFrom<M>, step: { event: EventObject; told: Told[] }) => void;
  /** Events not to try in a situation. */
  readonly skip?: (event: EventObject, snapshot: SnapshotFrom<M>) => boolean;
  /** Transitions (as they are named in the committed list) that no path can walk, and why. */
  readonly unwalked?: Readonly<Record<string, string>>;
  /** States (ids) that no path can reach, and why. */
  readonly unreached?: Readonly<Record<string, string>>;
  /** Situations to look at before giving up: a projection that is not bounded ends here. */
  readonly limit?: number;
}

interface Step {
  readonly event: EventObject;
  readonly state: AnyMachineSnapshot;
}

const LIMIT = 100_000;
/** A proof walks what was not walked yet: all paths when it is selected alone. */
const PROOF_TIMEOUT_MS = 120_000;
const LISTS = join(import.meta.dirname, '..', 'machines', 'transitions');
const HOW_TO_UPDATE =
  'The transitions that are walked are not those committed. Look at the difference; if it is meant: UPDATE_TRANSITIONS=1 npx vitest run test/machines';

/** Declares the generated tests of `machine` under `name`, which also names its list in test/machines/transitions. */
export function describePaths<M extends AnyStateMachine>(name: string, machine: M, options: PathOptions<M>): void {
  describe(`${name}: generated paths`, () => {
    const proof = provePaths(machine, options);
    const all = `${proof.paths.length} paths of ${count(proof.paths)} steps`;

    it.each(proof.paths.map((path, index) => [titleOf(path, index), path] as const))('%s', (_title, path) => {
      proof.walk(path);
    });

    it(`${all} reach all ${proof.states.length} states`, { timeout: PROOF_TIMEOUT_MS }, () => {
      expect(proof.unreached(), 'states no path reaches, or that are excused and reached').toEqual([]);
    });

    it(`${all} walk all ${proof.transitions.length} transitions`, { timeout: PROOF_TIMEOUT_MS }, () => {
      const why = 'transitions no path walks (add a case whose payload takes them), or that are excused and walked';
      expect(proof.unwalked(), why).toEqual([]);
    });

    it('walks the transitions of the committed list', { timeout: PROOF_TIMEOUT_MS }, async () => {
      const list = `${proof.walked().join('\n')}\n`;
      const file = join(LISTS, `${name}.txt`);
      if (process.env.UPDATE_TRANSITIONS) {
        mkdirSync(dirname(file), { recursive: true });
        writeFileSync(file, list);
      }
      await expect(list, HOW_TO_UPDATE).toMatchFileSnapshot(file);
    });
  });
}

/** The paths of a machine and what walking them proves. */
export interface Proof {
  readonly paths: readonly Step[][];
  /** Ids of the states that must be reached. */
  readonly states: readonly string[];
  /** Names of the transitions that must be walked. */
  readonly transitions: readonly string[];
  /** Walks one path; throws where the started actor differs from the pure machine or breaks an invariant. */
  walk(path: readonly Step[]): void;
  /** The verdicts are over all paths: those not walked yet are walked first. */
  unreached(): string[];
  unwalked(): string[];
  walked(): string[];
}

/** Generates the paths of `machine`; nothing runs until asked. */
export function provePaths<M extends AnyStateMachine>(machine: M, options: PathOptions<M>): Proof {
  const paths = generatePaths(machine, options);
  const states = declaredStates(machine);
  const transitions = [...transitionNames(machine).values()];
  // The states passed before the first event; all later ones are seen by inspection.
  const first = getInitialMicrosteps(controllable(machine, options.ports), options.input as never);
  const reached = new Set(
    first.flatMap(([snapshot]) => (snapshot as AnyMachineSnapshot)._nodes.map((node) => node.id)),
  );
  const taken = new Set<string>();
  const done = new Set<readonly Step[]>();
  const walk = (path: readonly Step[]) => {
    done.add(path);
    walkPath(machine, options, path, taken, reached);
  };
  const walkRest = () => {
    for (const path of paths) if (!done.has(path)) walk(path);
  };
  return {
    paths,
    states,
    transitions,
    walk,
    unreached: () => {
      walkRest();
      return disagreements(states, reached, options.unreached);
    },
    unwalked: () => {
      walkRest();
      return disagreements(transitions, taken, options.unwalked);
    },
    walked: () => {
      walkRest();
      return transitions.filter((one) => taken.has(one));
    },
  };
}

/** What is declared, not met and not excused; and what is excused although it is met or does not exist. */
function disagreements(declared: readonly string[], met: Set<string>, excused: Readonly<Record<string, string>> = {}) {
  return [
    ...declared.filter((one) => !met.has(one) && !(one in excused)),
    ...Object.keys(excused)
      .filter((one) => met.has(one) || !declared.includes(one))
      .map((one) => `excused for nothing: ${one}`),
  ];
}

/** The shortest paths, each step with the snapshot the pure transition function gives. The first step is the start. */
export function generatePaths<M extends AnyStateMachine>(machine: M, options: PathOptions<M>): Step[][] {
  const pure = controllable(machine, options.ports);
  const logic = {
    transition: (snapshot: AnyMachineSnapshot, event: EventObject) => advance(pure, snapshot, event),
    getInitialSnapshot: () => initial(pure, options.input),
    getPersistedSnapshot: (snapshot: AnyMachineSnapshot) => snapshot,
  } as unknown as ActorLogic<AnyMachineSnapshot, EventObject>;
  const model = new TestModel(logic, {
    // @xstate/graph 3 ignores `filterEvents`, so events that change nothing are left out here.
    events: (snapshot) => eventsOf(snapshot, options as unknown as PathOptions<AnyStateMachine>),
    limit: options.limit ?? LIMIT,
    // The situation, and how it was come by: so each event is tried from each situation, not only those that lead somewhere new.
    serializeState: (snapshot, event, previous) =>
      textOf([
        keyOf(snapshot, options as unknown as PathOptions<AnyStateMachine>),
        ...(event && previous ? [event, previous.value] : []),
      ]) as never,
    serializeEvent: (event) => textOf(event) as never,
  });
  const found = model
    .getShortestPaths({ allowDuplicatePaths: true })
    .map(({ steps }) => steps.map(({ event }) => event));
  // With a projection, states may be borrowed from other paths: each path is run again to get its own.
  return longest(found).map((events) => replay(pure, options.input, events));
}

/** Without those that others begin with, longest first. (The model's own filter takes all errors for the same.) */
function longest(found: readonly EventObject[][]): EventObject[][] {
  const beginnings = new Set<string>();
  return [...found]
    .sort((a, b) => b.length - a.length)
    .filter((events) => {
      const keys = events.map((_, index) =>
        events
          .slice(0, index + 1)
          .map(textOf)
          .join(),
      );
      if (beginnings.has(keys.at(-1) ?? '')) return false;
      for (const key of keys) beginnings.add(key);
      return true;
    });
}

function keyOf(snapshot: AnyMachineSnapshot, options: PathOptions<AnyStateMachine>): unknown {
  return [snapshot.status, snapshot.value, Object.keys(snapshot.children).sort(), options.project?.(snapshot)];
}

function eventsOf(snapshot: AnyMachineSnapshot, options: PathOptions<AnyStateMachine>): EventObject[] {
  if (snapshot.status !== 'active') return [];
  const cases = options.cases as readonly EventObject[];
  const events = new Set<EventObject>();
  for (const descriptor of ownDescriptors(snapshot) as string[]) {
    if (/^xstate\.(done\.state|init|stop)/.test(descriptor)) continue;
    const matching = casesFor(descriptor, cases);
    if (matching.length === 0 && descriptor.includes('*')) {
      throw new Error(`${snapshot.machine.id} listens to ${descriptor}: give at least one case it matches`);
    }
    for (const event of matching.length > 0 ? matching : [{ type: descriptor }]) events.add(event);
  }
  return [...events].filter((event) => {
    const actor = settledActor(event.type);
    if (actor && !snapshot.children[actor]) return false;
    if (options.skip?.(event, snapshot)) return false;
    return explained(event, snapshot, () => snapshot.can(event));
  });
}

/** Exact cases first; else those of a pattern (`xstate.done.actor.*`), with the type filled in. */
function casesFor(descriptor: string, cases: readonly EventObject[]): EventObject[] {
  if (descriptor.endsWith('*')) return cases.filter((one) => !one.type.endsWith('*') && begins(one.type, descriptor));
  const exact = cases.filter((one) => one.type === descriptor);
  if (exact.length > 0) return exact;
  return cases
    .filter((one) => one.type.endsWith('*') && begins(descriptor, one.type))
    .map((one) => ({ ...one, type: descriptor }));
}

const begins = (type: string, pattern: string) => type.startsWith(pattern.slice(0, -1));

/** One step of the model. An actor that settled is gone, so that it does not settle twice. */
function advance(machine: AnyStateMachine, snapshot: AnyMachineSnapshot, event: EventObject): AnyMachineSnapshot {
  const next = explained(event, snapshot, () => transition(machine, snapshot, event as never)[0] as AnyMachineSnapshot);
  const settled = settledActor(event.type);
  if (!settled || next.children[settled] !== snapshot.children[settled]) return next;
  const { [settled]: _gone, ...children } = next.children;
  return { ...next, children } as AnyMachineSnapshot;
}

function initial(machine: AnyStateMachine, input: unknown): AnyMachineSnapshot {
  return initialTransition(machine, input as never)[0] as AnyMachineSnapshot;
}

function replay(machine: AnyStateMachine, input: unknown, events: readonly EventObject[]): Step[] {
  const steps: Step[] = [];
  for (const event of events) {
    const before = steps.at(-1)?.state;
    if (!before) steps.push({ event, state: initial(machine, input) });
    else {
      const settled = settledActor(event.type);
      if (settled && !before.children[settled]) break; // another path's actor
      steps.push({ event, state: advance(machine, before, event) });
    }
  }
  return steps;
}

function explained<T>(event: EventObject, snapshot: AnyMachineSnapshot, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    const where = JSON.stringify(snapshot.value);
    throw new Error(
      `${snapshot.machine.id} in ${where} threw on ${textOf(event)}: does it need a case with a payload?`,
      { cause },
    );
  }
}

interface Microstep {
  readonly snapshot: AnyMachineSnapshot;
  readonly _transitions: TransitionDefinition<never, EventObject>[];
}

/** Walks one path with a started actor and compares it, step by step, with the pure machine. */
function walkPath<M extends AnyStateMachine>(
  machine: M,
  options: PathOptions<M>,
  path: readonly Step[],
  walked: Set<string>,
  reached: Set<string>,
): void {
  const microsteps: TransitionDefinition<never, EventObject>[] = [];
  const run = startControlled(machine, {
    ...options,
    inspect: (inspected: InspectionEvent) => {
      if (inspected.type !== '@xstate.microstep' || (inspected.actorRef as AnyActorRef).id !== 'subject') return;
      const { snapshot, _transitions } = inspected as unknown as Microstep;
      microsteps.push(..._transitions);
      for (const node of snapshot._nodes) reached.add(node.id);
    },
  });
  try {
    path.forEach(({ event, state }, index) => {
      const told = run.told.length;
      if (index > 0) stimulate(run, event);
      const actual = run.actor.getSnapshot() as AnyMachineSnapshot;
      const where = `after step ${index}, ${textOf(event)}`;
      if (actual.status === 'error' && state.status !== 'error') {
        throw new Error(`the machine died ${where}`, { cause: actual.error });
      }
      same(situation(actual), situation(state), where);
      same(actual.context, state.context, `context ${where}`);
      same(JSON.parse(JSON.stringify(actual.context)), actual.context, `context is plain JSON ${where}`);
      options.invariants?.(actual as SnapshotFrom<M>, { event, told: run.told.slice(index === 0 ? 0 : told) });
    });
  } finally {
    run.stop();
  }
  const names = transitionNames((run.snapshot() as AnyMachineSnapshot).machine);
  for (const taken of microsteps) {
    const text = names.get(taken);
    if (text) walked.add(text);
  }
}

const situation = ({ status, value, output }: AnyMachineSnapshot) => ({ status, value, output });

/** Asks vitest only for the difference: its comparison is many times slower, and there are tens of thousands. */
function same(actual: unknown, expected: unknown, what: string): void {
  if (!isDeepStrictEqual(actual, expected)) expect(actual, what).toStrictEqual(expected);
}

/** JSON that tells two errors apart. */
function textOf(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    part instanceof Error ? { ...part, name: part.name, message: part.message } : part,
  );
}

/** Ids of the states a path must reach; history nodes are never active. */
function declaredStates(machine: AnyStateMachine): string[] {
  return stateNodes(machine.root)
    .filter((node) => node.type !== 'history')
    .map((node) => node.id);
}

/** Every transition of the machine with the line that names it: `state — event [guard] → target / actions`. */
export function transitionNames(machine: AnyStateMachine): Map<object, string> {
  const names = new Map<object, string>();
  const seen = new Map<string, number>();
  for (const node of stateNodes(machine.root)) {
    const declared = [...node.transitions.values()].flat();
    for (const one of new Set([...declared, ...(node.always ?? [])])) {
      const text = nameOf(node.id, one as unknown as TransitionDefinition<never, EventObject>);
      const times = (seen.get(text) ?? 0) + 1;
      seen.set(text, times);
      names.set(one, times > 1 ? `${text} (${times})` : text);
    }
  }
  return names;
}

function nameOf(source: string, one: TransitionDefinition<never, EventObject>): string {
  const guard = one.guard ? ` [${clause(one.guard)}]` : '';
  const target = one.target ? one.target.map((node) => node.id).join(' + ') : '(stays)';
  const actions = one.actions.length > 0 ? ` / ${one.actions.map(clause).join(', ')}` : '';
  return `${source} — ${one.eventType || 'always'}${guard} → ${target}${one.reenter ? ' (again)' : ''}${actions}`;
}

/** The name of a guard or action, with `and`, `or`, `not` spelled out. */
function clause(named: unknown): string {
  if (typeof named === 'string') return named;
  const { type, name, guards } = named as { type?: string; name?: string; guards?: unknown[] };
  if (guards) return name === 'not' ? `not ${clause(guards[0])}` : guards.map(clause).join(` ${name} `);
  return type ?? name ?? '(inline)';
}

function titleOf(path: readonly Step[], index: number): string {
  const last = path.at(-1) as Step;
  const before = path.at(-2)?.state.value;
  const to = JSON.stringify(last.state.value);
  const text = `${index + 1}: ${JSON.stringify(before ?? 'start')} — ${last.event.type} → ${to} in ${path.length - 1} steps`;
  return text.replaceAll('"', '').replaceAll('%', '%%').replaceAll('$', '$ ');
}

const count = (paths: readonly Step[][]) => paths.reduce((sum, path) => sum + path.length - 1, 0);

/** A statechart as plain data, read off a machine: every state, every transition, everything that is invoked. */
import type { AnyStateMachine, AnyStateNode, AnyTransitionDefinition } from 'xstate';

/** What takes a transition: a message, the end or failure of something invoked, time, or nothing but its guard. */
export type TransitionKind = 'event' | 'done' | 'error' | 'delay' | 'always';

export interface ChartInvoke {
  readonly id: string;
  /** The name of the port or machine, as the chart has it. */
  readonly src: string;
  /** Under which the other actors find it; null: nobody talks to it. */
  readonly systemId: string | null;
}

export interface ChartState {
  /** XState's: the keys from the root, joined by dots. */
  readonly id: string;
  readonly key: string;
  /** The id of the state around it; null for the root. */
  readonly parent: string | null;
  readonly type: 'atomic' | 'compound' | 'parallel' | 'final' | 'history';
  readonly description: string;
  /** The id of the state that is entered first; null where there is no choice. */
  readonly initial: string | null;
  readonly entry: readonly string[];
  readonly exit: readonly string[];
  readonly invokes: readonly ChartInvoke[];
}

export interface ChartTransition {
  /** `<source>#<n>`, in the order the machine tries them. */
  readonly id: string;
  readonly source: string;
  /** XState's event descriptor; empty for `always`. With `source` and `index` it identifies a `TransitionDefinition`. */
  readonly event: string;
  /** Among the source's transitions on this event. */
  readonly index: number;
  readonly kind: TransitionKind;
  /** The event in words, without its guard. */
  readonly label: string;
  readonly guard: string | null;
  /** Unguarded, after guarded ones on the same event. */
  readonly otherwise: boolean;
  /** Empty: the state is not left, only `actions` run. */
  readonly targets: readonly string[];
  readonly reenter: boolean;
  readonly actions: readonly string[];
}

export interface Chart {
  readonly name: string;
  /** The root first, parents before their children. */
  readonly states: readonly ChartState[];
  readonly transitions: readonly ChartTransition[];
}

/** Reads a machine. Initial transitions are in {@link ChartState.initial}, since nothing but the entry into their state takes them. */
export function chartOf(name: string, machine: AnyStateMachine): Chart {
  const nodes = withBelow(machine.root);
  return { name, states: nodes.map(stateOf), transitions: nodes.flatMap(transitionsOf) };
}

function withBelow(node: AnyStateNode): AnyStateNode[] {
  return [node, ...Object.values(node.states).flatMap(withBelow)];
}

function stateOf(node: AnyStateNode): ChartState {
  return {
    id: node.id,
    key: node.key,
    parent: node.parent?.id ?? null,
    type: node.type,
    description: node.description ?? '',
    initial: node.type === 'compound' ? (node.initial.target[0]?.id ?? null) : null,
    entry: namesOf(node.config.entry),
    exit: namesOf(node.config.exit),
    invokes: node.invoke.map((one) => ({ id: one.id, src: String(one.src), systemId: one.systemId ?? null })),
  };
}

function transitionsOf(node: AnyStateNode): ChartTransition[] {
  const always: [string, readonly AnyTransitionDefinition[]] = ['', node.always ?? []];
  const found = [always, ...node.transitions].flatMap(([event, candidates]) =>
    candidates.map((definition, index) => ({ event, definition, index, candidates })),
  );
  return found.map(({ event, definition, index, candidates }, place) => ({
    id: `${node.id}#${place}`,
    source: node.id,
    event,
    index,
    ...inWords(event, node),
    guard: guardName(definition.guard),
    otherwise: definition.guard === undefined && candidates.slice(0, index).some(({ guard }) => guard !== undefined),
    targets: (definition.target ?? []).map(({ id }) => id),
    reenter: definition.reenter,
    actions: namesOf(definition.actions),
  }));
}

const LIBRARY_EVENT = /^xstate\.(done\.actor|error\.actor|done\.state|after)\.(.+)$/;

function inWords(event: string, node: AnyStateNode): { kind: TransitionKind; label: string } {
  if (event === '') return { kind: 'always', label: '' };
  const [, what, subject = ''] = LIBRARY_EVENT.exec(event) ?? [];
  switch (what) {
    case 'done.actor':
      return { kind: 'done', label: `${subject} done` };
    case 'error.actor':
      return { kind: 'error', label: subject === '*' ? 'any of them failed' : `${subject} failed` };
    case 'done.state':
      return { kind: 'done', label: 'all done' };
    case 'after':
      return { kind: 'delay', label: `after ${spaced(subject.slice(0, -node.id.length - 1))}` };
    default:
      return { kind: 'event', label: event };
  }
}

/** `stableFor` as `stable for`: the names of delays are read as words. */
function spaced(name: string): string {
  return name.replace(/([a-z])([A-Z])/g, (_, before: string, after: string) => `${before} ${after.toLowerCase()}`);
}

function guardName(guard: unknown): string | null {
  if (guard === undefined) return null;
  const type = typeof guard === 'string' ? guard : (guard as { type: string }).type;
  const params = (guard as { params?: unknown }).params;
  // A guard that takes a fixed parameter says nothing without it.
  if (typeof params !== 'object' || params === null) return type;
  return [type, ...Object.values(params).map((one) => `"${one}"`)].join(' ');
}

function namesOf(actions: unknown): string[] {
  if (actions === undefined) return [];
  const listed = Array.isArray(actions) ? actions : [actions];
  return listed.map((one) => (typeof one === 'string' ? one : (one as { type: string }).type));
}

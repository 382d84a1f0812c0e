/** Reads what the inspection of XState shows of an actor: its name, its active states, the transitions it took. */
import type { AnyActorRef, AnyStateMachine, AnyStateNode, AnyTransitionDefinition } from 'xstate';

/** The machine an actor runs; null: it is a promise, a callback or the like. */
export function machineOf(actor: AnyActorRef): AnyStateMachine | null {
  const { logic } = actor as unknown as { readonly logic?: { readonly root?: unknown } };
  return logic?.root === undefined ? null : (logic as AnyStateMachine);
}

/** What an actor is called: the name others find it by, else its id; a root has the id of its machine. */
export function nameOf(actor: AnyActorRef): string {
  if (parentOf(actor) === null) return machineOf(actor)?.id ?? actor.id;
  return (actor as unknown as { readonly systemId?: string }).systemId ?? actor.id;
}

export function parentOf(actor: AnyActorRef): AnyActorRef | null {
  return (actor as unknown as { readonly _parent?: AnyActorRef })._parent ?? null;
}

/** Ids of the active states of a machine's snapshot that have no active state inside them. */
export function activeStates(snapshot: unknown): string[] {
  const nodes = (snapshot as { readonly _nodes?: readonly AnyStateNode[] })._nodes ?? [];
  const around = new Set(nodes.map((node) => node.parent));
  return nodes.filter((node) => !around.has(node)).map((node) => node.id);
}

/** The transitions of a microstep, by the ids that the charts' models have: `<source>#<n>`, `n` in the order the machine tries them. */
export function transitionIds(event: object): string[] {
  return taken(event).flatMap((one) => idsIn(one.source).get(one) ?? []);
}

/** True when no state was left or entered: only actions ran. */
export function isStaying(event: object): boolean {
  return taken(event).every(({ target }) => target === undefined || target.length === 0);
}

function taken(event: object): readonly AnyTransitionDefinition[] {
  return (event as { readonly _transitions?: readonly AnyTransitionDefinition[] })._transitions ?? [];
}

const known = new WeakMap<AnyStateNode, Map<AnyTransitionDefinition, string>>();

function idsIn(node: AnyStateNode): Map<AnyTransitionDefinition, string> {
  const found = known.get(node);
  if (found !== undefined) return found;
  const all = [...(node.always ?? []), ...[...node.transitions.values()].flat()];
  const ids = new Map(all.map((one, place) => [one, `${node.id}#${place}`]));
  known.set(node, ids);
  return ids;
}

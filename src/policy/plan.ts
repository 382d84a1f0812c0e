/** From what runs to what is wanted, as typed steps: the unchanged is kept, the changed reloaded or restarted, the removed stopped. */
import { HoldfastError } from '../errors.ts';
import type { RunningComponent, Step, StepKind, WantedComponent } from './component.ts';

/** What must end comes first (a new component may want its port), what needs nothing comes last. */
const ORDER: readonly StepKind[] = ['stop', 'reload', 'restart', 'start', 'keep'];

/**
 * Pure and deterministic: the order of the arguments' elements does not matter. One step a component, so step ids are unique.
 *
 * @throws HoldfastError INTERNAL when one id occurs twice in either list.
 */
export function plan(running: readonly RunningComponent[], wanted: readonly WantedComponent[]): Step[] {
  const now = byId(running, 'running');
  const then = byId(wanted, 'wanted');
  const steps: Step[] = [];
  for (const id of now.keys()) {
    if (!then.has(id)) steps.push(step('stop', id));
  }
  for (const [id, component] of then) steps.push(step(kindFor(now.get(id), component), id));
  return steps.sort((a, b) => ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind) || (a.component < b.component ? -1 : 1));
}

function kindFor(running: RunningComponent | undefined, wanted: WantedComponent): StepKind {
  if (running === undefined) return 'start';
  // Whatever is left of one that is not alive (a process that hangs, a backoff) is cleared away before it is started anew.
  if (!running.alive) return 'restart';
  if (running.hash === wanted.hash) return 'keep';
  return running.processHash === wanted.processHash && wanted.daemon.reload !== null ? 'reload' : 'restart';
}

function step(kind: StepKind, component: string): Step {
  return { id: `${kind} ${component}`, kind, component };
}

function byId<T extends { readonly id: string }>(items: readonly T[], what: string): Map<string, T> {
  const map = new Map<string, T>();
  for (const item of items) {
    if (map.has(item.id)) throw new HoldfastError('INTERNAL', `the component ${item.id} is ${what} twice`);
    map.set(item.id, item);
  }
  return map;
}

/** The place most stories begin: one component, healthy under a policy that is held, acked and reported. */
import type { Status } from '../../../src/wire/control.ts';
import { reports } from './fleet.ts';
import { pidIn, settledOn, type World, type WorldOptions, world } from './world.ts';

/** The component of {@link settled}. */
export const COMPONENT = 'service-default-a';
/** The revision it is settled on. */
export const FIRST = 2;

/** The input of {@link settled}, with another configuration. */
export const input = (config: string) => ({ id: 'a', type: 'service', config });

export interface Settled extends World {
  /** Of the component. */
  readonly pid: number;
  /** Number of requests that were seen until then. */
  readonly seen: number;
}

/** A world that is settled on its first policy, `input('one')`, and polls as its holder. */
export async function settled(options: WorldOptions = {}): Promise<Settled> {
  const made = await world(options);
  await made.fleet.policy([input('one')]);
  made.agent.start();
  const status = await settles(made, FIRST);
  return { ...made, pid: pidIn(status, COMPONENT), seen: made.fleet.requests.length };
}

/** Resolves when this revision runs, is held and acked, and a check-in that says so waits at Fleet: nothing more will happen by itself. */
export async function settles({ agent, fleet }: World, revision: number, from = 0): Promise<Status> {
  const status = await agent.status(settledOn(revision), `settled on ${revision}`);
  await fleet.request(reports(revision), `a check-in of a holder of ${revision}`, from);
  return status;
}

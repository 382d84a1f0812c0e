/** Runs a port as an actor, as the machines do, and gives its outcome. */
import { createActor, type PromiseActorLogic, toPromise } from 'xstate';

export function runPort<Output, Input>(port: PromiseActorLogic<Output, Input>, input: Input): Promise<Output> {
  return toPromise(createActor(port, { input } as never).start()) as Promise<Output>;
}

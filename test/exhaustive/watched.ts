/** The simulation's parts with someone looking: a process that tells of each point where it could die, a server that tells of each request that reaches it. */
import { Incarnation, type PointKind } from '../simulation/incarnation.ts';
import { type Reply, SimFleet } from '../simulation/sim-fleet.ts';

export class WatchedIncarnation extends Incarnation {
  readonly #onPoint: (what: string) => void;

  constructor(options: ConstructorParameters<typeof Incarnation>[0] & { readonly onPoint: (what: string) => void }) {
    super(options);
    this.#onPoint = options.onPoint;
  }

  override passes(kind: PointKind, what: string): boolean {
    if (this.alive) this.#onPoint(`${kind} ${what}`);
    return super.passes(kind, what);
  }
}

/** A request on its way. */
export interface Request {
  readonly path: string;
  readonly key: string;
  readonly body: string;
}

export class WatchedFleet extends SimFleet {
  readonly #onArrival: (request: Request) => void;

  constructor(options: ConstructorParameters<typeof SimFleet>[0] & { readonly onArrival: (request: Request) => void }) {
    super(options);
    this.#onArrival = options.onArrival;
  }

  override handle(path: string, key: string, body: string, respond: (reply: Reply) => void): { gone(): void } {
    this.#onArrival({ path, key, body });
    return super.handle(path, key, body, respond);
  }
}

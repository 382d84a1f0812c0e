/** Turns what XState shows of its actors into compact records. It never throws: an observer that did would break what it looks at. */
import { randomBytes } from 'node:crypto';
import type { AnyActorRef, InspectionEvent } from 'xstate';
import type { ActorView, TimelineRecord } from '../../wire/inspector.ts';
import { activeStates, isStaying, machineOf, nameOf, parentOf, transitionIds } from './actors.ts';
import { payloadOf } from './payload.ts';
import { Secrets } from './secrets.ts';
import type { Change } from './source.ts';
import { Timeline } from './timeline.ts';

/** Events by which XState itself starts, ends and settles actors: their effects are shown, they are not. */
const INTERNAL = /^xstate\.(init|stop|promise\.)/;

export class Observer {
  readonly secrets = new Secrets();
  /** Of this process: what it tells is never taken for what another one told. */
  readonly life = randomBytes(6).toString('hex');
  readonly #now: () => number;
  readonly #timeline = new Timeline();
  readonly #listeners = new Set<(change: Change) => void>();
  #actors = new Map<string, ActorView>();
  /** Which record told of an event, by the event's own identity and its receiver. */
  #causes = new Map<string, WeakMap<object, number>>();
  #seq = 0;
  #rootId: string | null = null;
  #agents = 0;

  /** `now`: epoch ms. */
  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /** The newest records, oldest first. */
  records(): readonly TimelineRecord[] {
    return this.#timeline.all();
  }

  /** All actors that live, parents before their children, and what has ended with an error. */
  actors(): readonly ActorView[] {
    return [...this.#actors.values()];
  }

  /** Calls `listener` at each change; the returned function ends that. */
  onChange(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  readonly observe = (event: InspectionEvent): void => {
    try {
      this.#observe(event);
    } catch {
      // What cannot be shown is not shown.
    }
  };

  #observe(event: InspectionEvent): void {
    const actor = event.actorRef as AnyActorRef;
    switch (event.type) {
      case '@xstate.actor':
        if (parentOf(actor) === null) this.#begin(event.rootId);
        this.#stands(actor, [], 'active');
        break;
      case '@xstate.event':
        this.secrets.learn(event.event);
        this.#sent(actor, event.sourceRef as AnyActorRef | undefined, event.event);
        break;
      case '@xstate.microstep':
        this.#took(actor, event);
        break;
      case '@xstate.snapshot':
        this.#stands(actor, activeStates(event.snapshot), event.snapshot.status);
        break;
      default:
    }
  }

  #begin(rootId: string): void {
    if (this.#rootId === rootId && this.#actors.size === 0) return;
    this.#rootId = rootId;
    this.#agents += 1;
    this.#actors = new Map();
    this.#causes = new Map();
    this.#tell({ begun: true });
    this.#record({ kind: 'begin', seq: this.#next(), at: this.#now() });
  }

  #sent(actor: AnyActorRef, source: AnyActorRef | undefined, event: { readonly type: string }): void {
    if (INTERNAL.test(event.type)) return;
    const seq = this.#next();
    const id = this.#idOf(actor);
    const causes = this.#causes.get(id) ?? new WeakMap<object, number>();
    causes.set(event, seq);
    this.#causes.set(id, causes);
    this.#record({
      kind: 'event',
      seq,
      at: this.#now(),
      from: source === undefined ? null : nameOf(source),
      to: nameOf(actor),
      actor: id,
      type: event.type,
      payload: payloadOf(event, this.secrets),
    });
  }

  #took(actor: AnyActorRef, step: { readonly event: { readonly type: string }; readonly snapshot: unknown }): void {
    const transitions = transitionIds(step);
    const machine = machineOf(actor);
    if (transitions.length === 0 || machine === null) return;
    const id = this.#idOf(actor);
    this.#record({
      kind: 'transition',
      seq: this.#next(),
      at: this.#now(),
      actor: id,
      name: nameOf(actor),
      machine: machine.id,
      cause: this.#causes.get(id)?.get(step.event) ?? null,
      type: step.event.type,
      transitions,
      stays: isStaying(step),
      states: activeStates(step.snapshot),
    });
  }

  #stands(actor: AnyActorRef, states: readonly string[], status: ActorView['status']): void {
    const id = this.#idOf(actor);
    const before = this.#actors.get(id);
    if (before?.status === status && before.states.join() === states.join()) return;
    const parent = parentOf(actor);
    const view: ActorView = {
      id,
      name: nameOf(actor),
      parent: parent === null ? null : this.#idOf(parent),
      machine: machineOf(actor)?.id ?? null,
      states,
      status,
    };
    // The root stays to be seen: how it ended is the end of the story.
    if (status === 'active' || parent === null) this.#actors.set(id, view);
    else {
      this.#actors.delete(id);
      this.#causes.delete(id);
    }
    this.#tell({ actor: view });
  }

  #idOf(actor: AnyActorRef): string {
    return `${this.life}.${this.#agents}.${actor.sessionId}`;
  }

  #next(): number {
    this.#seq += 1;
    return this.#seq;
  }

  #record(record: TimelineRecord): void {
    this.#timeline.add(record);
    this.#tell({ record });
  }

  #tell(change: Change): void {
    for (const listener of this.#listeners) listener(change);
  }
}

/**
 * Runs one real machine under full control: each actor it starts is a port the test settles, time moves only when told, and what it tells
 * the other actors is recorded. Nothing is asynchronous, so a test reads from top to bottom without waiting.
 */
import {
  type ActorLogic,
  type ActorSystem,
  type AnyActorLogic,
  type AnyActorRef,
  type AnyMachineSnapshot,
  type AnyStateMachine,
  type AnyStateNode,
  createActor,
  createMachine,
  type EventObject,
  fromTransition,
  type InputFrom,
  type InspectionEvent,
  type Snapshot,
  type SnapshotFrom,
} from 'xstate';
import type { ActorName } from '../../src/machines/system.ts';

/** One start of a port: a promise that is settled, a stream that is fed, or a child machine that is only listened to. */
export interface Call {
  /** The name the chart uses. */
  readonly port: string;
  /** The id of the actor in its parent. */
  readonly id: string;
  readonly input: unknown;
  /** Events the machine sent to it. */
  readonly received: readonly EventObject[];
  /** Neither settled nor stopped yet. */
  open(): boolean;
  /** Was it stopped before it settled (for a promise: was its signal aborted)? */
  stopped(): boolean;
  resolve(output?: unknown): void;
  reject(error: unknown): void;
  /** Sends an event to the machine that started it, as a stream or a child does. */
  sendBack(event: EventObject): void;
}

/** All calls of one port. The verbs act on the newest open call and fail when there is none. */
export interface Port {
  readonly calls: readonly Call[];
  /** The newest open call. */
  readonly call: Call;
  resolve(output?: unknown): void;
  reject(error: unknown): void;
  sendBack(event: EventObject): void;
}

/** What the machine told another actor. */
export interface Told {
  /** A `systemId`, or `parent`. */
  readonly to: string;
  readonly event: EventObject;
}

export interface ControlOptions<M extends AnyStateMachine> {
  readonly input?: InputFrom<M>;
  /** Names of the actors to control; all that the machine declares when absent. */
  readonly ports?: readonly string[];
  /** The `systemId` the machine itself lives under, so that others can answer it. */
  readonly systemId?: string;
  /** Actors that do not live: what is told to them is dropped. */
  readonly deaf?: readonly string[];
  /** Further `systemId`s to record beside the six of the address book. */
  readonly others?: readonly string[];
  readonly inspect?: (event: InspectionEvent) => void;
}

export interface Controlled<M extends AnyStateMachine> {
  readonly actor: AnyActorRef;
  readonly clock: VirtualClock;
  /** Everything told so far, oldest first. */
  readonly told: Told[];
  /** Everything the machine emitted so far, oldest first. */
  readonly emitted: readonly EventObject[];
  readonly calls: readonly Call[];
  port(name: string): Port;
  snapshot(): SnapshotFrom<M>;
  send(event: EventObject): void;
  /** Takes what was told since the last flush and forgets it. */
  flush(): Told[];
  stop(): void;
}

type System = ActorSystem<{ actors: Record<string, AnyActorRef> }>;

/** The six actors of the address book. */
const EVERYONE = Object.keys({
  agent: true,
  store: true,
  dispatcher: true,
  gateway: true,
  acker: true,
  components: true,
} satisfies Record<ActorName, true>);

/** Starts `machine` with its ports, clock and listeners under control. */
export function startControlled<M extends AnyStateMachine>(machine: M, options: ControlOptions<M> = {}): Controlled<M> {
  const calls: MutableCall[] = [];
  const told: Told[] = [];
  const emitted: EventObject[] = [];
  const clock = new VirtualClock();
  const subject = controllable(machine, options.ports, (call) => calls.push(call), told);
  const own = new Set([
    ...ownSystemIds(machine),
    ...(options.systemId ? [options.systemId] : []),
    ...(options.deaf ?? []),
  ]);
  const listeners = [...EVERYONE, ...(options.others ?? [])].filter((name) => !own.has(name));
  const harness = createMachine({
    id: 'harness',
    invoke: [
      ...listeners.map((name) => ({ src: recorder(name, told), id: name, systemId: name })),
      {
        src: subject,
        id: 'subject',
        input: options.input as never,
        ...(options.systemId ? { systemId: options.systemId } : {}),
        onError: {},
      },
    ],
    on: {
      '*': {
        actions: ({ event }) => {
          if (!event.type.startsWith('xstate.')) told.push({ to: 'parent', event });
        },
      },
    },
  });
  const root = createActor(harness, { clock, ...(options.inspect ? { inspect: options.inspect } : {}) });
  const actor = root.getSnapshot().children.subject as AnyActorRef;
  clock.watch(root.system);
  actor.subscribe({ error: () => {} });
  actor.on('*', (event: EventObject) => emitted.push(event));
  root.start();
  return {
    actor,
    clock,
    told,
    emitted,
    calls,
    port: (name) => portOf(name, calls, actor),
    snapshot: () => actor.getSnapshot(),
    send: (event) => actor.send(event),
    flush: () => told.splice(0),
    stop: () => void root.stop(),
  };
}

/**
 * Makes happen in the running machine what an event of the model stands for: `xstate.done.actor.X` resolves X, `xstate.error.actor.X`
 * rejects it, `xstate.after.…` lets exactly that timer fire, anything else is sent.
 */
export function stimulate(
  run: Controlled<AnyStateMachine>,
  event: EventObject & { output?: unknown; error?: unknown },
) {
  const settled = settledActor(event.type);
  if (settled) {
    const call = run.calls.findLast((one) => one.id === settled && one.open());
    if (!call) throw new Error(`${event.type}: no actor ${settled} is running. ${describeRun(run.calls, run.actor)}`);
    if (event.type.startsWith('xstate.done.')) call.resolve(event.output);
    else call.reject(event.error);
  } else if (event.type.startsWith('xstate.after.')) run.clock.fire(event.type);
  else run.send(event);
}

/** The id in `xstate.done.actor.ID` or `xstate.error.actor.ID`. */
export function settledActor(type: string): string | undefined {
  return /^xstate\.(?:done|error)\.actor\.(.+)$/.exec(type)?.[1];
}

/** The machine with the named actors (all when absent) replaced by ones a test settles. */
export function controllable<M extends AnyStateMachine>(
  machine: M,
  ports: readonly string[] | undefined,
  opened: (call: MutableCall) => void = () => {},
  told: Told[] = [],
): AnyStateMachine {
  const declared = Object.keys(machine.implementations.actors);
  const unknown = ports?.find((port) => !declared.includes(port));
  if (unknown) throw new Error(`machine ${machine.id} declares no actor ${unknown}; it has ${declared.join(', ')}`);
  const actors = Object.fromEntries((ports ?? declared).map((port) => [port, portLogic(port, opened, told)]));
  return machine.provide({ actors } as never);
}

/** A clock that moves only when told and, unlike xstate's SimulatedClock, fires the timers it passes one by one, each at its own time. */
export class VirtualClock {
  #now = 0;
  #nextId = 1;
  #system: System | undefined;
  readonly #timers = new Map<number, { dueAt: number; fire: () => void; type: string | undefined }>();
  readonly #known = new WeakSet<object>();

  now(): number {
    return this.#now;
  }

  setTimeout(fire: (...args: unknown[]) => void, delayMs: number): number {
    const id = this.#nextId++;
    this.#timers.set(id, { dueAt: this.#now + delayMs, fire, type: this.#scheduledType() });
    return id;
  }

  clearTimeout(id: number): void {
    this.#timers.delete(id);
  }

  /** Lets `ms` milliseconds pass. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (let next = this.#next(); next && next[1].dueAt <= end; next = this.#next()) this.#run(...next);
    this.#now = end;
  }

  /** How many milliseconds until the next timer fires; null when none is pending. */
  nextInMs(): number | null {
    const next = this.#next();
    return next ? next[1].dueAt - this.#now : null;
  }

  /** Lets the pending timer of this `xstate.after.…` event fire, whatever else is due: the order of independent timers is not relied on. */
  fire(eventType: string): void {
    const found = [...this.#timers].find(([, timer]) => timer.type === eventType);
    if (!found) throw new Error(`no timer ${eventType} is pending; pending: ${this.pending().join(', ') || 'none'}`);
    this.#run(...found);
  }

  /** The events that pending timers will send. */
  pending(): string[] {
    return [...this.#timers.values()].map((timer) => timer.type ?? '(a timer of an actor)');
  }

  /** The actor system whose scheduled events name the timers. */
  watch(system: System): void {
    this.#system = system;
  }

  #next() {
    return [...this.#timers].sort(([, a], [, b]) => a.dueAt - b.dueAt)[0];
  }

  #run(id: number, timer: { dueAt: number; fire: () => void }) {
    this.#timers.delete(id);
    this.#now = Math.max(this.#now, timer.dueAt);
    timer.fire();
  }

  /** xstate registers a delayed event right before it sets its timer. */
  #scheduledType(): string | undefined {
    const scheduled = Object.values(this.#system?.getSnapshot()._scheduledEvents ?? {});
    const fresh = scheduled.find((one) => !this.#known.has(one));
    if (!fresh) return undefined;
    this.#known.add(fresh);
    return fresh.event.type;
  }
}

/** Every state node below and including `node`. */
export function stateNodes(node: AnyStateNode): AnyStateNode[] {
  return [node, ...Object.values(node.states).flatMap((child) => stateNodes(child as AnyStateNode))];
}

function ownSystemIds(machine: AnyStateMachine): string[] {
  return stateNodes(machine.root)
    .flatMap((node) => node.invoke)
    .flatMap((invoke) => (invoke.systemId ? [invoke.systemId] : []));
}

function recorder(name: string, told: Told[]): AnyActorLogic {
  return fromTransition((state: null, event: EventObject) => {
    told.push({ to: name, event });
    return state;
  }, null);
}

type PortSnapshot = Snapshot<unknown> & { input: unknown };
const RESOLVE = 'holdfast.test.resolve';
const REJECT = 'holdfast.test.reject';

interface MutableCall extends Call {
  readonly received: EventObject[];
}

/** Stands in for a promise, a callback or a child machine: the parent cannot tell them apart. */
function portLogic(
  port: string,
  opened: (call: MutableCall) => void,
  told: Told[],
): ActorLogic<PortSnapshot, EventObject> {
  const calls = new WeakMap<object, MutableCall>();
  return {
    getInitialSnapshot: (_scope, input) => ({ status: 'active', output: undefined, error: undefined, input }),
    getPersistedSnapshot: (snapshot) => snapshot,
    restoreSnapshot: (snapshot) => snapshot as PortSnapshot,
    start(snapshot, { self }) {
      const ref = self as unknown as AnyActorRef;
      const open = () => ref.getSnapshot().status === 'active';
      const settle = (event: EventObject) => {
        if (!open()) throw new Error(`port ${port} (${ref.id}) is not open: it was settled or stopped before`);
        ref.send(event);
      };
      const call: MutableCall = {
        port,
        id: ref.id,
        input: snapshot.input,
        received: [],
        open,
        stopped: () => ref.getSnapshot().status === 'stopped',
        resolve: (output) => settle({ type: RESOLVE, output } as EventObject),
        reject: (error) => settle({ type: REJECT, error } as EventObject),
        sendBack: (event) => {
          if (open()) ref._parent?.send(event);
        },
      };
      calls.set(ref, call);
      opened(call);
    },
    transition(snapshot, event: EventObject & { output?: unknown; error?: unknown }, { self }) {
      if (snapshot.status !== 'active') return snapshot;
      if (event.type === RESOLVE) return { ...snapshot, status: 'done', output: event.output } as PortSnapshot;
      if (event.type === REJECT) return { ...snapshot, status: 'error', error: event.error } as PortSnapshot;
      if (event.type === 'xstate.stop') return { ...snapshot, status: 'stopped' } as PortSnapshot;
      calls.get(self)?.received.push(event);
      const { systemId } = self as unknown as { systemId?: string };
      if (systemId) told.push({ to: systemId, event });
      return snapshot;
    },
  };
}

function portOf(name: string, all: readonly Call[], actor: AnyActorRef): Port {
  const calls = () => all.filter((call) => call.port === name);
  const newest = (): Call => {
    const call = calls().findLast((one) => one.open());
    if (!call) throw new Error(`port ${name} has no open call. ${describeRun(all, actor)}`);
    return call;
  };
  return {
    get calls() {
      return calls();
    },
    get call() {
      return newest();
    },
    resolve: (output) => newest().resolve(output),
    reject: (error) => newest().reject(error),
    sendBack: (event) => newest().sendBack(event),
  };
}

function describeRun(calls: readonly Call[], actor: AnyActorRef): string {
  const snapshot = actor.getSnapshot() as AnyMachineSnapshot;
  const open = calls.filter((call) => call.open()).map((call) => call.id);
  return `The machine is ${snapshot.status} in ${JSON.stringify(snapshot.value)}; running: ${open.join(', ') || 'nothing'}.`;
}

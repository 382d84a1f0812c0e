/**
 * The real agent, store and dispatcher wired together, over a disk in memory and with components, gateway and acker played by the test.
 * Everything is synchronous; each step writes down what came in and all that went out.
 */
import type { AnyStateMachine, EventObject, InspectionEvent } from 'xstate';
import { agentMachine } from '../../src/machines/agent.ts';
import type { AgentContext, AgentInput, Ladder } from '../../src/machines/agent-context.ts';
import {
  type AckVerdict,
  type DeliveredAction,
  emptyFacts,
  type Facts,
  type Generation,
} from '../../src/machines/facts.ts';
import { GATEWAY_TIMINGS } from '../../src/machines/gateway-context.ts';
import { advance, bodiesNamed, nameOf, type Rules } from '../../src/machines/rules.ts';
import { type StoreRequest, storeMachine } from '../../src/machines/store.ts';
import type { Report } from '../../src/machines/system.ts';
import type { PolicyBody, PolicyRef } from '../../src/policy/identity.ts';
import { type Call, type Controlled, controllable, startControlled } from './machine-kit.ts';

export const RULES: Rules = {
  attemptLimit: 3,
  freshMs: 3_600_000,
  retry: { initialMs: 60_000, maxMs: 3_600_000 },
  recovery: { initialMs: 300_000, maxMs: 86_400_000 },
  notFoundLimit: 3,
};

export const SETTINGS: AgentInput = {
  agentId: 'agent',
  bootId: 'boot',
  hosts: ['http://fleet'],
  onExit: 'stop',
  storeRetry: { initialMs: 1000, maxMs: 60_000 },
  ackBackoff: { initialMs: 1000, maxMs: 60_000 },
  gateway: GATEWAY_TIMINGS,
  components: {} as AgentInput['components'],
  jitterSeed: 1,
};

/** `web:3` is policy web at revision 3; its bytes follow from its name. */
export function policyNamed(name: string): PolicyBody {
  const [id = '', revision = '0'] = name.split(':');
  return {
    id,
    revision: Number(revision),
    hash: `hash-${name}`,
    actionId: `policy:${name}`,
    text: `{"policy":"${name}"}`,
  };
}

export function actionNamed(id: string, type: string, data: unknown): DeliveredAction {
  const text = data === undefined ? null : JSON.stringify(data);
  return { id, type, data: text, inputType: null, startTime: null, expiration: null, undecodable: null };
}

type Sent = EventObject & Readonly<Record<string, unknown>>;

/** What survives the process. */
export class Disk {
  facts: Facts | null = null;
  /** Policies by hash. */
  readonly bodies = new Map<string, string>();
  /** `hangs`: neither succeeds nor fails until it is told to. */
  mode: 'works' | 'full' | 'hangs' = 'works';
  /** Reading policies fails as a whole, not only for those that are missing. */
  unreadable = false;
  commits = 0;
}

const ENOSPC = { code: 'STORE_WRITE_FAILED', message: 'no space left on device' } as const;

export class World {
  readonly disk = new Disk();
  /** Everything so far, one thing a line. */
  readonly trace: string[] = [];
  settings: AgentInput = SETTINGS;
  /** Whether the components end as soon as they are told to. */
  stopsAtOnce = true;
  #run: Controlled<AnyStateMachine> | null = null;
  #startedAt = Date.UTC(2026, 0, 1);
  /** What the process has read or received: from it the disk can be written again. */
  #memory = new Map<string, string>();
  #calls: Call[] = [];
  #seen = 0;
  #saidBefore = '';

  get now(): number {
    return this.#startedAt + (this.#run?.clock.now() ?? 0);
  }

  get run(): Controlled<AnyStateMachine> {
    if (this.#run === null) throw new Error('the agent does not run');
    return this.#run;
  }

  get context(): AgentContext {
    return this.run.snapshot().context;
  }

  /** Facts as the disk holds them. */
  get facts(): Facts {
    return this.disk.facts ?? emptyFacts('agent');
  }

  /** `running.apply.confirming`; the empty string when no agent runs. */
  get state(): string {
    if (this.#run === null) return '';
    return pathOf(this.#run.snapshot().value);
  }

  /** The newest report Fleet was given, or would be given with the next check-in. */
  get report(): Report {
    const told = this.run.told.findLast(({ to, event }) => to === 'gateway' && event.type === 'report.changed');
    const input = this.run.calls.findLast((call) => call.id === 'gateway')?.input as { report: Report } | undefined;
    return (told?.event as unknown as { report: Report } | undefined)?.report ?? (input as { report: Report }).report;
  }

  get linkIsOpen(): boolean {
    return this.#run?.calls.some((call) => call.id === 'gateway' && call.open()) ?? false;
  }

  // ---- what comes in ----

  start(): this {
    if (this.#run !== null) throw new Error('the agent runs already');
    this.#memory = new Map();
    this.#calls = [];
    this.#saidBefore = '';
    const store = controllable(storeMachine, undefined, (call) => this.#calls.push(call));
    const agent = agentMachine.provide({ actors: { store: store as never } });
    this.#run = startControlled(agent as unknown as AnyStateMachine, {
      input: this.settings as never,
      systemId: 'agent',
      ports: ['components', 'gateway', 'acker', 'readLadder', 'readPolicy', 'verifyHeld'],
      inspect: (event) => this.#observe(event),
    });
    this.#run.actor.on('said', (event: EventObject) => {
      const { level, message } = event as unknown as { level: string; message: string };
      this.trace.push(`log: ${level}: ${message}`);
    });
    return this.settle();
  }

  /** SIGKILL, or the power. */
  die(): this {
    this.#leave();
    return this;
  }

  send(event: Sent): this {
    this.run.send(event);
    return this.settle();
  }

  /** Sets the wall clock back. */
  turnBack(ms: number): this {
    this.#startedAt -= ms;
    return this;
  }

  pass(ms: number): this {
    const end = this.now + ms;
    while (this.#run !== null && this.now < end) {
      const next = this.run.clock.nextInMs();
      this.run.clock.advance(Math.min(next ?? Number.POSITIVE_INFINITY, end - this.now));
      this.settle();
    }
    if (this.#run === null) this.#startedAt = end;
    return this;
  }

  /** The gateway hands over an answer of Fleet. */
  deliver(policy: string | null, actions: readonly DeliveredAction[] = []): this {
    if (!this.linkIsOpen) throw new Error(`no link is open in ${this.state}`);
    this.pass(1);
    const body = policy === null ? null : policy === '{}' ? { ...policyNamed(''), text: '{}' } : policyNamed(policy);
    if (body !== null) this.#memory.set(body.hash, body.text);
    const event = { type: 'delivery.arrived', token: `token-${this.disk.commits}`, actions, policy: body };
    this.run.actor.system.get('dispatcher').send(event);
    return this.settle();
  }

  issued(): this {
    return this.#fromComponents({ type: 'components.issued' });
  }

  confirmed(): this {
    return this.#fromComponents({ type: 'components.confirmed', degraded: [] });
  }

  refused(kind: 'unparsable' | 'unrendered' | 'check' | 'health', reason: string): this {
    return this.#fromComponents({ type: 'components.refused', kind, reason });
  }

  /** Fleet's verdict on every ack that is owed. */
  ackedBy(verdict: AckVerdict['verdict'] = 'taken'): this {
    const verdicts = this.facts.outbox.map(({ actionId, owedAt }) => ({ actionId, owedAt, verdict, reason: '' }));
    this.run.actor.system.get('store').send({
      type: 'store.change',
      from: 'acker',
      id: 'settled',
      changes: [{ type: 'acks.settled', verdicts }],
    });
    return this.settle();
  }

  /** The gateway looks at last good before a check-in. */
  verified(): this {
    const [generation] = this.context.facts.generations;
    if (generation === undefined) return this;
    return this.send({ type: 'held.verified', verdict: this.#verdictOn(generation) });
  }

  fill(): this {
    this.disk.mode = 'full';
    return this.settle();
  }

  /** The disk takes writes again; what waits for its next try is not hurried. */
  heal(): this {
    this.disk.mode = 'works';
    return this.settle();
  }

  // ---- shorthand for what happens most ----

  /** Delivered, applied, confirmed, promoted and acked. */
  makeGood(policy: string): this {
    return this.deliver(policy).confirmed().ackedBy();
  }

  replayed(): this {
    return this.issued().confirmed();
  }

  /** What the components were told last. */
  get applied(): { readonly plan: string; readonly mode: string; readonly policy: PolicyRef } | null {
    const told = this.run.told.findLast(({ to, event }) => to === 'components' && event.type === 'components.apply');
    return (told?.event as never) ?? null;
  }

  /** Lines of the trace since the last look. */
  news(): string[] {
    const lines = this.trace.slice(this.#seen);
    this.#seen = this.trace.length;
    return lines;
  }

  // ---- how the outside answers ----

  /** Answers every port that is open, until nothing more happens. */
  settle(): this {
    for (let rounds = 0; ; rounds += 1) {
      if (rounds > 2000) throw new Error(`the agent does not come to rest: ${this.trace.slice(-12).join('\n')}`);
      const run = this.#run;
      if (run === null) return this;
      const { status, output } = run.snapshot() as { status: string; output?: { restart: boolean; problem: unknown } };
      if (status !== 'active') {
        this.trace.push(`the agent ended${output?.restart ? ', to begin anew' : ''}`);
        if (status === 'error') throw (run.snapshot() as { error: unknown }).error;
        this.#leave();
        if (output?.restart) this.start();
        return this;
      }
      const call = [...this.#calls, ...run.calls].find((one) => one.open() && this.#canAnswer(one));
      if (call === undefined) return this;
      this.#answer(call);
    }
  }

  #canAnswer(call: Call): boolean {
    if (call.port === 'components') return this.stopsAtOnce && this.#owesStopped(call);
    if (call.port === 'gateway' || call.port === 'acker') return false;
    return !(call.port === 'commit' && this.disk.mode === 'hangs');
  }

  #stopsAnswered = new WeakMap<object, number>();
  #owesStopped(call: Call): boolean {
    const stops = call.received.filter((event) => event.type === 'components.stop').length;
    return stops > (this.#stopsAnswered.get(call) ?? 0);
  }

  #answer(call: Call): unknown {
    const { disk } = this;
    switch (call.port) {
      case 'components': {
        this.#stopsAnswered.set(call, call.received.filter((event) => event.type === 'components.stop').length);
        return call.sendBack({ type: 'components.stopped' });
      }
      case 'open':
        return call.resolve({ facts: disk.facts, findings: [], at: this.now });
      case 'close':
        return call.resolve();
      case 'commit':
        return this.#commit(call);
      case 'readLadder':
        return disk.unreadable ? call.reject(new Error('input/output error')) : call.resolve(this.#ladder(call.input));
      case 'readPolicy': {
        const { ref } = call.input as { ref: PolicyRef };
        const text = disk.bodies.get(ref.hash);
        return text === undefined ? call.reject(missing(ref)) : call.resolve({ ...ref, text });
      }
      case 'verifyHeld':
        return call.resolve(this.#verdictOn((call.input as { ref: PolicyRef }).ref));
    }
  }

  #commit(call: Call): unknown {
    const { facts, requests } = call.input as { facts: Facts; requests: readonly StoreRequest[] };
    const what = requests.map(({ changes }) => changes.map((one) => one.type).join(' ') || 'nothing new').join(', ');
    if (this.disk.mode === 'full') {
      this.trace.push(`disk: takes no commit (${what})`);
      return call.reject(ENOSPC);
    }
    let next = facts;
    const news = requests.map(({ changes }) => {
      const step = advance(next, changes, this.now, RULES);
      next = step.facts;
      for (const [hash, text] of Object.entries(step.bodies)) this.disk.bodies.set(hash, text);
      return step.news;
    });
    for (const hash of bodiesNamed(next)) {
      const text = this.#memory.get(hash);
      if (text !== undefined) this.disk.bodies.set(hash, text);
    }
    this.disk.facts = next;
    this.disk.commits += 1;
    this.trace.push(`disk: commit of ${what}`);
    call.resolve({ facts: next, at: this.now, news });
  }

  #ladder(input: unknown): Ladder {
    const lost: { hash: string; problem: { code: 'STORE_UNREADABLE'; message: string } }[] = [];
    for (const generation of (input as { generations: readonly Generation[] }).generations) {
      const text = this.disk.bodies.get(generation.hash);
      if (text !== undefined) return { body: { ...generation, text }, lost };
      lost.push({ hash: generation.hash, problem: missing(generation) });
    }
    return { body: null, lost };
  }

  #verdictOn(ref: PolicyRef) {
    return { hash: ref.hash, problem: this.disk.bodies.has(ref.hash) ? null : missing(ref) };
  }

  #fromComponents(event: Sent): this {
    const plan = this.applied?.plan;
    if (plan === undefined) throw new Error('the components were told nothing yet');
    this.run.port('components').sendBack({ ...event, plan } as Sent);
    return this.settle();
  }

  #leave(): void {
    this.#startedAt = this.now;
    this.#run?.stop();
    this.#run = null;
  }

  // ---- what is written down ----

  #observe(inspected: InspectionEvent): void {
    const id = (inspected.actorRef as unknown as { id: string }).id;
    if (inspected.type === '@xstate.microstep' && id === 'subject') {
      const path = pathOf((inspected.snapshot as unknown as { value: unknown }).value);
      if (path !== this.#saidBefore) this.trace.push(`agent: ${path}`);
      this.#saidBefore = path;
    }
    if (inspected.type === '@xstate.actor' && id === 'gateway') this.trace.push('gateway: the link is opened');
    if (inspected.type !== '@xstate.event') return;
    const line = lineOf(id, inspected.event as EventObject & Record<string, never>);
    if (line !== null && line !== this.trace.at(-1)) this.trace.push(line);
  }
}

/** What is told to the others; what only informs is left out. */
function lineOf(to: string, event: EventObject & Record<string, unknown>): string | null {
  switch (event.type) {
    case 'components.apply': {
      const { plan, mode, policy } = event as unknown as { plan: string; mode: string; policy: PolicyRef };
      return `components: apply ${nameOf(policy)} (${mode}, ${plan})`;
    }
    case 'components.leave':
      return 'components: leave everything as it is';
    case 'components.stop':
      return `components: stop${event.keep ? ', but let them run on' : ''}${event.hurry ? ', without grace' : ''}`;
    case 'report.changed': {
      const { status, message } = (event as unknown as { report: Report }).report;
      return to === 'gateway' ? `report: ${status}: ${message}` : null;
    }
    case 'delivery.taken':
    case 'delivery.unstorable':
      return `gateway: ${event.type}`;
    default:
      return null;
  }
}

function missing(ref: PolicyRef) {
  return { code: 'STORE_UNREADABLE' as const, message: `the object of ${nameOf(ref)} is missing` };
}

function pathOf(value: unknown): string {
  if (typeof value === 'string') return value;
  return Object.entries(value as Record<string, unknown>)
    .map(([key, inner]) => `${key}.${pathOf(inner)}`)
    .join(' ');
}

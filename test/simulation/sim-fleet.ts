/**
 * A Fleet Server as a stock one behaves at the level of HTTP, written from its protocol alone: what it believes about one agent, what it sends,
 * and what it makes of what it hears. Shares nothing with the embedded server, so that both can be wrong independently.
 */
import type { JsonValue } from '../../src/policy/json.ts';
import { outputKeyOf, type SimPolicy } from './policies.ts';
import type { Timeline } from './timeline.ts';

export interface Reply {
  readonly status: number;
  readonly text: string;
}

export interface SimAction {
  readonly id: string;
  readonly type: string;
  readonly data: JsonValue;
  readonly expiration: string;
  /** Its place in the index, and the name of the document, which becomes the token. */
  readonly seq: number;
  readonly document: string;
}

/** What the server believes about the agent. */
interface AgentDocument {
  policyId: string;
  /** Acked or reported. */
  reportedId: string | null;
  reportedRevision: number;
  sequence: number;
  active: boolean;
  /** Its output key was lost: everything is delivered until it is delivered. */
  keyless: boolean;
  /** The output key that was delivered last, null before the first; and all that were and are not retired. */
  outputKey: string | null;
  liveKeys: readonly string[];
}

/** Everything a server keeps. */
export interface FleetImage {
  readonly agent: Readonly<AgentDocument>;
  readonly policies: ReadonlyMap<string, SimPolicy>;
  readonly actions: readonly SimAction[];
  readonly nextSequence: number;
}

interface Poll {
  readonly policyId: string;
  readonly effectiveRevision: number;
  respond(reply: Reply): void;
  over: boolean;
}

export interface CheckinSeen {
  readonly status: string;
  readonly message: string;
  readonly token: string;
  readonly policyId: string | undefined;
  readonly revision: number | undefined;
  readonly metadata: { readonly start?: number; readonly previous?: string; readonly crashes?: number };
  readonly components: readonly { readonly id: string; readonly status: string }[];
}

export interface AckSeen {
  readonly actionId: string;
  readonly error: string;
  readonly message: string;
}

/** Told to the oracle. */
export interface FleetWitness {
  checkedIn(checkin: CheckinSeen): void;
  acked(acks: readonly AckSeen[], statuses: readonly number[]): void;
  delivered(policy: SimPolicy): void;
  dispatched(token: string, actions: readonly SimAction[]): void;
  /** A whole request was answered with this status, and nothing looked into. */
  refused(path: string, body: string, status: number): void;
  /** It believes that the agent holds this policy, and has retired these output keys for it. */
  retired(keys: readonly string[], believed: { readonly id: string; readonly revision: number }): void;
}

const IDLE: Reply = { status: 200, text: '{"ack_token":"","action":"checkin"}' };

const ITEM_MESSAGES: Readonly<Record<number, string>> = { 200: 'OK', 404: 'Not Found' };

export function errorReply(status: number, error: string, message = ''): Reply {
  return { status, text: JSON.stringify({ statusCode: status, error, message }) };
}

export class SimFleet {
  readonly agentId: string;
  readonly key: string;
  agent: AgentDocument;
  policies = new Map<string, SimPolicy>();
  actions: SimAction[] = [];
  /** The end of an old poll takes the new one's subscription away, as a stock server's does. */
  readonly forgetsSubscriptions: boolean;
  readonly #timeline: Timeline;
  readonly #witness: FleetWitness;
  #poll: Poll | null = null;
  #nextSequence = 0;
  #jitter: () => number;

  constructor(options: {
    readonly agentId: string;
    readonly key: string;
    readonly policyId: string;
    readonly timeline: Timeline;
    readonly witness: FleetWitness;
    readonly forgetsSubscriptions: boolean;
    /** From 0 to 1. */
    readonly jitter: () => number;
  }) {
    this.agentId = options.agentId;
    this.key = options.key;
    this.#timeline = options.timeline;
    this.#witness = options.witness;
    this.forgetsSubscriptions = options.forgetsSubscriptions;
    this.#jitter = options.jitter;
    this.agent = {
      policyId: options.policyId,
      reportedId: null,
      reportedRevision: 0,
      sequence: -1,
      active: true,
      keyless: false,
      outputKey: null,
      liveKeys: [],
    };
  }

  get assigned(): SimPolicy | undefined {
    return this.policies.get(this.agent.policyId);
  }

  // ---- what its users do ----

  publish(policy: SimPolicy): void {
    this.policies.set(policy.id, policy);
    const poll = this.#poll;
    if (poll && !poll.over && poll.policyId === policy.id && policy.revision > poll.effectiveRevision) {
      this.#deliver(policy, (reply) => this.#answer(poll, reply));
    }
  }

  /** The same revision with a rotated key, for an agent whose key document lost its key. */
  rekey(policy: SimPolicy): void {
    this.policies.set(policy.id, policy);
    this.agent.keyless = true;
  }

  reassign(policyId: string): void {
    this.agent.policyId = policyId;
    this.dispatch([{ type: 'POLICY_REASSIGN', data: { policy_id: policyId } }]);
  }

  dispatch(wanted: readonly { readonly type: string; readonly data: JsonValue; readonly id?: string }[]): void {
    for (const { type, data, id } of wanted) {
      const seq = this.#nextSequence++;
      const expiration = new Date(this.#timeline.wallMs() + 30 * 24 * 3_600_000).toISOString();
      this.actions.push({ id: id ?? `action-${seq}`, type, data, expiration, seq, document: `document-${seq}` });
    }
    const poll = this.#poll;
    if (poll && !poll.over) {
      const pending = this.#pending(this.agent.sequence);
      if (pending.length > 0) this.#answer(poll, this.#dispatching(pending));
    }
  }

  /** The index of actions is made anew, with other documents, and how far the agent had come is forgotten. */
  resetCursor(): void {
    this.agent.sequence = -1;
    this.actions = this.actions.map((action) => ({ ...action, document: `${action.document}-anew` }));
  }

  /** Everything it knows, for {@link restore}. */
  snapshot(): string {
    return JSON.stringify([this.agent, [...this.policies], this.actions, this.#nextSequence]);
  }

  /** The server comes back from a backup: it has forgotten what came after. */
  restore(snapshot: string): void {
    const [agent, policies, actions, next] = JSON.parse(snapshot) as [
      AgentDocument,
      [string, SimPolicy][],
      SimAction[],
      number,
    ];
    // An unenrolled agent stays so: its keys are gone wherever they are kept.
    this.agent = { ...agent, active: agent.active && this.agent.active };
    this.policies = new Map(policies);
    this.actions = actions;
    // New documents get new names, as new ones do.
    this.#nextSequence = Math.max(next, this.#nextSequence);
    this.restart();
  }

  /** Everything it keeps, for another server to {@link take}: a world that branches off. Polls are no part of it. */
  image(): FleetImage {
    return {
      agent: { ...this.agent },
      policies: new Map(this.policies),
      actions: [...this.actions],
      nextSequence: this.#nextSequence,
    };
  }

  take({ agent, policies, actions, nextSequence }: FleetImage): void {
    this.agent = { ...agent };
    this.policies = new Map(policies);
    this.actions = [...actions];
    this.#nextSequence = nextSequence;
  }

  /** Open polls end without an answer; whoever holds their other end finds out by itself. */
  restart(): void {
    if (this.#poll) this.#poll.over = true;
    this.#poll = null;
  }

  // ---- what the agent says ----

  /** `itemStatus`: what some acks of a request are answered with, whether they take effect or not; null: each with what becomes of it. */
  handle(
    path: string,
    key: string,
    body: string,
    respond: (reply: Reply) => void,
    itemStatus: number | null = null,
  ): { gone(): void } {
    const nothing = { gone: () => {} };
    if (key !== this.key || !this.agent.active) {
      this.#witness.refused(path, body, 401);
      respond(errorReply(401, 'ErrUnauthorized', 'invalid token'));
      return nothing;
    }
    if (path.endsWith('/checkin')) return this.#checkin(body, respond);
    if (path.endsWith('/acks')) respond(this.#acks(body, itemStatus));
    else respond(errorReply(404, 'NotFound'));
    return nothing;
  }

  #checkin(text: string, respond: (reply: Reply) => void): { gone(): void } {
    const nothing = { gone: () => {} };
    const body = parsed(text);
    if (body === null) {
      respond(errorReply(400, 'BadRequest', 'unable to decode checkin request'));
      return nothing;
    }
    if (typeof body.status !== 'string' || body.status === '') {
      respond(errorReply(400, 'BadRequest', 'checkin status missing'));
      return nothing;
    }
    const seen = seenIn(body);
    this.#witness.checkedIn(seen);
    if (seen.revision !== undefined && seen.revision < 0) {
      respond(errorReply(500, 'InternalServerError', 'revision must not be negative'));
      return nothing;
    }
    const { agent } = this;
    const named = this.actions.find(({ document }) => document === seen.token);
    const cursor = named?.seq ?? agent.sequence;
    if (cursor >= 0) agent.sequence = cursor;
    const effective = this.#effectiveRevision(seen.policyId, seen.revision);
    if (seen.policyId && seen.revision !== undefined) {
      // A report is an ack, too.
      if (seen.policyId === agent.policyId && seen.revision > this.#recordedRevision())
        this.#retireKeys(seen.policyId, seen.revision);
      agent.reportedId = seen.policyId;
      agent.reportedRevision = seen.revision;
    }
    const pending = this.#pending(cursor);
    if (pending.length > 0) {
      respond(this.#dispatching(pending));
      return nothing;
    }
    const latest = this.assigned;
    if (latest && latest.revision > effective) {
      this.#deliver(latest, respond);
      return nothing;
    }
    return this.#hold(effective, pollMs(body.poll_timeout), respond);
  }

  /** The table of fleet-protocol 2.4, both pointer rules included. */
  #effectiveRevision(id: string | undefined, revision: number | undefined): number {
    const { agent } = this;
    if (agent.keyless) return 0;
    if (id === undefined || revision === undefined) return agent.reportedRevision;
    if (id !== agent.policyId) return 0;
    const latest = this.assigned?.revision ?? 0;
    return revision > latest ? 0 : revision;
  }

  #hold(effectiveRevision: number, ms: number, respond: (reply: Reply) => void): { gone(): void } {
    const poll: Poll = { policyId: this.agent.policyId, effectiveRevision, respond, over: false };
    this.#poll = poll;
    const end = this.#timeline.in(ms - this.#jitter() * Math.min(30_000, ms - 1), () => this.#answer(poll, IDLE));
    return {
      gone: () => {
        end.cancel();
        if (poll.over) return;
        poll.over = true;
        if (this.#poll === poll || this.forgetsSubscriptions) this.#poll = null;
      },
    };
  }

  #answer(poll: Poll, reply: Reply): void {
    if (poll.over) return;
    poll.over = true;
    if (this.#poll === poll || this.forgetsSubscriptions) this.#poll = null;
    poll.respond(reply);
  }

  #deliver(policy: SimPolicy, respond: (reply: Reply) => void): void {
    // The key is written to the agent's document before the answer is on its way.
    const key = outputKeyOf(policy);
    Object.assign(this.agent, {
      keyless: false,
      outputKey: key,
      liveKeys: [...this.agent.liveKeys.filter((each) => each !== key), key],
    });
    this.#witness.delivered(policy);
    const action = {
      agent_id: this.agentId,
      created_at: new Date(this.#timeline.wallMs()).toISOString(),
      data: { policy: policy.body },
      id: `policy:${policy.id}:${policy.revision}`,
      input_type: '',
      type: 'POLICY_CHANGE',
    };
    respond({ status: 200, text: JSON.stringify({ ack_token: '', action: 'checkin', actions: [action] }) });
  }

  #pending(cursor: number): SimAction[] {
    const now = this.#timeline.wallMs();
    return this.actions.filter(({ seq, expiration }) => seq > cursor && Date.parse(expiration) > now).slice(0, 100);
  }

  #dispatching(pending: readonly SimAction[]): Reply {
    const token = (pending.at(-1) as SimAction).document;
    this.#witness.dispatched(token, pending);
    const actions = pending.map(({ id, type, data, expiration }) => ({
      agent_id: this.agentId,
      created_at: new Date(this.#timeline.wallMs()).toISOString(),
      data,
      expiration,
      id,
      input_type: '',
      type,
    }));
    return { status: 200, text: JSON.stringify({ ack_token: token, action: 'checkin', actions }) };
  }

  #acks(text: string, itemStatus: number | null): Reply {
    const body = parsed(text);
    const events = body?.events;
    if (!Array.isArray(events)) return errorReply(400, 'BadRequest', 'unable to decode ack request');
    const acks = events.map(
      (event: Loose): AckSeen => ({
        actionId: String(event.action_id ?? ''),
        error: typeof event.error === 'string' ? event.error : '',
        message: typeof event.message === 'string' ? event.message : '',
      }),
    );
    const fates = events.map((event: Loose, at): { readonly status: number; readonly takesEffect: boolean } => {
      const id = acks[at]?.actionId ?? '';
      if (event.agent_id && event.agent_id !== this.agentId) return { status: 400, takesEffect: false };
      const known = id.startsWith('policy:') || this.actions.some((action) => action.id === id);
      if (!known) return { status: 404, takesEffect: false };
      if (itemStatus === null || this.#jitter() < 0.3) return { status: 200, takesEffect: true };
      return { status: itemStatus, takesEffect: this.#jitter() < 0.5 };
    });
    const statuses = fates.map(({ status }) => status);
    this.#witness.acked(acks, statuses);
    for (const [at, ack] of acks.entries()) if (fates[at]?.takesEffect && ack.error === '') this.#believe(ack.actionId);
    const errors = statuses.some((status) => status >= 400);
    const items = statuses.map((status) => ({ status, message: ITEM_MESSAGES[status] ?? 'Refused' }));
    return {
      status: Math.max(200, ...statuses),
      text: JSON.stringify({ action: 'acks', ...(errors ? { errors } : {}), items }),
    };
  }

  #believe(actionId: string): void {
    const named = /^policy:([^:]+):(\d+)$/.exec(actionId);
    if (named) {
      const revision = Number(named[2]);
      const { agent } = this;
      if (named[1] === agent.policyId && revision > this.#recordedRevision()) {
        this.#retireKeys(agent.policyId, revision);
        agent.reportedId = agent.policyId;
        agent.reportedRevision = revision;
      }
      return;
    }
    if (this.actions.find(({ id }) => id === actionId)?.type === 'UNENROLL') this.agent.active = false;
  }

  #recordedRevision(): number {
    const { agent } = this;
    return agent.reportedId === agent.policyId ? agent.reportedRevision : 0;
  }

  /** Fleet-protocol 3.3: all but the newest are of no use to an agent that holds this. */
  #retireKeys(id: string, revision: number): void {
    const { agent } = this;
    const retired = agent.liveKeys.filter((key) => key !== agent.outputKey);
    if (retired.length === 0) return;
    agent.liveKeys = agent.liveKeys.filter((key) => key === agent.outputKey);
    this.#witness.retired(retired, { id, revision });
  }
}

type Loose = Readonly<Record<string, unknown>>;

function parsed(text: string): Loose | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Loose) : null;
  } catch {
    return null;
  }
}

export function seenIn(body: Loose): CheckinSeen {
  const local = body.local_metadata as { holdfast?: CheckinSeen['metadata'] } | undefined;
  return {
    status: String(body.status ?? ''),
    message: String(body.message ?? ''),
    token: typeof body.ack_token === 'string' ? body.ack_token : '',
    policyId: typeof body.agent_policy_id === 'string' ? body.agent_policy_id : undefined,
    revision: typeof body.policy_revision_idx === 'number' ? body.policy_revision_idx : undefined,
    metadata: local?.holdfast ?? {},
    components: (body.components ?? []) as CheckinSeen['components'],
  };
}

/** As a stock server computes it from what the agent asks for. */
function pollMs(asked: unknown): number {
  const ms = typeof asked === 'string' && /^\d+ms$/.test(asked) ? Number.parseInt(asked, 10) : 0;
  return ms === 0 ? 300_000 : Math.max(Math.min(ms - 120_000, 3_600_000), 60_000);
}

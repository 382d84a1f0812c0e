/**
 * Enrollment: a token becomes an agent with a key of its own. One secret T serves all policies: the token `T:<policy id>` enrolls into
 * that policy, `T` alone into the only one (of several: `default`, else the first by name). Both also go as base64 of `<policy id>:T`,
 * which has the form of a stock token.
 */
import { randomUUID } from 'node:crypto';
import type { z } from 'zod';
import type { enrollRequestSchema } from '../wire/fleet.ts';
import { agentName, type Core } from './core.ts';
import { badRequest, Fault, unauthorized } from './fault.ts';
import {
  decodeKey,
  encodeKey,
  hashReplaceToken,
  hashSecret,
  matchesReplaceToken,
  newAccessKey,
  sameSecret,
} from './keys.ts';
import type { ServerState, StoredAgent } from './state.ts';

type EnrollBody = z.output<typeof enrollRequestSchema>;

/** The tokens to show: one for each policy. */
export function enrollmentTokens(state: ServerState): readonly { readonly policyId: string; readonly token: string }[] {
  return [...state.policies.keys()]
    .sort()
    .map((policyId) => ({ policyId, token: `${state.enrollmentSecret}:${policyId}` }));
}

/** The policy that a token enrolls into. A wrong token is always 401: agents stop on that and on nothing else. */
export function policyOfToken(state: ServerState, token: string): string {
  const secretHash = hashSecret(state.enrollmentSecret);
  const [secret = '', ...rest] = token.split(':');
  if (sameSecret(secret, secretHash))
    return rest.length === 0 ? standardPolicy(state) : knownPolicy(state, rest.join(':'));
  const stock = decodeKey(token);
  if (!sameSecret(stock.secret, secretHash)) throw unauthorized();
  return knownPolicy(state, stock.id);
}

function standardPolicy(state: ServerState): string {
  const ids = [...state.policies.keys()].sort();
  const id = ids.includes('default') ? 'default' : ids[0];
  if (id === undefined) throw new Fault(503, 'ServiceUnavailable', 'this server has no policy yet');
  return id;
}

function knownPolicy(state: ServerState, id: string): string {
  if (!state.policies.has(id))
    throw new Fault(401, 'ErrUnauthorized', `the enrollment token names a policy that is not there: ${id}`);
  return id;
}

const TYPES = ['PERMANENT', 'EPHEMERAL', 'TEMPORARY'];

export class Enrollment {
  readonly #core: Core;
  /** Enrollment ids whose request is being answered. */
  readonly #busy = new Set<string>();

  constructor(core: Core) {
    this.#core = core;
  }

  /** Creates the agent and makes it durable; returns the answer. */
  async enroll(policyId: string, body: EnrollBody): Promise<string> {
    if (!TYPES.includes(body.type)) throw new Fault(500, 'BadRequest', `unknown enrollment request type: ${body.type}`);
    if (body.id !== '' && !/^[\w.-]{1,128}$/.test(body.id)) throw badRequest('id has characters that no agent id has');
    const busyKey = body.enrollment_id;
    if (busyKey !== '' && this.#busy.has(busyKey)) {
      throw new Fault(429, 'EnrollDuplicate', 'an enrollment with this id is under way');
    }
    if (busyKey !== '') this.#busy.add(busyKey);
    try {
      return await this.#enroll(policyId, body);
    } finally {
      this.#busy.delete(busyKey);
    }
  }

  async #enroll(policyId: string, body: EnrollBody): Promise<string> {
    const { ledger, clock, log } = this.#core;
    const { agents } = ledger.state;
    const replaceTokenHash = body.replace_token === '' ? null : await hashReplaceToken(body.replace_token);
    if (body.id !== '') await this.#makeRoom(body.id, policyId, body.replace_token);
    if (body.enrollment_id !== '') {
      for (const agent of [...agents.values()]) {
        if (agent.enrollmentId === body.enrollment_id && agent.lastCheckinAt === null) agents.delete(agent.id);
      }
    }

    const key = newAccessKey();
    const agent = newAgent(body.id || randomUUID(), policyId, hashSecret(key.secret), key.id, body, clock.now());
    agents.set(agent.id, { ...agent, replaceTokenHash });
    ledger.changed();
    await ledger.durable();
    log('info', `agent ${agentName(agent)} enrolled into ${policyId}`);
    return JSON.stringify({
      action: 'created',
      item: {
        access_api_key: encodeKey(key),
        access_api_key_id: key.id,
        active: true,
        enrolled_at: new Date(agent.enrolledAt).toISOString(),
        id: agent.id,
        local_metadata: agent.metadata,
        policy_id: policyId,
        status: 'online',
        tags: agent.tags,
        type: 'PERMANENT',
        user_provided_metadata: body.metadata?.user_provided ?? null,
      },
    });
  }

  /** Lets a new agent take an id: freely when the old one is inactive, with its replace token when it is not. */
  async #makeRoom(id: string, policyId: string, replaceToken: string): Promise<void> {
    const { ledger, polls } = this.#core;
    const old = ledger.state.agents.get(id);
    if (!old) return;
    const stored = old.replaceTokenHash;
    const allowed =
      !old.active ||
      (stored !== null &&
        replaceToken !== '' &&
        old.policyId === policyId &&
        (await matchesReplaceToken(replaceToken, stored)));
    if (!allowed) throw new Fault(403, 'AgentNotReplaceable', 'existing agent cannot be replaced');
    ledger.state.agents.delete(id);
    polls.end(id);
  }
}

function newAgent(
  id: string,
  policyId: string,
  accessKeyHash: string,
  accessKeyId: string,
  body: EnrollBody,
  now: number,
): StoredAgent {
  return {
    id,
    accessKeyId,
    accessKeyHash,
    active: true,
    enrolledAt: now,
    unenrolledAt: null,
    enrollmentId: body.enrollment_id,
    replaceTokenHash: null,
    tags: [...new Set(body.metadata?.tags ?? [])].sort(),
    policyId,
    record: null,
    cursor: -1,
    reported: null,
    acked: null,
    delivered: null,
    rejected: null,
    reAcks: 0,
    lastReAck: null,
    start: null,
    status: '',
    message: '',
    components: [],
    metadata: withAgentId(body.metadata?.local ?? {}, id),
    lastCheckinAt: null,
    audit: null,
  };
}

/** The server decides the id, so what the agent said about itself before it had one is put right. */
function withAgentId(local: Readonly<Record<string, unknown>>, id: string): Record<string, unknown> {
  const elastic = asRecord(local.elastic);
  return { ...local, elastic: { ...elastic, agent: { ...asRecord(elastic.agent), id } } };
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

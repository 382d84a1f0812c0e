/** Acks: each event gets a verdict of its own, a repeated one the same verdict; what they change is durable before the answer goes. */
import type { z } from 'zod';
import { type acksRequestSchema, parsePolicyActionId } from '../wire/fleet.ts';
import { crashCause } from './checkin.ts';
import { agentName, assignedPolicy, type Core } from './core.ts';
import type { PolicyPair, StoredAction, StoredAgent } from './state.ts';

type AcksBody = z.output<typeof acksRequestSchema>;
type AckEvent = NonNullable<AcksBody['events'][number]>;

interface Item {
  readonly status: number;
  readonly message: string;
}

const OK: Item = { status: 200, message: 'OK' };

/** The answer to acks; `status` is the worst of the items and goes out as the HTTP status. */
export async function acks(core: Core, agent: StoredAgent, body: AcksBody): Promise<{ status: number; text: string }> {
  const items = body.events.map((event) => judge(core, agent, event));
  await core.ledger.durable();
  const status = Math.max(200, ...items.map((item) => item.status));
  const errors = status > 200 ? { errors: true } : {};
  return { status, text: JSON.stringify({ action: 'acks', ...errors, ...(items.length > 0 ? { items } : {}) }) };
}

function judge(core: Core, agent: StoredAgent, event: AckEvent | null): Item {
  if (event === null) return { status: 400, message: 'Bad Request' };
  if (event.agent_id !== '' && event.agent_id !== agent.id) return { status: 400, message: 'Bad Request' };
  if (event.action_id.startsWith('policy:')) {
    ackPolicy(core, agent, event);
    return OK;
  }
  const action = core.ledger.state.actions.find(
    ({ id, agents }) => id === event.action_id && agents.includes(agent.id),
  );
  if (!action) return { status: 404, message: 'Not Found' };
  ackAction(core, agent, action, event);
  return OK;
}

function ackPolicy(core: Core, agent: StoredAgent, event: AckEvent): void {
  const { ledger, clock, log } = core;
  const policy = parsePolicyActionId(event.action_id);
  if (!policy || policy.id !== agent.policyId) return;
  const at = clock.now();
  const name = `${policy.id}:${policy.revision}`;
  if (event.error !== '') {
    agent.rejected = { ...policy, reason: event.error, at };
    ledger.changed();
    log('warn', `agent ${agentName(agent)} rejected ${name}: ${event.error}`);
    return;
  }
  const acked = agent.acked?.id === policy.id ? agent.acked.revision : 0;
  const latest = assignedPolicy(core, agent)?.revision ?? 0;
  // A late ack of an older revision says nothing new, unless this server itself has gone back.
  if (policy.revision < acked && acked <= latest) return;
  // An ack of what was handed out since the last one answers that, whyever it was asked for: it says nothing of a restart.
  const answersDelivery = isOf(agent.delivered, policy) && (agent.delivered?.at ?? 0) > (agent.acked?.at ?? 0);
  if (policy.revision === acked && answersDelivery) {
    log('debug', `agent ${agentName(agent)} acked ${name}, which it was sent again`);
  } else if (policy.revision === acked) {
    agent.reAcks += 1;
    agent.lastReAck = { ...policy, at };
    const cause = crashCause(agent);
    if (cause) log('warn', `agent ${agentName(agent)} ${cause}, re-acked ${name}`);
    else log('info', `agent ${agentName(agent)} re-acked ${name}`);
  } else {
    log('info', `agent ${agentName(agent)} acked ${name}`);
  }
  agent.acked = { ...policy, at };
  if (agent.rejected?.id === policy.id && agent.rejected.revision <= policy.revision) agent.rejected = null;
  const recorded = agent.record?.id === policy.id ? agent.record.revision : 0;
  if (policy.revision > recorded) agent.record = policy;
  ledger.changed();
}

function isOf(one: PolicyPair | null, other: PolicyPair): boolean {
  return one !== null && one.id === other.id && one.revision === other.revision;
}

function ackAction(core: Core, agent: StoredAgent, action: StoredAction, event: AckEvent): void {
  const { ledger, clock, log } = core;
  const error = event.error === '' ? null : event.error;
  if (!action.results.some((result) => result.agentId === agent.id)) {
    action.results.push({ agentId: agent.id, at: clock.now(), message: event.message, error });
    log(
      error ? 'warn' : 'info',
      `agent ${agentName(agent)} acked ${action.type} ${action.id}${error ? `: ${error}` : ''}`,
    );
    ledger.changed();
  }
  if (error === null && agent.active && (action.type === 'UNENROLL' || action.type === 'MIGRATE')) {
    deactivate(core, agent);
  }
}

/** From now on every request of the agent is answered 401. */
export function deactivate(core: Core, agent: StoredAgent): void {
  agent.active = false;
  agent.unenrolledAt = core.clock.now();
  core.ledger.changed();
  core.polls.end(agent.id);
  core.log('info', `agent ${agentName(agent)} is unenrolled`);
}

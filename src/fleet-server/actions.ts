/** Actions that people send: put in order, made durable, and told to the polls that wait. */
import { randomUUID } from 'node:crypto';
import { HoldfastError } from '../errors.ts';
import { cancelDataSchema, policyReassignDataSchema } from '../wire/fleet.ts';
import { deactivate } from './acks.ts';
import { agentName, type Core } from './core.ts';
import type { StoredAction, StoredAgent } from './state.ts';

const DAY_MS = 24 * 3_600_000;
/** Every action ends at some time: one without an end would never be delivered by a stock Fleet Server either. */
const EXPIRES_AFTER_MS = 30 * DAY_MS;
/** Expired actions are forgotten after this. */
const KEPT_AFTER_EXPIRY_MS = 30 * DAY_MS;

export interface SendOptions {
  /** JSON text of `data`, sent as it is; default `null`. */
  readonly data?: string;
  readonly inputType?: string;
  readonly timeoutS?: number;
  /** Epoch milliseconds. */
  readonly startTime?: number;
  /** Epoch milliseconds; default in 30 days. */
  readonly expiration?: number;
}

/** What became of {@link sendAction}; `actionId` null for what is done at the server alone. */
export interface Sent {
  readonly actionId: string | null;
  readonly agentId: string;
  readonly type: string;
}

/** Sends an action to an agent (its id, the beginning of it, or its host name). Resolves when it is durable. */
export async function sendAction(core: Core, name: string, type: string, options: SendOptions = {}): Promise<Sent> {
  const { ledger, polls, clock, log } = core;
  const { state } = ledger;
  const agent = findAgent(core, name);
  if (type === 'FORCE_UNENROLL') {
    deactivate(core, agent);
    await ledger.durable();
    return { actionId: null, agentId: agent.id, type };
  }
  if (!agent.active) throw new HoldfastError('SERVER_REFUSED', `agent ${agent.id} is unenrolled`);
  const data = options.data ?? 'null';
  checkData(core, type, data);

  const now = clock.now();
  const action: StoredAction = {
    seq: state.nextSeq,
    token: randomUUID(),
    id: randomUUID(),
    type,
    data,
    agents: [agent.id],
    createdAt: now,
    expiration: options.expiration ?? now + EXPIRES_AFTER_MS,
    startTime: options.startTime ?? null,
    inputType: options.inputType ?? '',
    timeoutS: options.timeoutS ?? null,
    results: [],
  };
  state.nextSeq += 1;
  state.actions = [...state.actions.filter((old) => old.expiration + KEPT_AFTER_EXPIRY_MS > now), action];
  if (type === 'POLICY_REASSIGN') agent.policyId = policyReassignDataSchema.parse(JSON.parse(data)).policy_id;
  ledger.changed();
  await ledger.durable();
  log('info', `${type} for agent ${agentName(agent)} (${action.id})`);
  polls.wake(agent.id);
  return { actionId: action.id, agentId: agent.id, type };
}

/** Refuses what no agent could make sense of, before it is sent; data of types not known here goes as it is. */
function checkData(core: Core, type: string, data: string): void {
  if (type === 'POLICY_CHANGE') {
    throw new HoldfastError('SERVER_REFUSED', 'a policy is changed by saving its file, not by sending an action');
  }
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch (error) {
    throw new HoldfastError('USAGE', `the data is not JSON: ${error instanceof Error ? error.message : error}`);
  }
  if (type === 'CANCEL' && !cancelDataSchema.safeParse(value).success) {
    throw new HoldfastError('USAGE', 'CANCEL needs {"target_id": "<action id>"}');
  }
  if (type === 'POLICY_REASSIGN') {
    const reassign = policyReassignDataSchema.safeParse(value);
    if (!reassign.success) throw new HoldfastError('USAGE', 'POLICY_REASSIGN needs {"policy_id": "<policy id>"}');
    if (!core.ledger.state.policies.has(reassign.data.policy_id)) {
      throw new HoldfastError('SERVER_REFUSED', `there is no policy ${reassign.data.policy_id}`);
    }
  }
}

function findAgent(core: Core, name: string): StoredAgent {
  const agents = [...core.ledger.state.agents.values()];
  const exact = core.ledger.state.agents.get(name);
  if (exact) return exact;
  const matching = agents.filter((agent) => agent.id.startsWith(name) || agentName(agent).startsWith(`${name} (`));
  const active = matching.filter((agent) => agent.active);
  const [found, another] = active.length > 0 ? active : matching;
  if (!found) throw new HoldfastError('SERVER_REFUSED', `there is no agent ${name}`);
  if (another)
    throw new HoldfastError('SERVER_REFUSED', `${name} means more than one agent: ${found.id}, ${another.id}`);
  return found;
}

/** The check-in: note what the agent says, answer with actions, else with the policy it lacks, else hold the poll. */
import type { z } from 'zod';
import {
  type checkinRequestSchema,
  holdfastMetadataSchema,
  IDLE_CHECKIN_BODY,
  parseGoDuration,
} from '../wire/fleet.ts';
import { agentName, assignedPolicy, type Core } from './core.ts';
import {
  actionsAnswer,
  cursorOf,
  effectiveRevision,
  noteReport,
  pendingActions,
  policyAnswer,
  type Report,
} from './delivery.ts';
import { badRequest, Fault } from './fault.ts';
import { pollWaitMs } from './polls.ts';
import type { StoredAgent } from './state.ts';

export type CheckinBody = z.output<typeof checkinRequestSchema>;

/** Answers a check-in, after as long as it takes. `gone` is aborted when nobody waits for the answer any more. */
export async function checkin(core: Core, agent: StoredAgent, body: CheckinBody, gone: AbortSignal): Promise<string> {
  const { ledger, polls, clock } = core;
  const startedAt = clock.now();
  if (body.status === '') throw badRequest('checkin status missing');
  const requestedMs = body.poll_timeout ? parseGoDuration(body.poll_timeout) : null;
  if (body.poll_timeout && requestedMs === null)
    throw badRequest(`poll_timeout is not a duration: ${body.poll_timeout}`);
  const report: Report = { agentPolicyId: body.agent_policy_id, policyRevision: body.policy_revision_idx };
  const latest = assignedPolicy(core, agent)?.revision ?? 0;
  if (effectiveRevision(report, agent.policyId, agent.record, latest) === null) {
    throw new Fault(500, 'BadRequest', `policy_revision_idx is negative: ${report.policyRevision}`);
  }

  const cursor = cursorOf(ledger.state.actions, body.ack_token, agent.cursor);
  agent.cursor = cursor;
  noteCheckin(core, agent, body);
  // The rules compare with what was recorded before this check-in; a report stands for itself.
  const look = (): string | null => nextAnswer(core, agent, report, cursor);
  noteReport(agent, report, startedAt);
  ledger.touched();

  const waitMs = pollWaitMs(requestedMs, clock.now() - startedAt, core.random(), core.pollTimes);
  const answer = look() ?? (await polls.wait(agent.id, look, waitMs, gone));
  if (answer === null) return IDLE_CHECKIN_BODY;
  // What is handed out must not be forgotten: a revision given twice to different content would never be corrected.
  await ledger.durable();
  return answer;
}

function nextAnswer(core: Core, agent: StoredAgent, report: Report, cursor: number): string | null {
  const { ledger, clock, log } = core;
  if (!agent.active || ledger.state.agents.get(agent.id) !== agent) return null;
  const actions = pendingActions(ledger.state.actions, agent.id, cursor, clock.now());
  if (actions.length > 0) {
    log('debug', `agent ${agentName(agent)} is sent ${actions.map((action) => action.type).join(', ')}`);
    return actionsAnswer(agent.id, actions);
  }
  const policy = assignedPolicy(core, agent);
  if (!policy) return null;
  const held = effectiveRevision(report, agent.policyId, agent.record, policy.revision);
  if (held === null || policy.revision <= held) return null;
  noteDelivery(core, agent, policy);
  return policyAnswer(agent.id, policy);
}

function noteDelivery(
  core: Core,
  agent: StoredAgent,
  policy: { readonly id: string; readonly revision: number },
): void {
  const again = agent.delivered?.id === policy.id && agent.delivered.revision === policy.revision;
  const times = again ? (agent.delivered?.times ?? 0) + 1 : 1;
  agent.delivered = { id: policy.id, revision: policy.revision, at: core.clock.now(), times };
  core.ledger.touched();
  core.log(again ? 'debug' : 'info', `agent ${agentName(agent)} is sent ${policy.id}:${policy.revision}`);
}

function noteCheckin(core: Core, agent: StoredAgent, body: CheckinBody): void {
  const { clock, log } = core;
  const now = clock.now();
  const changed = body.status !== agent.status || body.message !== agent.message;
  agent.lastCheckinAt = now;
  agent.status = body.status;
  agent.message = body.message;
  if (body.components) agent.components = [...body.components];
  if (body.local_metadata) agent.metadata = body.local_metadata;
  if (changed) log('info', `agent ${agentName(agent)}: ${body.status}${body.message ? `: ${body.message}` : ''}`);
  noteRejection(agent, body, now);
  noteStart(core, agent, body);
}

function noteRejection(agent: StoredAgent, body: CheckinBody, now: number): void {
  const found = rejectionOf(body);
  if (found === undefined) return;
  const same = found !== null && agent.rejected?.id === found.id && agent.rejected.revision === found.revision;
  agent.rejected = found === null ? null : { ...found, at: same ? (agent.rejected?.at ?? now) : now };
}

function noteStart(core: Core, agent: StoredAgent, body: CheckinBody): void {
  const holdfast = holdfastMetadataSchema.safeParse(body.local_metadata?.holdfast).data;
  if (holdfast?.start === undefined || agent.start?.number === holdfast.start) return;
  const { start: number, previous = '', crashes = 0 } = holdfast;
  agent.start = { number, previous, crashes, at: core.clock.now() };
  const cause = crashCause(agent);
  if (cause) core.log('warn', `agent ${agentName(agent)} ${cause}`);
}

/** How the agent's last start came about, when that was not in order; null when it was, or is not known. */
export function crashCause(agent: StoredAgent): string | null {
  if (!agent.start) return null;
  const { number, previous, crashes } = agent.start;
  const count = crashes > 1 ? `, ${crashes} crashes in a row` : '';
  if (previous === 'crashed' || previous === 'crash') return `restarted after a crash (start ${number}${count})`;
  if (previous === 'host-rebooted') return `restarted after its host did, without a goodbye (start ${number})`;
  return null;
}

type Rejected = { readonly id: string; readonly revision: number; readonly reason: string };

/**
 * What the check-in says was rejected. The metadata holds the hash alone, and only while the rejection stands; id, revision and reason are in
 * the message, unless something more urgent is. Undefined: nothing new is said of it.
 */
function rejectionOf(body: CheckinBody): Rejected | null | undefined {
  const said = inMessage(body.message);
  if (said) return said;
  const holdfast = holdfastMetadataSchema.safeParse(body.local_metadata?.holdfast).data;
  return holdfast?.rejected === null ? null : undefined;
}

/** `policy rejected: <id>:<revision>: <reason>; running …` */
function inMessage(message: string): Rejected | null {
  const match = /^policy rejected: ([^:]+):(\d+): (.*?)(?:; running .*)?$/s.exec(message);
  if (!match) return null;
  return { id: match[1] ?? '', revision: Number(match[2]), reason: match[3] ?? '' };
}

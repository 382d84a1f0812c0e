/** What a check-in is answered with: the rules of revisions and of the action cursor, as pure functions. */
import { LIMIT, policyActionId } from '../wire/fleet.ts';
import type { PolicyPair, StoredAction, StoredAgent, StoredPolicy } from './state.ts';

/** What a check-in says it holds; `undefined` and `null` are "not said", which is not the same as `""` and 0. */
export interface Report {
  readonly agentPolicyId: string | null | undefined;
  readonly policyRevision: number | null | undefined;
}

/**
 * The revision that the agent counts as having; the policy is delivered when the latest is higher. Null: the report is not possible
 * (a negative revision).
 *
 * | the check-in says | counts as |
 * |---|---|
 * | id or revision absent | what it last acked or reported |
 * | another id than the assigned one, also `""` | 0: everything |
 * | the assigned id, a revision up to the latest | that revision |
 * | the assigned id, a revision beyond the latest | 0: this server has gone back in time, and the agent goes with it |
 */
export function effectiveRevision(
  report: Report,
  assignedPolicyId: string,
  record: PolicyPair | null,
  latestRevision: number,
): number | null {
  const { agentPolicyId, policyRevision } = report;
  if (agentPolicyId == null || policyRevision == null) {
    return record?.id === assignedPolicyId ? record.revision : 0;
  }
  if (agentPolicyId !== assignedPolicyId) return 0;
  if (policyRevision < 0) return null;
  return policyRevision > latestRevision ? 0 : policyRevision;
}

/** Actions for `agentId` behind the cursor, oldest first, at most {@link LIMIT.actionsInAnswer}; expired ones are never delivered. */
export function pendingActions(
  actions: readonly StoredAction[],
  agentId: string,
  cursor: number,
  now: number,
): readonly StoredAction[] {
  return actions
    .filter((action) => action.seq > cursor && action.expiration > now && action.agents.includes(agentId))
    .slice(0, LIMIT.actionsInAnswer);
}

/** The cursor that a token stands for; an unknown or empty one leaves it where it was. */
export function cursorOf(actions: readonly StoredAction[], token: string, current: number): number {
  if (token === '') return current;
  return actions.find((action) => action.token === token)?.seq ?? current;
}

/** The answer that carries actions; its token is that of the last one. */
export function actionsAnswer(agentId: string, actions: readonly StoredAction[]): string {
  const token = actions.at(-1)?.token ?? '';
  const list = actions.map((action) => {
    const fields = [
      ['agent_id', JSON.stringify(agentId)],
      ['created_at', instant(action.createdAt)],
      ['data', action.data],
      ['expiration', instant(action.expiration)],
      ['id', JSON.stringify(action.id)],
      ['input_type', JSON.stringify(action.inputType)],
      ...(action.startTime === null ? [] : [['start_time', instant(action.startTime)]]),
      ...(action.timeoutS === null ? [] : [['timeout', String(action.timeoutS)]]),
      ['type', JSON.stringify(action.type)],
    ];
    return `{${fields.map(([name, value]) => `"${name}":${value}`).join(',')}}`;
  });
  return `{"ack_token":${JSON.stringify(token)},"action":"checkin","actions":[${list.join(',')}]}`;
}

/** The answer that carries a policy: no token, since policies stand outside the cursor and come until they are held. */
export function policyAnswer(agentId: string, policy: StoredPolicy): string {
  const action =
    `{"agent_id":${JSON.stringify(agentId)},"created_at":${instant(policy.savedAt)},` +
    `"data":{"policy":${policyBody(policy)}},"id":${JSON.stringify(policyActionId(policy.id, policy.revision))},` +
    `"input_type":"","type":"POLICY_CHANGE"}`;
  return `{"ack_token":"","action":"checkin","actions":[${action}]}`;
}

/** The policy as agents get it: with the id and revision that this server matches. */
export function policyBody(policy: StoredPolicy): string {
  const rest = policy.text.slice(1);
  return `{"id":${JSON.stringify(policy.id)},"revision":${policy.revision}${rest === '}' ? '' : ','}${rest}`;
}

/** Notes what a check-in reports; an agent that says `""` holds nothing, which leaves the record as it is. */
export function noteReport(agent: StoredAgent, report: Report, now: number): void {
  const { agentPolicyId, policyRevision } = report;
  if (agentPolicyId == null || policyRevision == null) return;
  agent.reported = { id: agentPolicyId, revision: policyRevision, at: now };
  if (agentPolicyId !== '') agent.record = { id: agentPolicyId, revision: policyRevision };
}

const instant = (epochMs: number): string => JSON.stringify(new Date(epochMs).toISOString());

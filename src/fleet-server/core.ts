/** What all parts of the server work on together. */
import type { Clock } from './clock.ts';
import type { Ledger } from './ledger.ts';
import type { Log } from './log.ts';
import type { Polls, PollTimes } from './polls.ts';
import type { StoredAgent, StoredPolicy } from './state.ts';

export interface Core {
  readonly ledger: Ledger;
  readonly polls: Polls;
  readonly clock: Clock;
  readonly log: Log;
  /** [0, 1) */
  readonly random: () => number;
  readonly pollTimes: PollTimes;
}

/** The policy that an agent is assigned to, when the server has it. */
export function assignedPolicy(core: Core, agent: StoredAgent): StoredPolicy | undefined {
  return core.ledger.state.policies.get(agent.policyId);
}

/** How logs and listings name an agent: its host when it says one, else the beginning of its id. */
export function agentName(agent: StoredAgent): string {
  const host = agent.metadata.host;
  const name = typeof host === 'object' && host !== null && 'hostname' in host ? host.hostname : undefined;
  const short = agent.id.slice(0, 8);
  return typeof name === 'string' && name !== '' ? `${name} (${short})` : short;
}

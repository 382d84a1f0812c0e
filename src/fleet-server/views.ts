/** What people are shown of agents and policies: reported, acked, delivered and rejected side by side, and what deserves a second look. */
import { crashCause } from './checkin.ts';
import type { Core } from './core.ts';
import type { StoredAgent } from './state.ts';

/** A policy id and revision with the time (RFC 3339) it was said at. */
export interface PairView {
  readonly id: string;
  readonly revision: number;
  readonly at: string;
}

/** One agent, as `holdfast fleet agents --json` prints it. */
export interface AgentView {
  readonly id: string;
  readonly host: string | null;
  readonly active: boolean;
  /** A long poll of it is waiting right now. */
  readonly polling: boolean;
  readonly status: string;
  readonly message: string;
  readonly last_checkin: string | null;
  readonly enrolled_at: string;
  readonly tags: readonly string[];
  readonly policy: {
    readonly assigned: string;
    /** The newest revision this server has of it; 0: it has none. */
    readonly latest: number;
    readonly delivered: (PairView & { readonly times: number }) | null;
    readonly reported: PairView | null;
    readonly acked: PairView | null;
    readonly rejected: (PairView & { readonly reason: string }) | null;
  };
  /** Sentences; none when all is well. */
  readonly warnings: readonly string[];
  readonly start: { readonly number: number; readonly previous: string; readonly crashes: number } | null;
  readonly re_acks: number;
  readonly actions: { readonly waiting: number; readonly acked: number };
  readonly components: readonly unknown[];
  readonly local_metadata: Readonly<Record<string, unknown>>;
}

/** One policy, as `holdfast fleet agents --json` prints it. */
export interface PolicyView {
  readonly id: string;
  /** 0: the file has never been readable. */
  readonly revision: number;
  readonly saved_at: string | null;
  readonly enrollment_token: string | null;
  /** `<file>:<line>:<column>: <reason>`; the revision above stays in force. */
  readonly problem: string | null;
}

export function agentView(core: Core, agent: StoredAgent): AgentView {
  const { state } = core.ledger;
  const sent = state.actions.filter((action) => action.agents.includes(agent.id));
  const acked = sent.filter((action) => action.results.some((result) => result.agentId === agent.id));
  const now = core.clock.now();
  return {
    id: agent.id,
    host: hostOf(agent),
    active: agent.active,
    polling: core.polls.count(agent.id) > 0,
    status: agent.status,
    message: agent.message,
    last_checkin: agent.lastCheckinAt === null ? null : instant(agent.lastCheckinAt),
    enrolled_at: instant(agent.enrolledAt),
    tags: agent.tags,
    policy: {
      assigned: agent.policyId,
      latest: state.policies.get(agent.policyId)?.revision ?? 0,
      delivered: shown(agent.delivered),
      reported: shown(agent.reported),
      acked: shown(agent.acked),
      rejected: shown(agent.rejected),
    },
    warnings: warningsOf(agent),
    start: agent.start && { number: agent.start.number, previous: agent.start.previous, crashes: agent.start.crashes },
    re_acks: agent.reAcks,
    actions: {
      waiting: sent.filter((action) => action.expiration > now && !acked.includes(action)).length,
      acked: acked.length,
    },
    components: agent.components,
    local_metadata: agent.metadata,
  };
}

function warningsOf(agent: StoredAgent): readonly string[] {
  const warnings: string[] = [];
  const cause = crashCause(agent);
  const again = agent.lastReAck ? `re-acked ${agent.lastReAck.id}:${agent.lastReAck.revision}` : null;
  if (cause) warnings.push([cause, again].filter(Boolean).join(', '));
  else if (again && !agent.start) {
    warnings.push(`${again} (${agent.reAcks} in all): it restarted, or missed the answer to an ack`);
  }
  if (agent.rejected) {
    warnings.push(`rejected ${agent.rejected.id}:${agent.rejected.revision}: ${agent.rejected.reason}`);
  }
  if (agent.reported?.id === '' && agent.acked && agent.reported.at > agent.acked.at) {
    warnings.push(`holds no policy, although it acked ${agent.acked.id}:${agent.acked.revision}`);
  }
  if (agent.audit) warnings.push(`says it was removed: ${agent.audit.reason}`);
  return warnings;
}

function hostOf(agent: StoredAgent): string | null {
  const { host } = agent.metadata;
  if (typeof host !== 'object' || host === null) return null;
  return 'hostname' in host && typeof host.hostname === 'string' ? host.hostname : null;
}

function shown<T extends { readonly at: number }>(value: T | null): (Omit<T, 'at'> & { at: string }) | null {
  return value && { ...value, at: instant(value.at) };
}

const instant = (epochMs: number): string => new Date(epochMs).toISOString();

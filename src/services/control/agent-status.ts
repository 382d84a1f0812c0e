/** `status` of a running agent: what its chart, its context and its store say, under the keys that others rely on (design, section 9). */
import type { SnapshotFrom } from 'xstate';
import type { agentMachine } from '../../machines/agent.ts';
import type { Start } from '../../machines/facts.ts';
import type { Report } from '../../machines/system.ts';
import type { StepShown } from '../../machines/verdict.ts';
import type { Status } from '../../wire/control.ts';
import { actionFacts, instant, policyFacts, policyStatus, startFacts } from './facts-status.ts';

export interface AgentStatusParts {
  readonly snapshot: SnapshotFrom<typeof agentMachine>;
  /** What Fleet is told. */
  readonly report: Report;
  /** This start, on record or not (P9). */
  readonly start: Start;
  readonly plan: readonly StepShown[];
  /** When Fleet is asked next, epoch ms; null: it is being asked. */
  readonly nextCheckinAt: number | null;
  readonly version: string;
  readonly pid: number;
  readonly uptimeMs: number;
  readonly agentId: string;
  readonly store: { readonly sequence: number; readonly encrypted: boolean; readonly quarantined: number };
}

const HEALTH: Readonly<Record<string, Status['health']>> = {
  online: 'healthy',
  degraded: 'degraded',
  error: 'failed',
  starting: 'starting',
};

export function agentStatus(parts: AgentStatusParts): Status {
  const { snapshot, store, report } = parts;
  const { context } = snapshot;
  const { facts, link } = context;
  const running = context.running;
  const promotedAt = facts.generations.find((one) => one.hash === running?.hash)?.promotedAt ?? context.factsAt;
  return {
    version: parts.version,
    pid: parts.pid,
    uptime_s: Math.round(parts.uptimeMs / 1000),
    state: stateName(snapshot.value),
    path: { ...policyPath(snapshot.value), ...linkPath(snapshot) },
    health: HEALTH[report.status] ?? 'starting',
    message: context.awaiting === null ? report.message : `${report.message}; ${context.awaiting}`,
    awaiting: context.awaiting,
    plan: parts.plan,
    start: startFacts(parts.start),
    agent: { id: parts.agentId, enrolled: facts.unenrolled === null },
    fleet: {
      state: link.state,
      message: link.message,
      host: link.host,
      last_checkin: link.lastCheckinAt === null ? null : instant(link.lastCheckinAt),
      next_checkin: parts.nextCheckinAt === null ? null : instant(parts.nextCheckinAt),
    },
    policy: {
      ...policyFacts(facts),
      running: running === null ? null : policyStatus(running, promotedAt),
      orphaned:
        context.orphaned === null ? null : { reason: context.orphaned.reason, since: instant(context.orphaned.since) },
    },
    actions: actionFacts(facts),
    components: context.components.map((one) => ({ ...one })),
    store: { ...store, failing: context.storeProblem?.message ?? null },
  };
}

function stateName(value: unknown): string {
  return typeof value === 'string' ? value : (Object.keys(value as object)[0] ?? '');
}

/** `running: { apply: 'confirming' }` is `policy: apply`. */
function policyPath(value: unknown): Record<string, string> {
  const running = (value as { running?: unknown }).running;
  return running === undefined ? {} : { policy: stateName(running) };
}

function linkPath(snapshot: AgentStatusParts['snapshot']): Record<string, string> {
  const gateway = snapshot.children.gateway?.getSnapshot() as { readonly value: unknown } | undefined;
  return gateway === undefined ? {} : { link: stateName(gateway.value) };
}

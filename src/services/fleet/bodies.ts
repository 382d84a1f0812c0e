/** The bodies of requests to Fleet, made from what the machines say. Pure. */
import type { OwedAck } from '../../machines/facts.ts';
import type { PollRequest } from '../../machines/gateway-context.ts';
import type { ComponentState, ComponentStatus } from '../../policy/component.ts';
import type {
  AckEvent,
  AcksRequest,
  CheckinRequest,
  EnrollRequest,
  UnitState,
  WireComponent,
} from '../../wire/fleet.ts';
import type { HostFacts } from '../host/host.ts';

/** Facts about this agent and its host that a check-in and an enrollment carry. */
export interface LocalFacts {
  readonly host: HostFacts;
  /** The version claimed to Fleet. */
  readonly agentVersion: string;
  /** Holdfast's own version. */
  readonly version: string;
  readonly logLevel: string;
  /** Not running as root. */
  readonly unprivileged: boolean;
}

/** A message as long as Fleet and people can use. */
export const MESSAGE_LIMIT = 1024;
/** An ack's text; the programs' own output can be longer. */
const ACK_TEXT_LIMIT = 8 * 1024;

const UNIT_STATE: Readonly<Record<ComponentState, UnitState>> = {
  starting: 'STARTING',
  healthy: 'HEALTHY',
  degraded: 'DEGRADED',
  reloading: 'CONFIGURING',
  stopping: 'STOPPING',
  // It will be started again: something is wrong, and not given up.
  backingOff: 'DEGRADED',
  failed: 'FAILED',
  stopped: 'STOPPED',
};

/** `pollTimeoutMs`: how long the answer may take; a stock server holds the poll two minutes less. */
export function checkinBody(poll: PollRequest, local: LocalFacts, pollTimeoutMs: number): CheckinRequest {
  const { report } = poll;
  return {
    status: report.status,
    message: clip(report.message, MESSAGE_LIMIT),
    ack_token: poll.token,
    // Both, always: if either is absent the server trusts its own record (P7, P8).
    agent_policy_id: poll.policyId,
    policy_revision_idx: poll.revision,
    poll_timeout: `${Math.round(pollTimeoutMs)}ms`,
    local_metadata: { ...localMetadata(poll.agentId, local), holdfast: { version: local.version, ...report.metadata } },
    components: report.components.map(componentBody),
    upgrade: {},
  };
}

export function localMetadata(agentId: string, local: LocalFacts): Record<string, unknown> {
  return {
    elastic: {
      agent: {
        id: agentId,
        version: local.agentVersion,
        snapshot: false,
        'build.original': `${local.agentVersion} (holdfast ${local.version})`,
        upgradeable: false,
        log_level: local.logLevel,
        complete: false,
        unprivileged: local.unprivileged,
        fips: false,
      },
    },
    host: local.host.host,
    os: local.host.os,
  };
}

function componentBody({ id, type, state, message, units }: ComponentStatus): WireComponent {
  return {
    id,
    type,
    status: UNIT_STATE[state],
    message: clip(message, MESSAGE_LIMIT),
    units: units.map((unit) => ({
      id: unit.id,
      type: unit.type,
      status: UNIT_STATE[unit.state],
      message: clip(unit.message, MESSAGE_LIMIT),
    })),
  };
}

export function acksBody(agentId: string, acks: readonly OwedAck[]): AcksRequest {
  return { events: acks.map((ack) => ackEvent(agentId, ack)) };
}

function ackEvent(agentId: string, { actionId, message, error, owedAt }: OwedAck): AckEvent {
  return {
    type: 'ACTION_RESULT',
    subtype: 'ACKNOWLEDGED',
    agent_id: agentId,
    action_id: actionId,
    message: clip(message, ACK_TEXT_LIMIT),
    timestamp: new Date(owedAt).toISOString(),
    // An empty text would say that nothing failed.
    ...(error === null ? {} : { error: clip(error || 'failed', ACK_TEXT_LIMIT) }),
  };
}

export function enrollBody(enrollmentId: string, tags: readonly string[], local: LocalFacts): EnrollRequest {
  return {
    type: 'PERMANENT',
    id: '',
    enrollment_id: enrollmentId,
    replace_token: '',
    metadata: { local: localMetadata('', local), user_provided: null, tags: [...new Set(['holdfast', ...tags])] },
  };
}

function clip(text: string, limit: number): string {
  return text.length <= limit ? text : `${text.slice(0, limit - 1)}…`;
}

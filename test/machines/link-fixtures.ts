/** Facts, reports and outcomes for the tests of the actors that talk to Fleet. */
import { emptyFacts, type Facts, type Generation, type OwedAck } from '../../src/machines/facts.ts';
import type { PollAnswer } from '../../src/machines/gateway-context.ts';
import type { FailureKind, LinkFailure } from '../../src/machines/link.ts';
import type { Report } from '../../src/machines/system.ts';

export const AT = 1_700_000_000_000;

export function generation(name: string, revision = 1, promotedAt = AT): Generation {
  return {
    id: name,
    revision,
    hash: `hash-${name}-${revision}`,
    actionId: `policy:${name}:${revision}`,
    promotedAt,
    attempts: 0,
  };
}

export function factsWith(changed: Partial<Facts> = {}): Facts {
  return { ...emptyFacts('agent-1'), ...changed };
}

export const report: Report = {
  status: 'online',
  message: 'running web:1',
  components: [],
  holdsLess: false,
  metadata: {
    start: 1,
    previous: 'first',
    crashes: 0,
    policy: { running: null, persisted: null },
    rejected: null,
    generation: 0,
  },
};

export function failure(kind: FailureKind, changed: Partial<LinkFailure> = {}): LinkFailure {
  return { kind, message: `it was ${kind}`, status: null, retryAfterMs: null, answerLost: false, at: AT, ...changed };
}

export function answered(changed: Partial<PollAnswer> = {}): PollAnswer {
  return { kind: 'answered', idle: true, text: '', tookMs: 290_000, warning: null, at: AT, ...changed };
}

export function owed(actionId: string, changed: Partial<OwedAck> = {}): OwedAck {
  return {
    actionId,
    actionType: 'SETTINGS',
    message: 'done',
    error: null,
    owedAt: AT,
    notFound: 0,
    policy: null,
    ...changed,
  };
}

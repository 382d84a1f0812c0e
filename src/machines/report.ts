/** What Fleet is told of this agent beside the policy it holds: one status and one sentence (design, section 8). */
import { type ComponentStatus, worstFirst } from '../policy/component.ts';
import type { PolicyRef } from '../policy/identity.ts';
import type { AgentContext } from './agent-context.ts';
import { nameOf } from './naming.ts';
import type { Report } from './system.ts';
import { thisStart } from './this-start.ts';

/** Kibana shows a message in one line; longer ones are cut. */
export const MESSAGE_LIMIT = 1_024;

const UNHEALTHY = new Set<ComponentStatus['state']>(['degraded', 'failed', 'backingOff']);

export function buildReport(context: AgentContext): Report {
  const { status, message } = condition(context);
  const start = thisStart(context);
  return {
    status,
    message: message.length > MESSAGE_LIMIT ? `${message.slice(0, MESSAGE_LIMIT - 1)}…` : message,
    components: context.components,
    // Where last good itself was found damaged, each verification decides anew.
    holdsLess: context.orphaned !== null && context.orphaned.damaged !== context.facts.generations[0]?.hash,
    metadata: {
      start: start.number,
      previous: start.previous,
      crashes: start.crashes,
      policy: { running: context.running?.hash ?? null, persisted: context.facts.generations[0]?.hash ?? null },
      rejected: standingRejection(context)?.hash ?? null,
      generation: context.facts.runs,
    },
  };
}

/** The rejection of what Fleet wants, as far as is known. */
function standingRejection({ facts }: AgentContext) {
  const wanted = facts.received?.hash;
  if (wanted === undefined || wanted === facts.generations[0]?.hash) return null;
  return facts.rejected.find((one) => one.hash === wanted) ?? null;
}

/** The first that applies, worst first. */
function condition(context: AgentContext): { status: Report['status']; message: string } {
  const { facts, storeProblem, orphaned } = context;
  const start = thisStart(context);
  const running = context.running === null ? 'running nothing' : `running ${nameOf(context.running)}`;
  const rejection = standingRejection(context);
  const unhealthy = worstFirst(context.components.filter((one) => UNHEALTHY.has(one.state)));

  if (facts.unenrolled !== null) return { status: 'error', message: `unenrolled: ${facts.unenrolled.reason}` };
  if (facts.safeMode !== null) {
    return {
      status: 'error',
      message: `safe mode: ${facts.safeMode.reason}; nothing is started, stopped or changed: send another policy, or run \`holdfast restart\` or \`holdfast retry\``,
    };
  }
  if (storeProblem !== null) {
    return { status: 'error', message: `the store takes no writes: ${storeProblem.message}; ${running}` };
  }
  if (orphaned !== null) return { status: 'degraded', message: orphanedMessage(context, running) };
  if (rejection !== null) {
    return { status: 'degraded', message: `policy rejected: ${nameOf(rejection)}: ${rejection.reason}; ${running}` };
  }
  if (facts.runs > 0 && facts.generations[0] !== undefined) {
    return {
      status: 'degraded',
      message: `passed over ${nameOf(facts.generations[0])}, which the agent did not survive; ${running}, whose output keys may have been retired`,
    };
  }
  if (start.previous === 'crashed' && !start.confirmed) {
    return { status: 'degraded', message: `restarted after crash: ${start.inFlight ?? 'at rest'}; ${running}` };
  }
  if (unhealthy.length > 0) {
    const named = unhealthy.map((one) => `${one.id} is ${one.state}${one.message === '' ? '' : `: ${one.message}`}`);
    return { status: 'degraded', message: `${running}; ${named.join('; ')}` };
  }
  if (context.running === null) return { status: 'starting', message: 'waiting for the first policy' };
  return { status: 'online', message: running };
}

/** Never the bare word "orphaned": other products mean something else by it. */
function orphanedMessage(context: AgentContext, running: string): string {
  const reason = context.orphaned?.reason ?? '';
  const older: PolicyRef | undefined = context.facts.generations[0];
  return older === undefined || context.running === null
    ? `holds no policy: ${reason}; ${running}; Fleet is asked for it`
    : `holds an older policy: ${reason}; ${running}; Fleet is asked for the newest`;
}

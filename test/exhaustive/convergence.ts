/** P12 of a world without chance: why it has not settled on what Fleet wants; `''`: it has. */
import type { AgentContext } from '../../src/machines/agent-context.ts';
import { canonicalJson } from '../../src/policy/canonical.ts';
import { renderHere, type SimPolicy } from '../simulation/policies.ts';
import type { Reading } from '../simulation/reading.ts';
import type { SimFleet } from '../simulation/sim-fleet.ts';
import type { SimHost } from '../simulation/sim-host.ts';

export interface Settling {
  readonly fleet: SimFleet;
  readonly host: SimHost;
  readonly known: ReadonlyMap<string, SimPolicy>;
  /** Null: no agent runs. */
  readonly context: AgentContext | null;
  readonly state: string;
  /** What `status` opens with. */
  readonly said: string;
  durable(): Promise<Reading>;
}

export async function unsettled(world: Settling): Promise<string> {
  const { fleet, host, context, state, said } = world;
  if (context === null) return 'no agent runs';
  if (!fleet.agent.active) {
    if (context.facts.unenrolled === null && context.link.state !== 'unauthorised')
      return 'the server has let the agent go, and it does not know';
    if (context.facts.unenrolled === null) return '';
    return host.running().length === 0 ? '' : 'components of an unenrolled agent run';
  }
  const { facts, readable } = await world.durable();
  if (facts === null) return 'the disk holds no record';
  if (facts.outbox.length > 0) return `acks are owed: ${facts.outbox.map(({ actionId }) => actionId).join(', ')}`;
  const undone = fleet.actions.find(({ id }) => facts.journal.find((one) => one.id === id)?.state !== 'done');
  if (undone !== undefined) return `action ${undone.id} (${undone.type}) is not done`;
  if (facts.safeMode !== null) return 'safe mode lasts';
  const { assigned } = fleet;
  // With nothing to hold, an agent whose first start left no record cannot know that it lost nothing.
  if (assigned === undefined)
    return ['running.checkin', 'running.orphaned.waiting'].includes(state) ? '' : `the agent is in ${state}`;
  const [good] = facts.generations;
  if (facts.candidate !== null) return 'a candidate is tried';
  const rejection = facts.rejected.find(({ hash }) => hash === assigned.hash);
  if (good?.id === assigned.id && good.revision === assigned.revision && rejection === undefined) {
    if (!readable.has(good.hash)) return 'last good cannot be read';
    if (good.hash !== assigned.hash) return `${assigned.id}:${assigned.revision} is held with other bytes`;
    if (facts.runs !== 0) return 'last good is passed over';
    const { reportedId, reportedRevision } = fleet.agent;
    if (reportedId !== assigned.id || reportedRevision !== assigned.revision)
      return `the server believes ${reportedId}:${reportedRevision}`;
    return unlike(world, good.hash) || (state === 'running.checkin' ? '' : `the agent is in ${state}`);
  }
  const held = good ? `${good.id}:${good.revision}` : 'nothing';
  if (rejection === undefined) return `${assigned.id}:${assigned.revision} is assigned; held is ${held}`;
  if (assigned.kind === 'good') return `${assigned.id}:${assigned.revision} is good and rejected: ${rejection.reason}`;
  if (!said.startsWith('policy rejected')) return `the rejection is not said: ${said}`;
  return good === undefined ? '' : unlike(world, good.hash);
}

/** How what runs differs from what this policy wants; `''`: it does not. */
function unlike({ host, known, context }: Settling, hash: string): string {
  const policy = known.get(hash);
  if (policy === undefined) return '';
  const wanted = renderHere(canonicalJson(policy.body)).components;
  for (const { id, hash: rendered } of wanted) {
    const running = host.running(id).filter(({ forked }) => !forked);
    if (running.length > 1) return `${id} runs ${running.length} times`;
    if (policy.behaviours[id] !== 'ok') continue;
    if (running.length === 0 && context?.components.some((one) => one.id === id && one.state === 'failed')) continue;
    if (running.length === 0) return `${id} does not run`;
    if (running[0]?.hash !== rendered) return `${id} runs another configuration`;
  }
  const stray = host.running().find(({ component }) => !wanted.some(({ id }) => id === component));
  return stray === undefined ? '' : `${stray.component} runs and nobody wants it`;
}

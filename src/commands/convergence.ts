/** "Why is it not converged?" in a sentence: the first thing that stands between this agent and the policy that Fleet assigned (P12). */
import type { Status } from '../wire/control.ts';
import type { Convergence } from '../wire/inspector.ts';
import { ago, named, until } from './status-sentence.ts';

/** Pure. `nowMs`: epoch. */
export function convergence(status: Status, nowMs: number): Convergence {
  const step = /^(\w+ [^:\s]+): /.exec(status.awaiting ?? '')?.[1] ?? null;
  const why = obstacle(status, nowMs);
  if (why === null) {
    const { running } = status.policy;
    const what = running === null ? 'nothing' : named(running);
    const sentence = `Converged: ${what} runs, is held, and Fleet knows.${unwell(status)}`;
    return { converged: true, sentence, step: null };
  }
  const awaited = status.awaiting ? ` Awaited: step ${withoutEnd(status.awaiting)}.` : '';
  return { converged: false, sentence: `${why}${awaited}${asked(status, nowMs)}`, step };
}

/** Whatever Fleet has to say comes with its next answer. */
function asked({ fleet, state }: Status, nowMs: number): string {
  if (state !== 'running' || fleet.next_checkin == null) return '';
  const when = until(fleet.next_checkin, nowMs);
  if (fleet.state === 'damped') return ` Fleet's answers bring nothing new, so it is asked again ${when}.`;
  return fleet.state === 'connected' ? '' : ` Fleet is tried next ${when}.`;
}

function obstacle(status: Status, nowMs: number): string | null {
  const { policy, start, store } = status;
  switch (status.state) {
    case 'boot':
    case 'restore':
      return `Start ${start.number} reads back what the disk holds.`;
    case 'crashed':
      return `Start ${start.number - 1} crashed${start.in_flight ? ` during ${start.in_flight}` : ''}; what it held is read back.`;
    case 'replay':
      return policy.persisted
        ? `${named(policy.persisted)} is brought up from disk before Fleet is asked for anything.`
        : 'There is nothing to bring up, so Fleet is asked at once.';
    case 'safeMode':
      return `In safe mode after ${start.crashes} crashes: nothing is started, stopped or changed until new content comes, \`holdfast retry\`, or its time is over.`;
    case 'unenrolled':
      return 'It has left Fleet, so nothing is assigned to it.';
    case 'draining':
    case 'stopped':
      return 'It is stopping.';
    default:
  }
  if (store.failing !== null) return `The disk takes no writes, so nothing can be promised: ${store.failing}.`;
  return onTheWay(status) ?? atOdds(status, nowMs) ?? replayed(status);
}

/** A policy is in flight. */
function onTheWay({ path, policy, fleet }: Status): string | null {
  const { received, running, persisted } = policy;
  switch (path.policy) {
    case 'apply':
      return received === null ? 'A policy is being applied.' : `${named(received)} is being applied.`;
    case 'persist':
      return `${named(running ?? received ?? NOTHING)} works and is on its way to the disk.`;
    case 'rollback':
      return persisted === null
        ? 'What was applied is being taken back.'
        : `What was applied is being taken back: ${named(persisted)} is brought up again.`;
    case 'ack':
      return `${named(persisted ?? NOTHING)} is held, and its ack is on its way to Fleet${fleet.state === 'backing-off' ? `, which cannot be reached: ${fleet.message}` : ''}.`;
    default:
      return null;
  }
}

/** Nothing is in flight, and what runs is not what Fleet assigned, or Fleet does not know it. */
function atOdds({ policy, fleet, actions }: Status, nowMs: number): string | null {
  const { received, running, persisted, acked, rejected, orphaned, generations } = policy;
  const runs = running === null ? 'nothing runs' : `${named(running)} runs on`;
  if (orphaned !== null)
    return `It holds less than Fleet believes (${orphaned.reason}); ${runs} until Fleet sends it again.`;
  const refused = rejected.find(({ hash }) => hash === received?.hash && hash !== persisted?.hash);
  if (refused !== undefined) {
    const next =
      refused.next_try === null ? 'It is tried again only on request' : `Next try ${until(refused.next_try, nowMs)}`;
    return `Fleet assigned ${named(refused)}, which was rejected ${ago(refused.rejected_at, nowMs)}: ${withoutEnd(refused.reason)}; ${runs}. ${next}.`;
  }
  const newest = generations[0];
  if (newest !== undefined && running !== null && newest.hash !== running.hash) {
    return `${named(newest)} was passed over, since starts did not survive it; ${runs}.`;
  }
  if (fleet.state === 'unauthorised') return `Fleet does not accept this agent: ${withoutEnd(fleet.message)}; ${runs}.`;
  if (received === null && persisted === null) {
    return `Fleet has not sent a policy yet${fleet.state === 'backing-off' ? `: it cannot be reached: ${withoutEnd(fleet.message)}` : ''}.`;
  }
  if (persisted !== null && acked?.hash !== persisted.hash)
    return `Fleet's answer to the ack of ${named(persisted)} is awaited.`;
  if (actions.outbox > 0) return `${actions.outbox === 1 ? 'One ack is' : `${actions.outbox} acks are`} owed to Fleet.`;
  if (fleet.state === 'backing-off') {
    return `Fleet cannot be reached, so a newer policy would not be known: ${withoutEnd(fleet.message)}; ${runs}.`;
  }
  return null;
}

/** Last good is brought up again beside the link; that it works is not seen yet. */
function replayed({ awaiting, policy }: Status): string | null {
  return awaiting && policy.running !== null ? `${named(policy.running)} is brought up again.` : null;
}

/** Health is no matter of convergence: what Fleet assigned is in place, and this is how it does (P12). */
function unwell({ components }: Status): string {
  const [first, ...others] = components.filter(({ state }) => state !== 'healthy' && state !== 'stopped');
  if (first === undefined) return '';
  const more = others.length === 0 ? '' : ` (and ${others.length} more)`;
  return ` Its health: ${first.id} is ${first.state}${more}: ${withoutEnd(first.message)}.`;
}

const NOTHING = { id: 'no policy', revision: 0 };

function withoutEnd(text: string): string {
  return text.trim().replace(/\.+$/, '');
}

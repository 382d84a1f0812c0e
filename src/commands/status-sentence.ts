/** What `holdfast status` opens with: the whole situation in a sentence or a few, most important first. */
import { worstFirst } from '../policy/component.ts';
import type { Status } from '../wire/control.ts';

interface Named {
  readonly id: string;
  readonly revision: number;
}

/** The opening of `status` at `nowMs` (epoch). Pure. */
export function statusSentence(status: Status, nowMs: number): string {
  return [situation(status), ...remarks(status, nowMs)].map(asSentence).join(' ');
}

/** What the agent is doing. */
function situation(status: Status): string {
  const { policy, start } = status;
  const kept = policy.running ?? policy.persisted;
  if (status.pid === 0) return notRunning(status);
  switch (status.state) {
    case 'unenrolled':
      return status.agent.id
        ? 'Left Fleet: it manages nothing any more'
        : 'Not enrolled: run `holdfast enroll --url URL --enrollment-token TOKEN`';
    case 'boot':
    case 'restore':
      return 'Starting';
    case 'crashed':
      return `Starting after a crash${start.in_flight ? ` during ${start.in_flight}` : ''}`;
    case 'replay':
      return kept ? `Starting: bringing up ${named(kept)}, which worked last` : 'Starting: no policy is held';
    case 'safeMode':
      return safeMode(status);
    case 'draining':
      return 'Stopping';
    case 'stopped':
      return 'Stopped';
    default:
      return running(status);
  }
}

function notRunning({ agent, policy }: Status): string {
  const held = policy.persisted ? `holds ${named(policy.persisted)}` : 'holds no policy';
  const left = agent.id === null ? (policy.orphaned?.reason ?? 'not enrolled') : 'left Fleet';
  return `Not running; read from disk: ${agent.enrolled ? held : left}`;
}

/** The message for Fleet says the rest, and what to do. Starts that ended with a goodbye since then have no crashes to count. */
function safeMode({ start, message }: Status): string {
  const after = start.crashes > 0 ? ` after ${times(start.crashes, 'crash', 'crashes')}` : '';
  const why = message.replace(/^safe mode: /, '');
  return `In safe mode${after}: ${why || 'nothing is started, stopped or changed'}`;
}

function running({ policy, path }: Status): string {
  const now = policy.running;
  const coming = policy.received && policy.received.hash !== now?.hash ? policy.received : null;
  const saved = now ?? policy.received;
  const meanwhile = now ? ` (${named(now)} ran before)` : '';
  switch (path.policy) {
    case 'apply':
      return coming ? `Applying ${named(coming)}${meanwhile}` : now ? `Applying ${named(now)}` : 'Applying a policy';
    case 'persist':
      return `Saving ${saved ? named(saved) : 'the policy'}, which works`;
    case 'rollback':
      // Without a last good one there is nothing to go back to: what runs, if anything, is left as it is.
      return policy.persisted
        ? `Going back to ${named(policy.persisted)}`
        : 'Giving up the policy; none has worked yet';
    default:
  }
  if (now === null) {
    return policy.orphaned ? `Holds no policy: ${policy.orphaned.reason}` : 'Waiting for the first policy from Fleet';
  }
  const newest = policy.generations[0];
  if (newest && newest.hash !== now.hash && policy.generations.some(({ hash }) => hash === now.hash)) {
    return `Running ${named(now)}, since ${named(newest)} was passed over`;
  }
  return `Running ${named(now)}`;
}

/** What is not as it should be. */
function remarks(status: Status, nowMs: number): string[] {
  const { policy, components, fleet, store, start } = status;
  const said: string[] = [];
  if (store.failing) said.push(`The disk takes no writes: ${store.failing}`);
  if (policy.orphaned && policy.running) said.push(`Holds less than Fleet believes: ${policy.orphaned.reason}`);

  const newest = policy.rejected[0];
  if (newest && newest.hash === policy.received?.hash && newest.hash !== policy.persisted?.hash) {
    said.push(`${named(newest)} rejected ${ago(newest.rejected_at, nowMs)}: ${newest.reason}`);
    if (newest.next_try && status.pid !== 0) said.push(`Next try ${until(newest.next_try, nowMs)}`);
  }

  if (status.pid === 0) return said;
  const unwell = worstFirst(components.filter(({ state }) => state !== 'healthy' && state !== 'stopped'));
  const [first] = unwell;
  if (first && status.state !== 'safeMode') {
    const others = unwell.length > 1 ? ` and ${unwell.length - 1} more` : '';
    const why = first.message ? `: ${first.message}` : '';
    said.push(`${first.id} is ${inWords(first.state)}${others}${why}`);
  }
  if (status.agent.enrolled && status.state !== 'unenrolled') {
    if (fleet.state === 'backing-off') said.push(`Fleet cannot be reached: ${fleet.message}`);
    if (fleet.state === 'unauthorised') said.push(`Fleet does not accept this agent: ${fleet.message}`);
  }
  if (start.crashes > 0 && status.state === 'running') {
    said.push(`Restarted after ${times(start.crashes, 'crash', 'crashes in a row')}`);
  }
  return said;
}

/** A policy for people: `web:3`. */
export function named({ id, revision }: Named): string {
  return `${id}:${revision}`;
}

function times(count: number, one: string, many: string): string {
  return count === 1 ? `a ${one}` : `${count} ${many}`;
}

const WORDS: Readonly<Record<string, string>> = { backingOff: 'about to be started again' };

function inWords(state: string): string {
  return WORDS[state] ?? state;
}

/** `just now`, `58 s ago`, `2 min ago`, `3 h ago`, `5 days ago`. */
export function ago(instant: string, nowMs: number): string {
  const ms = nowMs - Date.parse(instant);
  return Number.isNaN(ms) ? 'at an unknown time' : ms < 1000 ? 'just now' : `${span(ms)} ago`;
}

/** `now`, `in 58 s`, `in 2 min`. */
export function until(instant: string, nowMs: number): string {
  const ms = Date.parse(instant) - nowMs;
  return Number.isNaN(ms) ? 'at an unknown time' : ms < 1000 ? 'now' : `in ${span(ms)}`;
}

/** A length of time in one unit: exact below two minutes, then rounded. */
export function span(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.round(hours / 24)} days`;
}

function asSentence(text: string): string {
  const trimmed = text.trim();
  return /[.!?…]$/.test(trimmed) ? trimmed : `${trimmed}.`;
}

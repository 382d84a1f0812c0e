/** What `holdfast status --watch` shows: the status, and beside it where the charts are, how far the policy has come, and what happened last. */
import type { Status } from '../wire/control.ts';
import type { RecordedMoment } from '../wire/inspector.ts';
import { convergence } from './convergence.ts';
import { ago, named } from './status-sentence.ts';
import { statusText } from './status-text.ts';

/** A line of the recording of the last start, with its text. */
export interface Moment extends Pick<RecordedMoment, 'at'> {
  readonly words: string;
}

/** The whole text at `nowMs` (epoch), with its last line break. `moments`: oldest first, each cut to one row of `columns`. */
export function watchText(
  status: Status,
  moments: readonly Moment[],
  nowMs: number,
  columns = Number.POSITIVE_INFINITY,
): string {
  const rows = [
    ['chart', chartPath(status)],
    ['strip', policyStrip(status)],
    ['goal', convergence(status, nowMs).sentence],
  ].map(([name = '', text]) => `  ${name.padEnd(10)} ${text}`);
  const events = moments
    .map(({ at, words }) => `    ${ago(new Date(at).toISOString(), nowMs).padEnd(10)} ${words}`)
    .map((line) => (line.length > columns ? `${line.slice(0, columns - 1)}…` : line));
  const last = events.length === 0 ? [] : ['', '  last events', ...events];
  return `${[statusText(status, nowMs).trimEnd(), '', ...rows, ...last].join('\n')}\n`;
}

/** `running.apply, link checkingIn`, with the step that is awaited. */
function chartPath({ pid, state, path, awaiting }: Status): string {
  if (pid === 0) return 'no daemon runs';
  const { policy, ...others } = path;
  const root = policy === undefined ? state : `${state}.${policy}`;
  const beside = Object.entries(others).map(([name, at]) => `${name} ${at}`);
  return [root, ...beside, awaiting ? `awaits ${awaiting}` : ''].filter(Boolean).join(', ');
}

/** Each stage of a policy with what has come that far, in the order of the mission. */
function policyStrip({ policy }: Status): string {
  const stages = (['received', 'running', 'persisted', 'acked'] as const).map((stage) => {
    const there = policy[stage];
    return `${stage} ${there === null ? '–' : named(there)}`;
  });
  const newest = policy.rejected[0];
  const rejected = newest === undefined ? '' : `; rejected ${named(newest)}`;
  return `${stages.join(' › ')}${rejected}`;
}

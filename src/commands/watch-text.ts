/** What `holdfast status --watch` shows: the status, and beside it where the charts are, how far the policy has come, and what happened last. */
import type { Status } from '../wire/control.ts';
import type { RecordedMoment } from '../wire/inspector.ts';
import { convergence } from './convergence.ts';
import { ago, named, statusSentence } from './status-sentence.ts';
import { statusText } from './status-text.ts';

/** A line of the recording of the last start, with its text. */
export interface Moment extends Pick<RecordedMoment, 'at'> {
  readonly words: string;
}

/** What a terminal has room for. */
export interface Screen {
  readonly columns: number;
  readonly rows: number;
}

/** The whole text at `nowMs` (epoch), with its last line break; each line one row of `screen`, and no more rows than it has. `moments`: oldest first. */
export function watchText(
  status: Status,
  moments: readonly Moment[],
  nowMs: number,
  screen: Screen = { columns: Number.POSITIVE_INFINITY, rows: Number.POSITIVE_INFINITY },
): string {
  const rows = [
    ['chart', chartPath(status)],
    ['strip', policyStrip(status)],
    ['goal', convergence(status, nowMs).sentence],
  ].map(([name = '', text]) => `  ${name.padEnd(10)} ${text}`);
  const events = moments.map(({ at, words }) => `    ${ago(new Date(at).toISOString(), nowMs).padEnd(10)} ${words}`);
  const last = events.length === 0 ? [] : ['', '  last events', ...events];
  const [opening = '', ...rest] = statusText(status, nowMs).trimEnd().split('\n');
  return fitted(opening, [...rest, '', ...rows, ...last], screen);
}

/** The opening is folded, since it says most; what is below it is cut to a row each, and what is too much for the screen is left out. */
function fitted(opening: string, rest: readonly string[], { columns, rows }: Screen): string {
  const lines = [...folded(opening, columns), ...rest.map((line) => cut(line, columns))];
  // The row below the text is where the cursor stands.
  const most = Math.max(1, rows - 1);
  if (lines.length <= most) return `${lines.join('\n')}\n`;
  const left = lines.length - most + 1;
  const shown =
    most === 1
      ? lines.slice(0, 1)
      : [...lines.slice(0, most - 1), cut(`  … ${left} more lines, in a taller terminal`, columns)];
  return `${shown.join('\n')}\n`;
}

function cut(line: string, columns: number): string {
  return line.length > columns ? `${line.slice(0, Math.max(0, columns - 1))}…` : line;
}

/** Between words where it can be. */
function folded(text: string, columns: number): string[] {
  if (text.length <= columns) return [text];
  const space = text.lastIndexOf(' ', columns);
  const at = space > 0 ? space : columns;
  return [text.slice(0, at), ...folded(text.slice(at).trimStart(), columns)];
}

/** A change of the status as one line, with its line break: when, where the charts are, how far the policy has come, and why. */
export function watchLine(status: Status, nowMs: number): string {
  const { sentence } = convergence(status, nowMs);
  const opening = statusSentence(status, nowMs);
  const parts = [opening, `[${chartPath(status)}; ${policyStrip(status)}]`, sentence];
  return `${new Date(nowMs).toISOString()} ${parts.join(' ').replace(/\s+/g, ' ')}\n`;
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

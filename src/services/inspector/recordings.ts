/** Reads the recorded transitions of this start and those before it; what is torn or missing is left out. */
import type { RecordedMoment, Recording } from '../../wire/inspector.ts';
import { readRegularSync } from '../durable-file.ts';
import {
  RECORDING_HALF_BYTES,
  RECORDINGS_KEPT,
  type RecordingHeader,
  recordingEnd,
  recordingFiles,
} from './flight-recorder.ts';

/** Far above what a half grows to; anything larger was not written by the recorder. */
const READ_MAX_BYTES = 64 * RECORDING_HALF_BYTES;

/** Newest start first, at most `most` moments of each: its last. */
export function readRecordings(home: string, most: number): Recording[] {
  const recordings: Recording[] = [];
  for (let back = 0; back < RECORDINGS_KEPT; back += 1) {
    const recording = recordingIn(recordingFiles(home, back).map(textOf).join('\n'), most);
    if (recording !== null)
      recordings.push({ ...recording, after: endOf(recording, textOf(recordingEnd(home, back))) });
  }
  return recordings;
}

/** Only what is later than the last line of its actor, and of this start. */
function endOf({ start, moments }: Recording, text: string): Recording['after'] {
  const [end] = linesOf(text) as [{ readonly start?: unknown; readonly actors?: object } | undefined];
  if (end?.start !== start) return {};
  const lastAt = new Map(moments.map(({ actor, at }) => [actor, at]));
  const actors = Object.entries(end.actors ?? {}) as [string, { readonly at?: unknown; readonly states?: unknown }][];
  return Object.fromEntries(
    actors.flatMap(([actor, one]) => {
      const isLater = typeof one?.at === 'number' && one.at >= (lastAt.get(actor) ?? 0);
      return isLater && isTexts(one.states) ? [[actor, one.states]] : [];
    }),
  );
}

/** The last of a start that stand for themselves, without what only came again and again, and without probes of programs that are as they were. */
export function lastWords({ moments }: Recording, most: number): readonly RecordedMoment[] {
  return moments.filter((moment) => moment.times === undefined && !isProbe(moment)).slice(-most);
}

const PROBING = /^component\..+\.(probing|resting)(#\d+)?$/;

/** From trying to resting between two tries, or back. */
function isProbe({ transitions, states }: RecordedMoment): boolean {
  return transitions.every((one) => PROBING.test(one)) && states.every((one) => PROBING.test(one));
}

/** From its lines of JSON, whoever wrote them; null: it does not say which start it is of. */
export function recordingIn(text: string, most = Number.POSITIVE_INFINITY): Recording | null {
  const lines = linesOf(text);
  const header = lines.find(isHeader);
  if (header === undefined) return null;
  const moments = lines.filter(isMoment);
  const before = new Map(placesIn(header.before));
  const left = Math.max(0, moments.length - most);
  for (const { actor, states } of moments.slice(0, left)) {
    if (states.length === 0) before.delete(actor);
    else before.set(actor, states);
  }
  const { start, pid } = header;
  const after = Object.fromEntries(placesIn((header as Partial<Recording>).after));
  return { start, pid, moments: moments.slice(left), before: Object.fromEntries(before), after };
}

/** {@link recordingIn} reads it back. */
export function recordingText({ start, pid, before, after, moments }: Recording): string {
  return [{ start, pid, before, after }, ...moments].map((line) => `${JSON.stringify(line)}\n`).join('');
}

function textOf(file: string): string {
  try {
    return readRegularSync(file, READ_MAX_BYTES).toString('utf8');
  } catch {
    return '';
  }
}

function linesOf(text: string): unknown[] {
  return text.split('\n').flatMap((line) => {
    try {
      return [JSON.parse(line) as unknown];
    } catch {
      return []; // cut by the death that it tells of
    }
  });
}

function isHeader(line: unknown): line is RecordingHeader {
  const { start, pid } = (line ?? {}) as Partial<RecordingHeader>;
  return typeof start === 'number' && typeof pid === 'number';
}

function isMoment(line: unknown): line is RecordedMoment {
  const { at, actor, event, from, times, transitions, states } = (line ?? {}) as Partial<RecordedMoment>;
  return (
    typeof at === 'number' &&
    typeof actor === 'string' &&
    typeof event === 'string' &&
    (from === undefined || typeof from === 'string') &&
    (times === undefined || typeof times === 'number') &&
    isTexts(transitions) &&
    isTexts(states)
  );
}

function placesIn(value: unknown): [string, readonly string[]][] {
  const entries = typeof value === 'object' && value !== null ? Object.entries(value as Record<string, unknown>) : [];
  return entries.filter((pair): pair is [string, readonly string[]] => isTexts(pair[1]));
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((one) => typeof one === 'string');
}

/** `agent: store.committed: boot.spending → boot.deciding`: where a moment led, in the words of its chart. */
export function momentInWords({ actor, event, transitions, states, times }: RecordedMoment): string {
  const from = (transitions[0] ?? '').replace(/#\d+$/, '');
  const often = times === undefined ? '' : ` (${times} times more)`;
  return `${actor}: ${event}: ${local(from)} → ${states.map(local).join(', ') || 'end'}${often}`;
}

/** A state's id without its machine. */
function local(id: string): string {
  const dot = id.indexOf('.');
  return dot < 0 ? id : id.slice(dot + 1);
}

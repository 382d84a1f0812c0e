/** Reads the recorded transitions of this start and those before it; what is torn or missing is left out. */
import type { RecordedMoment, Recording } from '../../wire/inspector.ts';
import { readRegularSync } from '../durable-file.ts';
import { RECORDING_HALF_BYTES, RECORDINGS_KEPT, type RecordingHeader, recordingFiles } from './flight-recorder.ts';

/** Far above what a half grows to; anything larger was not written by the recorder. */
const READ_MAX_BYTES = 64 * RECORDING_HALF_BYTES;

/** Newest start first, at most `most` moments of each: its last. */
export function readRecordings(home: string, most: number): Recording[] {
  const recordings: Recording[] = [];
  for (let back = 0; back < RECORDINGS_KEPT; back += 1) {
    const lines = recordingFiles(home, back).flatMap(linesOf);
    const header = lines.find(isHeader);
    if (header === undefined) continue;
    recordings.push({ start: header.start, pid: header.pid, moments: lines.filter(isMoment).slice(-most) });
  }
  return recordings;
}

function linesOf(file: string): unknown[] {
  let text: string;
  try {
    text = readRegularSync(file, READ_MAX_BYTES).toString('utf8');
  } catch {
    return [];
  }
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
  const { at, actor, event, transitions, states } = (line ?? {}) as Partial<RecordedMoment>;
  return (
    typeof at === 'number' &&
    typeof actor === 'string' &&
    typeof event === 'string' &&
    Array.isArray(transitions) &&
    Array.isArray(states)
  );
}

/** `agent: store.committed: boot.spending → boot.deciding`: where a moment led, in the words of its chart. */
export function momentInWords({ actor, event, transitions, states }: RecordedMoment): string {
  const from = (transitions[0] ?? '').replace(/#\d+$/, '');
  return `${actor}: ${event}: ${local(from)} → ${states.map(local).join(', ') || 'end'}`;
}

/** A state's id without its machine. */
function local(id: string): string {
  const dot = id.indexOf('.');
  return dot < 0 ? id : id.slice(dot + 1);
}

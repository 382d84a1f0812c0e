/** What a diagnostics file holds, for the inspector's page: how the agent stood, where its charts were, and its last moments. */
import { basename } from 'node:path';
import { z } from 'zod';
import { HoldfastError } from '../../errors.ts';
import { type Status, statusSchema } from '../../wire/control.ts';
import type { ActorView, EventRecord, Hello, Recording, Standing, TimelineRecord } from '../../wire/inspector.ts';
import { recordingIn } from '../inspector/recordings.ts';
import type { Source } from '../inspector/source.ts';
import { LOG_FILE } from '../log/logger.ts';
import { prettyLines } from '../log/pretty.ts';
import { ZipReader } from './zip-reader.ts';

/** Bytes that are read of one entry: somewhat more than is ever written (`entry.ts`: 8 Mi characters). */
const TEXT_BYTES = 33 * 1024 * 1024;
const JSON_BYTES = 4 * 1024 * 1024;
const COMPONENT_BYTES = 256 * 1024;
const RECORDING_BYTES = 4 * 1024 * 1024;
const COMPONENTS_MOST = 200;
const POLICIES_MOST = 64;
const RECORDINGS_MOST = 8;
/** Moments of all starts; each is an event and a transition of the timeline. */
const MOMENTS_MOST = 4_500;
const MOMENTS_A_START = 200;
const OUTPUT_LINES = 1_000;
const LOG_LINES = 1_000;

/** Rows as `inspect` has them: plain values and nothing deeper. */
const rows = z.array(z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()]))).readonly();
const versionsSchema = z.object({ holdfast: z.string(), taken_at: z.string(), home: z.string(), hostname: z.string() });
const inspectionSchema = z.object({ journal: rows, outbox: rows });
const componentSchema = z.object({ id: z.string() });
const stepsSchema = z.object({ steps: z.array(z.object({ id: z.string() })) });

export interface OpenedArchive {
  readonly source: Source;
  readonly hostname: string;
  close(): Promise<void>;
}

/** What is said of a status; given by the commands, which say it of a live one too. */
type Say = (status: Status, held: Standing['held'], at: number) => Standing;

/** Rejects with ARCHIVE_UNREADABLE: it is no zip file, or not one that `holdfast diagnostics` wrote. */
export async function openArchive(path: string, say: Say): Promise<OpenedArchive> {
  const zip = await ZipReader.open(path);
  try {
    return await opened(zip, path, say);
  } catch (thrown) {
    await zip.close();
    throw thrown;
  }
}

async function opened(zip: ZipReader, path: string, say: Say): Promise<OpenedArchive> {
  const versions = await json(zip, 'versions.json', versionsSchema);
  if (versions === null) {
    throw new HoldfastError(
      'ARCHIVE_UNREADABLE',
      `${path} was not written by \`holdfast diagnostics\`: it has no versions.json`,
    );
  }
  const takenAt = Date.parse(versions.taken_at) || 0;
  const outputs = await outputsIn(zip);
  const known = await json(zip, 'status.json', statusSchema);
  const status =
    known && withPlan(withComponents(known, [...outputs.keys()]), await json(zip, 'plan.json', stepsSchema));
  const held = await json(zip, 'inspection.json', inspectionSchema);
  const starts = await json(zip, 'starts.json', rows);
  const standing =
    status && say(status, { journal: held?.journal ?? [], outbox: held?.outbox ?? [], starts: starts ?? [] }, takenAt);
  const recordings = await recordingsIn(zip);
  const policies = await policiesIn(zip);
  const hello: Hello = {
    life: `archive ${path}`,
    archive: { file: basename(path), takenAt },
    version: versions.holdfast,
    pid: status?.pid ?? 0,
    home: versions.home,
    actors: recordings[0] === undefined ? [] : actorsAtTheEnd(recordings[0]),
    records: recordsOf(recordings),
    standing,
  };
  const never = () => () => {};
  const source: Source = {
    hello: () => hello,
    standing: () => standing,
    onChange: never,
    onStanding: never,
    recordings: () => recordings.map((one) => ({ ...one, moments: one.moments.slice(-MOMENTS_A_START) })),
    policy: async (hash) => {
      const name = policies.get(hash);
      if (name === undefined) return null;
      // Without the line that names it: it would be a difference between any two.
      return (await zip.text(name, TEXT_BYTES))?.replace(/^#.*\n/, '') ?? null;
    },
    output: async (id) => {
      const folder = outputs.get(id);
      if (folder === undefined) return null;
      return endOf((await zip.text(`${folder}/output.log`, TEXT_BYTES)) ?? '', OUTPUT_LINES).join('\n');
    },
    log: async () => {
      const text = await zip.text(LOG_FILE, TEXT_BYTES);
      return endOf(text ?? '', LOG_LINES)
        .map(prettyLines({ colour: false }))
        .join('');
    },
  };
  return { source, hostname: versions.hostname, close: () => zip.close() };
}

/** Null: it is not there, or not as expected; what came to be told in its place stands in the archive beside it. */
async function json<T>(zip: ZipReader, name: string, schema: z.ZodType<T>, mostBytes = JSON_BYTES): Promise<T | null> {
  const text = await zip.text(name, mostBytes);
  if (text === null) return null;
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/** Folders of the components by their ids: a folder's name is the id without what a path cannot hold. */
async function outputsIn(zip: ZipReader): Promise<Map<string, string>> {
  const folders = zip.names.flatMap((name) => /^(components\/[^/]+)\/component\.json$/.exec(name)?.[1] ?? []);
  const found = new Map<string, string>();
  for (const folder of folders.slice(0, COMPONENTS_MOST)) {
    const component = await json(zip, `${folder}/component.json`, componentSchema, COMPONENT_BYTES);
    if (component !== null) found.set(component.id, folder);
  }
  return found;
}

/** Where no daemon ran, its status knows of no components; the home does. */
function withComponents(status: Status, ids: readonly string[]): Status {
  const missing = ids.filter((id) => !status.components.some((one) => one.id === id));
  const message = status.pid === 0 ? 'no daemon ran that would know' : 'of an earlier policy';
  const rest = missing.map((id) => ({
    id,
    type: '',
    state: 'unknown',
    message,
    pid: null,
    restarts: 0,
    hash: '',
    units: [],
  }));
  return { ...status, components: [...status.components, ...rest] };
}

/** What last good comes to on that host, where no daemon ran to say how far it was. */
function withPlan(status: Status, plan: z.infer<typeof stepsSchema> | null): Status {
  if (status.plan != null && status.plan.length > 0) return status;
  const steps = (plan?.steps ?? []).map(({ id }) => ({ id, state: 'ahead' as const, note: 'of the next start' }));
  return { ...status, plan: steps };
}

async function recordingsIn(zip: ZipReader): Promise<Recording[]> {
  const names = zip.names.filter((name) => /^transitions\/start-\d+\.ndjson(\.\d+)?$/.test(name));
  const found: Recording[] = [];
  for (const name of names.slice(0, RECORDINGS_MOST)) {
    const recording = recordingIn((await zip.text(name, RECORDING_BYTES)) ?? '');
    if (recording !== null) found.push(recording);
  }
  found.sort((a, b) => b.start - a.start);
  let left = MOMENTS_MOST;
  return found.map((one) => {
    const moments = left === 0 ? [] : one.moments.slice(-left);
    left -= moments.length;
    return { ...one, moments };
  });
}

/** Names of entries by the hash in their first line: `# generation-0: <hash>`. */
async function policiesIn(zip: ZipReader): Promise<Map<string, string>> {
  const names = zip.names.filter((name) => /^policies\/[^/]+\.yml$/.test(name));
  const found = new Map<string, string>();
  for (const name of names.slice(0, POLICIES_MOST)) {
    const text = await zip.text(name, TEXT_BYTES);
    const hash = /^# [\w-]+: ([0-9a-f]{64})\n/.exec(text ?? '')?.[1];
    if (hash !== undefined) found.set(hash, name);
  }
  return found;
}

/** Each actor of the newest start where it was last. */
function actorsAtTheEnd(recording: Recording): ActorView[] {
  const states = new Map(Object.entries(recording.before));
  for (const moment of recording.moments) states.set(moment.actor, moment.states);
  for (const [name, at] of Object.entries(recording.after)) states.set(name, at);
  return [...states].flatMap(([name, at]) => {
    const machine = /^[^.]+/.exec(at[0] ?? '')?.[0];
    const parent = name === 'agent' ? null : name.startsWith('component:') ? 'components' : 'agent';
    if (machine === undefined) return [];
    const id = actorId(recording, name);
    return [{ id, name, parent: parent && actorId(recording, parent), machine, states: at, status: 'active' as const }];
  });
}

function actorId({ start }: Recording, name: string): string {
  return `${start} ${name}`;
}

/** Oldest first: each start begins, and each moment is an event and what it caused. */
function recordsOf(recordings: readonly Recording[]): TimelineRecord[] {
  const records: TimelineRecord[] = [];
  for (const recording of [...recordings].reverse()) {
    const [first] = recording.moments;
    if (first !== undefined) records.push({ kind: 'begin', seq: records.length + 1, at: first.at });
    for (const moment of recording.moments) {
      const { at, actor: name, event: type, from = null, times, transitions, states } = moment;
      const actor = actorId(recording, name);
      const payload = times === undefined ? '' : JSON.stringify({ times });
      const cause: EventRecord = { kind: 'event', seq: records.length + 1, at, from, to: name, actor, type, payload };
      const machine = /^[^.#]+/.exec(transitions[0] ?? '')?.[0] ?? '';
      const { seq } = cause;
      records.push(cause, {
        kind: 'transition',
        seq: seq + 1,
        at,
        actor,
        name,
        machine,
        cause: seq,
        type,
        transitions,
        stays: false,
        states,
      });
    }
  }
  return records;
}

function endOf(text: string, most: number): string[] {
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  return lines.slice(-most);
}

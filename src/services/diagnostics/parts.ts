/** The parts of the archive that are read from the home: each by itself, so that what is damaged costs only its own part. */
import { readlink, statfs } from 'node:fs/promises';
import { availableParallelism, freemem, hostname, loadavg, totalmem } from 'node:os';
import { join } from 'node:path';
import { HoldfastError } from '../../errors.ts';
import type { PolicyRef } from '../../policy/identity.ts';
import { policyForPeople } from '../control/agent-inspection.ts';
import { componentPaths, homePaths } from '../home.ts';
import { hostFacts } from '../host/host.ts';
import { momentInWords, readRecordings, recordingText } from '../inspector/recordings.ts';
import { LOG_FILES_KEPT } from '../log/log-file.ts';
import { LOG_FILE } from '../log/logger.ts';
import type { Reading } from '../settings/read.ts';
import { inWords, nodeFiles } from '../store/files.ts';
import { readIdentity } from '../store/identity.ts';
import type { Keyring } from '../store/keyring.ts';
import type { Opened } from '../store/store.ts';
import { type Entry, type Part, value } from './entry.ts';
import { keyringReport, listingReport, objectsReport, quarantineReport, slotsReport } from './store-report.ts';
import { tailOf } from './tail.ts';

/** Bytes of what each component wrote, and of each log file. */
export const OUTPUT_TAIL_BYTES = 256 * 1024;
export const LOG_TAIL_BYTES = 2 * 1024 * 1024;
const RECORD_MAX_BYTES = 64 * 1024;
/** Most components that are told of. */
const COMPONENTS_MOST = 200;
/** Most transitions of one start. */
const MOMENTS_MOST = 5_000;

/** The home as it was found. What could not be opened rejects with its error again in each part that needs it. */
export interface HomeView {
  readonly home: string;
  readonly version: string;
  /** Epoch ms. */
  readonly nowMs: number;
  readonly settingsFile: string;
  readonly reading: () => Reading;
  readonly keys: () => Promise<Keyring>;
  readonly opened: () => Promise<Opened>;
}

export function homeParts(view: HomeView): readonly Part[] {
  return [
    { name: 'versions', entries: () => versions(view) },
    { name: 'settings', entries: () => settings(view) },
    { name: 'identity', entries: () => identity(view) },
    { name: 'policies', entries: () => policies(view) },
    { name: 'components', entries: () => components(view) },
    { name: 'transitions', entries: () => transitions(view) },
    { name: 'store', entries: () => store(view) },
    { name: 'home', entries: () => listing(view) },
    { name: 'logs', entries: () => logs(view) },
  ];
}

async function* versions({ home, version, nowMs }: HomeView): AsyncGenerator<Entry> {
  const disk = await statfs(home).catch((error: unknown) => inWords(error));
  yield value('versions.json', {
    holdfast: version,
    node: process.version,
    taken_at: new Date(nowMs).toISOString(),
    ...hostFacts(),
    hostname: hostname(),
    processors: availableParallelism(),
    load: loadavg(),
    memory_bytes: { total: totalmem(), free: freemem() },
    home,
    home_disk:
      typeof disk === 'string'
        ? { cannot_be_read: disk }
        : {
            type: disk.type,
            free_bytes: disk.bavail * disk.bsize,
            total_bytes: disk.blocks * disk.bsize,
            free_inodes: disk.ffree,
          },
  });
}

async function* settings({ settingsFile, reading }: HomeView): AsyncGenerator<Entry> {
  const { settings: read, complaints } = reading();
  const { key, ...encryption } = read.encryption;
  // Where the key is, under a name that does not pass for the key.
  yield value('settings.json', {
    file: settingsFile,
    complaints,
    settings: { ...read, encryption: { key_place: key, ...encryption } },
  });
}

async function* identity({ home }: HomeView): AsyncGenerator<Entry> {
  const onlyLooking: typeof nodeFiles.open = async (path, how) => {
    if (how !== 'read') throw Object.assign(new Error('only looking'), { code: 'EROFS', path });
    return nodeFiles.open(path, how);
  };
  const read = await readIdentity({ ...nodeFiles, open: onlyLooking }, home, '');
  if (read.problem) throw new HoldfastError(read.problem.code, read.problem.message);
  if (read.identity === null) return yield value('identity.json', { enrolled: false, pending: read.pending });
  const { accessApiKey: _, ...shown } = read.identity;
  yield value('identity.json', { enrolled: true, ...shown, pending: read.pending });
}

async function* policies({ opened }: HomeView): AsyncGenerator<Entry> {
  const { facts, store: held } = await opened();
  if (facts === null) return;
  const named: [string, PolicyRef][] = [
    ...facts.generations.map((one, index): [string, PolicyRef] => [`generation-${index}`, one]),
    ...(facts.candidate ? [['candidate', facts.candidate] satisfies [string, PolicyRef]] : []),
    ...facts.rejected.map((one, index): [string, PolicyRef] => [`rejected-${index}`, one]),
  ];
  for (const [role, policy] of named) {
    const path = `policies/${role}-${safeName(policy.id)}-${policy.revision}.yml`;
    const read = await held.readPolicy(policy.hash);
    const yaml = 'text' in read ? policyForPeople(read.text) : null;
    if (yaml !== null) yield { path, kind: 'text', text: `# ${role}: ${policy.hash}\n${yaml}` };
    else if ('problem' in read) yield failure(path, read.problem.code, read.problem.message);
    else yield failure(path, 'POLICY_UNPARSABLE', `policy ${policy.hash} is not JSON, and is not shown`);
  }
}

async function* components({ home }: HomeView): AsyncGenerator<Entry> {
  const names = await nodeFiles.readdir(homePaths(home).components).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  });
  for (const id of names.toSorted().slice(0, COMPONENTS_MOST)) {
    const paths = componentPaths(home, id);
    const folder = `components/${safeName(id)}`;
    const record = await tailOf(paths.process, RECORD_MAX_BYTES).catch(inWords);
    yield value(`${folder}/component.json`, {
      id,
      current: await readlink(paths.current).catch(inWords),
      process: record === null || typeof record === 'string' ? record : jsonOr(record.text),
      configurations: await listingReport(paths.configurations, 3),
    });
    yield* tails('output', [{ from: paths.output, to: `${folder}/output.log` }], OUTPUT_TAIL_BYTES);
  }
}

async function* transitions({ home }: HomeView): AsyncGenerator<Entry> {
  for (const recording of readRecordings(home, MOMENTS_MOST)) {
    const lines = recording.moments.map((one) => `${new Date(one.at).toISOString()} ${momentInWords(one)}`);
    const path = `transitions/start-${recording.start}.txt`;
    yield { path, kind: 'text', text: `start ${recording.start}, pid ${recording.pid}\n${lines.join('\n')}\n` };
    // The same for the inspector that opens this archive.
    const tail = { text: recordingText(recording), isCut: false, bytes: 0 };
    yield { path: `transitions/start-${recording.start}.ndjson`, kind: 'log', tail };
  }
}

async function* store({ home, keys, opened }: HomeView): AsyncGenerator<Entry> {
  const keyring = await keys();
  yield value('store/keyring.json', keyringReport(keyring));
  yield value('store/slots.json', await slotsReport(home, keyring));
  yield value('store/quarantine.json', await quarantineReport(home));
  const found = await opened();
  yield value('store/objects.json', await objectsReport(home, found));
  yield value('store/findings.json', {
    status: await found.store.status(),
    findings: found.findings,
    locked: found.locked,
  });
}

async function* listing({ home }: HomeView): AsyncGenerator<Entry> {
  yield value('home.json', await listingReport(home, 1));
}

async function* logs({ home }: HomeView): AsyncGenerator<Entry> {
  const files = Array.from({ length: LOG_FILES_KEPT }, (_, number) => {
    const from = join(home, number === 0 ? LOG_FILE : `${LOG_FILE}.${number}`);
    return { from, to: number === 0 ? LOG_FILE : `${LOG_FILE}.${number}` };
  });
  yield* tails('log', files, LOG_TAIL_BYTES);
}

async function* tails(
  kind: 'log' | 'output',
  files: readonly { readonly from: string; readonly to: string }[],
  mostBytes: number,
): AsyncGenerator<Entry> {
  for (const { from, to } of files) {
    try {
      const tail = await tailOf(from, mostBytes);
      if (tail !== null) yield { path: to, kind, tail };
    } catch (error) {
      yield failure(to, 'HOME_UNUSABLE', `${from} cannot be read: ${inWords(error)}`);
    }
  }
}

/** `<path>.error.txt` with the code and the sentence. */
export function failure(path: string, code: HoldfastError['code'], sentence: string): Entry {
  const { help } = new HoldfastError(code, sentence);
  return { path: `${path}.error.txt`, kind: 'text', text: `${code}: ${sentence}\n${help}\n` };
}

function jsonOr(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return 'it is not JSON';
  }
}

/** A name from outside as part of a path inside the archive. */
function safeName(name: string): string {
  return (
    name
      .replace(/[^\w.@-]/g, '_')
      .replace(/^\.+/, '_')
      .slice(0, 100) || '_'
  );
}

/** What lies in the state directory, each thing judged by itself: slots, objects, what was set aside, keys. Looks only. */
import { join } from 'node:path';
import { homePaths } from '../home.ts';
import { type FileStat, inWords, nodeFiles, statIfThere } from '../store/files.ts';
import type { Keyring } from '../store/keyring.ts';
import { shortId } from '../store/secret-key.ts';
import { besideSlot, judgeSlot } from '../store/slot.ts';
import type { Opened } from '../store/store.ts';
import { tailOf } from './tail.ts';

/** Most things that are named of one directory. */
const NAMED_MOST = 500;
const NOTE_MAX_BYTES = 16 * 1024;
const OBJECT_NAME = /^[0-9a-f]{64}$/;

export async function slotsReport(home: string, keys: Keyring): Promise<Row[]> {
  const { slots } = homePaths(home);
  const beside = slots.map(besideSlot);
  const report: Row[] = [];
  for (const path of [...slots, ...beside]) {
    const { verdict } = await judgeSlot(nodeFiles, { path, identity: null, wipe: false }, keys.read);
    if (verdict.state === 'missing' && beside.includes(path)) continue;
    report.push({
      path,
      ...(await looks(path)),
      state: verdict.state,
      ...('sequence' in verdict ? { sequence: verdict.sequence } : {}),
      ...('writtenFor' in verdict ? { agent: verdict.agentId, written_for: verdict.writtenFor } : {}),
      ...('keyId' in verdict ? { encrypted_with: verdict.keyId && shortId(verdict.keyId) } : {}),
      ...('why' in verdict ? { why: verdict.why } : {}),
      ...('format' in verdict ? { format: verdict.format } : {}),
    });
  }
  return report;
}

export async function objectsReport(home: string, { store }: Opened): Promise<Row[]> {
  const { objects } = homePaths(home);
  return listed(objects, async (name) => {
    if (!OBJECT_NAME.test(name)) return {};
    const read = await store.readPolicy(name);
    return 'text' in read ? { verifies: true } : { verifies: false, why: read.problem.message };
  });
}

export async function quarantineReport(home: string): Promise<Row[]> {
  const { quarantine } = homePaths(home);
  return listed(quarantine, async (name) => {
    if (!name.endsWith('.note.json')) return {};
    const note = await tailOf(join(quarantine, name), NOTE_MAX_BYTES);
    try {
      return { note: JSON.parse(note?.text ?? '') as unknown };
    } catch {
      return { note: 'it is not JSON' };
    }
  });
}

/** Which keys there are: their ids and where the one that is written with lies, nothing of the keys. */
export function keyringReport({ write, source, read, refusal, findings }: Keyring): Row {
  return {
    written_with: write && shortId(write.id),
    lies_in: source,
    read_with: read.map(({ id }) => shortId(id)),
    refusal,
    findings,
  };
}

/** Kinds, sizes and modes of everything in a directory, and below it as deep as `levels` says. */
export async function listingReport(directory: string, levels: number): Promise<Row[]> {
  return listed(directory, async (name, stat) =>
    levels > 0 && stat?.kind === 'directory' ? { inside: await listingReport(join(directory, name), levels - 1) } : {},
  );
}

/** A thing and what is to be said of it. In rows, since under its name as a key a file called `key` would pass for a secret. */
type Row = Record<string, unknown>;

/** One thing that cannot be looked at is a row of its own, and the directory that cannot be read is one row. */
async function listed(directory: string, more: (name: string, stat: FileStat | null) => Promise<Row>): Promise<Row[]> {
  let names: readonly string[];
  try {
    names = (await nodeFiles.readdir(directory)).toSorted();
  } catch (error) {
    return [{ name: directory, cannot_be_read: inWords(error) }];
  }
  const rows: Row[] = [];
  for (const name of names.slice(0, NAMED_MOST)) {
    try {
      const stat = await statIfThere(nodeFiles, join(directory, name));
      rows.push({ name, ...describe(stat), ...(await more(name, stat)) });
    } catch (error) {
      rows.push({ name, cannot_be_read: inWords(error) });
    }
  }
  return names.length > NAMED_MOST ? [...rows, { left_out: names.length - NAMED_MOST }] : rows;
}

async function looks(path: string): Promise<Row> {
  return describe(await statIfThere(nodeFiles, path).catch(() => null));
}

function describe(stat: FileStat | null): Row {
  return stat === null ? {} : { kind: stat.kind, bytes: stat.size, mode: stat.mode.toString(8).padStart(4, '0') };
}

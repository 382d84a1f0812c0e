/** What could not be read is set aside here, with a note each, instead of being overwritten or deleted: newest 8, at most 64 MiB. */
import { basename, dirname } from 'node:path';
import { errnoOf, type Files, inWords, replaceFile, statIfThere } from './files.ts';

const QUARANTINE_KEPT = 8;
const QUARANTINE_KEPT_BYTES = 64 * 1024 * 1024;

/** Something worth saying about what was found on disk, in a sentence. */
export interface Finding {
  readonly kind:
    | 'torn'
    | 'damaged'
    | 'foreign'
    | 'newer'
    | 'locked'
    | 'misplaced'
    | 'key'
    | 'key-change'
    | 'unreadable'
    | 'object'
    | 'identity'
    | 'quarantine'
    | 'derived';
  readonly message: string;
}

export interface Quarantine {
  readonly files: Files;
  /** `<home>/state/quarantine` */
  readonly directory: string;
  /** Epoch ms. */
  readonly now: () => number;
}

/**
 * Moves whatever lies at `path` out of the way, with a note of `why`. Where the quarantine takes nothing, the thing is renamed in its own
 * directory. True when the path is free. Never throws: what went wrong is a finding.
 */
export async function setAside(
  quarantine: Quarantine,
  path: string,
  why: string,
  findings: Finding[],
): Promise<boolean> {
  const { files } = quarantine;
  try {
    await keep(quarantine, path, why);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' && (await statIfThere(files, path).catch(() => path)) === null) return true;
    findings.push({
      kind: 'quarantine',
      message: `${path} could not be moved to ${quarantine.directory}: ${inWords(error)}`,
    });
  }
  try {
    await files.rename(path, `${path}.set-aside`);
    return true;
  } catch {
    return false;
  }
}

async function keep(quarantine: Quarantine, path: string, why: string): Promise<void> {
  const { files, directory } = quarantine;
  await makeDirectory(files, directory);
  const name = `${String((await newestNumber(files, directory)) + 1).padStart(6, '0')}-${basename(path)}`;
  const sized = await treeBytes(files, path);
  // Larger than the quarantine may be as a whole: the note is what is kept.
  if (sized > QUARANTINE_KEPT_BYTES) await files.removeTree(path);
  else await files.rename(path, `${directory}/${name}`);
  const note = { what: path, why, at: new Date(quarantine.now()).toISOString(), bytes: sized };
  await replaceFile(files, directory, `${name}.note.json`, Buffer.from(`${JSON.stringify(note, null, 2)}\n`)).catch(
    () => {},
  );
  await prune(files, directory).catch(() => {});
}

async function makeDirectory(files: Files, directory: string): Promise<void> {
  const there = await statIfThere(files, directory);
  if (there?.kind === 'directory') return;
  // Something else has our name: it becomes a sibling, since there is nowhere to move it to yet.
  if (there) await files.rename(directory, `${directory}.set-aside`);
  await files.mkdir(directory);
  await files.syncDirectory(dirname(directory));
}

async function newestNumber(files: Files, directory: string): Promise<number> {
  const numbers = (await files.readdir(directory))
    .map((name) => Number.parseInt(name, 10))
    .filter(Number.isSafeInteger);
  return Math.max(0, ...numbers);
}

/** Removes the oldest until count and size are within bounds. */
async function prune(files: Files, directory: string): Promise<void> {
  const names = (await files.readdir(directory)).toSorted();
  const items = names.filter((name) => !name.endsWith('.note.json') && !name.endsWith('.tmp'));
  const notes = names.filter((name) => name.endsWith('.note.json'));
  let bytes = 0;
  let count = 0;
  for (const name of items.toReversed()) {
    bytes += await treeBytes(files, `${directory}/${name}`);
    count += 1;
    if (count > QUARANTINE_KEPT || bytes > QUARANTINE_KEPT_BYTES) await files.removeTree(`${directory}/${name}`);
  }
  for (const note of notes.slice(0, -QUARANTINE_KEPT)) await files.unlink(`${directory}/${note}`);
}

/** Bytes of a file or of everything in a directory; a directory of very many entries counts as too large. */
async function treeBytes(files: Files, path: string): Promise<number> {
  let entries = 0;
  const measure = async (at: string): Promise<number> => {
    entries += 1;
    if (entries > 4096) return Number.POSITIVE_INFINITY;
    const stat = await files.stat(at);
    if (stat.kind !== 'directory') return stat.size;
    let bytes = 0;
    for (const name of await files.readdir(at)) bytes += await measure(`${at}/${name}`);
    return bytes;
  };
  return measure(path);
}

/** How many things lie in quarantine; 0 when it cannot be said. */
export async function quarantined(files: Files, directory: string): Promise<number> {
  try {
    return (await files.readdir(directory)).filter((name) => !name.endsWith('.note.json') && !name.endsWith('.tmp'))
      .length;
  } catch {
    return 0;
  }
}

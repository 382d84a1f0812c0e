/** Writes the parts of an archive one after the other: what fails is told in its place, and only the archive itself can end it. */
import { asHoldfastError, HoldfastError } from '../../errors.ts';
import type { Archive } from './archive.ts';
import { type Entry, entryText, type Part } from './entry.ts';
import { failure } from './parts.ts';

export interface Collected {
  readonly entries: number;
  /** Entries that tell of something that could not be had. */
  readonly failures: readonly string[];
}

export interface CollectOptions {
  readonly parts: readonly Part[];
  readonly archive: Pick<Archive, 'add'>;
  /** Length of the longest known secret, in characters. */
  readonly longestSecret: number;
  /** Hides the secrets of policies that are not held any more. */
  readonly hideEarlier: (text: string) => string;
  /** Told of each part before it is read. */
  readonly onPart: (name: string, index: number) => void;
  readonly signal: AbortSignal;
}

/** Most characters of the whole archive, before compression; what comes beyond is left out and named. */
const TOTAL_MAX_CHARACTERS = 256 * 1024 * 1024;

/** Rejects with DIAGNOSTICS_FAILED when the archive takes no more or `signal` aborts. */
export async function collect(options: CollectOptions): Promise<Collected> {
  const { parts, archive, longestSecret, hideEarlier, onPart, signal } = options;
  const taken = new Set<string>();
  const failures: string[] = [];
  let characters = 0;
  const add = async (entry: Entry) => {
    if (signal.aborted) throw new HoldfastError('DIAGNOSTICS_FAILED', 'it was interrupted, and nothing is left of it');
    const text = hideEarlier(entryText(entry, longestSecret));
    const path = free(entry.path, taken);
    await archive.add(path, text);
    characters += text.length;
    if (path.endsWith('.error.txt')) failures.push(path);
  };
  for (const [index, part] of parts.entries()) {
    onPart(part.name, index);
    const entries = part.entries()[Symbol.asyncIterator]();
    while (true) {
      let next: IteratorResult<Entry>;
      try {
        next = characters < TOTAL_MAX_CHARACTERS ? await entries.next() : tooMuch(part.name);
      } catch (thrown) {
        const error = asHoldfastError(thrown, 'HOME_UNUSABLE');
        await add(failure(part.name, error.code, error.message));
        break;
      }
      if (next.done) break;
      await add(next.value);
    }
  }
  return { entries: taken.size, failures };
}

function tooMuch(name: string): never {
  throw new HoldfastError('HOME_UNUSABLE', `${name} is left out: the archive has ${TOTAL_MAX_CHARACTERS} characters`);
}

/** Two names that differ only in what a path cannot hold are told apart by a number. */
function free(path: string, taken: Set<string>): string {
  let unique = path;
  for (let number = 2; taken.has(unique); number += 1) unique = `${path}.${number}`;
  taken.add(unique);
  return unique;
}

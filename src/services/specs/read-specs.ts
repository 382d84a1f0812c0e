/** Reads the specs of a home, with their templates: what this host can carry out. A broken file costs the others nothing. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { asProblem, type Problem } from '../../errors.ts';
import { type BrokenSpec, parseSpec, type SpecFile, typesOffered } from '../../policy/spec.ts';
import { readRegular } from '../durable-file.ts';

export interface Specs {
  /** In the order of their file names. */
  readonly specs: readonly SpecFile[];
  /** One a file that cannot be used: SPEC_INVALID with its place. */
  readonly broken: readonly (Problem & BrokenSpec)[];
}

type Broken = Specs['broken'][number];

const SPEC_ENDING = '.spec.yml';
/** A template larger than this is no template; the policy brings the data. */
const FILE_MAX_BYTES = 1024 * 1024;

/** Reads `directories` in order; a spec in an earlier one hides a file of the same name in a later one. A missing directory holds no specs. */
export async function readSpecs(directories: readonly string[]): Promise<Specs> {
  const specs: SpecFile[] = [];
  const broken: Broken[] = [];
  const seen = new Set<string>();
  for (const directory of directories) {
    const names = await namesIn(directory, broken);
    const texts = new Map<string, string>();
    for (const name of names) {
      if (name.endsWith(SPEC_ENDING) || name.endsWith('.liquid')) await readInto(texts, directory, name, broken);
    }
    const templates = Object.fromEntries([...texts].filter(([name]) => !name.endsWith(SPEC_ENDING)));
    for (const [name, text] of texts) {
      if (!name.endsWith(SPEC_ENDING) || seen.has(name)) continue;
      seen.add(name);
      try {
        specs.push(parseSpec(text, join(directory, name), templates));
      } catch (error) {
        broken.push(brokenFile(error, join(directory, name), text));
      }
    }
  }
  return { specs, broken };
}

async function namesIn(directory: string, broken: Broken[]): Promise<readonly string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
      const problem = asProblem(error, 'SPEC_INVALID', `the specs in ${directory} cannot be read`);
      broken.push({ ...problem, file: directory, offers: 'anything' });
    }
    return [];
  }
}

async function readInto(texts: Map<string, string>, directory: string, name: string, broken: Broken[]): Promise<void> {
  try {
    texts.set(name, (await readRegular(join(directory, name), FILE_MAX_BYTES)).toString('utf8'));
  } catch (error) {
    broken.push(brokenFile(error, join(directory, name), null));
  }
}

/** A template offers nothing itself: the spec that names it is found broken, too. */
function brokenFile(error: unknown, file: string, text: string | null): Broken {
  const offers = file.endsWith(SPEC_ENDING) ? typesOffered(text, file) : [];
  return { ...asProblem(error, 'SPEC_INVALID', file), file, offers };
}

/** Reads settings from flags, environment and file, in this order of precedence, and says of every mistake where it stands. */
import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { KEY_NAMES, KEYS, type Key, type KeyName, settingsOf, Unfit, type Values } from './keys.ts';
import type { Settings } from './settings.ts';

/** Where settings come from. */
export interface Sources {
  /** The settings file with its text, or null when there is none. */
  readonly file: { readonly path: string; readonly text: string } | null;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Values of command line options, with the option's own name for complaints. */
  readonly flags: readonly Flag[];
}

export interface Flag {
  readonly option: string;
  readonly key: KeyName;
  readonly value: unknown;
}

/** What could be read, and what is wrong. A wrong value leaves what the next source says, at last the default. */
export interface Reading {
  readonly settings: Settings;
  /** One sentence each, beginning with the place. */
  readonly complaints: readonly string[];
}

/** Reads every source; throws nothing. */
export function readSettings(sources: Sources): Reading {
  const complaints: string[] = [];
  const values = Object.fromEntries(KEY_NAMES.map((name) => [name, KEYS[name].fallback])) as Values;
  const take = (name: KeyName, place: string, raw: unknown) => {
    try {
      // `Values` ties each name to the type its own reader returns; TypeScript cannot follow that through a variable name.
      (values as Record<KeyName, unknown>)[name] = (KEYS[name] as Key<unknown>).read(raw);
    } catch (thrown) {
      if (!(thrown instanceof Unfit)) throw thrown;
      complaints.push(`${place}: ${name} ${thrown.message}`);
    }
  };

  const places = sources.file ? readFile(sources.file, take, complaints) : new Map<KeyName, string>();
  for (const name of KEY_NAMES) {
    const names: readonly string[] = (KEYS[name] as Key<unknown>).env ?? [];
    const variable = names.find((each) => sources.env[each]);
    if (variable) take(name, `environment variable ${variable}`, sources.env[variable]);
  }
  for (const flag of sources.flags) {
    if (flag.value !== undefined) take(flag.key, `option ${flag.option}`, flag.value);
  }

  for (const name of KEY_NAMES) {
    if (!name.endsWith('.initial')) continue;
    const max = name.replace(/initial$/, 'max') as KeyName;
    if (Number(values[name]) <= Number(values[max])) continue;
    const place = places.get(name) ?? places.get(max) ?? 'settings';
    complaints.push(`${place}: ${name} is longer than ${max}`);
    (values as Record<KeyName, unknown>)[name] = values[max];
  }

  const { env } = sources;
  return {
    complaints,
    settings: settingsOf(values, {
      https: env.HTTPS_PROXY || env.https_proxy || null,
      http: env.HTTP_PROXY || env.http_proxy || null,
      no: env.NO_PROXY || env.no_proxy || null,
    }),
  };
}

/** What is wrong is told so many times; a file that is none would fill the log. */
const COMPLAINTS_KEPT = 20;
/** Characters of a name that is none of ours. */
const NAME_SHOWN = 80;

/** Reads the YAML file; a key may be nested or written with dots. Returns the place of each key that was set. */
function readFile(
  file: { readonly path: string; readonly text: string },
  take: (name: KeyName, place: string, raw: unknown) => void,
  complaints: string[],
): Map<KeyName, string> {
  const lines = new LineCounter();
  const document = parseDocument(file.text, {
    lineCounter: lines,
    prettyErrors: false,
    merge: true,
    // Looked at below: the library compares each key with each other one, which takes minutes for a file of many.
    uniqueKeys: false,
  });
  const placeAt = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${file.path}:${line}:${col}`;
  };
  const places = new Map<KeyName, string>();
  for (const error of document.errors.slice(0, COMPLAINTS_KEPT)) {
    complaints.push(`${placeAt(error.pos[0])}: ${lowerFirst(error.message)}`);
  }
  if (document.errors.length > 0 || document.contents === null) return places;

  let unknown = 0;
  const walk = (node: Node | null, prefix: string, place: string) => {
    const target = isAlias(node) ? (node.resolve(document) ?? null) : node;
    if (isScalar(target) && target.value === null) return; // `fleet:` with nothing below it sets nothing
    if (!isMap(target)) {
      complaints.push(`${place}: ${prefix || 'the file'} wants keys and values (${examplesBelow(prefix)})`);
      return;
    }
    const seen = new Set<string>();
    for (const pair of target.items) {
      const key = isScalar(pair.key) ? String(pair.key.value) : String(pair.key);
      const name = prefix ? `${prefix}.${key}` : key;
      const keyPlace = placeAt((pair.key as Node).range?.[0] ?? 0);
      if (seen.has(key) && key !== '<<' && !isKeyName(name)) complaints.push(`${keyPlace}: ${name} stands there twice`);
      seen.add(key);
      const value = pair.value as Node | null;
      const valuePlace = value?.range ? placeAt(value.range[0]) : keyPlace;
      if (isKeyName(name)) {
        if (places.has(name)) complaints.push(`${keyPlace}: ${name} was set before, at ${places.get(name)}`);
        places.set(name, keyPlace);
        const plain = value === null ? null : (value.toJS(document) as unknown);
        if (isSeq(value) || plain !== null) take(name, valuePlace, plain);
      } else if (KEY_NAMES.some((each) => each.startsWith(`${name}.`))) {
        walk(value, name, valuePlace);
      } else {
        unknown += 1;
        if (unknown > COMPLAINTS_KEPT) continue;
        const shown = name.length > NAME_SHOWN ? `${name.slice(0, NAME_SHOWN)}…` : name;
        const hint = name.length > NAME_SHOWN ? '' : suggestion(name);
        complaints.push(`${keyPlace}: ${shown} is not a setting${hint}`);
      }
    }
  };
  walk(document.contents as Node, '', placeAt(0));
  if (unknown > COMPLAINTS_KEPT)
    complaints.push(`${file.path}: ${unknown - COMPLAINTS_KEPT} more keys are not settings`);
  return places;
}

function isKeyName(name: string): name is KeyName {
  return Object.hasOwn(KEYS, name);
}

function examplesBelow(prefix: string): string {
  const below = KEY_NAMES.filter((name) => !prefix || name.startsWith(`${prefix}.`));
  return below.slice(0, 3).join(', ');
}

/** Largest share of a name that may be mistyped for another to be suggested. */
const MISTYPED_SHARE = 0.4;

function suggestion(name: string): string {
  const sections = KEY_NAMES.flatMap((key) =>
    key.split('.').map((_, index, parts) => parts.slice(0, index + 1).join('.')),
  );
  const depth = name.split('.').length;
  const nearest = [...new Set(sections)]
    .map((candidate) => ({
      candidate,
      distance: editDistance(name, candidate) + (candidate.split('.').length === depth ? 0 : 0.5),
    }))
    .sort((a, b) => a.distance - b.distance)[0];
  const last = name.split('.').at(-1);
  const sameEnd = KEY_NAMES.find((key) => key.split('.').at(-1) === last);
  if (nearest && nearest.distance <= Math.max(2, name.length * MISTYPED_SHARE))
    return `; did you mean ${nearest.candidate}?`;
  return sameEnd ? `; did you mean ${sameEnd}?` : '';
}

/** Fewest single-letter changes from `a` to `b`. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(swap, (previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

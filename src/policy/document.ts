/** A YAML document read strictly: its value as JSON, and where in the file each part of it stands. */
import {
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  type Scalar,
  type ScalarTag,
  stringify,
  visit,
  type YAMLMap,
} from 'yaml';
import { type ErrorCode, HoldfastError } from '../errors.ts';
import { ExactNumber, formatPath, type JsonValue, MAX_DEPTH, MAX_TEXT_LENGTH, parseDigits, setOwn } from './json.ts';

/** How many nodes aliases may stand for before the document counts as a bomb. */
const MAX_ALIASED_NODES = 1_000;

export interface YamlDocument {
  readonly value: JsonValue;
  /** `file:line:column` of the value at a path, or of the nearest part around it that is there. */
  locate(path: readonly PropertyKey[]): string;
  /** An error of the document's code that names file, line, column and path. */
  complaint(path: readonly PropertyKey[], why: string): HoldfastError;
}

/**
 * Reads one YAML 1.2 document with merge keys. Integers keep their digits; duplicate keys, unknown tags, keys that are not
 * scalars, `.nan`/`.inf`, alias bombs and nesting beyond MAX_DEPTH are refused.
 *
 * @throws HoldfastError with `code`, naming file, line and column.
 */
export function readYaml(text: string, fileName: string, code: ErrorCode): YamlDocument {
  const fail = (where: string, why: string, cause?: unknown): HoldfastError =>
    new HoldfastError(code, `${where}: ${why}`, { cause });
  if (text.length > MAX_TEXT_LENGTH) throw fail(fileName, `has more than ${MAX_TEXT_LENGTH} characters`);

  const lines = new LineCounter();
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${fileName}:${line}:${col}`;
  };
  const document = attempt(() =>
    parseDocument(text, {
      lineCounter: lines,
      // Looked at below: the library compares each key with each other one, which takes minutes for a file of many.
      uniqueKeys: false,
      merge: true,
      prettyErrors: false,
      keepSourceTokens: true,
    }),
  );
  if (document instanceof Error) throw fail(fileName, `cannot be read: ${readable(document.message)}`, document);
  const broken = document.errors[0] ?? document.warnings[0];
  if (broken) throw fail(at(broken.pos[0]), readable(broken.message), broken);

  const strange = attempt(() => {
    let found: HoldfastError | null = null;
    visit(document, {
      Scalar(key, node) {
        if (typeof node.value === 'number' || typeof node.value === 'bigint') {
          if (
            !Number.isFinite(Number(node.value)) &&
            typeof node.value === 'number' &&
            !/^[-+]?\d/.test(node.source ?? '')
          ) {
            found = fail(at(node.range?.[0] ?? 0), `${node.source ?? node.value} is not a number that JSON knows`);
            return visit.BREAK;
          }
          if (key !== 'key') node.value = exactly(node.source, node.value);
        } else if (typeof node.value === 'object' && node.value !== null) {
          found = fail(at(node.range?.[0] ?? 0), 'has a kind of value that JSON does not know');
          return visit.BREAK;
        }
        return undefined;
      },
      Map(_, map) {
        const repeated = repeatedKey(map);
        if (repeated === null) return undefined;
        found = fail(at(repeated.range?.[0] ?? 0), 'Map keys must be unique');
        return visit.BREAK;
      },
      Pair(_, pair) {
        if (!isScalar(pair.key)) {
          found = fail(at(isNode(pair.key) ? (pair.key.range?.[0] ?? 0) : 0), 'a key must be plain text');
          return visit.BREAK;
        }
        return undefined;
      },
    });
    return found as HoldfastError | null;
  });
  if (strange instanceof HoldfastError) throw strange;
  if (strange instanceof Error) throw fail(fileName, `cannot be read: ${readable(strange.message)}`, strange);

  const value = attempt(() => plain(document.toJS({ maxAliasCount: MAX_ALIASED_NODES }), 0));
  if (value instanceof Error) throw fail(fileName, `cannot be read: ${readable(value.message)}`, value);

  const locate = (path: readonly PropertyKey[]): string => {
    let node: unknown = document.contents;
    let offset = isNode(node) ? (node.range?.[0] ?? 0) : 0;
    for (const part of path) {
      let next: unknown;
      if (isMap(node)) {
        const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(part));
        // A key is the better place to point at than its value, which may be missing or begin lines below.
        if (pair && isScalar(pair.key)) offset = pair.key.range?.[0] ?? offset;
        next = pair?.value;
      } else if (isSeq(node) && typeof part === 'number') {
        next = node.items[part];
        if (isNode(next)) offset = next.range?.[0] ?? offset;
      }
      if (next === undefined) break;
      node = next;
    }
    return at(offset);
  };
  return {
    value,
    locate,
    complaint: (path, why) => fail(locate(path), `${formatPath(path)} ${why}`),
  };
}

/** The first key of a mapping that stands there a second time. A merge key may be repeated. */
function repeatedKey(map: YAMLMap): Scalar | null {
  const seen = new Set<unknown>();
  for (const { key } of map.items) {
    if (!isScalar(key) || (key.value === '<<' && key.type === 'PLAIN')) continue;
    if (seen.has(key.value)) return key;
    seen.add(key.value);
  }
  return null;
}

/** YAML's numbers with all their digits, as parseJson has them. */
function exactly(source: string | undefined, value: number | bigint): number | bigint | ExactNumber {
  if (source !== undefined && /^-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?$/.test(source)) return parseDigits(source);
  if (typeof value === 'bigint') return parseDigits(value.toString());
  return value === 0 ? 0 : value;
}

/** The library's value as ours: own properties only, depth bounded. */
function plain(value: unknown, depth: number): JsonValue {
  if (depth > MAX_DEPTH) throw new Error(`it is nested more than ${MAX_DEPTH} deep`);
  if (Array.isArray(value)) return value.map((item) => plain(item, depth + 1));
  if (typeof value === 'object' && value !== null && !(value instanceof ExactNumber)) {
    const copy: Record<string, JsonValue> = {};
    for (const key of Object.keys(value)) setOwn(copy, key, plain((value as Record<string, unknown>)[key], depth + 1));
    return copy;
  }
  return (value ?? null) as JsonValue;
}

function readable(message: string): string {
  if (message.includes('call stack')) return `it is nested more than ${MAX_DEPTH} deep`;
  // A password that begins with * or ! is taken for an alias or a tag; the library's words would repeat it.
  if (message.startsWith('Unresolved alias'))
    return 'an alias is used whose anchor is not set; quote a text that begins with *';
  if (message.startsWith('Unresolved tag')) return 'a tag is not known; quote a text that begins with !';
  if (message.includes('multiple documents')) return 'a second document begins here; one file holds one';
  return message;
}

/** The result, or what was thrown: the library throws on alias bombs, and the stack may end on hostile nesting. */
function attempt<T>(work: () => T): T | Error {
  try {
    return work();
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/** Lets the writer write a number that was kept as text the way it came. */
const EXACT_NUMBER: ScalarTag = {
  tag: 'tag:yaml.org,2002:float',
  default: true,
  identify: (value) => value instanceof ExactNumber,
  resolve: (text) => text,
  test: /(?!)/,
  stringify: ({ value }) => String(value),
};

/** A value as YAML text for people and programs, numbers with all their digits. */
export function writeYaml(value: JsonValue): string {
  return stringify(value, {
    lineWidth: 0,
    aliasDuplicateObjects: false,
    customTags: (tags) => [EXACT_NUMBER, ...tags],
  });
}

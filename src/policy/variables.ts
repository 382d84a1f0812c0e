/** Elastic Agent's variables: `${provider.key|alternative|'default'}` replaced in strings, once, never in what was put in. */
import { HoldfastError } from '../errors.ts';
import { canonicalJson } from './canonical.ts';
import {
  ExactNumber,
  formatPath,
  getOwn,
  isArray,
  isObject,
  type JsonObject,
  type JsonValue,
  type Path,
  setOwn,
} from './json.ts';

/** The provider of a name without a dot. */
const DEFAULT_PROVIDER = 'env';

/** What providers know, by provider and key; values may nest (`${host.os.name}`). */
export type Variables = Readonly<Record<string, JsonObject>>;

/** What a service finds out about this host, for {@link variablesFor}. */
export interface HostFacts {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly host: {
    readonly id: string;
    readonly name: string;
    /** `linux`, `darwin`, `windows`. */
    readonly platform: string;
    /** As Go names it: `amd64`, `arm64`. */
    readonly architecture: string;
    readonly ip: readonly string[];
    readonly mac: readonly string[];
  };
  readonly agent: { readonly id: string; readonly version: string };
  readonly path: {
    readonly home: string;
    readonly data: string;
    readonly logs: string;
    readonly config: string;
    /** Where the examples that come with Holdfast are. */
    readonly examples: string;
    /** The Node program that runs Holdfast. */
    readonly node: string;
  };
  /** The `local` provider: values a person sets in the settings file. */
  readonly local: JsonObject;
}

/** The providers of this host. */
export function variablesFor(facts: HostFacts): Variables {
  const env: Record<string, JsonValue> = {};
  for (const [name, value] of Object.entries(facts.env)) {
    if (value !== undefined) setOwn(env, name, value);
  }
  return {
    env,
    host: { ...facts.host },
    agent: { id: facts.agent.id, version: { version: facts.agent.version } },
    path: { ...facts.path },
    local: facts.local,
  };
}

/** A variable that no provider knows and that has no default. */
export class UnresolvedVariable extends HoldfastError {
  readonly variable: string;
  readonly path: Path;

  constructor(variable: string, path: Path) {
    super('POLICY_RENDER_FAILED', `${formatPath(path)}: no provider knows \${${variable}} and it has no default`);
    this.variable = variable;
    this.path = path;
  }
}

/**
 * Replaces the variables in every string of a value. `verbatim` names strings to be left as they are, by their path.
 *
 * @throws UnresolvedVariable (POLICY_RENDER_FAILED) and HoldfastError POLICY_RENDER_FAILED for a `${` that is no variable.
 */
export function substitute(
  value: JsonValue,
  variables: Variables,
  verbatim: (path: Path) => boolean = () => false,
  path: Path = [],
): JsonValue {
  if (typeof value === 'string') return verbatim(path) ? value : substituteText(value, variables, path);
  if (isArray(value)) return value.map((item, index) => substitute(item, variables, verbatim, [...path, index]));
  if (!isObject(value)) return value;
  const copy: Record<string, JsonValue> = {};
  for (const key of Object.keys(value)) {
    setOwn(copy, key, substitute(value[key] as JsonValue, variables, verbatim, [...path, key]));
  }
  return copy;
}

/** One string's variables replaced. A string that is exactly one variable becomes the variable's value with its type. */
export function substituteText(text: string, variables: Variables, path: Path = []): JsonValue {
  if (!text.includes('${')) return text;
  let result = '';
  for (let i = 0; i < text.length; ) {
    const start = text.indexOf('${', i);
    if (start < 0) return result + text.slice(i);
    const end = endOfVariable(text, start + 2);
    if (end < 0) {
      throw new HoldfastError(
        'POLICY_RENDER_FAILED',
        `${formatPath(path)}: a \${ has no closing }; write $\${ for the characters themselves`,
      );
    }
    if (start > i && text[start - 1] === '$') {
      // `$${name}` stands for the text `${name}`.
      result += text.slice(i, start - 1) + text.slice(start, end + 1);
    } else {
      const inside = text.slice(start + 2, end);
      const value = resolve(inside, variables, path);
      if (value === undefined) throw new UnresolvedVariable(inside, path);
      if (start === 0 && end === text.length - 1) return value;
      result += text.slice(i, start) + asText(value);
    }
    i = end + 1;
  }
  return result;
}

/** The value of what stands between `${` and `}`; undefined when neither a provider nor a default has one. */
export function resolve(inside: string, variables: Variables, path: Path = []): JsonValue | undefined {
  for (const alternative of alternatives(inside, path)) {
    const value = alternative.kind === 'constant' ? alternative.text : lookUp(alternative.name, variables);
    if (value !== undefined && value !== null) return value;
  }
  return undefined;
}

/** A value inside a longer string. */
export function asText(value: JsonValue): string {
  if (typeof value === 'string') return value;
  if (value instanceof ExactNumber || typeof value !== 'object') return String(value);
  return canonicalJson(value);
}

/** Where the variable that begins before `from` ends: the first `}` outside of quotes, or -1. */
export function endOfVariable(text: string, from: number): number {
  let quote = '';
  for (let i = from; i < text.length; i++) {
    const char = text[i] as string;
    if (quote !== '') {
      if (char === '\\') i++;
      else if (char === quote) quote = '';
    } else if (char === "'" || char === '"') quote = char;
    else if (char === '}') return i;
    // A default behind a colon is bare text: quotes mean nothing in it.
    else if (char === ':') return text.indexOf('}', i);
  }
  return -1;
}

type Alternative =
  | { readonly kind: 'constant'; readonly text: string }
  | { readonly kind: 'name'; readonly name: string };

function alternatives(inside: string, path: Path): Alternative[] {
  const found: Alternative[] = [];
  let rest = inside;
  for (;;) {
    const quoted = /^\s*(['"])((?:\\.|(?!\1)[^\\])*)\1\s*(?:\||$)/s.exec(rest);
    const named = quoted ? null : /^\s*([^|:'"{}]*?)\s*(?:\||:|$)/s.exec(rest);
    const match = quoted ?? named;
    if (!match) {
      throw new HoldfastError(
        'POLICY_RENDER_FAILED',
        `${formatPath(path)}: \${${inside}} is not a variable; write $\${ for the characters themselves`,
      );
    }
    if (quoted) found.push({ kind: 'constant', text: (quoted[2] as string).replace(/\\(.)/gs, '$1') });
    else if (named && named[1] !== '') found.push({ kind: 'name', name: named[1] as string });
    rest = rest.slice(match[0].length);
    if (match[0].endsWith(':')) return [...found, { kind: 'constant', text: rest }];
    if (!match[0].endsWith('|')) break;
  }
  if (found.length === 0) {
    throw new HoldfastError('POLICY_RENDER_FAILED', `${formatPath(path)}: \${${inside}} names no variable`);
  }
  return found;
}

function lookUp(name: string, variables: Variables): JsonValue | undefined {
  const [provider, ...keys] = name.includes('.') ? name.split('.') : [DEFAULT_PROVIDER, name];
  const known = Object.hasOwn(variables, provider as string) ? variables[provider as string] : undefined;
  if (known === undefined) return undefined;
  // Keys may hold dots themselves (`env` on some hosts): the whole rest first.
  const whole = getOwn(known, keys.join('.'));
  if (whole !== undefined) return whole;
  let value: JsonValue | undefined = known;
  for (const key of keys) value = value !== undefined && isObject(value) ? getOwn(value, key) : undefined;
  return value;
}

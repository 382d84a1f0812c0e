/** A policy file as text to the policy body that agents get, or the place and the reason why it is none. Pure. */
import { createHash } from 'node:crypto';
import { type Document, isScalar, LineCounter, parseDocument, visit } from 'yaml';

export type ReadPolicy =
  | { readonly ok: true; readonly text: string; readonly hash: string }
  /** `line:column: reason`, or only the reason when it concerns the whole file. */
  | { readonly ok: false; readonly problem: string };

/** What a policy gets that does not say otherwise: without outputs and inputs, or with self-monitoring, stock agents go astray. */
const DEFAULTS = {
  outputs: { default: { type: 'elasticsearch', hosts: ['http://127.0.0.1:9200'] } },
  output_permissions: { default: {} },
  inputs: [],
  agent: { monitoring: { enabled: false, logs: false, metrics: false } },
} as const;

/** Reads a policy file. Integers keep all their digits; `id` and `revision` in it are not used: the file name and the server say those. */
export function readPolicyYaml(source: string): ReadPolicy {
  const lines = new LineCounter();
  // Excerpts in errors and the search for repeated keys cost the library the square of the file's size; the latter is done here.
  const document = parseDocument(source, {
    intAsBigInt: true,
    merge: true,
    lineCounter: lines,
    prettyErrors: false,
    uniqueKeys: false,
  });
  const error = document.errors[0] ?? repeatedKey(document);
  if (error) {
    const place = lines.linePos(error.pos[0]);
    return { ok: false, problem: `${place.line}:${place.col}: ${error.message}` };
  }
  try {
    const value: unknown = document.toJS({ mapAsMap: false });
    if (value === null) return { ok: false, problem: 'the file is empty' };
    if (!isMapping(value)) return { ok: false, problem: '1:1: a policy is a mapping (inputs: …, outputs: …)' };
    const text = toJson(withDefaults(value), '');
    return { ok: true, text, hash: createHash('sha256').update(text).digest('hex') };
  } catch (thrown) {
    return { ok: false, problem: thrown instanceof Error ? thrown.message : String(thrown) };
  }
}

/** The first key that stands twice in its mapping, as the library would complain of it. A merge key may be repeated. */
function repeatedKey(document: Document.Parsed): { readonly pos: readonly [number]; readonly message: string } | null {
  let found: { readonly pos: readonly [number]; readonly message: string } | null = null;
  visit(document, {
    Map(_, map) {
      const seen = new Set<unknown>();
      for (const { key } of map.items) {
        if (!isScalar(key) || (key.value === '<<' && key.type === 'PLAIN')) continue;
        if (seen.has(key.value)) {
          found = { pos: [key.range?.[0] ?? 0], message: 'Map keys must be unique' };
          return visit.BREAK;
        }
        seen.add(key.value);
      }
      return undefined;
    },
  });
  return found;
}

type Mapping = Record<string, unknown>;

function isMapping(value: unknown): value is Mapping {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The policy as it is served: with what a file may leave out. */
export function withDefaults(policy: Mapping): Mapping {
  const { id: _id, revision: _revision, ...rest } = policy;
  const agent = isMapping(rest.agent) ? rest.agent : {};
  return {
    ...rest,
    outputs: rest.outputs ?? DEFAULTS.outputs,
    output_permissions: rest.output_permissions ?? DEFAULTS.output_permissions,
    inputs: rest.inputs ?? DEFAULTS.inputs,
    agent: { ...agent, monitoring: agent.monitoring ?? DEFAULTS.agent.monitoring },
  };
}

/** JSON text; throws on what JSON cannot say, with its place in the policy. */
function toJson(value: unknown, place: string): string {
  switch (typeof value) {
    case 'bigint':
      return value.toString();
    case 'number':
      if (!Number.isFinite(value)) throw new Error(`${place}: ${value} cannot be said in JSON; quote it`);
      return JSON.stringify(value);
    case 'string':
    case 'boolean':
      return JSON.stringify(value);
    default:
  }
  if (value === null || value === undefined) return 'null';
  if (Array.isArray(value)) return `[${value.map((item, index) => toJson(item, `${place}[${index}]`)).join(',')}]`;
  if (!isMapping(value)) throw new Error(`${place}: cannot be said in JSON`);
  const members = Object.entries(value).map(
    ([key, member]) => `${JSON.stringify(key)}:${toJson(member, place ? `${place}.${key}` : key)}`,
  );
  return `{${members.join(',')}}`;
}

/** A policy as text becomes a typed value, or an error that names the place. */
import { z } from 'zod';
import { HoldfastError } from '../errors.ts';
import { canonicalJson } from './canonical.ts';
import { readYaml } from './document.ts';
import {
  ExactNumber,
  formatPath,
  isArray,
  isObject,
  type JsonObject,
  type JsonValue,
  type Path,
  parseJson,
  valueAt,
} from './json.ts';

/** The default output's name, for inputs that name none (as Elastic Agent has it). */
const DEFAULT_OUTPUT = 'default';
/** Inputs and streams of one policy; Kibana's largest policies have hundreds. */
const MAX_ITEMS = 10_000;

/** A typed policy. Values that Holdfast does not interpret are kept as they came, in `inputs[].value` and `outputs[].value`. */
export interface Policy {
  /** True: `{}`, the body that ends a gracefully unenrolled agent. */
  readonly empty: boolean;
  readonly id: string;
  readonly revision: number;
  readonly outputs: ReadonlyMap<string, JsonObject>;
  readonly inputs: readonly PolicyInput[];
  /** Dot paths of secrets, as Fleet Server lists them. */
  readonly secretPaths: readonly string[];
  readonly agent: JsonObject;
  readonly fleet: JsonObject;
  /** The whole body. */
  readonly body: JsonObject;
}

/** One element of `inputs`, before variables are resolved. */
export interface PolicyInput {
  /** Its place in the policy, for complaints: `inputs[2]`. */
  readonly place: string;
  readonly value: JsonObject;
}

/** What Holdfast itself reads of an input, once its variables are resolved. */
export interface ResolvedInput {
  readonly id: string;
  readonly type: string;
  readonly enabled: boolean;
  readonly useOutput: string;
}

const text = z.string();
const flag = z.union([z.boolean(), z.string().regex(/\$\{/, 'must be true or false')], {
  error: 'must be true or false',
});
const condition = z.union([z.string(), z.boolean()], { error: 'must be an expression' });
const dataStream = z.looseObject({ type: text.nullish(), dataset: text.nullish(), namespace: text.nullish() });

const stream = z.looseObject({
  id: text.nullish(),
  enabled: flag.nullish(),
  condition: condition.nullish(),
  data_stream: dataStream.nullish(),
});

const input = z.looseObject({
  id: text.nullish(),
  type: text.min(1, 'must not be empty'),
  enabled: flag.nullish(),
  use_output: text.nullish(),
  condition: condition.nullish(),
  data_stream: dataStream.nullish(),
  streams: z.array(stream).max(MAX_ITEMS).nullish(),
});

const output = z.looseObject({ type: text.min(1, 'must not be empty'), enabled: flag.nullish() });

const policy = z.looseObject({
  id: text.nullish(),
  revision: z.int().min(0).nullish(),
  outputs: z.record(z.string(), output).nullish(),
  inputs: z.array(input).max(MAX_ITEMS).nullish(),
  secret_paths: z.array(text).nullish(),
  agent: z.looseObject({}).nullish(),
  fleet: z.looseObject({}).nullish(),
});

/**
 * Parses a policy's JSON text.
 *
 * @throws HoldfastError POLICY_UNPARSABLE with the path (`inputs[2].streams[0].id`) of the first thing that is wrong.
 */
export function parsePolicy(jsonText: string): Policy {
  return typedPolicy(parseJson(jsonText), unparsable);
}

/** A policy from a YAML file, with its canonical JSON text. */
export interface PolicyFile {
  readonly policy: Policy;
  readonly text: string;
}

/**
 * Parses a policy's YAML text, as people write it. `complete` adds what such a file may leave out; it sees and gives a JSON object.
 *
 * @throws HoldfastError POLICY_UNPARSABLE with file, line, column and path.
 */
export function parsePolicyYaml(
  yamlText: string,
  fileName: string,
  complete: (policy: JsonObject) => JsonObject = (policy) => policy,
): PolicyFile {
  const document = readYaml(yamlText, fileName, 'POLICY_UNPARSABLE');
  const body = isObject(document.value) ? complete(document.value) : document.value;
  const typed = typedPolicy(body, document.complaint);
  return { policy: typed, text: canonicalJson(body) };
}

/** What Holdfast reads of an input whose variables are resolved, or why it cannot. */
export function resolvedInput(value: JsonObject, place: string): ResolvedInput {
  const fail = (path: Path, why: string): HoldfastError =>
    new HoldfastError(
      'POLICY_RENDER_FAILED',
      `${place}${path.length > 0 ? '.' : ''}${path.length > 0 ? formatPath(path) : ''} ${why}`,
    );
  const parsed = input.safeParse(value);
  if (!parsed.success) throw firstIssue(parsed.error, value, fail);
  const { id, type, enabled, use_output } = parsed.data;
  if (typeof enabled === 'string') throw fail(['enabled'], 'must be true or false');
  return { id: id ? id : type, type, enabled: enabled ?? true, useOutput: use_output ? use_output : DEFAULT_OUTPUT };
}

type Complain = (path: Path, why: string) => HoldfastError;

function unparsable(path: Path, why: string): HoldfastError {
  return new HoldfastError('POLICY_UNPARSABLE', `the policy is wrong: ${formatPath(path)} ${why}`);
}

function typedPolicy(body: JsonValue, complain: Complain): Policy {
  if (!isObject(body)) throw complain([], `is ${kindOf(body)}, not an object`);
  refusePrototypeKeys(body, complain);
  const parsed = policy.safeParse(body);
  if (!parsed.success) throw firstIssue(parsed.error, body, complain);

  const outputs = new Map(Object.entries(isObject(body.outputs ?? null) ? (body.outputs as JsonObject) : {}));
  const inputs = isArray(body.inputs ?? null) ? (body.inputs as readonly JsonObject[]) : [];
  refuseDuplicateIds(inputs, complain);
  for (const [index, item] of inputs.entries()) {
    const name = item.use_output || DEFAULT_OUTPUT;
    if (typeof name === 'string' && !name.includes('${') && !outputs.has(name)) {
      const known = [...outputs.keys()].join(', ') || 'none';
      throw complain(
        ['inputs', index, 'use_output'],
        `names the output ${JSON.stringify(name)}, which the policy does not have (it has: ${known})`,
      );
    }
  }
  return {
    empty: Object.keys(body).length === 0,
    id: parsed.data.id ?? '',
    revision: parsed.data.revision ?? 0,
    outputs: outputs as Map<string, JsonObject>,
    inputs: inputs.map((value, index) => ({ place: formatPath(['inputs', index]), value })),
    secretPaths: parsed.data.secret_paths ?? [],
    agent: (body.agent ?? {}) as JsonObject,
    fleet: (body.fleet ?? {}) as JsonObject,
    body,
  };
}

/** Elastic Agent refuses a policy with two inputs of one id, since units would share a name; an input without id has its type's. */
function refuseDuplicateIds(inputs: readonly JsonObject[], complain: Complain): void {
  const seen = new Map<string, number>();
  for (const [index, item] of inputs.entries()) {
    const id = String(item.id || item.type);
    const first = seen.get(id);
    if (first !== undefined) {
      const own = item.id ? '' : ' (an input without id takes its type as id)';
      throw complain(
        ['inputs', index, 'id'],
        `is ${JSON.stringify(id)} like inputs[${first}].id${own}; ids must differ`,
      );
    }
    seen.set(id, index);
  }
}

/** No program reads a `__proto__` key as data, and every library between here and a template has its own idea of it. */
function refusePrototypeKeys(body: JsonValue, complain: Complain, path: Path = []): void {
  if (isArray(body)) {
    for (const [index, item] of body.entries()) refusePrototypeKeys(item, complain, [...path, index]);
  } else if (isObject(body)) {
    for (const key of Object.keys(body)) {
      if (key === '__proto__') throw complain([...path, key], 'is a key that no policy may have');
      const value = body[key] as JsonValue;
      if (typeof value === 'object') refusePrototypeKeys(value, complain, [...path, key]);
    }
  }
}

function firstIssue(error: z.ZodError, body: JsonValue, complain: Complain): HoldfastError {
  const issue = error.issues[0];
  if (!issue) return complain([], 'is wrong');
  const path = issue.path.map((part) => (typeof part === 'number' ? part : String(part)));
  return complain(path, valueAt(body, path) === undefined ? 'is missing' : inWords(issue));
}

function inWords(issue: z.core.$ZodIssue): string {
  if (issue.message.startsWith('must')) return issue.message;
  if (issue.code === 'invalid_type')
    return `must be ${issue.expected === 'array' ? 'a list' : `of type ${issue.expected}`}`;
  return `is wrong: ${issue.message}`;
}

/** What a value is, in a word. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return 'null';
  if (Array.isArray(value)) return 'a list';
  if (value instanceof ExactNumber) return 'a number';
  return { object: 'an object', string: 'a string', boolean: 'a boolean' }[typeof value as string] ?? 'a number';
}

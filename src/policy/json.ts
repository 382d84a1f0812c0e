/** JSON as Holdfast holds it: no digit of a number is lost, depth is bounded, and no key can touch a prototype. */
import { parse } from 'lossless-json';
import { HoldfastError } from '../errors.ts';

/** Nesting beyond this is refused. A stock policy nests about 12 deep; each recursion in this folder relies on the bound. */
export const MAX_DEPTH = 128;
/** Characters of one document. Fleet Server's own limit for an answer is far below it. */
export const MAX_TEXT_LENGTH = 64 * 1024 * 1024;
/** Integers with more digits than this stay text, since turning them into a bigint costs more than linear time. */
const MAX_BIGINT_DIGITS = 1_000;

/** A number that neither `number` nor a reasonable `bigint` can hold: kept with all the digits it was written with. */
export class ExactNumber {
  readonly digits: string;

  constructor(digits: string) {
    this.digits = digits;
  }

  toString(): string {
    return this.digits;
  }

  /** For those who compute with it all the same (a template's filters): the nearest double. */
  valueOf(): number {
    return Number(this.digits);
  }
}

export type JsonScalar = null | boolean | string | number | bigint | ExactNumber;
export type JsonValue = JsonScalar | JsonArray | JsonObject;
export type JsonArray = readonly JsonValue[];
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

/**
 * Parses JSON text. Safe integers and floats that survive a round trip become `number`, other integers `bigint`, the rest
 * {@link ExactNumber}. A `__proto__` key becomes an own property like any other.
 *
 * @throws HoldfastError POLICY_UNPARSABLE for what is not JSON, too long or nested deeper than {@link MAX_DEPTH}.
 */
export function parseJson(text: string): JsonValue {
  if (text.length > MAX_TEXT_LENGTH) {
    throw unparsable(`it has ${text.length} characters, more than ${MAX_TEXT_LENGTH}`);
  }
  const depth = depthOf(text);
  if (depth > MAX_DEPTH) throw unparsable(`it is nested ${depth} deep, more than ${MAX_DEPTH}`);
  try {
    return parse(text, undefined, { parseNumber: parseDigits }) as JsonValue;
  } catch (error) {
    throw unparsable(error instanceof Error ? error.message : String(error), error);
  }
}

/** The value of a JSON number's text; see {@link parseJson}. */
export function parseDigits(digits: string): number | bigint | ExactNumber {
  if (/^-?\d+$/.test(digits)) {
    const integer = Number(digits);
    // `-0` and `0` are one value, so that what is equal hashes equally.
    if (Number.isSafeInteger(integer)) return integer === 0 ? 0 : integer;
    return digits.length <= MAX_BIGINT_DIGITS ? BigInt(digits) : new ExactNumber(digits);
  }
  const float = Number(digits);
  if (!Number.isFinite(float) || significant(digits) !== significant(float.toExponential()))
    return new ExactNumber(digits);
  return float === 0 ? 0 : float;
}

/** The digits that carry the value: no sign, point, exponent, or zeros at either end. */
function significant(digits: string): string {
  return digits
    .replace(/[eE].*$/, '')
    .replace(/[-.]/g, '')
    .replace(/^0+|0+$/g, '');
}

/** True for a JSON object: neither null, nor an array, nor a number kept as text. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof ExactNumber);
}

/** An array of JSON values; `Array.isArray` alone loses the type of read-only arrays. */
export function isArray(value: unknown): value is JsonArray {
  return Array.isArray(value);
}

/** Sets an own property whatever the key is called. */
export function setOwn(target: Record<string, unknown>, key: string, value: unknown): void {
  if (key === '__proto__') {
    Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true });
  } else {
    target[key] = value;
  }
}

/** The own property of that name, or undefined. */
export function getOwn(target: JsonObject, key: string): JsonValue | undefined {
  return Object.hasOwn(target, key) ? target[key] : undefined;
}

/** What stands at a path; undefined where nothing does. */
export function valueAt(value: JsonValue, path: readonly PropertyKey[]): JsonValue | undefined {
  let found: JsonValue | undefined = value;
  for (const part of path) {
    if (isArray(found)) found = found[Number(part)];
    else found = found !== undefined && isObject(found) ? getOwn(found, String(part)) : undefined;
  }
  return found;
}

export type Path = readonly (string | number)[];

/** A path as people write it: `inputs[2].streams[0].id`; keys that are not plain words are quoted. */
export function formatPath(path: readonly PropertyKey[]): string {
  let text = '';
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`;
    else if (/^[\w$-]+$/.test(String(part))) text += text === '' ? String(part) : `.${String(part)}`;
    else text += `[${JSON.stringify(String(part))}]`;
  }
  return text === '' ? '(the whole document)' : text;
}

/** How deep brackets nest outside of strings, found without recursion, so that a hostile text cannot exhaust the stack. */
function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (inString) {
      if (code === 0x5c) i++;
      else if (code === 0x22) inString = false;
    } else if (code === 0x22) inString = true;
    else if (code === 0x7b || code === 0x5b) deepest = Math.max(deepest, ++depth);
    else if (code === 0x7d || code === 0x5d) depth--;
  }
  return deepest;
}

function unparsable(why: string, cause?: unknown): HoldfastError {
  return new HoldfastError('POLICY_UNPARSABLE', `the policy is not usable JSON: ${why}`, { cause });
}

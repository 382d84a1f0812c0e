/** One text for one JSON value, and its hash: the identity of everything Holdfast compares. */
import { createHash } from 'node:crypto';
import { LosslessNumber } from 'lossless-json';
import { ExactNumber, parseDigits } from './json.ts';

/**
 * Canonical JSON: keys sorted by UTF-16 code unit, no white space, every number with all its digits. Works without recursion, so
 * that no nesting is too deep. What JSON does not know is treated as `JSON.stringify` does: left out of objects, `null` elsewhere.
 */
export function canonicalJson(value: unknown): string {
  const out: string[] = [];
  // What is still to be written, last first: a piece of text, or a value in a box.
  const todo: (string | { readonly value: unknown })[] = [{ value }];
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    if (typeof next === 'string') {
      out.push(next);
      continue;
    }
    const current = next.value;
    if (Array.isArray(current)) {
      out.push('[');
      todo.push(']');
      for (let i = current.length - 1; i >= 0; i--) {
        todo.push({ value: current[i] });
        if (i > 0) todo.push(',');
      }
    } else if (isMap(current)) {
      const entries = Object.keys(current)
        .filter((key) => isJson(current[key]))
        .sort();
      out.push('{');
      todo.push('}');
      for (let i = entries.length - 1; i >= 0; i--) {
        const key = entries[i] as string;
        todo.push({ value: current[key] }, `${i > 0 ? ',' : ''}${JSON.stringify(key)}:`);
      }
    } else {
      out.push(scalar(current));
    }
  }
  return out.join('');
}

/** SHA-256 in hex of a value's canonical JSON. */
export function hashOf(value: unknown): string {
  return sha256(canonicalJson(value));
}

/** SHA-256 in hex of a text's UTF-8 bytes. */
export function sha256(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex');
}

function scalar(value: unknown): string {
  if (value instanceof ExactNumber) return value.digits;
  if (value instanceof LosslessNumber) return scalar(parseDigits(value.value));
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return JSON.stringify(value);
    case 'bigint':
      return value.toString();
    case 'number':
      return scalarOfNumber(value);
    default:
      return 'null';
  }
}

function scalarOfNumber(value: number): string {
  if (!Number.isFinite(value)) return 'null';
  // A large integral double is written as a float, or it would come back as a bigint.
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) return value.toExponential();
  return JSON.stringify(value);
}

function isMap(value: unknown): value is Record<string, unknown> {
  return (
    typeof value === 'object' && value !== null && !(value instanceof ExactNumber) && !(value instanceof LosslessNumber)
  );
}

function isJson(value: unknown): boolean {
  return value !== undefined && typeof value !== 'function' && typeof value !== 'symbol';
}

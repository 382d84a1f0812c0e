// Arbitrary JSON for property tests: any nesting, any key, integers of any size, floats, numbers that only fit as text.
import fc from 'fast-check';
import { ExactNumber, type JsonValue, parseDigits, setOwn } from '../../src/policy/json.ts';

const exact = fc
  .tuple(fc.bigInt({ min: 1n, max: 10n ** 40n }), fc.integer({ min: 1, max: 500 }))
  .map(([digits, exponent]) => parseDigits(`${digits}.${digits}e-${exponent}`))
  .filter((value): value is ExactNumber => value instanceof ExactNumber);

export const scalar: fc.Arbitrary<JsonValue> = fc.oneof(
  fc.constant(null),
  fc.boolean(),
  fc.string({ unit: 'binary' }),
  fc.maxSafeInteger().map((value) => (value === 0 ? 0 : value)),
  fc.bigInt().map((value) => parseDigits(value.toString())),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => (value === 0 ? 0 : value)),
  exact,
);

export const key = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 8 }),
  fc.constantFrom('__proto__', 'constructor', 'toString', 'hasOwnProperty', 'inputs', 'é', '\u{1F600}'),
);

export const json: fc.Arbitrary<JsonValue> = fc.letrec<{ value: JsonValue }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5, withCrossShrink: true },
    scalar,
    fc.array(tie('value'), { maxLength: 5 }),
    fc.array(fc.tuple(key, tie('value')), { maxLength: 5 }).map(objectOf),
  ),
})).value;

export function objectOf(entries: readonly (readonly [string, JsonValue])[]): JsonValue {
  const object: Record<string, JsonValue> = {};
  for (const [name, value] of entries) setOwn(object, name, value);
  return object;
}

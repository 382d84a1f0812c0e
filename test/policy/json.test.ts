// Parsing and canonical text: no digit lost, one hash for one value, no prototype touched, depth bounded.
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { canonicalJson, hashOf } from '../../src/policy/canonical.ts';
import {
  ExactNumber,
  formatPath,
  isArray,
  isObject,
  type JsonValue,
  MAX_DEPTH,
  parseJson,
} from '../../src/policy/json.ts';
import { json } from './arbitraries.ts';

describe('canonical JSON', () => {
  test('parses back to the value it was made from', () => {
    fc.assert(fc.property(json, (value) => isDeepStrictEqual(parseJson(canonicalJson(value)), value)));
  });

  test('is the same for the same value, whatever the order of keys and the white space', () => {
    fc.assert(
      fc.property(json, fc.integer(), fc.constantFrom('', ' ', '\n\t'), (value, seed, space) => {
        expect(hashOf(parseJson(written(value, seed, space)))).toBe(hashOf(value));
      }),
    );
  });

  test('differs for values that differ', () => {
    fc.assert(
      fc.property(json, json, (a, b) => {
        fc.pre(JSON.stringify(a, plain) !== JSON.stringify(b, plain));
        fc.pre(canonicalJson(a) !== canonicalJson(b));
        expect(hashOf(a)).not.toBe(hashOf(b));
      }),
    );
    expect(hashOf([1])).not.toBe(hashOf(['1']));
    expect(hashOf({ a: null })).not.toBe(hashOf({}));
    expect(hashOf(9007199254740993n)).not.toBe(hashOf(9007199254740992n));
  });

  test('keeps integers of any size digit by digit', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(10n ** 2_000n), max: 10n ** 2_000n }), (integer) => {
        expect(canonicalJson(parseJson(`[${integer}]`))).toBe(`[${integer}]`);
      }),
    );
  });

  test('keeps every digit of a float that a double cannot hold', () => {
    expect(parseJson('1.000000000000000000001')).toEqual(new ExactNumber('1.000000000000000000001'));
    expect(canonicalJson(parseJson('[1e400]'))).toBe('[1e400]');
    expect(parseJson('1.50')).toBe(1.5);
  });

  test('sorts keys by UTF-16 code unit', () => {
    expect(canonicalJson({ '\u{1F600}': 1, '\uFB33': 2, b: 3, B: 4, '10': 5, '9': 6 })).toBe(
      '{"10":5,"9":6,"B":4,"b":3,"\u{1F600}":1,"\uFB33":2}',
    );
  });

  test('needs no stack, however deep the value', () => {
    let deep: JsonValue = 1;
    for (let i = 0; i < 200_000; i++) deep = [deep];
    expect(canonicalJson(deep)).toHaveLength(400_001);
  });
});

describe('parsing', () => {
  test('keeps a __proto__ key as data and touches no prototype', () => {
    const value = parseJson('{"__proto__":{"polluted":true},"a":1}');
    expect(Object.keys(value as object)).toEqual(['__proto__', 'a']);
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    expect((value as Record<string, unknown>).polluted).toBeUndefined();
  });

  test('refuses nesting beyond the limit without exhausting the stack', () => {
    const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);
    expect(() => parseJson(nested(MAX_DEPTH))).not.toThrow();
    for (const depth of [MAX_DEPTH + 1, 1_000_000]) {
      expect(() => parseJson(nested(depth))).toThrow(expect.objectContaining({ code: 'POLICY_UNPARSABLE' }));
    }
  });

  test('does not count brackets inside strings as nesting', () => {
    expect(parseJson(JSON.stringify(`\\"${'['.repeat(1_000)}`))).toBe(`\\"${'['.repeat(1_000)}`);
  });

  test.each(['', '{', '[1,]', 'nul', '{"a":1,"a":2}', '01', '{"a" 1}', '"\u0001"', '1 2'])('refuses %j', (text) => {
    expect(() => parseJson(text)).toThrow(expect.objectContaining({ code: 'POLICY_UNPARSABLE' }));
  });
});

test('a path is written as people write it', () => {
  expect(formatPath(['inputs', 2, 'streams', 0, 'id'])).toBe('inputs[2].streams[0].id');
  expect(formatPath(['outputs', 'my output', 'hosts'])).toBe('outputs["my output"].hosts');
  expect(formatPath([])).toBe('(the whole document)');
});

/** The value as JSON text with its keys shuffled and white space around everything. */
function written(value: JsonValue, seed: number, space: string): string {
  if (isArray(value))
    return `[${space}${value.map((item) => written(item, seed, space)).join(`${space},${space}`)}${space}]`;
  if (!isObject(value)) return canonicalJson(value);
  const keys = Object.keys(value);
  const turn = keys.length === 0 ? 0 : Math.abs(seed) % keys.length;
  const turned = [...keys.slice(turn), ...keys.slice(0, turn)].reverse();
  return `{${space}${turned.map((name) => `${JSON.stringify(name)}${space}:${space}${written(value[name] as JsonValue, seed, space)}`).join(',')}}`;
}

function plain(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? `${value}n` : value;
}

/** What the fuzz tests share: how often they run, and what every parser must keep to, whatever it is given. */
import fc from 'fast-check';
import { expect } from 'vitest';
import { HoldfastError } from '../../src/errors.ts';

/** `FUZZ_RUNS=10000` for a long look. */
export const RUNS = {
  numRuns: Number(process.env.FUZZ_RUNS || 120),
  interruptAfterTimeLimit: 600_000,
  markInterruptAsFailure: true,
};

/** The longest that one hostile document may take, in milliseconds: far above what any real one does, on a slow machine too. */
export const BOUND_MS = 8_000;

/** Any other error than a HoldfastError is a crash; and nobody may have got at the prototype that all objects have. */
export function outcomeOf<T>(work: () => T): T | HoldfastError {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return error;
  } finally {
    expectNothingPolluted();
  }
}

const CLEAN = Object.getOwnPropertyNames(Object.prototype).sort().join();

export function expectNothingPolluted(): void {
  const found: string[] = [];
  for (const key in {}) found.push(key);
  expect(found).toEqual([]);
  expect(Object.getOwnPropertyNames(Object.prototype).sort().join()).toBe(CLEAN);
  expect(Object.getOwnPropertyNames(Array.prototype)).not.toContain('polluted');
}

/** What stands in a text where an attacker may choose it. */
export const hostileText: fc.Arbitrary<string> = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 30 }),
  fc.constantFrom(
    '',
    '.',
    '..',
    '../../../../etc/passwd',
    '/etc/passwd',
    'a/../../b',
    'a\0b',
    'a\nb',
    '; touch /tmp/pwned',
    '$(touch /tmp/pwned)',
    '`touch /tmp/pwned`',
    '-o/etc/passwd',
    '| cat',
    '${env.SECRET}',
    '${component.dir}/../..',
    "${env.X|'../..'}",
    '${',
    '$${x}',
    '${constructor.name}',
    '${__proto__.polluted}',
    '{{ 7 | times: 7 }}',
    '{% include "/etc/passwd" %}',
    '{{ "x" | constructor }}',
    '{% for i in (1..9999999999) %}x{% endfor %}',
    '"\n- injected: true\n',
    '"},"injected":{"x":"',
    '!!js/function x',
    '&a [*a]',
    '<<: *x',
    '__proto__',
    'constructor',
    'prototype',
    'x'.repeat(5_000),
    '\ud800',
    '\u202etxt',
  ),
);

/** A key that could reach a prototype, or a plain one. */
export const hostileKey: fc.Arbitrary<string> = fc.oneof(
  fc.constantFrom('__proto__', 'constructor', 'prototype', 'toString', 'polluted', 'hasOwnProperty'),
  fc.string({ maxLength: 6 }),
);

/** Plain JSON text with hostile keys, also twice the same: what `JSON.stringify` would never write. */
export const hostileJson: fc.Arbitrary<string> = fc.letrec<{ value: string }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    hostileText.map((text) => JSON.stringify(text)),
    fc.constantFrom('null', 'true', '-0', '1e999', '123456789012345678901234567890', '0.1e-400', '"\\ud800"', '1E+2'),
    fc.array(tie('value'), { maxLength: 4 }).map((items) => `[${items.join(',')}]`),
    fc
      .array(fc.tuple(hostileKey, tie('value')), { maxLength: 4 })
      .map((pairs) => `{${pairs.map(([key, value]) => `${JSON.stringify(key)}:${value}`).join(',')}}`),
  ),
})).value;

/** An object's text with some of its known keys replaced, repeated or left out, and hostile ones added. */
export function objectText(fields: Readonly<Record<string, fc.Arbitrary<string>>>): fc.Arbitrary<string> {
  const known = Object.entries(fields).map(([key, value]) =>
    fc.oneof(
      { weight: 60, arbitrary: value.map((text) => [`${JSON.stringify(key)}:${text}`]) },
      { weight: 1, arbitrary: fc.constant([] as string[]) },
      { weight: 1, arbitrary: hostileJson.map((text) => [`${JSON.stringify(key)}:${text}`]) },
      {
        weight: 1,
        arbitrary: fc.tuple(value, value).map((two) => two.map((text) => `${JSON.stringify(key)}:${text}`)),
      },
    ),
  );
  const added = fc.oneof(
    { weight: 8, arbitrary: fc.constant([] as string[]) },
    {
      weight: 1,
      arbitrary: fc.tuple(hostileKey, hostileJson).map(([key, text]) => [`${JSON.stringify(key)}:${text}`]),
    },
  );
  return fc.tuple(...known, added).map((parts) => `{${parts.flat().join(',')}}`);
}

export const listText = (item: fc.Arbitrary<string>, maxLength = 3, minLength = 0): fc.Arbitrary<string> =>
  fc.array(item, { minLength, maxLength }).map((items) => `[${items.join(',')}]`);

export const quoted = (text: fc.Arbitrary<string>): fc.Arbitrary<string> => text.map((each) => JSON.stringify(each));

/** The text as it is, or with a piece cut out, doubled or exchanged: what a broken line or disk makes of it. */
export function torn(text: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const places = fc.tuple(fc.nat(), fc.nat());
  return fc.oneof(
    { weight: 4, arbitrary: text },
    {
      weight: 1,
      arbitrary: fc.tuple(text, places, fc.string({ maxLength: 3 })).map(([whole, [a, b], piece]) => {
        const [from, to] = [a % (whole.length + 1), b % (whole.length + 1)].sort((x, y) => x - y) as [number, number];
        return whole.slice(0, from) + piece + whole.slice(to);
      }),
    },
  );
}

/** Documents that are small to send and large to read. */
export const BOMBS: readonly (readonly [string, string])[] = [
  ['nested flow lists', '['.repeat(100_000)],
  ['closed nested flow lists', `${'['.repeat(20_000)}${']'.repeat(20_000)}`],
  ['nested flow mappings', '{a: '.repeat(40_000)],
  ['nested block lists', '- '.repeat(40_000)],
  ['nested complex keys', '? '.repeat(40_000)],
  ['deep indentation', Array.from({ length: 1_400 }, (_, depth) => `${' '.repeat(depth)}a:`).join('\n')],
  [
    'billions of laughs',
    [
      'a: &a [x,x,x,x,x,x,x,x,x]',
      ...'bcdefghij'
        .split('')
        .map((name, at) => `${name}: &${name} [${Array(9).fill(`*${'abcdefghi'[at]}`).join(',')}]`),
    ].join('\n'),
  ],
  ['a mapping within itself', 'a: &a\n  b: *a\n'],
  [
    'merges of merges',
    ['a: &a {x: 1}', ...Array.from({ length: 300 }, (_, at) => `k${at}: &k${at} {<<: [*a, *a, *a]}`)].join('\n'),
  ],
  ['many anchors', Array.from({ length: 30_000 }, (_, at) => `- &a${at} x`).join('\n')],
  ['many keys', Array.from({ length: 30_000 }, (_, at) => `k${at}: 1`).join('\n')],
  ['a long key', `${'k'.repeat(900_000)}: 1`],
  ['a long scalar', `a: "${'x'.repeat(900_000)}"`],
  ['a long number', `a: ${'9'.repeat(500_000)}`],
  ['many documents', '---\n'.repeat(30_000)],
  ['many comments', '#\n'.repeat(100_000)],
  ['tabs', '\t'.repeat(500_000)],
  ['quotes', '"'.repeat(60_001)],
  ['colons', ':'.repeat(300_000)],
];

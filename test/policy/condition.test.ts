// Conditions as Elastic Agent has them.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HoldfastError } from '../../src/errors.ts';
import { holds } from '../../src/policy/condition.ts';
import { variables } from './support.ts';

const known = variables({ ROLE: 'db', COUNT: '3' });

describe('a condition', () => {
  test.each([
    ["${host.platform} == 'linux'", true],
    ["${host.platform} != 'linux'", false],
    ['${host.platform} == \'windows\' or ${env.ROLE} == "db"', true],
    ["${host.platform} == 'linux' AND NOT ${env.ROLE} == 'db'", false],
    ["not (${env.ROLE} == 'web')", true],
    ['true and not false', true],
    ['false or false and true', false],
    ['true or false and false', true],
    ['1 + 2 * 3 == 7', true],
    ['(1 + 2) * 3 == 9', true],
    ['-1 < 0 and 2.5 >= 2.5 and 7 % 4 == 3 and 8 / 2 == 4', true],
    ["'a' < 'b'", true],
    ["1 == '1'", false],
    ['${local.port} > 8000', true],
    ['${env.NONE} == null', true],
    ["${env.NONE} == 'x'", false],
    ["${env.NONE|'x'} == 'x'", true],
    ['${local.tags} == ["a", "b"]', true],
    ["arrayContains(${local.tags}, 'b')", true],
    ["arrayContains(${local.none}, 'b')", false],
    ['arrayContains([1, 2], 3)', false],
    ["hasKey(${host}, 'name') == false or hasKey(${local.nested}, 'no', 'deep')", true],
    ["length('abc') == 3 and length([1,2]) == 2 and length(${local.nested}) == 1", true],
    [
      'add(1, 2) == 3 and subtract(3, 1) == 2 and multiply(2, 3) == 6 and divide(9, 3) == 3 and modulo(7, 4) == 3',
      true,
    ],
    ["concat('a', 1, true) == 'a1true'", true],
    ["join(['a','b'], '-') == 'a-b' and length(split('a,b', ',')) == 2", true],
    ["match(${host.name}, '^web-[0-9]+$') and not match('x', 'y', 'z')", true],
    ["match('10.0.0.1', '\\\\d{1,3}\\\\.\\\\d{1,3}\\\\.\\\\d{1,3}\\\\.\\\\d{1,3}')", true],
    ['number(${env.COUNT}) == 3', true],
    ["startsWith(${host.name}, 'web') and endsWith(${host.name}, '1') and stringContains(${host.name}, 'b-')", true],
    ["startsWith(${env.NONE}, 'web')", false],
    [
      "string(12) == '12' and trim(' a ') == 'a' and upper('a') == 'A' and lower('A') == 'a' and indexOf('abc','c') == 2",
      true,
    ],
  ])('%s is %s', (condition, expected) => {
    expect(holds(condition, known)).toBe(expected);
  });

  test('a value in a complaint is whole or not there: half a secret would not be recognised as one', () => {
    const long = variables({ TOKEN: `s3cr3t${'x'.repeat(200)}` });
    expect(() => holds('number(${env.TOKEN}) > 1', long)).toThrow(/number: \(208 characters\) is not a number/);
    expect(() => holds(`'s3cr3t${'x'.repeat(200)}' > 1`, long)).not.toThrow(/s3cr3t/);
    expect(() => holds(`'s3cr3t${'x'.repeat(200)}' > 1`, long)).toThrow(/cannot be compared/);
  });

  test.each([
    ["'text'", 'neither true nor false'],
    ['1 ==', 'column 5: it ends too early'],
    ['(true', '")" is missing'],
    ['true true', '"true" was not expected'],
    ["'abc", 'a string has no end'],
    ['${abc', 'a variable has no closing }'],
    ['platform == 1', 'platform is neither a function nor a variable'],
    ["constructor('x')", 'constructor is neither a function nor a variable'],
    ["1 < 'a'", 'cannot be compared'],
    ['1 / 0 == 1', 'division by zero'],
    ['length() == 1', 'takes 1 argument, not 0'],
    ['1 and true', '"and" needs true or false'],
    ["match('a', '(')", 'match'],
    ["match('aaaa', '(a+)+$')", 'repeats a group'],
    ["match('aaaa', '(a|a)*$')", 'repeats a group'],
    ["match('a', '.*.*.*.*x')", 'unbounded repeats'],
    [`${'('.repeat(100)}true${')'.repeat(100)}`, 'nested more than'],
    ['x'.repeat(5_000), 'more than 4096 characters'],
    ['true; true', '";" was not expected'],
  ])('%s is refused: %s', (condition, why) => {
    expect(() => holds(condition, known)).toThrow(why);
    expect(() => holds(condition, known)).toThrow(HoldfastError);
  });

  test('compares integers beyond 2^53 by value', () => {
    const big = { ...known, local: { a: 9007199254740993n, b: 9007199254740992n } };
    expect(holds('${local.a} == ${local.b}', big)).toBe(false);
    expect(holds('${local.a} > ${local.b}', big)).toBe(true);
  });

  test('of any text gives true, false or a HoldfastError', () => {
    const piece = fc.constantFrom(
      'true',
      'not',
      '(',
      ')',
      '==',
      '<',
      'and',
      "'a'",
      '1',
      '${local.tags}',
      '[',
      ']',
      ',',
      'length(',
      'match(',
      '-',
      '%',
      '"',
      '${',
      '}',
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(piece, { maxLength: 12 }).map((all) => all.join(' ')),
        ),
        (text) => {
          try {
            expect(typeof holds(text, known)).toBe('boolean');
          } catch (error) {
            expect(error).toBeInstanceOf(HoldfastError);
          }
        },
      ),
    );
  });
});

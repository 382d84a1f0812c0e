/** What is hidden in diagnostics, by what was learnt and by the names that secrets stand under. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MASK } from '../../../src/policy/mask.ts';
import { entryText } from '../../../src/services/diagnostics/entry.ts';
import {
  hiddenLines,
  hiddenText,
  hiddenValue,
  learnForDiagnostics,
  secretsInText,
  withoutHalves,
} from '../../../src/services/diagnostics/redaction.ts';

describe('text of any form', () => {
  test.each([
    ['api_key: abcd1234', `api_key: ${MASK}`],
    ['  password = "a b c"', `  password = ${MASK}`],
    ['{"token":"x","port":8080}', `{"token":${MASK},"port":8080}`],
    ['said {\\"token\\":\\"x y\\"} to it', `said {\\"token\\":${MASK}} to it`],
    ['GET /?access_token=abc&page=2', `GET /?access_token=${MASK}&page=2`],
    ["outputs.default.password: 'x'", `outputs.default.password: ${MASK}`],
  ])('%s', (text, masked) => {
    expect(hiddenText(text)).toBe(masked);
  });

  test.each(['token: true', 'secret_paths: inputs.0', 'port: 8080', 'password: ', 'a = b'])(
    'leaves %j as it is',
    (text) => {
      expect(hiddenText(text)).toBe(text);
    },
  );

  test('gives up what a damaged file says under such names, with and without its escapes', () => {
    expect(secretsInText('\0{"accessApiKey":"se\\"cret","id":"a"')).toEqual(expect.arrayContaining(['se"cret']));
  });

  test('takes no longer than its length asks for', () => {
    const hostile = ['a="'.repeat(200_000), 'token:'.repeat(100_000), '\\'.repeat(500_000), `${'a'.repeat(500_000)}:`];
    const began = performance.now();
    for (const text of hostile) hiddenText(text);
    expect(performance.now() - began).toBeLessThan(10_000);
  });
});

test('a log line without its secrets is a line of JSON still', () => {
  learnForDiagnostics(['314159265']);
  const line = JSON.stringify({ message: 'x api_key=abcdef', token: ['one'], pid: 314159265, at: 5 });
  const [hidden, rest] = hiddenLines(`${line}\n{"cut": "api_key=abcd`).split('\n') as [string, string];
  expect(JSON.parse(hidden)).toEqual({ message: `x api_key=${MASK}`, token: MASK, pid: MASK, at: 5 });
  expect(rest).not.toContain('abcd');
});

test('a learnt secret is hidden wherever it stands in a value, whatever it is made of', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 8, maxLength: 40 }), fc.string(), (secret, around) => {
      fc.pre(!MASK.includes(secret) && !around.includes(secret));
      learnForDiagnostics([secret]);
      const shown = hiddenValue({
        list: [`x${secret}y`],
        [`k${secret}`]: 1,
        note: JSON.stringify({ secret: 1, secret2: secret }),
      });
      expect(JSON.stringify(shown)).not.toContain(JSON.stringify(secret).slice(1, -1));
    }),
  );
});

describe('the end of a file', () => {
  test('does not begin with the half of a secret', () => {
    const secret = 'first-half-second-half';
    const longest = learnForDiagnostics([secret]);
    const tail = { text: `second-half and more than that\nwhole line ${secret}\n`, isCut: true, bytes: 999 };
    expect(entryText({ path: 'o', kind: 'output', tail }, longest)).toBe(
      `(the end of a file of 999 bytes)\nwhole line ${MASK}\n`,
    );
  });

  test('nor with the rest of a private key', () => {
    expect(withoutHalves('bGVmdA==\n-----END RSA PRIVATE KEY-----\nafter\n', 0)).toBe('after\n');
  });

  test('a file that is whole is shown whole', () => {
    const tail = { text: 'one\ntwo\n', isCut: false, bytes: 8 };
    expect(entryText({ path: 'o', kind: 'output', tail }, 100)).toBe('one\ntwo\n');
  });
});

// Variables as Elastic Agent has them, replaced once and never in what was put in.
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isObject, type JsonValue } from '../../src/policy/json.ts';
import { substitute, substituteText, UnresolvedVariable } from '../../src/policy/variables.ts';
import { json } from './arbitraries.ts';
import { variables } from './support.ts';

const known = variables({ NAME: 'web', EMPTY: '', NESTED: '${host.name}', 'with.dot': 'dotted' });
const replaced = (text: string): JsonValue => substituteText(text, known);

describe('a variable', () => {
  test.each<[string, JsonValue]>([
    ['${env.NAME}', 'web'],
    ['${NAME}', 'web'],
    ['${ env.NAME }', 'web'],
    ['a-${NAME}-${host.name}-z', 'a-web-web-1-z'],
    ['${env.with.dot}', 'dotted'],
    ['${agent.version.version}', '9.2.0'],
    ["${env.NONE|host.name|'x'}", 'web-1'],
    ["${env.NONE|env.NEITHER|'x'}", 'x'],
    ['${env.NONE|"double"}', 'double'],
    ["${env.NONE|'it\\'s }'}", "it's }"],
    ["${env.NONE|''}", ''],
    ['${env.NONE:some: bare | text}', 'some: bare | text'],
    ['${env.NAME:other}', 'web'],
    ['${EMPTY}', ''],
  ])('%s is %j', (text, value) => {
    expect(replaced(text)).toEqual(value);
  });

  test('that is the whole string keeps its type', () => {
    expect(replaced('${local.port}')).toBe(8080);
    expect(replaced('${local.tags}')).toEqual(['a', 'b']);
    expect(replaced('${local.nested.deep}')).toBe(true);
    expect(replaced('port ${local.port} ${local.tags}')).toBe('port 8080 ["a","b"]');
  });

  test('behind a second $ is text', () => {
    expect(replaced('$${env.NAME} and ${NAME}')).toBe('${env.NAME} and web');
    expect(replaced('cost: 5$')).toBe('cost: 5$');
    expect(replaced('$host $1 {x}')).toBe('$host $1 {x}');
  });

  test('is not looked for in what was put in', () => {
    expect(replaced('${NESTED}')).toBe('${host.name}');
    expect(replaced('<${NESTED}${NESTED}>')).toBe('<${host.name}${host.name}>');
    fc.assert(
      fc.property(fc.string(), fc.string(), (value, other) => {
        const pieces = variables({ V: `${value}\${W}`, W: other });
        expect(substituteText('${V}', pieces)).toBe(`${value}\${W}`);
        expect(substituteText('[${V}|${W}]', pieces)).toBe(`[${value}\${W}|${other}]`);
      }),
    );
  });

  test('that nothing knows is an error of its own, with the path', () => {
    expect(() => substitute({ streams: [{ url: 'x ${env.NONE}' }] }, known)).toThrow(UnresolvedVariable);
    expect(() => substitute({ streams: [{ url: 'x ${env.NONE}' }] }, known)).toThrow(
      'streams[0].url: no provider knows ${env.NONE}',
    );
  });

  test.each(['${', 'a ${b', '${}', "${'x' y}", '${a{b}', '${|}'])('%j is refused', (text) => {
    expect(() => replaced(text)).toThrow(expect.objectContaining({ code: 'POLICY_RENDER_FAILED' }));
  });

  test('never reaches into a prototype', () => {
    for (const name of [
      'constructor.name',
      'env.constructor',
      'env.__proto__',
      'toString.x',
      'local.tags.length',
      'host.name.length',
    ]) {
      expect(() => replaced(`\${${name}}`)).toThrow(UnresolvedVariable);
    }
  });

  test('that is absent leaves a value as it is', () => {
    fc.assert(
      fc.property(json, (value) => {
        fc.pre(!mentions(value));
        expect(isDeepStrictEqual(substitute(value, known), value)).toBe(true);
      }),
    );
  });
});

function mentions(value: JsonValue): boolean {
  if (typeof value === 'string') return value.includes('${');
  if (Array.isArray(value)) return value.some(mentions);
  return isObject(value) && Object.values(value).some(mentions);
}

// Templates: bounded, without files, clock or chance, and no value becomes structure.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parse as parseYaml } from 'yaml';
import { canonicalJson } from '../../src/policy/canonical.ts';
import { ExactNumber, parseJson } from '../../src/policy/json.ts';
import { compileTemplate, renderTemplate } from '../../src/policy/template.ts';
import { json } from './arbitraries.ts';

const render = (
  source: string,
  context: Parameters<typeof renderTemplate>[3] = {},
  format: 'text' | 'json' | 'yaml' = 'text',
): string => renderTemplate('t.liquid', source, format, context);

describe('a template of format json or yaml', () => {
  test('puts out each value encoded, so that none becomes structure', () => {
    fc.assert(
      fc.property(json, fc.string({ unit: 'binary' }), (value, text) => {
        const context = { value, text };
        expect(
          canonicalJson(
            parseJson(render('{"a":{{ value }},"b":{{ text | append: "x" }},"c":{{ value | json }}}', context, 'json')),
          ),
        ).toBe(canonicalJson({ a: value, b: `${text}x`, c: value }));
        const yaml = parseYaml(render('a: {{ text }}\nb: [{{ text }}]\n', context, 'yaml'));
        expect(yaml).toEqual({ a: text, b: [text] });
      }),
    );
  });

  test.each(['x"\ny: injected', '{{ secret }} {% raw %}', '${env.HOME}', ': - # & * ! | > %'])(
    'takes %j as data',
    (value) => {
      expect(parseYaml(render('a: {{ v }}\n', { v: value, secret: 's' }, 'yaml'))).toEqual({ a: value });
    },
  );

  test('keeps every digit', () => {
    expect(
      render('[{{ a }},{{ b }}]', { a: 12345678901234567890n, b: new ExactNumber('1.00000000000000000001') }, 'json'),
    ).toBe('[12345678901234567890,1.00000000000000000001]');
  });

  test('whose result is not of the format is refused', () => {
    expect(() => render('{"a": {{ a }}', { a: 1 }, 'json')).toThrow('what it renders to is not JSON');
    expect(() => render('a: b: {{ a }}', { a: 1 }, 'yaml')).toThrow('what it renders to is not YAML');
    expect(() => render('{{ a }}', { a: 'text' }, 'yaml')).toThrow('neither a mapping nor a list');
  });

  test('has no way around the encoding', () => {
    expect(compileTemplate('{{ a | raw }}', 'yaml')).toContain('undefined filter: raw');
  });
});

describe('any template', () => {
  test('of format text puts out text as it is and other values as JSON', () => {
    expect(
      render('{{ a }} {{ b }} {{ c }} {{ d }}', { a: '<"x">', b: 12345678901234567890n, c: ['x', 1], d: null }),
    ).toBe('<"x"> 12345678901234567890 ["x",1] ');
  });

  test.each([
    ['{{ nothing }}', 'undefined variable: nothing, line:1'],
    ['a\n{{ o.constructor }}', 'undefined variable: o.constructor, line:2'],
    ['{{ o.toString }}', 'undefined variable'],
    ['{{ o | date: "%s" }}', 'undefined filter: date'],
    ['{{ l | sample }}', 'undefined filter: sample'],
    ['{% include "/etc/passwd" %}', 'include'],
    ['{% render "x" %}', 'render'],
    ['{% layout "x" %}', 'layout'],
    ['{% for i in (1..1000000000) %}x{% endfor %}', 'memory'],
    ['{% if %}', 'line:1'],
  ])('%j is refused: %s', (source, why) => {
    expect(() => render(source, { o: { a: 1 }, l: [1] })).toThrow(
      expect.objectContaining({ code: 'POLICY_RENDER_FAILED', message: expect.stringContaining(why) }),
    );
  });

  test('may ask whether something is there', () => {
    expect(
      render('{% if o.x %}yes{% else %}no{% endif %} {{ o.x | default: "d" }} {% unless o.x %}u{% endunless %}', {
        o: {},
      }),
    ).toBe('no d u');
  });
});

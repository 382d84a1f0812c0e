// Whatever comes as a policy: a rendering whose paths stay inside the component's directory, or a HoldfastError. Nothing else.

import { posix } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HoldfastError } from '../../src/errors.ts';
import { canonicalJson } from '../../src/policy/canonical.ts';
import type { Rendering } from '../../src/policy/component.ts';
import { policyBody } from '../../src/policy/identity.ts';
import type { JsonValue } from '../../src/policy/json.ts';
import { policyYaml } from '../../src/policy/mask.ts';
import { json, objectOf } from './arbitraries.ts';
import { COMPONENTS_DIR, renderPolicy, SINGLE, specOf, WHOLE } from './support.ts';

const TEMPLATED = specOf(
  'version: 2\ninputs:\n  - name: templated\n    isolate_units: false\n    daemon: { command: x, files: [{ path: a.yml, template: t.liquid, format: yaml }] }\n',
  { 't.liquid': 'inputs: {{ inputs }}\nout: {{ output }}\nstreams:\n{% for s in streams %}  - {{ s }}\n{% endfor %}' },
);
const specs = [WHOLE, SINGLE, TEMPLATED];

function attempt(policy: string): Rendering | null {
  try {
    return renderPolicy(policy, { specs });
  } catch (error) {
    expect(error).toBeInstanceOf(HoldfastError);
    expect((error as HoldfastError).code).toMatch(/^POLICY_/);
    return null;
  }
}

function expectInside({ components }: Rendering): void {
  expect(new Set(components.map((one) => one.id)).size).toBe(components.length);
  for (const { id, daemon } of components) {
    const home = posix.join(COMPONENTS_DIR, id);
    expect(posix.dirname(home)).toBe(COMPONENTS_DIR);
    for (const file of [...daemon.files, ...(daemon.check?.files ?? [])]) {
      expect(posix.join(home, 'current', file.path).startsWith(`${home}/current/`)).toBe(true);
    }
    const paths = [...daemon.run.args, ...(daemon.check?.run.args ?? [])].filter((arg) => arg.startsWith('/'));
    for (const path of paths) expect(posix.normalize(path).startsWith(`${home}/`)).toBe(true);
  }
}

const hostileText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.constantFrom(
    '../../x',
    '/etc/passwd',
    '${env.HOME}',
    '${',
    '$${x}',
    '{{ x }}',
    '{% include "x" %}',
    '"\n- a',
    '..',
    '.',
    '',
    'whole',
    '__proto__',
    'a\0b',
  ),
);
/** Mostly text where a policy has text, so that most of these are policies; now and then anything at all. */
const text: fc.Arbitrary<JsonValue> = fc.oneof({ weight: 30, arbitrary: hostileText }, { weight: 1, arbitrary: json });
const rarely = (arbitrary: fc.Arbitrary<JsonValue>): fc.Arbitrary<JsonValue> =>
  fc.oneof({ weight: 12, arbitrary: fc.constant(null) }, { weight: 1, arbitrary });
const some = (fields: Record<string, fc.Arbitrary<JsonValue>>): fc.Arbitrary<JsonValue> =>
  fc
    .tuple(fc.record(fields, { requiredKeys: [] }), rarely(json))
    .map(([known, extra]) => objectOf([...Object.entries(known as Record<string, JsonValue>), ['extra', extra]]));
const dataStream = some({ type: text, dataset: text, namespace: text });
const stream = some({
  id: text,
  enabled: fc.boolean(),
  condition: rarely(text),
  config: text,
  data_stream: dataStream,
  paths: text,
});
const input = some({
  id: text,
  type: fc.constantFrom('whole', 'single', 'templated', 'one', 'nosuch', '${env.X}', "${env.X|'single'}"),
  use_output: fc.constantFrom('default', '', "${env.X|'default'}", 'constructor'),
  config: text,
  condition: fc.oneof(rarely(text), fc.constant('true')),
  streams: fc.array(stream, { maxLength: 3 }),
  processors: rarely(json),
});
const policy = fc.tuple(fc.array(input, { maxLength: 4 }), rarely(json)).map(([inputs, extra]) =>
  objectOf([
    ['outputs', { default: { type: 'x', extra }, constructor: { type: 'y' } }],
    ['inputs', inputs],
  ]),
);

describe('a hostile policy', () => {
  test('renders inside its directories or is refused with a HoldfastError', () => {
    let rendered = 0;
    fc.assert(
      fc.property(fc.oneof({ weight: 5, arbitrary: policy }, { weight: 1, arbitrary: json }), (hostile) => {
        const rendering = attempt(canonicalJson(hostile));
        if (rendering) {
          expectInside(rendering);
          rendered += rendering.components.length;
        }
      }),
      { numRuns: 300 },
    );
    // The property would hold for a renderer that refuses everything.
    expect(rendered).toBeGreaterThan(10);
  });

  test('of any text has a name, a masked form, and is refused or rendered', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.json()), (text) => {
        expect(policyBody(text, null).hash).toMatch(/^[0-9a-f]{64}$/);
        expect(typeof policyYaml(text)).toBe('string');
        attempt(text);
      }),
    );
  });

  test.each<[string, string]>([
    ['nested arrays', `{"inputs":${'['.repeat(50_000)}${']'.repeat(50_000)}}`],
    ['nested objects', `${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}`],
    ['an unfinished nest', '['.repeat(1_000_000)],
    ['a __proto__ key', '{"outputs":{"__proto__":{"type":"x"}},"inputs":[]}'],
    [
      'a polluting input',
      '{"outputs":{"default":{"type":"x"}},"inputs":[{"type":"whole","__proto__":{"enabled":false}}]}',
    ],
  ])('with %s is refused', (_, text) => {
    expect(attempt(text)).toBeNull();
    expect(({} as Record<string, unknown>).enabled).toBeUndefined();
  });

  test.each<[string, unknown]>([
    ['template syntax', '{{ output.api_key }}{% for i in (1..99999999) %}{{ i }}{% endfor %}'],
    ['YAML syntax', '"\n  - !!js/function x\n&a *a'],
    ['a huge string', 'x'.repeat(5_000_000)],
    ['many variables', '$${a}'.repeat(20_000)],
    ['a huge integer', 10n ** 5_000n],
  ])('with %s in a value carries it through as data', (_, hostile) => {
    const rendering = renderPolicy(
      {
        outputs: { default: { type: 'x' } },
        inputs: [
          { type: 'whole', hostile },
          { type: 'templated', hostile },
        ],
      },
      { specs },
    );
    expect(rendering.problems).toEqual([]);
    const expected = typeof hostile === 'string' ? hostile.replaceAll('$${', '${') : hostile;
    for (const component of rendering.components) {
      expect(component.daemon.files[0]?.content.includes(canonicalJson(expected))).toBe(true);
    }
  });
});

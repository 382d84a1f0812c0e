/** Policies with hostile values through hostile specs and templates: no path leaves the component's directory, and data never becomes a command or structure. */
import { posix } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parse as parseYaml } from 'yaml';
import { HoldfastError } from '../../src/errors.ts';
import type { Rendering } from '../../src/policy/component.ts';
import type { JsonObject } from '../../src/policy/json.ts';
import { parseSpec, type SpecFile } from '../../src/policy/spec.ts';
import { compileTemplate, renderTemplate } from '../../src/policy/template.ts';
import { COMPONENTS_DIR, renderPolicy, specOf, variables } from '../policy/support.ts';
import { BOUND_MS, hostileText, listText, objectText, outcomeOf, quoted, RUNS, torn } from './support.ts';

const input = (type: string) =>
  objectText({
    id: quoted(hostileText),
    type: fc.constant(JSON.stringify(type)),
    use_output: fc.constantFrom('"default"', '"constructor"', '""'),
    config: quoted(hostileText),
    port: fc.oneof(fc.nat(70_000).map(String), quoted(hostileText)),
    streams: listText(objectText({ id: quoted(hostileText), paths: listText(quoted(hostileText)) })),
    processors: fc.constant('null'),
  });
const policyOf = (type: string) =>
  objectText({
    outputs: fc.constant('{"default":{"type":"x"},"constructor":{"type":"y"}}'),
    inputs: listText(input(type)),
  });

function expectInside({ components }: Rendering): void {
  for (const { id, daemon } of components) {
    expect(id).toMatch(/^[^/\0]+$/);
    const home = posix.join(COMPONENTS_DIR, id);
    expect(posix.dirname(home)).toBe(COMPONENTS_DIR);
    for (const file of [...daemon.files, ...(daemon.check?.files ?? [])]) {
      expect(posix.isAbsolute(file.path)).toBe(false);
      expect(file.path).not.toContain('\0');
      expect(posix.join(home, 'current', file.path).startsWith(`${home}/current/`)).toBe(true);
    }
  }
}

describe('a policy', () => {
  const FIXED = specOf(
    'version: 2\ninputs:\n  - name: fixed\n    ignores: ["*"]\n    daemon:\n      command: prog\n      args: ["-c", "${component.dir}/a.conf", "--port", "8080"]\n      files: [{ path: a.conf, from: config }, { path: sub/b.yml, template: t.liquid, format: yaml }, { path: c.json, format: json }]\n      check: { args: ["-t"] }\n      reload: { command: prog, args: ["reload"] }\n',
    {
      't.liquid':
        'port: {{ inputs[0].port }}\nall: {{ inputs }}\nstreams:\n{% for s in streams %}  - {{ s.paths }}\n{% endfor %}',
    },
  );

  test('chooses no path, no command and no argument that the spec does not give it', () => {
    let rendered = 0;
    fc.assert(
      fc.property(policyOf('fixed'), (text) => {
        const rendering = outcomeOf(() => renderPolicy(text, { specs: [FIXED] }));
        if (rendering instanceof HoldfastError) return;
        expectInside(rendering);
        for (const { id, daemon } of rendering.components) {
          rendered += 1;
          const current = `${COMPONENTS_DIR}/${id}/current`;
          expect(daemon.run.command).toBe('prog');
          expect(daemon.run.args).toEqual(['-c', `${current}/a.conf`, '--port', '8080']);
          expect(daemon.files.map(({ path }) => path).sort()).toEqual(['a.conf', 'c.json', 'sub/b.yml']);
          const structured = daemon.files.find(({ path }) => path === 'sub/b.yml')?.content ?? '';
          expect(Object.keys(parseYaml(structured))).toEqual(['port', 'all', 'streams']);
          expect(() => JSON.parse(daemon.files.find(({ path }) => path === 'c.json')?.content ?? '')).not.toThrow();
        }
      }),
      RUNS,
    );
    expect(rendered).toBeGreaterThan(RUNS.numRuns / 20);
  });
});

describe('a variable', () => {
  const SPEC = specOf(
    'version: 2\ninputs:\n  - name: plain\n    daemon:\n      command: prog\n      args: ["--name=${env.HOSTILE}", "${env.HOSTILE}"]\n      env: { NAME: "${env.HOSTILE}" }\n      files: [{ path: a.conf, from: config, variables: true }]\n',
  );

  test('stays one argument, whatever the environment says: nothing is split, expanded again or given to a shell', () => {
    fc.assert(
      fc.property(hostileText, (text) => {
        const policy = {
          outputs: { default: { type: 'x' } },
          inputs: [{ type: 'plain', id: 'i', config: 'x ${env.HOSTILE}' }],
        };
        const rendering = outcomeOf(() =>
          renderPolicy(policy, { specs: [SPEC], variables: variables({ HOSTILE: text }) }),
        );
        if (rendering instanceof HoldfastError) return;
        for (const { daemon } of rendering.components) {
          expect(daemon.run.args).toEqual([`--name=${text}`, text]);
          expect(daemon.run.env.NAME).toBe(text);
          expect(daemon.files[0]?.content).toBe(`x ${text}`);
        }
      }),
      RUNS,
    );
  });
});

describe('a spec file', () => {
  const mostly = (good: string) =>
    fc.oneof({ weight: 12, arbitrary: fc.constant(good) }, { weight: 1, arbitrary: quoted(hostileText) });
  const rarely = (good: string, ...others: readonly string[]) =>
    fc.oneof({ weight: 12, arbitrary: fc.constant(good) }, { weight: 1, arbitrary: fc.constantFrom(...others) });
  const file = objectText({ path: mostly('"a.conf"'), from: mostly('"config"') });
  const whole = objectText({ path: mostly('"b.json"'), format: mostly('"json"') });
  const daemon = objectText({
    command: mostly('"prog"'),
    args: listText(quoted(hostileText), 1),
    env: rarely('{"A":"b"}', '{"__proto__":"x"}', '{"A":1}'),
    files: fc.tuple(file, whole).map((files) => `[${files.join(',')}]`),
    check: objectText({ args: fc.constant('["-t"]'), timeout: rarely('"10s"', '"-1s"', '"1e99h"') }),
    reload: objectText({ signal: rarely('"SIGHUP"', '"; rm"') }),
    ready: objectText({ output: mostly('"ready"'), timeout: fc.constant('"1s"') }),
    stop: objectText({ signal: mostly('"SIGTERM"'), grace: rarely('"1s"', '"forever"') }),
  });
  const one = objectText({
    name: mostly('"x"'),
    aliases: fc.oneof({ weight: 6, arbitrary: fc.constant('["y"]') }, listText(quoted(hostileText), 1)),
    isolate_units: fc.boolean().map(String),
    daemon,
  });
  const spec = objectText({ version: mostly('2'), inputs: listText(one, 1, 1) });

  test('is used or refused, and what it renders stays in its directory', () => {
    let parsed = 0;
    fc.assert(
      fc.property(torn(spec), policyOf('x'), (text, policy) => {
        const found = outcomeOf(() => parseSpec(text, 'x.spec.yml', { t: 'x', '../t': 'y' }));
        if (found instanceof HoldfastError) {
          expect(found.code).toBe('SPEC_INVALID');
          return;
        }
        parsed += 1;
        const rendering = outcomeOf(() => renderPolicy(policy, { specs: [found as SpecFile] }));
        if (!(rendering instanceof HoldfastError)) expectInside(rendering);
      }),
      RUNS,
    );
    expect(parsed).toBeGreaterThan(RUNS.numRuns / 50);
  });

  test.each(['../x', '/etc/x', 'a/../../x', 'a/./../../x', '', '.', '..', 'a\0b', '${env.X}', 'x/'])(
    'cannot put a file at %j',
    (path) => {
      const text = JSON.stringify({
        version: 2,
        inputs: [{ name: 'x', daemon: { command: 'y', files: [{ path, from: 'config' }] } }],
      });
      const found = outcomeOf(() => parseSpec(text, 'x.spec.yml', {}));
      if (found instanceof HoldfastError) return;
      const policy = { outputs: { default: { type: 'x' } }, inputs: [{ type: 'x', id: 'i', config: 'c' }] };
      const rendering = outcomeOf(() =>
        renderPolicy(policy, { specs: [found], variables: variables({ X: '../../escaped' }) }),
      );
      if (!(rendering instanceof HoldfastError)) expectInside(rendering);
    },
  );
});

const LOOPS =
  '{% for a in (1..9999) %}{% for b in (1..9999) %}{% for c in (1..9999) %}x{% endfor %}{% endfor %}{% endfor %}';

describe('a template', () => {
  const pieces = fc.array(
    fc.constantFrom(
      '{{ value }}',
      '{{ value | upcase }}',
      '{{ value.constructor }}',
      '{{ value.__proto__ }}',
      '{{ inputs | map: "constructor" }}',
      '{{ "x" | append: value }}',
      '{% assign x = value %}{{ x }}',
      '{% for i in inputs %}{{ i }}{% endfor %}',
      '{% for i in (1..3) %}{{ i }}{% endfor %}',
      '{% if value %}a{% else %}b{% endif %}',
      '{% capture y %}{{ value }}{% endcapture %}{{ y }}',
      '{% raw %}{{ x }}{% endraw %}',
      '{% include "x" %}',
      '{% render "x" %}',
      '{% layout "x" %}',
      '{{ "now" | date: "%s" }}',
      '{{ nosuch }}',
      '{%',
      '{{',
      '}}',
      '\n',
      'key: ',
      '- ',
    ),
    { maxLength: 6 },
  );

  test('of any text gives text, or is refused; with a format, what it gives is a document of it', () => {
    fc.assert(
      fc.property(
        pieces,
        hostileText,
        fc.constantFrom<'text' | 'yaml' | 'json'>('text', 'yaml', 'json'),
        (parts, value, format) => {
          const source = parts.join('');
          compileTemplate(source, format);
          const context = { value, inputs: [{ value }] } as unknown as JsonObject;
          const result = outcomeOf(() => renderTemplate('t', source, format, context));
          if (result instanceof HoldfastError) {
            expect(result.code).toBe('POLICY_RENDER_FAILED');
            return;
          }
          expect(result).not.toContain('[native code]');
          if (format === 'json') JSON.parse(result);
        },
      ),
      RUNS,
    );
  });

  test('puts a value where it stands as data: YAML around it keeps its keys', () => {
    fc.assert(
      fc.property(hostileText, (value) => {
        const source = 'first: {{ value }}\nlist:\n  - {{ value }}\nlast: 1\n';
        const result = outcomeOf(() => renderTemplate('t', source, 'yaml', { value }));
        if (result instanceof HoldfastError) return;
        expect(parseYaml(result)).toEqual({ first: value, list: [value], last: 1 });
      }),
      RUNS,
    );
  });

  test.each<readonly [string, string]>([
    ['an endless range', '{% for i in (1..9999999999) %}x{% endfor %}'],
    // Ends by its time, which is 10 s: only in a long look.
    ...(process.env.FUZZ_RUNS ? [['loops in loops', LOOPS] as const] : []),
    ['growth by appending', `{% assign x = "xxxxxxxxxxxxxxxx" %}${'{% assign x = x | append: x %}'.repeat(60)}{{ x }}`],
    ['deep nesting', `${'{% if true %}'.repeat(20_000)}${'{% endif %}'.repeat(20_000)}`],
    ['a text over the limit', 'x'.repeat(2_000_000)],
    ['many filters', `{{ "x"${' | append: "x"'.repeat(20_000)} }}`],
  ])(
    'with %s is refused or done in bounded time and memory',
    (_, source) => {
      const started = performance.now();
      const before = process.memoryUsage().rss;
      outcomeOf(() => renderTemplate('t', source, 'text', {}));
      expect(performance.now() - started).toBeLessThan(BOUND_MS * 2);
      expect(process.memoryUsage().rss - before).toBeLessThan(600 * 1024 * 1024);
    },
    BOUND_MS * 3,
  );
});

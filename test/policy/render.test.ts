// From a policy to components: what is run, what is not and why, and what counts as a change.
import { describe, expect, test } from 'vitest';
import type { Rendering, WantedComponent } from '../../src/policy/component.ts';
import { typesOffered } from '../../src/policy/spec.ts';
import { COMPONENTS_DIR, OUTPUTS, renderPolicy, SINGLE, specOf, variables, WHOLE } from './support.ts';

const policy = (inputs: unknown[], more: object = {}): object => ({
  id: 'p',
  revision: 1,
  outputs: OUTPUTS,
  inputs,
  ...more,
});
const only = (rendering: Rendering): WantedComponent => {
  expect(rendering.problems).toEqual([]);
  expect(rendering.components).toHaveLength(1);
  return rendering.components[0] as WantedComponent;
};
const whole = (rendering: Rendering): { inputs: Record<string, unknown>[] } =>
  JSON.parse(only(rendering).daemon.files[0]?.content ?? '');

describe('components', () => {
  test('are one an input when isolated and one for each type and output when not, with ids as Elastic Agent has them', () => {
    const { components, problems } = renderPolicy({
      outputs: { default: { type: 'a' }, other: { type: 'b' } },
      inputs: [
        { id: 's1', type: 'single', config: '1' },
        { id: 's2', type: 'one', config: '2' },
        { id: 'w1', type: 'whole' },
        { id: 'w2', type: 'whole' },
        { id: 'w3', type: 'whole', use_output: 'other' },
      ],
    });
    expect(problems).toEqual([]);
    expect(components.map((one) => [one.id, one.type, one.units.map((unit) => unit.id)])).toEqual([
      ['single-default-s1', 'single', ['single-default-s1-s1', 'single-default-s1']],
      ['single-default-s2', 'single', ['single-default-s2-s2', 'single-default-s2']],
      ['whole-default', 'whole', ['whole-default-w1', 'whole-default-w2', 'whole-default']],
      ['whole-other', 'whole', ['whole-other-w3', 'whole-other']],
    ]);
  });

  test('have ids that are safe as directory names and never collide', () => {
    const { components } = renderPolicy({
      outputs: { 'a-b': { type: 'x' }, a: { type: 'x' } },
      inputs: [
        { id: 'c', type: 'single', use_output: 'a-b', config: '' },
        { id: 'b-c', type: 'single', use_output: 'a', config: '' },
        ...['a b', 'a_b', 'a/b', '../../etc', 'a#b', '~', 'x'.repeat(500), `${'x'.repeat(500)}y`, 'é', '\0', '.'].map(
          (id) => ({ id, type: 'single', use_output: 'a', config: '' }),
        ),
      ],
    });
    expect(components).toHaveLength(13);
    expect(new Set(components.map((one) => one.id)).size).toBe(13);
    for (const { id } of components) {
      expect(id).toMatch(/^[A-Za-z0-9_][A-Za-z0-9_.~-]{0,199}$/);
    }
    expect(components.map((one) => one.id)).toContain('single-a-a_b');
  });

  test('that are switched off, by input, stream, output or condition, are not there', () => {
    const { components, problems } = renderPolicy({
      outputs: { ...OUTPUTS, off: { type: 'x', enabled: false } },
      inputs: [
        { id: 'a', type: 'whole', enabled: false },
        { id: 'b', type: 'whole', use_output: 'off' },
        { id: 'c', type: 'whole', condition: "${host.platform} == 'windows'" },
        { id: 'd', type: 'whole', streams: [{ enabled: false }, { condition: 'false' }] },
        {
          id: 'e',
          type: 'whole',
          enabled: '${local.nested.deep}',
          condition: "${host.platform} == 'linux'",
          streams: [{ id: 'on' }, { id: 'off', enabled: false }],
        },
      ],
    });
    expect(problems).toEqual([]);
    const { inputs } = JSON.parse(components[0]?.daemon.files[0]?.content ?? '') as {
      inputs: { id: string; streams: { id: string }[] }[];
    };
    expect(inputs.map((input) => [input.id, input.streams.map((stream) => stream.id)])).toEqual([['e', ['on']]]);
  });

  test('see streams with a complete data_stream', () => {
    const rendering = renderPolicy(
      policy([
        {
          id: 'a',
          type: 'whole',
          data_stream: { namespace: 'prod' },
          streams: [{ data_stream: { dataset: 'd', type: 'metrics' } }, {}],
        },
      ]),
    );
    expect(whole(rendering).inputs[0]?.streams).toEqual([
      { data_stream: { dataset: 'd', namespace: 'prod', type: 'metrics' } },
      { data_stream: { dataset: 'generic', namespace: 'prod', type: 'logs' } },
    ]);
  });

  test('take strings of the input as they are, dollar signs, braces and Liquid included', () => {
    const config = 'a ${host} $${x} {{ y }} {% z %} ${';
    const rendering = renderPolicy(policy([{ id: 's', type: 'single', config }]));
    expect(only(rendering).daemon.files).toEqual([{ path: 'prog.conf', content: config }]);
    const inStream = renderPolicy(policy([{ id: 's', type: 'single', streams: [{ config }] }]));
    expect(only(inStream).daemon.files).toEqual([{ path: 'prog.conf', content: config }]);
  });

  test('are checked in the new directory and run through `current`', () => {
    const component = only(renderPolicy(policy([{ id: 's', type: 'single', config: 'x' }])));
    const dir = `${COMPONENTS_DIR}/single-default-s`;
    expect(component.daemon.run.args).toEqual(['-c', `${dir}/current/prog.conf`]);
    expect(component.daemon.check?.run).toMatchObject({
      command: 'prog',
      args: ['-t', `${dir}/${component.hash}/prog.conf`],
    });
  });

  test('get variables in the strings that the spec allows them in, for the directory that is meant', () => {
    const spec = specOf(
      `version: 2
inputs:
  - name: v
    daemon:
      command: \${path.node}
      env: { DATA: "\${data.dir}", ROLE: "\${env.ROLE|'none'}" }
      cwd: \${data.dir}
      files:
        - { path: a, from: config, variables: true }
        - { path: b.yml, template: b.liquid, format: yaml }
      check: { command: checker }
`,
      {
        'b.liquid':
          'dir: {{ component.dir }}\nagent: {{ agent.id }}\nhost: {{ host.name }}\nout: {{ output.name }}\nof: {{ streams[0].input.id }}\n',
      },
    );
    const component = only(
      renderPolicy(policy([{ id: 'i', type: 'v', config: 'in ${component.dir} on ${host.name}', streams: [{}] }]), {
        specs: [spec],
      }),
    );
    const dir = `${COMPONENTS_DIR}/v-default-i`;
    expect(component.daemon.run).toEqual({
      command: '/bin/node',
      args: [],
      env: { DATA: `${dir}/data`, ROLE: 'none' },
      cwd: `${dir}/data`,
      user: null,
    });
    expect(component.daemon.files).toEqual([
      { path: 'a', content: `in ${dir}/current on web-1` },
      { path: 'b.yml', content: `dir: "${dir}/current"\nagent: "agent-1"\nhost: "web-1"\nout: "default"\nof: "i"\n` },
    ]);
    expect(component.daemon.check?.files[0]?.content).toBe(`in ${dir}/${component.hash} on web-1`);
    expect(component.daemon.check?.run.env).toEqual(component.daemon.run.env);
  });
});

describe('the hash', () => {
  const inputs = [{ id: 's', type: 'single', config: 'x' }];
  const base = only(renderPolicy(policy(inputs)));

  test('does not change with the revision or an output key that the component does not use', () => {
    const other = only(
      renderPolicy({
        ...policy(inputs),
        revision: 99,
        outputs: { default: { ...OUTPUTS.default, api_key: 'rotated' } },
      }),
    );
    expect(other).toEqual(base);
  });

  test('changes with a file, and the process hash does not', () => {
    const other = only(renderPolicy(policy([{ ...inputs[0], config: 'y' }])));
    expect(other.hash).not.toBe(base.hash);
    expect(other.processHash).toBe(base.processHash);
  });

  test.each(['command: other', 'args: [x]', 'env: { A: b }', 'user: u', 'cwd: /', 'limits: { core: 0 }'])(
    'of the process changes with %s',
    (line) => {
      const of = (daemon: string): WantedComponent =>
        only(
          renderPolicy(policy([{ id: 'i', type: 'x' }]), {
            specs: [specOf(`version: 2\ninputs:\n  - name: x\n    daemon:\n${daemon.replace(/^/gm, '      ')}\n`)],
          }),
        );
      const plain = of('command: prog');
      const other = of(line.startsWith('command') ? line : `command: prog\n${line}`);
      expect(other.processHash).not.toBe(plain.processHash);
      expect(other.hash).not.toBe(plain.hash);
    },
  );

  test('changes with a used output key', () => {
    const of = (key: string): string =>
      only(renderPolicy({ outputs: { default: { type: 'x', api_key: key } }, inputs: [{ type: 'whole' }] })).hash;
    expect(of('a')).not.toBe(of('b'));
  });
});

describe('an input whose spec cannot be used', () => {
  const text =
    'inputs:\n  - name: app\n    aliases: [one, "two"]\n    daemon: { comand: x }\n  - { name: late, daemon: [ }\n';
  const broken = [
    { file: '/s/mine.spec.yml', message: '/s/mine.spec.yml:4:1: why', offers: typesOffered(text, '/s/mine.spec.yml') },
  ];
  const inputs = [
    { id: 'a', type: 'app' },
    { id: 'b', type: 'two' },
    { id: 'c', type: 'late' },
    { id: 'd', type: 'mine' },
    { id: 'e', type: 'nosuch' },
  ];

  test.each(['degrade', 'ignore'] as const)(
    'is no trait of the policy, whatever becomes of the unsupported (%s); inputs that no spec was written for only degrade',
    (unsupported) => {
      const { problems } = renderPolicy(policy(inputs), { broken, unsupported });
      const hard = problems.filter(({ degradesOnly }) => !degradesOnly);
      expect(hard.map(({ component, type, units, code }) => ({ component, type, units, code }))).toEqual([
        { component: 'app-default', type: 'app', units: ['app-default-a', 'app-default-b'], code: 'SPEC_INVALID' },
        { component: 'late-default', type: 'late', units: ['late-default-c'], code: 'SPEC_INVALID' },
        { component: 'mine-default', type: 'mine', units: ['mine-default-d'], code: 'SPEC_INVALID' },
      ]);
      expect(hard[0]?.message).toBe('the spec that carries it out cannot be used: /s/mine.spec.yml:4:1: why');
      expect(problems.length - hard.length).toBe(unsupported === 'ignore' ? 0 : 1);
    },
  );

  test('may be any when the directory of the specs cannot be read', () => {
    const { problems } = renderPolicy(policy(inputs), { broken: [{ file: '/s', message: 'why', offers: 'anything' }] });
    expect(problems.map(({ degradesOnly }) => degradesOnly)).toEqual([false, false, false, false, false]);
  });

  test('is carried out by another spec that offers its type', () => {
    const { components, problems } = renderPolicy(policy([{ type: 'whole' }]), {
      broken: [{ file: 'x', message: 'why', offers: 'anything' }],
    });
    expect([components.length, problems.length]).toEqual([1, 0]);
  });
});

describe('what cannot be carried out', () => {
  test('for want of a spec, a runtime, a platform or an output type only degrades and is named', () => {
    const specs = [
      WHOLE,
      specOf(
        'version: 2\ninputs:\n  - { name: svc, service: {} }\n  - { name: mac, platforms: [darwin/arm64], daemon: { command: x } }\n  - { name: kaf, outputs: [kafka], daemon: { command: x } }\n',
      ),
    ];
    const { components, problems } = renderPolicy(
      policy([
        { id: 'a', type: 'nosuch' },
        { id: 'b', type: 'nosuch' },
        { type: 'svc' },
        { type: 'mac' },
        { type: 'kaf' },
        { type: 'whole' },
      ]),
      { specs },
    );
    expect(components.map((one) => one.id)).toEqual(['whole-default']);
    expect(
      problems.map(({ component, degradesOnly, units, message }) => ({ component, degradesOnly, units, message })),
    ).toEqual([
      {
        component: 'kaf-default',
        degradesOnly: true,
        units: ['kaf-default-kaf'],
        message: 'test.spec.yml carries out kaf for outputs of type kafka, and this one is elasticsearch',
      },
      {
        component: 'mac-default',
        degradesOnly: true,
        units: ['mac-default-mac'],
        message: 'test.spec.yml carries out mac on darwin/arm64, and this host is linux/amd64',
      },
      {
        component: 'nosuch-default',
        degradesOnly: true,
        units: ['nosuch-default-a', 'nosuch-default-b'],
        message: 'no spec on this host carries out the input type "nosuch"',
      },
      {
        component: 'svc-default',
        degradesOnly: true,
        units: ['svc-default-svc'],
        message: 'test.spec.yml carries out svc as a service, which Holdfast does not do yet',
      },
    ]);
  });

  test('is only noted when the settings say so', () => {
    const { problems, notes } = renderPolicy(policy([{ type: 'nosuch' }]), { unsupported: 'ignore' });
    expect(problems).toEqual([]);
    expect(notes).toEqual([
      'nosuch-default: no spec on this host carries out the input type "nosuch"; ignored, as the settings say',
    ]);
  });

  test('for trouble of its own counts against the policy and costs the others nothing', () => {
    const { components, problems } = renderPolicy(
      policy([
        { id: 'none', type: 'single' },
        { id: 'number', type: 'single', config: 3 },
        { id: 'cond', type: 'single', config: '', condition: 'nonsense' },
        { id: 'var', type: 'single', config: '', name: 'a ${ b' },
        { id: 'out', type: 'single', config: '', use_output: "${env.NO|'nowhere'}" },
        { id: 'ok', type: 'single', config: '' },
      ]),
    );
    expect(components.map((one) => one.id)).toEqual(['single-default-ok']);
    expect(problems.every((problem) => !problem.degradesOnly && problem.code === 'POLICY_RENDER_FAILED')).toBe(true);
    const messages = problems.map((problem) => problem.message).join('\n');
    for (const why of [
      'config is missing',
      'config is not a string',
      'nonsense is neither a function nor a variable',
      'has no closing }',
      'names the output "nowhere"',
    ]) {
      expect(messages).toContain(why);
    }
    expect(problems).toHaveLength(5);
  });

  test('for an unknown variable is not run on this host and noted, in an output it is an error of the whole policy', () => {
    const { components, problems, notes } = renderPolicy(
      policy([
        { id: 'a', type: 'whole', streams: [{ enabled: false }, { url: '${env.NONE}' }] },
        { id: 'b', type: 'whole' },
      ]),
    );
    expect(problems).toEqual([]);
    expect(components[0]?.units.map((unit) => unit.id)).toEqual(['whole-default-b', 'whole-default']);
    expect(notes).toEqual([
      'inputs[0] (a) is not run on this host: streams[1].url: no provider knows ${env.NONE} and it has no default',
    ]);
    expect(() => renderPolicy({ outputs: { default: { type: 'x', hosts: ['${env.NONE}'] } } })).toThrow(
      expect.objectContaining({
        code: 'POLICY_RENDER_FAILED',
        message: expect.stringContaining('outputs.default.hosts[0]'),
      }),
    );
  });

  test('of an input by its spec degrades the unit by name, unless the spec carries or ignores it', () => {
    const spec = (more: string, template: string) =>
      specOf(
        `version: 2\ninputs:\n  - name: t\n${more}    daemon: { command: x, files: [{ path: f, template: t.liquid }] }\n`,
        { 't.liquid': template },
      );
    const input = {
      id: 'i',
      type: 't',
      revision: 4,
      meta: { package: {} },
      processors: [{ drop: {} }],
      tags: [],
      streams: [{ id: 's', period: '10s' }],
    };
    const degraded = (more: string, template: string): unknown =>
      only(renderPolicy(policy([input]), { specs: [spec(more, template)] })).units[0]?.degraded;
    expect(degraded('', 'x')).toBe('period, processors not carried out');
    expect(degraded('', '{{ streams[0].period }}')).toBe('processors not carried out');
    expect(degraded('    ignores: [processors]\n', '{{ streams[0].period }}')).toBeNull();
    expect(degraded('    ignores: ["*"]\n', '')).toBeNull();
    expect(degraded('', '{% for s in streams %}{{ s.period }}{{ inputs[0].processors }}{% endfor %}')).toBeNull();
    expect(only(renderPolicy(policy([{ ...input, type: 'whole' }]))).units[0]?.degraded).toBeNull();
  });

  test('of a stock policy is noted and never degrades', () => {
    const { problems, notes } = renderPolicy(
      policy([], {
        agent: { monitoring: { enabled: true }, protection: { enabled: true } },
        fleet: { hosts: ['https://f'] },
        receivers: { a: {} },
      }),
    );
    expect(problems).toEqual([]);
    expect(notes.map((note) => note.split(/ is|:/)[0])).toEqual([
      'agent.monitoring',
      'agent.protection',
      'fleet.hosts',
      'receivers',
    ]);
  });
});

test('the empty policy wants nothing', () => {
  expect(renderPolicy({})).toEqual({ components: [], problems: [], notes: [] });
});

test('two specs of one type are settled by file name, and said', () => {
  const again = specOf('version: 2\ninputs:\n  - { name: whole, daemon: { command: second } }\n', {}, 'zzz.spec.yml');
  const { components, notes } = renderPolicy(policy([{ type: 'whole' }]), { specs: [again, WHOLE, SINGLE] });
  expect(components[0]?.daemon.run.command).toBe('prog');
  expect(notes).toEqual(['zzz.spec.yml offers the input type whole too; whole.spec.yml is used']);
});

test('the same policy, specs and host give the same rendering', () => {
  const given = policy([{ id: 's', type: 'single', config: 'x' }, { type: 'whole' }]);
  expect(renderPolicy(given, { variables: variables() })).toEqual(renderPolicy(given, { variables: variables() }));
});

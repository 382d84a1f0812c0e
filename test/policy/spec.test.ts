// Specs: the format in full, with its defaults, and complaints that point at the line.
import { describe, expect, test } from 'vitest';
import { parseDuration, parseSpec, unsafePath } from '../../src/policy/spec.ts';

const daemon = (lines: string): string =>
  `version: 2\ninputs:\n  - name: x\n    daemon:\n      command: prog\n${lines.replace(/^/gm, '      ')}\n`;
const parse = (yaml: string, templates: Record<string, string> = {}) =>
  parseSpec(yaml, 'x.spec.yml', templates).spec.inputs[0];

describe('a spec', () => {
  test('that names only a command gets the defaults', () => {
    expect(parse(daemon(''))).toEqual({
      name: 'x',
      aliases: [],
      description: '',
      platforms: null,
      outputs: ['*'],
      isolateUnits: true,
      ignores: [],
      runtime: {
        kind: 'daemon',
        daemon: {
          command: 'prog',
          args: [],
          env: {},
          user: null,
          cwd: null,
          limits: {},
          files: [],
          check: null,
          reload: null,
          ready: { probe: { kind: 'after', ms: 1_000 }, timeoutMs: 20_000 },
          health: null,
          stop: { signal: 'SIGTERM', graceMs: 10_000 },
          restart: { initialMs: 1_000, maxMs: 60_000, giveUpAfter: 10 },
        },
      },
    });
  });

  test('in full is taken in full', () => {
    const spec = parse(
      daemon(`args: [-c, 8080, true]
env: { TZ: UTC, N: 1 }
user: nobody
cwd: \${data.dir}
limits: { nofile: 1024, core: 0 }
files:
  - { path: a.conf, from: config, variables: true }
  - { path: sub/b.yml, template: b.liquid, format: yaml }
  - { path: c.json, format: json }
check: { args: [-t], env: { A: b }, timeout: 1m30s }
reload: { command: prog, args: [reload], confirm: { tcp: "127.0.0.1:80" }, timeout: 500ms }
ready: { http: "http://127.0.0.1/", timeout: 3s }
health: { command: check, args: [x], every: 2s, fail_after: 5 }
stop: { signal: SIGQUIT, grace: 0s }
restart: { initial: 2s, max: 5m, give_up_after: 3 }`),
      { 'b.liquid': 'a: {{ inputs }}' },
    );
    expect(spec?.runtime).toEqual({
      kind: 'daemon',
      daemon: {
        command: 'prog',
        args: ['-c', '8080', 'true'],
        env: { TZ: 'UTC', N: '1' },
        user: 'nobody',
        cwd: '${data.dir}',
        limits: { nofile: 1024, core: 0 },
        files: [
          { kind: 'from', path: 'a.conf', from: 'config', variables: true },
          { kind: 'template', path: 'sub/b.yml', template: 'b.liquid', format: 'yaml' },
          { kind: 'whole', path: 'c.json', format: 'json' },
        ],
        check: { command: null, args: ['-t'], env: { A: 'b' }, timeoutMs: 90_000 },
        reload: {
          action: { kind: 'command', run: { command: 'prog', args: ['reload'], env: {} } },
          confirm: { kind: 'tcp', address: '127.0.0.1:80' },
          timeoutMs: 500,
        },
        ready: { probe: { kind: 'http', url: 'http://127.0.0.1/' }, timeoutMs: 3_000 },
        health: {
          probe: { kind: 'command', run: { command: 'check', args: ['x'], env: {} } },
          everyMs: 2_000,
          failAfter: 5,
        },
        stop: { signal: 'SIGQUIT', graceMs: 0 },
        restart: { initialMs: 2_000, maxMs: 300_000, giveUpAfter: 3 },
      },
    });
  });

  test('of Elastic Agent is read, and its runtime known by name', () => {
    const spec = `version: 2
inputs:
  - name: endpoint
    platforms: &p [linux/amd64]
    outputs: [elasticsearch]
    proxied_actions: [UNENROLL]
    runtime: { preventions: [{ condition: "\${runtime.arch} == 'arm64'", message: no }] }
    service: { cport: 6788, log: { path: x }, operations: {} }
  - name: log
    platforms: *p
    command: { args: [-E, x], timeouts: { stop: 30s } }
`;
    expect(
      parseSpec(spec, 'x.spec.yml', {}).spec.inputs.map((input) => [input.name, input.runtime, input.isolateUnits]),
    ).toEqual([
      ['endpoint', { kind: 'service' }, false],
      ['log', { kind: 'command' }, false],
    ]);
  });

  test.each([
    ['version: 1\ninputs: [{ name: x, daemon: { command: y } }]', 'x.spec.yml:1:1: version must be 2'],
    ['version: 2\ninputs: []', 'x.spec.yml:2:1: inputs must not be empty'],
    ['version: 2\ninputs:\n  - daemon: { command: y }', 'x.spec.yml:3:5: inputs[0].name is missing'],
    ['version: 2\ninputs:\n  - name: x', 'x.spec.yml:3:5: inputs[0] must have exactly one of daemon, service, command'],
    [
      'version: 2\ninputs:\n  - { name: x, daemon: { command: y } }\n  - { name: y, aliases: [x], daemon: { command: y } }',
      'x.spec.yml:4:7: inputs[1].name is "x", which another input',
    ],
    [daemon('comand: y'), 'x.spec.yml:6:7: inputs[0].daemon.comand is not known here'],
    [daemon('stop: { grace: soon }'), 'x.spec.yml:6:15: inputs[0].daemon.stop.grace must be a duration'],
    [daemon('stop: { grace: 10 }'), 'inputs[0].daemon.stop.grace must be a duration'],
    [daemon('stop: { signal: TERM }'), 'inputs[0].daemon.stop.signal must be one of SIGHUP'],
    [daemon('ready: { tcp: "nowhere" }'), 'inputs[0].daemon.ready.tcp must be host:port'],
    [daemon('ready: { tcp: "a:1", http: "http://x" }'), 'inputs[0].daemon.ready must have exactly one of tcp'],
    [daemon('ready: { output: "(" }'), 'inputs[0].daemon.ready.output must be a regular expression'],
    [daemon('ready: { after: 1s, args: [x] }'), 'belong to a command'],
    [daemon('health: { after: 1s }'), 'inputs[0].daemon.health must be asked again and again'],
    [
      daemon('reload: { confirm: { after: 1s } }'),
      'inputs[0].daemon.reload must have exactly one of signal, command, http',
    ],
    [daemon('files: [{ path: ../x, from: a }]'), 'inputs[0].daemon.files[0].path must not leave its directory'],
    [daemon('files: [{ path: /x, from: a }]'), 'inputs[0].daemon.files[0].path must be a relative path'],
    [daemon('files: [{ path: x }]'), 'inputs[0].daemon.files[0] must have from, template, or a format'],
    [daemon('files: [{ path: x, from: a, template: b }]'), 'must not have both'],
    [
      daemon('files: [{ path: x, from: a }, { path: x/y, from: a }]'),
      'inputs[0].daemon.files[1].path stands in the way of x',
    ],
    [
      daemon('files: [{ path: x, template: none.liquid }]'),
      'inputs[0].daemon.files[0].template names none.liquid, which does not lie beside the spec',
    ],
    [daemon('files: [{ path: x, template: ../../etc/passwd }]'), 'template must not leave its directory'],
    [
      daemon('files: [{ path: x, template: bad.liquid }]'),
      'names bad.liquid, which is not a usable template: tag {% if x %} not closed, line:2',
    ],
    [daemon('limits: { open: 3 }'), 'inputs[0].daemon.limits'],
    [daemon('env: { "A=B": x }'), 'inputs[0].daemon.env'],
  ])('%j is refused: %s', (yaml, why) => {
    expect(() => parseSpec(yaml, 'x.spec.yml', { 'bad.liquid': 'a\n{% if x %}' })).toThrow(
      expect.objectContaining({ code: 'SPEC_INVALID', message: expect.stringContaining(why) }),
    );
  });
});

test.each([
  ['10s', 10_000],
  ['1m30s', 90_000],
  ['500ms', 500],
  ['1.5s', 1_500],
  ['24h', 86_400_000],
  ['25h', null],
  ['10', null],
  ['', null],
  ['-1s', null],
  ['s', null],
  ['1s ', null],
])('the duration %j is %j ms', (text, ms) => {
  expect(parseDuration(text)).toBe(ms);
});

test.each(['', '/', '/a', '..', 'a/..', 'a/../b', './a', 'a//b', 'a\\b', 'a\0b', 'a\nb', 'x'.repeat(256)])(
  'the path %j is not safe',
  (path) => {
    expect(unsafePath(path)).not.toBeNull();
  },
);

/** `holdfast render`: usable in the CI of a policy repository, so it says everything and touches nothing. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { runProgram } from '../../src/commands/program.ts';
import { EXIT } from '../../src/errors.ts';
import { readPolicyYaml } from '../../src/fleet-server/policy-yaml.ts';
import { maskSecrets } from '../../src/services/log/mask.ts';
import { realWorld } from '../../src/world.ts';
import { fakeSurroundings } from './fakes.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'hf-render-'));
  mkdirSync(join(directory, 'specs'));
  // Refuses a configuration that says so, in its own words.
  const program = join(directory, 'program');
  writeFileSync(program, '#!/bin/sh\nif grep -q lisen "$2"; then echo "unknown directive lisen" >&2; exit 1; fi\n');
  chmodSync(program, 0o755);
  writeFileSync(
    join(directory, 'specs/web.spec.yml'),
    `version: 2
inputs:
  - name: web
    description: a program
    platforms: [linux/amd64, linux/arm64, darwin/arm64, darwin/amd64]
    outputs: ["*"]
    daemon:
      command: ${program}
      args: ["-c", "\${component.dir}/web.conf"]
      files:
        - { path: web.conf, from: config }
      check: { args: ["-t", "\${component.dir}/web.conf"], timeout: 5s }
`,
  );
});
afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

const policyOf = (config: string, type = 'web') => `id: web
revision: 3
outputs: { default: { type: elasticsearch, hosts: ["https://es:9200"] } }
inputs:
  - id: one
    type: ${type}
    use_output: default
    config: ${JSON.stringify(config)}
`;

async function render(policy: string, ...more: string[]) {
  const file = join(directory, 'policy.yml');
  writeFileSync(file, policy);
  const surroundings = fakeSurroundings();
  const home = join(directory, 'home');
  const code = await runProgram(
    ['render', file, '--home', home, '--specs', join(directory, 'specs'), ...more],
    surroundings,
  );
  expect(existsSync(home), 'the home is not touched').toBe(false);
  return { code, ...surroundings.terminal.said };
}

describe('render', () => {
  test('shows command, files and plan', async () => {
    const { code, out } = await render(policyOf('listen 80;\n'));
    expect(code).toBe(EXIT.success);
    expect(out).toContain('--- web.conf\nlisten 80;\n');
    expect(out).toMatch(/\$ .*program -c .*home\/components\/web-default-one\/current\/web\.conf/);
    expect(out).toContain('plan, from nothing:\n  start web-default-one\n');
  });

  test('--json prints one object', async () => {
    const { out } = await render(policyOf('listen 80;'), '--json');
    expect(JSON.parse(out)).toMatchObject({ plan: [{ id: 'start web-default-one' }], problems: [], checks: [] });
  });

  test.runIf(process.getuid?.() === 0)('--check lets a program of another user read what it is to judge', async () => {
    writeFileSync(
      join(directory, 'specs/web.spec.yml'),
      `version: 2
inputs:
  - name: web
    daemon:
      command: sh
      user: nobody
      files: [{ path: web.conf, from: config }]
      check: { args: ["-c", "! grep lisen \${component.dir}/web.conf && echo tried >\${data.dir}/tried"] }
`,
    );
    const good = await render(policyOf('listen 80;'), '--check');
    expect(good).toMatchObject({ code: EXIT.success, out: expect.stringContaining('check web-default-one: passed') });
    const bad = await render(policyOf('lisen 80;'), '--check');
    expect(bad).toMatchObject({ code: EXIT.failure, out: expect.stringContaining('refused: lisen 80;') });
  });

  test('--check runs the check on files of its own, and leaves nothing behind', async () => {
    const before = readdirSync(tmpdir()).filter((name) => name.startsWith('holdfast-render-'));
    const good = await render(policyOf('listen 80;'), '--check');
    expect(good).toMatchObject({ code: EXIT.success, out: expect.stringContaining('check web-default-one: passed') });
    const bad = await render(policyOf('lisen 80;'), '--check');
    expect(bad.code).toBe(EXIT.failure);
    expect(bad.out).toContain('check web-default-one: refused: unknown directive lisen');
    expect(readdirSync(tmpdir()).filter((name) => name.startsWith('holdfast-render-'))).toEqual(before);
  });

  test('an input without a spec is named and only degrades', async () => {
    const { code, out } = await render(policyOf('x', 'endpoint'));
    expect(code).toBe(EXIT.success);
    expect(out).toContain('degraded: endpoint-default');
  });

  test('a policy that is no policy is refused with file, line and column', async () => {
    const { code, err } = await render('id: web\ninputs: [\n');
    expect(code).toBe(EXIT.failure);
    expect(err).toMatch(/^holdfast: POLICY_UNPARSABLE: .*policy\.yml:\d+:\d+/);
  });

  test('a spec that is broken is named', async () => {
    writeFileSync(join(directory, 'specs/broken.spec.yml'), 'version: 9\n');
    expect((await render(policyOf('listen 80;'))).out).toContain('spec not used: ');
  });
});

describe('render and the daemon', () => {
  const EXAMPLES = join(import.meta.dirname, '../../examples');

  /** What both make of one policy file on one home. */
  async function both(policyText: string, specs: Readonly<Record<string, string>>) {
    const home = join(directory, 'home');
    mkdirSync(join(home, 'specs'), { recursive: true });
    for (const [name, text] of Object.entries(specs)) writeFileSync(join(home, 'specs', name), text);
    const file = join(directory, 'policy.yml');
    writeFileSync(file, policyText);
    const surroundings = fakeSurroundings();
    const code = await runProgram(['render', file, '--home', home, '--json'], surroundings);
    const served = readPolicyYaml(policyText);
    if (!served.ok) throw new Error(served.problem);
    const rendering = await realWorld.render(served.text, {
      home,
      variables: realWorld.variables({ home, agentId: 'not-enrolled', agentVersion: '9.2.0', local: {} }),
      unsupported: 'degrade',
      note: () => {},
    });
    // Through JSON and the mask, as what is printed went.
    const daemon = JSON.parse(JSON.stringify(maskSecrets(rendering))) as typeof rendering;
    return { code, render: JSON.parse(surroundings.terminal.said.out), daemon };
  }

  const specsOf = (folder: string) =>
    Object.fromEntries(
      readdirSync(join(EXAMPLES, folder))
        .filter((name) => /\.(spec\.yml|liquid)$/.test(name))
        .map((name) => [name, readFileSync(join(EXAMPLES, folder, name), 'utf8')]),
    );

  test.each([
    ['policies/web.yml', 'specs'],
    ['policies/logs.yml', 'specs'],
    ['uptime/policy.yml', 'uptime'],
    ['policies/web.yml', 'uptime'],
  ])('come to the same for %s with the specs of %s', async (policyFile, folder) => {
    const { code, render, daemon } = await both(readFileSync(join(EXAMPLES, policyFile), 'utf8'), specsOf(folder));
    expect(code).toBe(EXIT.success);
    expect(render.components).toEqual(daemon.components);
    expect(render.problems).toEqual(daemon.problems);
    expect(render.components.length + render.problems.length).toBeGreaterThan(0);
  });

  test('refuse the same: what a spec would carry out that cannot be used', async () => {
    const spec = 'version: 2\ninputs:\n  - name: app\n    daemon: { comand: sleep }\n';
    const policyText = 'inputs: [{ id: a, type: app }, { id: b, type: other }]';
    const { code, render, daemon } = await both(policyText, { 'some.spec.yml': spec });
    expect(code).toBe(EXIT.failure);
    expect(daemon.problems).toMatchObject([
      { component: 'app-default', degradesOnly: false, message: expect.stringContaining('some.spec.yml:4:') },
      { component: 'other-default', degradesOnly: true },
    ]);
    expect(render.problems.slice(0, 2)).toEqual(daemon.problems);
    expect(render.problems[2]).toMatchObject({
      code: 'SPEC_INVALID',
      message: expect.stringContaining('some.spec.yml:4:'),
    });
  });

  test('take a policy file that names no outputs, as `holdfast fleet` serves it', async () => {
    const { code, render, daemon } = await both('inputs: [{ id: a, type: sleeper }]', {
      's.spec.yml': 'version: 2\ninputs:\n  - { name: sleeper, daemon: { command: sleep, args: ["9"] } }',
    });
    expect(code).toBe(EXIT.success);
    expect(render.components).toEqual(daemon.components);
    expect(render.components).toHaveLength(1);
  });
});

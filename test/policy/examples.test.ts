// The examples are what people copy: each spec parses, each policy renders, and the demo's program does what its spec promises.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { WantedComponent } from '../../src/policy/component.ts';
import { parsePolicyYaml } from '../../src/policy/parse.ts';
import { render } from '../../src/policy/render.ts';
import { parseSpec, type SpecFile } from '../../src/policy/spec.ts';
import { variables } from './support.ts';

const examples = join(import.meta.dirname, '../../examples');
const scratch = mkdtempSync(join(tmpdir(), 'holdfast-examples-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function specsIn(folder: string): SpecFile[] {
  const dir = join(examples, folder);
  const names = readdirSync(dir);
  const read = (name: string): string => readFileSync(join(dir, name), 'utf8');
  const templates = Object.fromEntries(
    names.filter((name) => name.endsWith('.liquid')).map((name) => [name, read(name)]),
  );
  return names.filter((name) => name.endsWith('.spec.yml')).map((name) => parseSpec(read(name), name, templates));
}

function rendered(policyFile: string, folder: string, name = 'web-1') {
  const { text } = parsePolicyYaml(readFileSync(join(examples, policyFile), 'utf8'), policyFile);
  const known = variables();
  return render(text, {
    specs: specsIn(folder),
    variables: { ...known, host: { ...known.host, name }, path: { ...known.path, node: process.execPath, examples } },
    paths: { componentsDir: join(scratch, 'components') },
    platform: 'linux/amd64',
    unsupported: 'degrade',
  });
}

describe('the example policies', () => {
  test('web.yml becomes one nginx an input, each with its configuration as it was written', () => {
    const { components, problems } = rendered('policies/web.yml', 'specs');
    expect(problems).toEqual([]);
    expect(components.map((component) => component.id)).toEqual(['nginx-default-blog', 'nginx-default-shop']);
    expect(components[1]?.daemon.files[0]?.content).toContain('return 200 "shop on ${host}\\n"');
    expect(components.every((component) => component.units.every((unit) => unit.degraded === null))).toBe(true);
  });

  test('logs.yml becomes one collector with a receiver a stream, and what other hosts collect is left out', () => {
    const web = rendered('policies/logs.yml', 'specs');
    expect(web.problems).toEqual([]);
    expect(web.components.map((component) => component.id)).toEqual(['otelcol-default']);
    expect(web.components[0]?.units).toEqual([
      { id: 'otelcol-default-system', type: 'input', degraded: null },
      { id: 'otelcol-default-web', type: 'input', degraded: null },
      { id: 'otelcol-default', type: 'output', degraded: null },
    ]);
    expect(web.components[0]?.daemon.files[0]?.content).toContain('"filelog/access":');
    const other = rendered('policies/logs.yml', 'specs', 'db-1');
    expect(other.components[0]?.daemon.files[0]?.content).not.toContain('filelog/access');
  });
});

describe('the uptime example', () => {
  const component = rendered('uptime/policy.yml', 'uptime').components[0] as WantedComponent;
  const configuration = join(scratch, 'uptime.json');

  function writeConfiguration(targets: unknown[], dir = scratch): string {
    mkdirSync(dir, { recursive: true });
    const file = join(dir, 'uptime.json');
    writeFileSync(
      file,
      JSON.stringify({ results: join(dir, 'results.ndjson'), heartbeat: join(dir, 'heartbeat'), targets }),
    );
    return file;
  }

  test('renders one process for all inputs, with the targets of the policy', () => {
    expect(component.id).toBe('uptime-default');
    expect(JSON.parse(component.daemon.files[0]?.content ?? '')).toEqual({
      results: join(scratch, 'components/uptime-default/data/results.ndjson'),
      heartbeat: join(scratch, 'components/uptime-default/data/heartbeat'),
      targets: [
        { name: 'fleet', url: 'http://127.0.0.1:8220/api/status', every: '5s' },
        { name: 'fleet-port', tcp: '127.0.0.1:8220', every: '10s' },
      ],
    });
  });

  test('its check accepts what is rendered', () => {
    writeFileSync(configuration, component.daemon.check?.files[0]?.content ?? '');
    const [program, flag] = component.daemon.check?.run.args ?? [];
    expect(() => execFileSync(process.execPath, [program as string, flag as string, configuration])).not.toThrow();
  });

  test.each([
    [{ name: 'a', url: 'http://x', every: 'soon' }, 'target "a": every: "soon" is not a duration'],
    [{ name: 'b', every: '5s' }, 'target "b": must have either url or tcp'],
    [{ name: 'c', url: 'ftp://x', every: '5s' }, 'target "c": "ftp://x" is not an http or https URL'],
    [{ name: 'd', tcp: 'nowhere', every: '5s' }, 'target "d": "nowhere" is not host:port'],
  ])('its check refuses %j and says why', (target, why) => {
    const file = writeConfiguration([target], join(scratch, 'refused'));
    const { status, stderr } = spawnSync(process.execPath, [join(examples, 'uptime/uptime.mjs'), '--check', file], {
      encoding: 'utf8',
    });
    expect(status).toBe(1);
    expect(stderr).toContain(why);
  });

  test('it becomes ready, writes results and a heartbeat, reloads on SIGHUP and ends on SIGTERM', async () => {
    const dir = join(scratch, 'running');
    const closed = { name: 'closed', tcp: '127.0.0.1:1', every: '100ms' };
    const file = writeConfiguration([closed], dir);
    const child = spawn(process.execPath, [join(examples, 'uptime/uptime.mjs'), file], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      let output = '';
      child.stdout.setEncoding('utf8');
      const says = async (word: string): Promise<void> => {
        while (!output.includes(word)) output += String((await once(child.stdout, 'data'))[0]);
      };
      await says('ready');
      writeConfiguration([closed, { ...closed, name: 'second' }], dir);
      child.kill('SIGHUP');
      await says('reloaded: 2 targets');
      const healthy = spawnSync(process.execPath, [join(examples, 'uptime/uptime.mjs'), '--health', dir]);
      expect(healthy.status).toBe(0);
      expect(spawnSync(process.execPath, [join(examples, 'uptime/uptime.mjs'), '--health', scratch]).status).toBe(1);
      expect(JSON.parse(readFileSync(join(dir, 'results.ndjson'), 'utf8').split('\n')[0] as string)).toMatchObject({
        target: 'closed',
        up: false,
      });
      child.kill('SIGTERM');
      expect(await once(child, 'exit')).toEqual([0, null]);
    } finally {
      child.kill('SIGKILL');
    }
  });
});

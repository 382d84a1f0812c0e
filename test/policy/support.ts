// What the tests of this folder share: the variables of an imagined host, and short ways to a spec and a rendering.
import { canonicalJson } from '../../src/policy/canonical.ts';
import type { Rendering } from '../../src/policy/component.ts';
import { type RenderContext, render } from '../../src/policy/render.ts';
import { parseSpec, type SpecFile } from '../../src/policy/spec.ts';
import { type Variables, variablesFor } from '../../src/policy/variables.ts';

export const COMPONENTS_DIR = '/var/lib/holdfast/components';

export function variables(env: Record<string, string> = {}): Variables {
  return variablesFor({
    env,
    host: { id: 'h1', name: 'web-1', platform: 'linux', architecture: 'amd64', ip: ['10.0.0.1'], mac: [] },
    agent: { id: 'agent-1', version: '9.2.0' },
    path: {
      home: '/h',
      data: '/h/data',
      logs: '/h/logs',
      config: '/h/config',
      examples: '/h/examples',
      node: '/bin/node',
    },
    local: { port: 8080, tags: ['a', 'b'], nested: { deep: true } },
  });
}

/** A spec file with one input; `input` is YAML flow or a list of lines. */
export function specOf(yaml: string, templates: Record<string, string> = {}, file = 'test.spec.yml'): SpecFile {
  return parseSpec(yaml, file, templates);
}

/** A daemon that gets its whole configuration as JSON. */
export const WHOLE = specOf(
  `
version: 2
inputs:
  - name: whole
    isolate_units: false
    daemon: { command: prog, files: [{ path: all.json, format: json }] }
`,
  {},
  'whole.spec.yml',
);

/** A daemon an input, with a verbatim file. */
export const SINGLE = specOf(
  `
version: 2
inputs:
  - name: single
    aliases: [one]
    daemon:
      command: prog
      args: ["-c", "\${component.dir}/prog.conf"]
      files: [{ path: prog.conf, from: config }]
      check: { args: ["-t", "\${component.dir}/prog.conf"] }
`,
  {},
  'single.spec.yml',
);

export const OUTPUTS = { default: { type: 'elasticsearch', hosts: ['https://es:9200'] } };

export function renderPolicy(policy: unknown, change: Partial<RenderContext> = {}): Rendering {
  return render(typeof policy === 'string' ? policy : canonicalJson(policy), {
    specs: [WHOLE, SINGLE],
    variables: variables(),
    paths: { componentsDir: COMPONENTS_DIR },
    platform: 'linux/amd64',
    unsupported: 'degrade',
    ...change,
  });
}

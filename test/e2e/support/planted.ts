/** Marked secrets in every place a policy can hold one, and everything that people and disks are shown, to look for them in. */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { homePaths } from '../../../src/services/home.ts';
import { readZip } from '../../support/zip.ts';
import type { World } from './world.ts';

let planted = 0;
/** A secret that is easily found, with characters that JSON and YAML escape. */
const marked = (where: string) => {
  planted += 1;
  return `LEAK-${where}-"${planted}"-x9`;
};
export const LEAK = /LEAK-[A-Za-z-]+/g;

/** Its check and its start print the whole configuration, as careless programs do. */
export const CARELESS = JSON.stringify({
  version: 2,
  inputs: [
    {
      name: 'careless',
      description: 'prints what it is given',
      outputs: ['*'],
      daemon: {
        command: 'sh',
        // biome-ignore-start lint/suspicious/noTemplateCurlyInString: variables of a spec.
        args: [
          '-c',
          'grep -q crash all.json && { echo "fatal: $(cat all.json)"; exit 3; }; echo ready; while :; do sleep 0.05; done',
        ],
        cwd: '${component.dir}',
        // biome-ignore-end lint/suspicious/noTemplateCurlyInString: variables of a spec.
        env: { SERVICE_TOKEN: 'LEAK-spec-env-token' },
        files: [{ path: 'all.json', format: 'json' }],
        check: {
          command: 'sh',
          args: ['-c', 'echo "error: invalid $(cat all.json)" >&2; ! grep -q refuse all.json'],
          timeout: '5s',
        },
        ready: { output: 'ready', timeout: '1500ms' },
        stop: { signal: 'SIGTERM', grace: '2s' },
        restart: { initial: '50ms', max: '100ms', give_up_after: 2 },
      },
    },
  ],
});

/** A policy with a secret in every place. `word` says what becomes of it. */
export function policyWith(word: string) {
  const inputs = [
    {
      id: 'a',
      type: 'careless',
      word,
      password: marked('input-password'),
      nested: { deep: [{ client_secret: marked('nested') }] },
      hosts: [`https://user:${encodeURIComponent(marked('userinfo'))}@host.example/`],
      headers: { Authorization: `Bearer ${marked('header')}` },
      header_list: [{ name: 'X-Api-Key', value: marked('pair') }],
      custom: marked('secret-path'),
      note: 'the same again: {}',
      streams: [
        {
          id: 's',
          data_stream: { dataset: 'd' },
          credentials: { token: marked('stream') },
          'vars.custom': marked('stream-path'),
        },
      ],
    },
  ];
  const outputs = {
    default: {
      type: 'elasticsearch',
      hosts: ['https://es.example'],
      api_key: `id:${marked('output-key')}`,
      ssl: {
        key: `-----BEGIN PRIVATE KEY-----\n${marked('pem')}\n-----END PRIVATE KEY-----`,
        key_passphrase: marked('passphrase'),
      },
      proxy_headers: { 'X-Secret-Token': marked('proxy-header') },
    },
    other: { type: 'kafka', hosts: ['kafka.example'], username: 'user', password: marked('other-output') },
  };
  const more = {
    fleet: {
      hosts: ['https://fleet.example'],
      proxy_url: `http://user:${encodeURIComponent(marked('proxy-userinfo'))}@proxy.example:3128`,
      proxy_headers: { 'Proxy-Authorization': `Basic ${marked('fleet-proxy-header')}` },
      ssl: { key: `-----BEGIN EC PRIVATE KEY-----\n${marked('fleet-pem')}\n-----END EC PRIVATE KEY-----` },
    },
    agent: { monitoring: { enabled: true, apm: { secret_token: marked('agent-token') } } },
    exporters: { otlp: { endpoint: 'otlp.example', headers: { 'x-api-key': marked('exporter-header') } } },
    receivers: { 'http/a': { auth: { password: marked('receiver-password') } } },
  };
  return { inputs, outputs, ...more, secret_paths: ['inputs.0.custom', 'inputs.0.streams.0.vars.custom'] };
}

/** Every file below a directory, but not what programs are given: their configurations are theirs to read. */
export async function filesBelow(directory: string, skipped: readonly string[]): Promise<readonly string[]> {
  const entries = await readdir(directory, { withFileTypes: true });
  const found = await Promise.all(
    entries.map(async (entry) => {
      const path = join(directory, entry.name);
      if (skipped.includes(path)) return [];
      if (entry.isDirectory()) return filesBelow(path, skipped);
      return entry.isFile() ? [path] : [];
    }),
  );
  return found.flat();
}

/** Everything that was shown, with where. */
export type Shown = [where: string, text: string][];

/** Asks the agent for all that people are shown, and reads the host's process list and what Fleet was told. */
export async function look({ agent, fleet }: World, when: string, said: Shown): Promise<void> {
  const ofProgram = ['logs', '--component', 'careless-default-a', '-n', '1000'];
  const commands = [['status'], ['status', '--json'], ['inspect', '--json'], ['logs', '-n', '1000'], ofProgram];
  const answers = await Promise.all(commands.map((command) => agent.run(...command)));
  for (const [index, { out, err }] of answers.entries())
    said.push([`${commands[index]?.join(' ')}, ${when}`, out + err]);
  said.push([`process list, ${when}`, await commandLines()]);
  said.push([`what Fleet is told, ${when}`, fleet.requests.map(({ body }) => body).join('\n')]);
}

/** What `holdfast diagnostics` says, and each entry of what it writes. */
export async function lookAtDiagnostics({ agent }: World, when: string, said: Shown): Promise<void> {
  const archive = join(agent.home, '..', `diagnostics-${said.length}.zip`);
  const { out, err } = await agent.run('diagnostics', '-f', archive);
  said.push([`diagnostics, ${when}`, out + err]);
  if (!existsSync(archive)) return;
  for (const [name, text] of readZip(archive)) said.push([`${name} of diagnostics, ${when}`, text]);
}

/** What the daemon printed and what lies on its disk, but for what programs are given. */
export async function lookAtFiles({ agent, home }: World, said: Shown): Promise<void> {
  const paths = homePaths(home);
  said.push(['standard output of the daemon', agent.lines.join('\n')]);
  for (const path of await filesBelow(home, [paths.components, paths.identity, paths.specs, paths.settings])) {
    said.push([path.slice(home.length + 1), (await readFile(path)).toString('latin1')]);
  }
}

export function leaksIn(said: Shown): readonly string[] {
  return said.flatMap(([what, text]) => [...new Set(text.match(LEAK) ?? [])].map((leak) => `${what}: ${leak}`));
}

/** Every command line on this host that can be read. */
async function commandLines(): Promise<string> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const lines = pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => ''));
  return (await Promise.all(lines)).join('\n');
}

/** Marked secrets in every place a policy can hold one, and nothing that people or disks are shown holds them, in failures too. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { homePaths } from '../../src/services/home.ts';
import { empty } from './support/directories.ts';
import { actionsAnswer, isCheckin } from './support/fleet.ts';
import { settledOn, type World, world } from './support/world.ts';

let planted = 0;
/** A secret that is easily found, with characters that JSON and YAML escape. */
const marked = (where: string) => {
  planted += 1;
  return `LEAK-${where}-"${planted}"-x9`;
};
const LEAK = /LEAK-[A-Za-z-]+/g;

/** Its check and its start print the whole configuration, as careless programs do. */
const CARELESS = JSON.stringify({
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
function policyWith(word: string) {
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
  };
  return { inputs, outputs, secret_paths: ['inputs.0.custom', 'inputs.0.streams.0.vars.custom'] };
}

/** Every file below a directory, but not what programs are given: their configurations are theirs to read. */
async function filesBelow(directory: string, skipped: readonly string[]): Promise<readonly string[]> {
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
type Shown = [where: string, text: string][];

/** Asks the agent for all that people are shown, and reads the host's process list. */
async function look({ agent }: World, when: string, said: Shown): Promise<void> {
  const commands = [['status'], ['status', '--json'], ['inspect', '--json'], ['logs', '-n', '1000']];
  const answers = await Promise.all(commands.map((command) => agent.run(...command)));
  for (const [index, { out, err }] of answers.entries())
    said.push([`${commands[index]?.join(' ')}, ${when}`, out + err]);
  said.push([`process list, ${when}`, await commandLines()]);
}

/** What the daemon printed and what lies on its disk, but for what programs are given. */
async function lookAtFiles({ agent, home }: World, said: Shown): Promise<void> {
  const paths = homePaths(home);
  said.push(['standard output of the daemon', agent.lines.join('\n')]);
  for (const path of await filesBelow(home, [paths.components, paths.identity, paths.specs, paths.settings])) {
    said.push([path.slice(home.length + 1), (await readFile(path)).toString('latin1')]);
  }
}

function leaksIn(said: Shown): readonly string[] {
  return said.flatMap(([what, text]) => [...new Set(text.match(LEAK) ?? [])].map((leak) => `${what}: ${leak}`));
}

test('no secret of a policy shows in logs, status, inspect, policy.yml, render, errors, process lists, Fleet or the encrypted state', {
  timeout: 180_000,
}, async () => {
  const made = await world({
    specs: { careless: CARELESS },
    settings: { encryption: { key: 'generated' }, agent: { logging: { level: 'trace' } } },
  });
  const { agent, fleet, home } = made;
  const said: Shown = [];
  const paths = homePaths(home);

  const good = policyWith('good');
  await fleet.policy(good.inputs, good);
  agent.start();
  await agent.status(settledOn(2), 'settled');
  await look(made, 'running', said);

  // Refused by a check that quotes everything, by a start that quotes everything, by rendering, by parsing, by being no JSON.
  for (const [revision, word, more] of [
    [3, 'refuse', {}],
    [4, 'crash', {}],
    [5, 'good', { condition: `\${env.PASSWORD} > 1 and ` }],
    [6, 'good', { use_output: 'nowhere' }],
  ] as const) {
    const bad = policyWith(word);
    await fleet.policy([{ ...bad.inputs[0], ...more } as never], {
      outputs: bad.outputs,
      secret_paths: bad.secret_paths,
    });
    await agent.status(
      ({ policy, path }) => policy.rejected[0]?.revision === revision && path.policy === 'checkin',
      `rejected ${revision}`,
    );
    await look(made, `rejected ${revision}`, said);
  }
  const action = {
    id: 'policy:web:7',
    agent_id: fleet.agent().id,
    type: 'POLICY_CHANGE',
    created_at: '2026-01-01T00:00:00Z',
    data: { policy: `{"inputs": [{"password": "${'LEAK-no-json'}", ` },
  };
  fleet.answer(isCheckin, () => actionsAnswer(action));
  await fleet.server.send(fleet.agent().id, 'SETTINGS', { data: '{"log_level":"trace"}' });
  await agent.status(({ policy }) => policy.rejected[0]?.revision === 7, 'rejected 7');
  await look(made, 'rejected what is no JSON', said);
  said.push(['what Fleet knows', JSON.stringify(fleet.server.agents())]);

  // Render, with and without checks, of good and bad policies and of a file that is no YAML.
  for (const word of ['good', 'refuse']) {
    const file = join(home, '..', 'policy.yml');
    await writeFile(file, JSON.stringify({ id: 'web', revision: 1, ...policyWith(word) }));
    for (const more of [[], ['--check'], ['--json', '--check']]) {
      const { out, err } = await agent.run('render', file, ...more);
      said.push([`render ${word} ${more.join(' ')}`, out + err]);
    }
    await writeFile(file, 'inputs:\n  - password: *LEAK-alias\n');
    const { out, err } = await agent.run('render', file);
    said.push(['render of no YAML', out + err]);
  }

  // An object that cannot be read, and a key that is gone.
  await agent.stop();
  await look(made, 'stopped', said);
  const [object = ''] = await readdir(paths.objects);
  await writeFile(join(paths.objects, object), 'rubbish');
  await look(made, 'with an unreadable object', said);
  const key = await readFile(paths.key);
  await writeFile(paths.key, `${'ab'.repeat(32)}\n`);
  await look(made, 'with another key', said);
  await writeFile(paths.key, key);

  await lookAtFiles(made, said);
  // The test sees what it looks at: the policy is there, and its secrets are where programs read them.
  expect(said.find(([what]) => what === 'policy.yml')?.[1]).toContain('REDACTED');
  expect(said.filter(([what]) => what.startsWith('state/objects')).length).toBeGreaterThan(0);
  expect(
    (await Promise.all((await filesBelow(paths.components, [])).map((path) => readFile(path, 'utf8')))).join(),
  ).toMatch(LEAK);

  expect(leaksIn(said)).toEqual([]);
});

test('nor where the agent is killed on the way back, in safe mode, or when it has lost what it held', {
  timeout: 180_000,
}, async () => {
  const settings = { encryption: { key: 'generated' }, crash: { limit: 1 }, agent: { logging: { level: 'trace' } } };
  const made = await world({ specs: { careless: CARELESS }, settings });
  const { agent, fleet, home } = made;
  const said: Shown = [];
  const good = policyWith('good');
  await fleet.policy(good.inputs, good);
  await agent.start().status(settledOn(2), 'settled');

  const bad = policyWith('crash');
  await fleet.policy(bad.inputs, bad);
  await agent.status(({ path, policy }) => path.policy === 'rollback' || policy.rejected.length > 0, 'on the way back');
  await look(made, 'on the way back', said);
  await agent.kill9();
  await agent.start().status(({ state }) => state === 'running', 'running after the way back was cut');
  await look(made, 'after the way back was cut', said);

  // From the next start on nothing is confirmed any more.
  await made.settings({ ...settings, policy: { apply: { stable_for: '1h', timeout: '2h' } } });
  const restarted = async () => {
    await agent.kill9();
    return agent.start().status(({ state }) => state === 'running' || state === 'safeMode', 'has begun');
  };
  let { state } = await restarted();
  for (let start = 2; state !== 'safeMode' && start <= 5; start += 1) ({ state } = await restarted());
  expect(state).toBe('safeMode');
  await look(made, 'in safe mode', said);

  await fleet.kill();
  await agent.kill9();
  await lookAtFiles(made, said);
  await empty(homePaths(home).state);
  await agent.start().status(({ policy }) => policy.orphaned !== null, 'has lost what it held');
  await look(made, 'as an orphan', said);
  await lookAtFiles(made, said);
  // The test sees what it looks at, in the failures too.
  for (const when of ['on the way back', 'in safe mode'])
    expect(said.find(([what]) => what === `inspect --json, ${when}`)?.[1]).toContain('REDACTED');
  expect(leaksIn(said)).toEqual([]);
});

/** Every command line on this host that can be read. */
async function commandLines(): Promise<string> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const lines = pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => ''));
  return (await Promise.all(lines)).join('\n');
}

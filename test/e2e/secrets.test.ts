/** Marked secrets in every place a policy can hold one, and nothing that people or disks are shown holds them, in failures too. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { homePaths } from '../../src/services/home.ts';
import { empty } from './support/directories.ts';
import { actionsAnswer, isCheckin } from './support/fleet.ts';
import {
  CARELESS,
  filesBelow,
  LEAK,
  leaksIn,
  look,
  lookAtDiagnostics,
  lookAtFiles,
  policyWith,
  type Shown,
} from './support/planted.ts';
import { settledOn, world } from './support/world.ts';

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
    const { inputs, ...bad } = policyWith(word);
    await fleet.policy([{ ...inputs[0], ...more } as never], bad);
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
  await lookAtDiagnostics(made, 'rejected what is no JSON', said);
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
  await lookAtDiagnostics(made, 'with an unreadable object', said);
  const key = await readFile(paths.key);
  await writeFile(paths.key, `${'ab'.repeat(32)}\n`);
  await look(made, 'with another key', said);
  await writeFile(paths.key, key);

  await lookAtFiles(made, said);
  // The test sees what it looks at: the policy is there, and its secrets are where programs read them.
  expect(said.find(([what]) => what === 'policy.yml')?.[1]).toMatch(/exporters:.*REDACTED/s);
  expect(said.find(([what]) => what === 'logs --component careless-default-a -n 1000, running')?.[1]).toContain(
    'ready',
  );
  expect(
    said.filter(([what, text]) => what.startsWith('what Fleet is told') && text.includes('rejected')).length,
  ).toBeGreaterThan(0);
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
  await lookAtDiagnostics(made, 'in safe mode', said);

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

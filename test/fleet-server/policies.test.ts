/** Policies from a folder: new content is a new revision, a broken file keeps the last one and says where it is broken. */
import { rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readPolicyYaml } from '../../src/fleet-server/policy-yaml.ts';
import { enroll, holds, ids, longPoll, startServer } from './support.ts';

describe('a policy file', () => {
  test('keeps integers with all their digits', () => {
    const read = readPolicyYaml(
      'inputs: [{big: 12345678901234567890, small: 7, float: 1.5, negative: -9007199254740993}]',
    );
    expect(read).toMatchObject({
      ok: true,
      text: expect.stringContaining('{"big":12345678901234567890,"small":7,"float":1.5,"negative":-9007199254740993}'),
    });
  });

  test('gets defaults for what it leaves out, and keeps what it says', () => {
    const empty = readPolicyYaml('{}');
    expect(empty.ok && JSON.parse(empty.text)).toEqual({
      outputs: { default: { type: 'elasticsearch', hosts: ['http://127.0.0.1:9200'] } },
      output_permissions: { default: {} },
      inputs: [],
      agent: { monitoring: { enabled: false, logs: false, metrics: false } },
    });
    const said = readPolicyYaml('agent: {monitoring: {enabled: true}, features: {x: 1}}\noutputs: {o: {type: kafka}}');
    expect(said.ok && JSON.parse(said.text)).toMatchObject({
      outputs: { o: { type: 'kafka' } },
      agent: { monitoring: { enabled: true }, features: { x: 1 } },
    });
  });

  test.each([
    ['', 'the file is empty'],
    ['# only a comment\n', 'the file is empty'],
    ['- a\n', '1:1: a policy is a mapping'],
    ['inputs:\n  - id: a\n   type: b\n', /^3:\d+: /],
    ['inputs: [\n', /^2:1: /],
    ['a: 1\na: 2\n', /^2:1: Map keys must be unique/],
    ['inputs: *unknown\n', /^(1:9: )?.*[aA]lias/],
    ['inputs: [{limit: .inf}]\n', 'inputs[0].limit: Infinity cannot be said in JSON'],
  ])('%j is refused with its place and reason', (source, problem) => {
    const read = readPolicyYaml(source);
    expect(read.ok).toBe(false);
    expect(read.ok ? '' : read.problem).toMatch(problem);
  });
});

describe('the folder', () => {
  test('makes a revision of new content and none of the same, comments and spaces included', async () => {
    const { server, save } = await startServer({ web: 'inputs: []' });
    const revision = () => server.policies()[0]?.revision;
    expect(revision()).toBe(1);
    await save('web', '# a comment\ninputs:   []\n');
    expect(revision()).toBe(1);
    await save('web', 'inputs: [{id: a}]');
    expect(revision()).toBe(2);
    await save('web', 'inputs: []');
    expect(revision()).toBe(3);
  });

  test('a broken file keeps the last revision, says where it is broken, and is well again when it is corrected', async () => {
    const { server, save, logged } = await startServer({ web: 'inputs: []' });
    const agent = await enroll(server.url);
    await save('web', 'inputs:\n  - id: a\n   type: b\n');
    expect(server.policies()).toMatchObject([
      { id: 'web', revision: 1, problem: expect.stringMatching(/web\.yml:3:\d+: ./) },
    ]);
    expect(logged.find((line) => line.startsWith('warn'))).toMatch(/web\.yml:3:\d+: .*web:1 stays in force/);
    expect(ids(await agent.checkin(holds('', 0)))).toEqual(['policy:web:1']);
    await save('web', 'inputs: [{id: a}]');
    expect(server.policies()).toMatchObject([{ id: 'web', revision: 2, problem: null }]);
  });

  test('a broken file does not keep others from their new revision', async () => {
    const { server, policiesDir, save } = await startServer({ web: '{}', db: '{}' });
    await writeFile(join(policiesDir, 'db.yml'), '{');
    await save('web', 'inputs: [{id: a}]');
    expect(server.policies()).toMatchObject([
      { id: 'db', revision: 1, problem: expect.any(String) },
      { id: 'web', revision: 2, problem: null },
    ]);
  });

  test('a file that is gone keeps its policy and warns; back with the same content it is no new revision', async () => {
    const { server, policiesDir, save, logged } = await startServer({ web: '{}' });
    await rm(join(policiesDir, 'web.yml'));
    await server.rescan();
    expect(server.policies()).toMatchObject([{ id: 'web', revision: 1, problem: 'its file is gone' }]);
    expect(logged).toContainEqual(expect.stringMatching(/^warn: policy web: its file is gone/));
    await save('web', '{}');
    expect(server.policies()).toMatchObject([{ id: 'web', revision: 1, problem: null }]);
  });

  test('files that no policy can come from are named: a colon in the name, two files of one id', async () => {
    const { server, policiesDir } = await startServer({ 'a:b': '{}', web: '{}' });
    await writeFile(join(policiesDir, 'web.yaml'), 'inputs: [{id: x}]');
    await writeFile(join(policiesDir, '.hidden.yml'), '{');
    await writeFile(join(policiesDir, 'notes.txt'), '{');
    await server.rescan();
    expect(server.policies()).toMatchObject([
      { id: 'a:b', revision: 0, problem: expect.stringContaining('no colon') },
      { id: 'web', problem: expect.stringContaining('another file') },
    ]);
  });

  test('is watched: a file saved in place and one renamed over it both reach a waiting agent', async () => {
    const { server, policiesDir } = await startServer({ web: '{}' }, { poll: longPoll });
    const agent = await enroll(server.url);
    const first = agent.checkin(holds('web', 1));
    await expect.poll(() => server.agents()[0]?.polling).toBe(true);
    await writeFile(join(policiesDir, 'web.yml'), 'inputs: [{id: a}]');
    expect(ids(await first)).toEqual(['policy:web:2']);
    const second = agent.checkin(holds('web', 2));
    await expect.poll(() => server.agents()[0]?.polling).toBe(true);
    await writeFile(join(policiesDir, '.web.yml.swp'), 'inputs: [{id: b}]');
    await rename(join(policiesDir, '.web.yml.swp'), join(policiesDir, 'web.yml'));
    expect(ids(await second)).toEqual(['policy:web:3']);
  });

  test('that is not there is refused', async () => {
    await expect(startServer({}, { policiesDir: '/nowhere/at/all' })).rejects.toMatchObject({
      code: 'SERVER_POLICIES',
    });
  });
});

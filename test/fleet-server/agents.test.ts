/** Who an agent is and what is known of it: enrollment rules, what is kept apart for people, warnings, and the admin API with its commands. */
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { describeListing, fleetCommand } from '../../src/commands/fleet.ts';
import { fetchListing } from '../../src/fleet-server/admin-client.ts';
import type { Interception, SeenRequest } from '../../src/fleet-server/interception.ts';
import { parseListen } from '../../src/fleet-server/server.ts';
import { PATH } from '../../src/wire/fleet.ts';
import { type Answer, enroll, holds, ids, post, request, startServer, type TestAgent, type World } from './support.ts';

describe('enrollment', () => {
  const tryToEnroll = (world: World, token: string, body: Record<string, unknown> = {}): Promise<Answer> =>
    post(`${world.server.url}${PATH.enroll}`, token, { type: 'PERMANENT', ...body });

  test('answers what a stock agent needs', async () => {
    const world = await startServer();
    const answer = await tryToEnroll(world, 'T', {
      metadata: { local: { host: { hostname: 'h' } }, tags: ['b', 'a', 'b'] },
    });
    const { item, action } = answer.json;
    expect(action).toBe('created');
    expect(item).toMatchObject({
      active: true,
      policy_id: 'web',
      type: 'PERMANENT',
      status: 'online',
      tags: ['a', 'b'],
      local_metadata: { host: { hostname: 'h' }, elastic: { agent: { id: item.id } } },
    });
    expect(Number.isNaN(Date.parse(item.enrolled_at))).toBe(false);
    expect(Buffer.from(item.access_api_key, 'base64').toString()).toMatch(new RegExp(`^${item.access_api_key_id}:.+$`));
  });

  test.each([
    ['T', 'db'],
    ['T:db', 'db'],
    ['T:web', 'web'],
    [Buffer.from('web:T').toString('base64'), 'web'],
  ])('the token %s enrolls into %s', async (token, policyId) => {
    const world = await startServer({ db: '{}', web: '{}' });
    expect((await tryToEnroll(world, token)).json.item.policy_id).toBe(policyId);
  });

  test('the token alone enrolls into the policy called default, when there is one', async () => {
    const world = await startServer({ a: '{}', default: '{}' });
    expect((await tryToEnroll(world, 'T')).json.item.policy_id).toBe('default');
  });

  test.each(['wrong!', 'T:nowhere', Buffer.from('web:wrong').toString('base64')])(
    'the token %s is answered 401',
    async (token) => {
      expect((await tryToEnroll(await startServer(), token)).status).toBe(401);
    },
  );

  test('without any policy yet the answer is one to try again', async () => {
    expect((await tryToEnroll(await startServer({}), 'T')).status).toBe(503);
  });

  test('a repeated enrollment_id replaces the agent that never checked in, and spares one that did', async () => {
    const { server } = await startServer();
    const lost = await enroll(server.url, 'T', { enrollment_id: 'e' });
    const agent = await enroll(server.url, 'T', { enrollment_id: 'e' });
    expect(server.agents().map(({ id }) => id)).toEqual([agent.id]);
    expect((await lost.checkin()).status).toBe(401);
    await agent.checkin(holds('', 0));
    await enroll(server.url, 'T', { enrollment_id: 'e' });
    expect(server.agents()).toHaveLength(2);
    expect((await agent.checkin(holds('', 0))).status).toBe(200);
  });

  test('an id in use is taken over only with the replace token, into the same policy', async () => {
    const world = await startServer({ web: '{}', db: '{}' });
    const { server } = world;
    const agent = await enroll(server.url, 'T:web', { id: 'me', replace_token: 'secret' });
    expect(agent.id).toBe('me');
    for (const [token, replace_token] of [
      ['T:web', ''],
      ['T:web', 'wrong'],
      ['T:db', 'secret'],
    ] as const) {
      const refused = await tryToEnroll(world, token, { id: 'me', replace_token });
      expect([refused.status, refused.json.error]).toEqual([403, 'AgentNotReplaceable']);
    }
    expect((await agent.checkin(holds('', 0))).status).toBe(200);
    const successor = await enroll(server.url, 'T:web', { id: 'me', replace_token: 'secret' });
    expect((await agent.checkin()).status).toBe(401);
    expect((await successor.checkin(holds('', 0))).status).toBe(200);
  });

  test('the id of an unenrolled agent is free', async () => {
    const { server } = await startServer();
    await enroll(server.url, 'T', { id: 'me' });
    await server.forceUnenroll('me');
    await enroll(server.url, 'T', { id: 'me' });
    expect(server.agents()).toMatchObject([{ id: 'me', active: true }]);
  });
});

describe('what is known of an agent', () => {
  const started = (start: number, previous: string, crashes = 0, rest = {}) => ({
    local_metadata: { host: { hostname: 'alpha' }, holdfast: { start, previous, crashes, ...rest } },
  });

  test('an ack of a policy that was sent again, since the agent asked for everything, is no restart', async () => {
    const { server } = await startServer();
    const agent = await enroll(server.url);
    await agent.checkin(holds('', 0));
    await agent.ack({ action_id: 'policy:web:1' });
    for (let n = 0; n < 2; n++) {
      await agent.checkin(holds('', 0));
      await agent.ack({ action_id: 'policy:web:1' });
    }
    expect(server.agents()[0]).toMatchObject({ re_acks: 0, warnings: [] });
    await agent.ack({ action_id: 'policy:web:1' });
    expect(server.agents()[0]).toMatchObject({ re_acks: 1 });
  });

  test('a restart after a crash is a warning with the re-ack, in the log and in the listing, until a start in order', async () => {
    const { server, logged } = await startServer();
    const agent = await enroll(server.url);
    await agent.checkin({ ...started(6, 'goodbye'), ...holds('', 0) });
    await agent.ack({ action_id: 'policy:web:1' });
    expect(server.agents()[0]).toMatchObject({ warnings: [], re_acks: 0, host: 'alpha' });
    await agent.checkin({ ...started(7, 'crashed', 1), ...holds('web', 1) });
    await agent.ack({ action_id: 'policy:web:1' });
    expect(server.agents()[0]).toMatchObject({
      re_acks: 1,
      start: { number: 7, previous: 'crashed', crashes: 1 },
      warnings: ['restarted after a crash (start 7), re-acked web:1'],
    });
    expect(logged).toContainEqual(
      `warn: agent alpha (${agent.id.slice(0, 8)}) restarted after a crash (start 7), re-acked web:1`,
    );
    await agent.checkin({ ...started(8, 'goodbye'), ...holds('web', 1) });
    expect(server.agents()[0]?.warnings).toEqual([]);
  });

  test('an agent that says nothing of its starts is warned of by its re-ack alone', async () => {
    const { server } = await startServer();
    const agent = await enroll(server.url);
    await agent.ack({ action_id: 'policy:web:1' });
    await agent.ack({ action_id: 'policy:web:1' });
    expect(server.agents()[0]?.warnings).toEqual([expect.stringMatching(/^re-acked web:1 \(1 in all\)/)]);
  });

  test('a rejection is read from the message, stands while the metadata names its hash, and is over when it is null', async () => {
    const { server } = await startServer();
    const agent = await enroll(server.url);
    const rejected = () => server.agents()[0]?.policy.rejected;
    const message = 'policy rejected: web:4: nginx: unknown directive "lisen"; running web:3';
    const standing = started(1, 'first', 0, { rejected: 'hash' });
    const expected = { id: 'web', revision: 4, reason: 'nginx: unknown directive "lisen"' };
    await agent.checkin({ status: 'degraded', message, ...standing, ...holds('', 0) });
    expect(rejected()).toMatchObject(expected);
    await agent.checkin({ message: 'something more urgent', ...standing, ...holds('', 0) });
    expect(rejected()).toMatchObject(expected);
    await agent.checkin({ message: 'running web:5', ...started(1, 'first', 0, { rejected: null }), ...holds('', 0) });
    expect(rejected()).toBeNull();
  });

  test('components are kept as they were last said; null changes nothing', async () => {
    const { server } = await startServer();
    const agent = await enroll(server.url);
    const component = { id: 'nginx-default', type: 'nginx', status: 'HEALTHY', message: '', units: [] };
    await agent.checkin({ components: [component], ...holds('', 0) });
    await agent.checkin({ components: null, ...holds('', 0) });
    expect(server.agents()[0]?.components).toMatchObject([component]);
  });
});

describe('sending', () => {
  test('finds an agent by id, by the beginning of it, and by its host; refuses what is not one agent', async () => {
    const { server } = await startServer();
    const local = { host: { hostname: 'alpha' } };
    const agent = await enroll(server.url, 'T', { id: 'abc-1', metadata: { local } });
    await enroll(server.url, 'T', { id: 'abc-2' });
    for (const name of ['abc-1', 'alpha']) {
      expect(await server.send(name, 'SETTINGS', { data: '{}' })).toMatchObject({ agentId: agent.id });
    }
    await expect(server.send('abc', 'SETTINGS')).rejects.toThrow('more than one');
    await expect(server.send('nobody', 'SETTINGS')).rejects.toThrow('no agent nobody');
    await expect(server.send('abc-1', 'POLICY_CHANGE')).rejects.toThrow('saving its file');
    await expect(server.send('abc-1', 'CANCEL', { data: '{}' })).rejects.toThrow('target_id');
    await expect(server.send('abc-1', 'X', { data: '{' })).rejects.toThrow('not JSON');
    await server.forceUnenroll('abc-1');
    await expect(server.send('abc-1', 'SETTINGS')).rejects.toThrow('unenrolled');
  });

  test('every action has an end in thirty days, and none is delivered after it', async () => {
    let now = Date.now();
    const clock = {
      now: () => now,
      setTimeout: (callback: () => void, ms: number) => setTimeout(callback, ms),
      clearTimeout: (timer: unknown) => clearTimeout(timer as NodeJS.Timeout),
    };
    const { server } = await startServer(undefined, { clock });
    const agent = await enroll(server.url);
    const sent = await server.send(agent.id, 'SETTINGS', { data: '{}' });
    const [action] = (await agent.checkin(holds('web', 1))).json.actions;
    expect(Date.parse(action.expiration) - now).toBe(30 * 24 * 3_600_000);
    expect(action).toMatchObject({ id: sent.actionId, agent_id: agent.id, input_type: '', data: {} });
    now += 31 * 24 * 3_600_000;
    expect(ids(await agent.checkin(holds('web', 1)))).toEqual([]);
  });
});

describe('the admin API', () => {
  test('opens with the secret of the state directory only', async () => {
    const { server, stateDir } = await startServer();
    const agent = await enroll(server.url);
    const url = `${server.url}/holdfast/agents`;
    expect((await request(url)).status).toBe(401);
    expect((await request(url, { headers: { authorization: `ApiKey ${agent.key}` } })).status).toBe(401);
    const { secret } = JSON.parse(await readFile(join(stateDir, 'admin.json'), 'utf8'));
    const answer = await request(url, { headers: { authorization: `Bearer ${secret}` } });
    expect(answer.json).toMatchObject({ agents: [{ id: agent.id }], policies: [{ id: 'web' }] });
    expect(answer.text).not.toContain(agent.key);
  });
});

describe('the commands', () => {
  afterEach(() => vi.restoreAllMocks());

  async function run(...args: string[]): Promise<string> {
    let output = '';
    vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
      output += String(chunk);
      return true;
    });
    try {
      await fleetCommand().parseAsync(args, { from: 'user' });
    } finally {
      vi.restoreAllMocks();
    }
    return output;
  }

  test('`agents` shows policies and agents; with --json one object', async () => {
    const { server, stateDir, save } = await startServer();
    const agent = await enroll(server.url);
    await save('web', '{');
    const shown = await run('agents', '--state', stateDir);
    expect(shown).toMatch(/web:1 .*enrollment token T:web\n {4}! .*web\.yml:\d+:\d+: /);
    expect(shown).toContain(agent.id);
    for (const args of [
      ['agents', '--json', '--state', stateDir],
      ['--state', stateDir, '--json', 'agents'],
    ]) {
      expect(JSON.parse(await run(...args))).toMatchObject({ agents: [{ id: agent.id }] });
    }
  });

  test('`send` puts the action in order, with its data as typed', async () => {
    const { server, stateDir } = await startServer();
    const agent = await enroll(server.url);
    const shown = await run('send', agent.id, 'settings', '{"log_level":"debug"}', '--state', stateDir);
    const answer = await agent.checkin(holds('web', 1));
    expect(answer.json.actions).toMatchObject([{ type: 'SETTINGS', data: { log_level: 'debug' } }]);
    expect(shown).toContain(ids(answer)[0]);
    await run('send', agent.id, 'force_unenroll', '--state', stateDir);
    expect((await agent.checkin()).status).toBe(401);
  });

  test('`send` refuses a type that no Fleet Server delivers, and names those there are', async () => {
    const { server, stateDir } = await startServer();
    await enroll(server.url, 'T', { id: 'me' });
    await expect(run('send', 'me', 'setings', '--state', stateDir)).rejects.toMatchObject({
      code: 'USAGE',
      message: expect.stringMatching(/of type SETINGS; there are CANCEL, .*SETTINGS, UNENROLL, .*FORCE_UNENROLL/),
    });
    await expect(run('send', 'me', 'POLICY_CHANGE', '--state', stateDir)).rejects.toMatchObject({
      message: expect.stringContaining('by saving its file'),
    });
  });

  test('what is wrong has a code: no server, an unknown agent, no JSON, no policies', async () => {
    const { server, stateDir } = await startServer();
    await enroll(server.url, 'T', { id: 'me' });
    await expect(run('send', 'nobody', 'SETTINGS', '--state', stateDir)).rejects.toMatchObject({
      code: 'SERVER_REFUSED',
    });
    await expect(run('send', 'me', 'SETTINGS', '{', '--state', stateDir)).rejects.toMatchObject({
      code: 'USAGE',
      exitCode: 2,
    });
    await expect(run('agents', '--state', join(stateDir, 'nowhere'))).rejects.toMatchObject({
      code: 'SERVER_NOT_RUNNING',
    });
    await server.close();
    await expect(run('agents', '--state', stateDir)).rejects.toMatchObject({ code: 'SERVER_NOT_RUNNING', exitCode: 4 });
    await expect(run()).rejects.toMatchObject({ code: 'USAGE' });
    await expect(run('--policies', join(stateDir, 'nowhere'), '--state', stateDir)).rejects.toMatchObject({
      code: 'SERVER_POLICIES',
    });
  });

  test('the listing says who reported and acked what', async () => {
    const { server } = await startServer();
    const agent = await enroll(server.url, 'T', { metadata: { local: { host: { hostname: 'alpha' } } } });
    await agent.ack({ action_id: 'policy:web:1' });
    await agent.checkin({ ...holds('', 0), message: 'running nothing' });
    const text = describeListing({ agents: server.agents(), policies: server.policies() }, Date.now() + 120_000);
    expect(text.split('\n').slice(3)).toEqual([
      'Agents',
      `  alpha  ${agent.id}  online, seen 2 min ago`,
      '    assigned web:1, reported that it holds nothing, acked web:1',
      '    running nothing',
      '    ! holds no policy, although it acked web:1',
    ]);
  });

  test.each([
    ['127.0.0.1:8220', { host: '127.0.0.1', port: 8220 }],
    ['[::1]:0', { host: '::1', port: 0 }],
    ['8220', null],
    ['host:99999', null],
  ])('--listen %s', (listen, expected) => {
    if (expected) expect(parseListen(listen)).toEqual(expected);
    else expect(() => parseListen(listen)).toThrow('is not host:port');
  });
});

describe('a test between agent and server', () => {
  test('sees requests, answers for the server, loses answers before and after their effect', async () => {
    const requests: SeenRequest[] = [];
    const fates = new Map<string, Interception>();
    const { server } = await startServer(undefined, {
      hooks: { requests, intercept: ({ kind }) => fates.get(kind) },
    });
    const agent: TestAgent = await enroll(server.url);
    const acked = () => server.agents()[0]?.policy.acked;
    fates.set('acks', 'drop');
    await expect(agent.ack({ action_id: 'policy:web:1' })).rejects.toThrow();
    expect(acked()).toBeNull();
    fates.set('acks', 'dropAfterEffect');
    await expect(agent.ack({ action_id: 'policy:web:1' })).rejects.toThrow();
    expect(acked()).toMatchObject({ revision: 1 });
    fates.set('acks', 'truncateAfterEffect');
    await expect(agent.ack({ action_id: 'policy:web:1' })).rejects.toThrow();
    fates.set('checkin', new Response('busy', { status: 429 }));
    expect((await agent.checkin()).status).toBe(429);
    fates.set('checkin', { answerAfterEffect: new Response('garbage', { status: 502 }) });
    expect(await agent.checkin({ message: 'took effect', ...holds('', 0) })).toMatchObject({
      status: 502,
      text: 'garbage',
    });
    expect(server.agents()[0]?.message).toBe('took effect');
    expect(requests.map(({ kind, status }) => [kind, status])).toEqual([
      ['enroll', 200],
      ['acks', 0],
      ['acks', 0],
      ['acks', 200],
      ['checkin', 429],
      ['checkin', 502],
    ]);
    expect(JSON.parse(requests[1]?.body ?? '')).toMatchObject({ events: [{ action_id: 'policy:web:1' }] });
  });
});

test('a state directory that cannot be read is named, and is no fault in Holdfast', async () => {
  const state = await mkdtemp(join(tmpdir(), 'hf-fleet-'));
  await mkdir(join(state, 'admin.json'));
  await expect(fetchListing(state)).rejects.toMatchObject({ code: 'SERVER_STATE' });
  await rm(state, { recursive: true });
});

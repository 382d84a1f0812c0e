/** The conversation of an agent with the server, over real HTTP, as a stock Fleet Server would have it. */
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { IDLE_CHECKIN_BODY, LIMIT, PATH } from '../../src/wire/fleet.ts';
import { agentAt, enroll, holds, ids, longPoll, post, request, SHORT_POLL_MS, startServer } from './support.ts';

describe('a whole conversation', () => {
  test('enroll, first policy, ack, idle poll, new revision, unenroll', async () => {
    const { server, save } = await startServer({ web: 'inputs: [{id: a, type: nginx}]' });
    const agent = await enroll(server.url);

    const first = await agent.checkin({ status: 'starting', components: null, upgrade: {}, ...holds('', 0) });
    expect(first.json).toMatchObject({
      ack_token: '',
      action: 'checkin',
      actions: [
        {
          id: 'policy:web:1',
          type: 'POLICY_CHANGE',
          agent_id: agent.id,
          input_type: '',
          data: {
            policy: {
              id: 'web',
              revision: 1,
              inputs: [{ id: 'a', type: 'nginx' }],
              outputs: { default: { type: 'elasticsearch' } },
              agent: { monitoring: { enabled: false } },
            },
          },
        },
      ],
    });
    expect((await agent.ack({ action_id: 'policy:web:1', agent_id: agent.id })).text).toBe(
      '{"action":"acks","items":[{"status":200,"message":"OK"}]}',
    );

    const before = Date.now();
    const idle = await agent.checkin(holds('web', 1));
    expect(idle.text).toBe(IDLE_CHECKIN_BODY);
    expect(Date.now() - before).toBeGreaterThanOrEqual(SHORT_POLL_MS - 5);

    await save('web', 'inputs: []');
    expect(ids(await agent.checkin(holds('web', 1)))).toEqual(['policy:web:2']);

    const sent = await server.send(agent.id, 'UNENROLL');
    const unenroll = await agent.checkin(holds('web', 2));
    expect(unenroll.json.actions).toMatchObject([{ id: sent.actionId, type: 'UNENROLL', data: null }]);
    expect((await agent.ack({ action_id: sent.actionId })).status).toBe(200);
    const refused = await agent.checkin(holds('web', 2));
    expect(refused.status).toBe(401);
    expect(refused.json).toMatchObject({ statusCode: 401, error: 'ErrAgentInactive' });
  });

  test('a policy saved during a poll ends it at once', async () => {
    const { server, save } = await startServer({}, { poll: longPoll });
    await save('web', 'inputs: []');
    const agent = await enroll(server.url);
    const poll = agent.checkin(holds('web', 1));
    await expect.poll(() => server.agents()[0]?.polling).toBe(true);
    await save('web', 'inputs: [{id: a}]');
    expect(ids(await poll)).toEqual(['policy:web:2']);
  });

  test('closing the server answers waiting polls with 200 and nothing', async () => {
    const { server, stateDir, policiesDir } = await startServer({}, { poll: longPoll });
    await server.close();
    const { server: second } = await startServer({ web: 'inputs: []' }, { stateDir, policiesDir, poll: longPoll });
    const agent = await enroll(second.url);
    const poll = agent.checkin(holds('web', 1));
    await expect.poll(() => second.agents()[0]?.polling).toBe(true);
    await second.close();
    const answer = await poll;
    expect([answer.status, answer.text]).toEqual([200, IDLE_CHECKIN_BODY]);
  });

  test('audit/unenroll is taken, once orphaned not again', async () => {
    const { server } = await startServer();
    const agent = await enroll(server.url);
    const url = `${server.url}${PATH.auditUnenroll(agent.id)}`;
    const first = await post(url, agent.key, { reason: 'orphaned', timestamp: new Date().toISOString() });
    expect([first.status, first.text]).toEqual([200, '']);
    expect((await post(url, agent.key, { reason: 'uninstall' })).json).toMatchObject({
      error: 'ErrAuditReasonConflict',
    });
  });
});

describe('headers', () => {
  test('X-Request-Id is echoed, and made when there is none', async () => {
    const { server } = await startServer();
    const url = `${server.url}/api/status`;
    expect((await request(url, { headers: { 'x-request-id': 'abc' } })).headers.get('x-request-id')).toBe('abc');
    expect((await request(url)).headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
    expect((await request(`${server.url}/nowhere`)).headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
  });

  test('Elastic-Api-Version is answered, and refused when it is another', async () => {
    const { server } = await startServer();
    const url = `${server.url}/api/status`;
    const status = await request(url);
    expect(status.json).toEqual({ name: 'fleet-server', status: 'HEALTHY' });
    expect(status.headers.get('elastic-api-version')).toBe('2023-06-01');
    const format = await request(url, { headers: { 'elastic-api-version': '1' } });
    expect([format.status, format.json.error]).toEqual([400, 'ErrInvalidAPIVersionFormat']);
    const other = await request(url, { headers: { 'elastic-api-version': '2024-01-01' } });
    expect([other.status, other.json.error]).toEqual([400, 'ErrUnsupportedAPIVersion']);
    expect(other.headers.get('elastic-api-version')).toBe('2023-06-01');
  });

  test.each([
    ['Elastic Agent v9.2.0', 200],
    ['elastic agent 8.15.0-SNAPSHOT', 200],
    ['Elastic Agent v7.12.0', 400, 'UnsupportedVersion'],
    ['curl/8', 400, 'InvalidUserAgent'],
    ['Elastic Agent new', 400, 'InvalidUserAgent'],
    ['', 500, 'BadRequest'],
  ])('User-Agent %j is answered %i', async (agent, status, error?: string) => {
    const { server } = await startServer();
    const answer = await post(`${server.url}${PATH.enroll}`, 'T', { type: 'PERMANENT' }, { 'user-agent': agent });
    expect(answer.status).toBe(status);
    if (error) expect(answer.json.error).toBe(error);
  });

  test('answers are gzipped only for those who ask for exactly that', async () => {
    const { server } = await startServer({ web: `inputs: [{id: ${'a'.repeat(2000)}}]` });
    const agent = await enroll(server.url);
    const plain = await agent.checkin(holds('', 0), { 'accept-encoding': 'gzip, deflate' });
    expect(plain.headers.get('content-encoding')).toBeNull();
    const zipped = await agent.checkin(holds('', 0), { 'accept-encoding': 'gzip' });
    expect(zipped.headers.get('content-encoding')).toBe('gzip');
    expect(zipped.text).toBe(plain.text);
  });

  test('unknown routes are 404 in plain text, wrong methods 405', async () => {
    const { server } = await startServer();
    const lost = await request(`${server.url}/api/fleet/nowhere`);
    expect([lost.status, lost.headers.get('content-type')]).toEqual([404, expect.stringContaining('text/plain')]);
    expect((await request(`${server.url}/api/fleet/agents/a/checkin`)).status).toBe(405);
  });
});

describe('authentication', () => {
  test.each([
    ['no header', null, 401, 'ErrNoAuthHeader'],
    ['another scheme', 'Bearer x', 400, 'ErrMalformedHeader'],
    ['not base64', 'ApiKey !!!', 401, 'ErrInvalidToken'],
    ['not UTF-8', `ApiKey ${Buffer.from([0xff, 0xfe]).toString('base64')}`, 401, 'ErrInvalidToken'],
    ['no colon', `ApiKey ${Buffer.from('abc').toString('base64')}`, 400, 'ErrMalformedToken'],
    ['two colons', `ApiKey ${Buffer.from('a:b:c').toString('base64')}`, 400, 'ErrMalformedToken'],
    ['an unknown key', `ApiKey ${Buffer.from('a:b').toString('base64')}`, 401, 'ErrUnauthorized'],
  ])('%s', async (_case, header, status, error) => {
    const { server } = await startServer();
    const agent = await enroll(server.url);
    const answer = await post(
      `${server.url}${PATH.checkin(agent.id)}`,
      null,
      'not even JSON',
      header === null ? {} : { authorization: header },
    );
    expect([answer.status, answer.json.error]).toEqual([status, error]);
    expect(answer.headers.get('content-type')).toBe('application/json; charset=utf-8');
    expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
  });

  test('the key of one agent does not open another, nor an unknown one', async () => {
    const { server } = await startServer();
    const [one, two] = [await enroll(server.url), await enroll(server.url)];
    for (const id of [two.id, 'unknown', '__proto__']) {
      const answer = await agentAt(server.url, id, one.key).checkin();
      expect([answer.status, answer.json.error]).toEqual([403, 'ErrAgentIdentity']);
    }
  });

  test('a forced unenrollment ends the poll with nothing and the next request with 401, over a restart too', async () => {
    const world = await startServer({ web: '{}' }, { poll: longPoll });
    const agent = await enroll(world.server.url);
    const poll = agent.checkin(holds('web', 1));
    await expect.poll(() => world.server.agents()[0]?.polling).toBe(true);
    await world.server.forceUnenroll(agent.id);
    expect((await poll).text).toBe(IDLE_CHECKIN_BODY);
    expect((await agent.checkin()).status).toBe(401);
    const again = await world.killAndRestart();
    expect((await agent.at(again.server.url).checkin()).status).toBe(401);
  });
});

describe('bodies', () => {
  test('a gzipped check-in is read; a gzipped enrollment is not', async () => {
    const { server } = await startServer();
    const agent = await enroll(server.url);
    const url = `${server.url}${PATH.checkin(agent.id)}`;
    const body = gzipSync(JSON.stringify({ status: 'online', ...holds('', 0) }));
    expect(ids(await post(url, agent.key, body, { 'content-encoding': 'gzip' }))).toEqual(['policy:web:1']);
    const enrollment = await post(`${server.url}${PATH.enroll}`, 'T', gzipSync('{"type":"PERMANENT"}'), {
      'content-encoding': 'gzip',
    });
    expect([enrollment.status, enrollment.json.error]).toEqual([400, 'BadRequest']);
  });

  test.each([
    ['nothing', ''],
    ['a page', '<html>'],
    ['a list', '[]'],
    ['no status', '{}'],
    ['an empty status', '{"status":""}'],
    ['a revision that is a string', '{"status":"online","policy_revision_idx":"1"}'],
    ['components that are none', '{"status":"online","components":{"a":1}}'],
    ['a wait that is none', '{"status":"online","poll_timeout":"soon"}'],
  ])('%s is a bad request', async (_case, body) => {
    const { server } = await startServer();
    const agent = await enroll(server.url);
    const answer = await post(`${server.url}${PATH.checkin(agent.id)}`, agent.key, body);
    expect([answer.status, answer.json.error]).toEqual([400, 'BadRequest']);
  });

  test('garbage that says it is gzip is a bad request', async () => {
    const { server } = await startServer();
    const agent = await enroll(server.url);
    const answer = await agent.checkin({}, { 'content-encoding': 'gzip' });
    expect([answer.status, answer.json.error]).toEqual([400, 'BadRequest']);
  });

  test('a check-in beyond the limits is a bad request, on the wire and inflated', async () => {
    const { server } = await startServer();
    const agent = await enroll(server.url);
    const wire = await agent.checkin({ message: 'm'.repeat(LIMIT.checkinBodyBytes) });
    expect([wire.status, wire.json.message]).toEqual([400, expect.stringContaining('request body too large')]);
    const bomb = gzipSync(JSON.stringify({ status: 'online', message: 'm'.repeat(LIMIT.checkinInflatedBytes) }));
    const inflated = await post(`${server.url}${PATH.checkin(agent.id)}`, agent.key, bomb, {
      'content-encoding': 'gzip',
    });
    expect([inflated.status, inflated.json.message]).toEqual([400, expect.stringContaining('request body too large')]);
  });

  test('unknown fields, unknown words and null components are taken', async () => {
    const { server } = await startServer();
    const agent = await enroll(server.url);
    const answer = await agent.checkin({ status: 'whatever', components: null, news: [1], ...holds('', 0) });
    expect(answer.status).toBe(200);
    expect(server.agents()[0]).toMatchObject({ status: 'whatever' });
  });
});

describe('acks', () => {
  test('each event has its verdict, and the status is the worst of them', async () => {
    const { server } = await startServer();
    const agent = await enroll(server.url);
    const sent = await server.send(agent.id, 'SETTINGS', { data: '{"log_level":"debug"}' });
    const answer = await agent.ack(
      { action_id: sent.actionId, agent_id: agent.id },
      { action_id: 'unknown' },
      { action_id: sent.actionId, agent_id: 'another' },
      { action_id: 'policy:other:9' },
      { action_id: 'policy:garbage' },
    );
    expect(answer.status).toBe(404);
    expect(answer.json).toEqual({
      action: 'acks',
      errors: true,
      items: [
        { status: 200, message: 'OK' },
        { status: 404, message: 'Not Found' },
        { status: 400, message: 'Bad Request' },
        { status: 200, message: 'OK' },
        { status: 200, message: 'OK' },
      ],
    });
  });

  test('an event that cannot be read is refused by itself, and what follows the body is not looked at', async () => {
    const { server } = await startServer();
    const agent = await enroll(server.url);
    const events = [{ action_id: 'policy:web:1', message: 5 }, 'what', { action_id: 'policy:web:1' }];
    const answer = await post(
      `${server.url}${PATH.acks(agent.id)}`,
      agent.key,
      `${JSON.stringify({ events })}\n{"more"`,
    );
    expect(answer.json.items.map(({ status }: { status: number }) => status)).toEqual([400, 400, 200]);
    expect(server.agents()[0]).toMatchObject({ policy: { acked: { revision: 1 } } });
  });

  test('repeated acks are taken again, empty ones too, and the action of another agent is unknown', async () => {
    const { server } = await startServer();
    const [agent, other] = [await enroll(server.url), await enroll(server.url)];
    const sent = await server.send(agent.id, 'SETTINGS', { data: '{}' });
    expect((await agent.ack({ action_id: sent.actionId, timestamp: 'garbage' })).status).toBe(200);
    expect((await agent.ack({ action_id: sent.actionId, error: 'late' })).status).toBe(200);
    expect((await agent.ack()).text).toBe('{"action":"acks"}');
    expect((await post(`${server.url}${PATH.acks(agent.id)}`, agent.key, {})).text).toBe('{"action":"acks"}');
    expect((await other.ack({ action_id: sent.actionId })).status).toBe(404);
  });

  test('a body that is none is a bad request without verdicts', async () => {
    const { server } = await startServer();
    const agent = await enroll(server.url);
    const answer = await post(`${server.url}${PATH.acks(agent.id)}`, agent.key, '{"events":{}}');
    expect([answer.status, answer.json.action]).toEqual([400, undefined]);
  });

  test('an UNENROLL that failed leaves the agent enrolled', async () => {
    const { server } = await startServer();
    const agent = await enroll(server.url);
    const sent = await server.send(agent.id, 'UNENROLL');
    await agent.ack({ action_id: sent.actionId, error: 'no' });
    expect((await agent.checkin()).status).toBe(200);
  });
});

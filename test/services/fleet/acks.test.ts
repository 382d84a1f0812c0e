import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { owed } from '../../machines/link-fixtures.ts';
import { type FakeServer, json, startFakeServer } from './fake-server.ts';
import { ports } from './local.ts';
import { runPort } from './run-port.ts';

let server: FakeServer;
let fleet: ReturnType<typeof ports>;

beforeEach(async () => {
  server = await startFakeServer();
  fleet = ports();
});
afterEach(async () => {
  await fleet.close();
  await server.close();
});

const send = (acks = [owed('policy:web:3'), owed('b', { error: 'it broke', message: '' })]) =>
  runPort(fleet.acker.sendAcks, { agentId: 'agent-1', host: server.url, acks });

describe('telling Fleet that this agent has left it', () => {
  const input = { agentId: 'agent-1', host: '', reason: 'uninstall', at: Date.UTC(2026, 0, 1) };
  const tell = () => runPort(fleet.acker.tellUnenrolled, { ...input, host: server.url });

  it('says the reason and when it left, with the key of the agent', async () => {
    server.handle((response) => response.writeHead(200).end());
    expect(await tell()).toMatchObject({ kind: 'taken' });
    expect(server.asked[0]).toMatchObject({
      path: '/api/fleet/agents/agent-1/audit/unenroll',
      headers: { authorization: 'ApiKey a2V5OnNlY3JldA==' },
      body: { reason: 'uninstall', timestamp: '2026-01-01T00:00:00.000Z' },
    });
  });

  it('fails with what the server says', async () => {
    server.handle((response) => json(response, 409, { statusCode: 409, error: 'ErrAuditReasonConflict' }));
    expect(await tell()).toMatchObject({ status: 409, byFleet: true });
  });
});

describe('sending acks', () => {
  it('sends one event an ack, plain, with the error only where there is one', async () => {
    server.handle((response) => json(response, 200, { action: 'acks', items: [{ status: 200 }, { status: 200 }] }));
    await send();
    const { path, headers, body } = server.asked[0]!;
    expect(path).toBe('/api/fleet/agents/agent-1/acks');
    expect(headers['content-encoding']).toBeUndefined();
    expect(body).toEqual({
      events: [
        {
          type: 'ACTION_RESULT',
          subtype: 'ACKNOWLEDGED',
          agent_id: 'agent-1',
          action_id: 'policy:web:3',
          message: 'done',
          timestamp: '2023-11-14T22:13:20.000Z',
        },
        {
          type: 'ACTION_RESULT',
          subtype: 'ACKNOWLEDGED',
          agent_id: 'agent-1',
          action_id: 'b',
          message: '',
          error: 'it broke',
          timestamp: '2023-11-14T22:13:20.000Z',
        },
      ],
    });
  });

  it('reads the verdicts whatever the status, which is only the worst of them', async () => {
    const items = [
      { status: 200, message: 'OK' },
      { status: 404, message: 'Not Found' },
    ];
    server.handle((response) => json(response, 404, { action: 'acks', errors: true, items }));
    expect(await send()).toMatchObject({ kind: 'judged', items });
  });

  it('takes a 200 that names no items as a yes to each', async () => {
    server.handle((response) => json(response, 200, { action: 'acks' }));
    expect(await send()).toMatchObject({ kind: 'judged', items: [{ status: 200 }, { status: 200 }] });
  });

  it('fails as a whole when the answer is no ack response', async () => {
    server.handle((response) => json(response, 400, { statusCode: 400, error: 'BadRequest', message: 'Bad request' }));
    expect(await send()).toMatchObject({ kind: 'badRequest', status: 400, byFleet: true });
    server.handle((response) => json(response, 400, '<html>Bad Request</html>'));
    expect(await send()).toMatchObject({
      kind: 'badRequest',
      byFleet: false,
      message: expect.stringContaining('not how a Fleet Server says it'),
    });
    server.handle((response) => json(response, 413, '<html>Request Entity Too Large</html>'));
    expect(await send()).toMatchObject({ kind: 'tooLarge', byFleet: false });
    server.handle((response) => json(response, 200, '<html>'));
    expect(await send()).toMatchObject({ kind: 'garbage' });
    server.handle((response) => json(response, 503, 'busy', { 'retry-after': '3' }));
    expect(await send()).toMatchObject({ kind: 'serverError', retryAfterMs: 3000 });
  });
});

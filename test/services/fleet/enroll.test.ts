import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { enrollPorts } from '../../../src/services/fleet/ports.ts';
import { systemClock } from '../../../src/services/host/clock.ts';
import { type FakeServer, json, startFakeServer } from './fake-server.ts';
import { local, settings } from './local.ts';
import { runPort } from './run-port.ts';

let server: FakeServer;
let fleet: ReturnType<typeof enrollPorts>;

beforeEach(async () => {
  server = await startFakeServer();
  fleet = enrollPorts({ settings, clock: systemClock, local: () => local });
});
afterEach(async () => {
  await fleet.close();
  await server.close();
});

const enroll = () =>
  runPort(fleet.enroll, {
    host: `${server.url}/`,
    token: 'dG9rZW4=',
    enrollmentId: 'enrollment-1',
    tags: ['web', 'holdfast'],
  });

describe('asking to be enrolled', () => {
  it('sends token, enrollment id, tags and what this host is', async () => {
    await enroll();
    const { path, headers, body } = server.asked[0]!;
    expect(path).toBe('/api/fleet/agents/enroll');
    expect(headers).toMatchObject({ authorization: 'ApiKey dG9rZW4=', 'user-agent': 'Elastic Agent v9.2.0-holdfast' });
    expect(body).toMatchObject({
      type: 'PERMANENT',
      enrollment_id: 'enrollment-1',
      metadata: { tags: ['holdfast', 'web'], local: { elastic: { agent: { version: '9.2.0', upgradeable: false } } } },
    });
  });

  it('takes agent id, key and policy from the answer', async () => {
    server.handle((response) =>
      json(response, 200, {
        action: 'created',
        item: { id: 'agent-9', access_api_key: 'a2V5', policy_id: 'web', type: 'PERMANENT', active: true },
      }),
    );
    expect(await enroll()).toMatchObject({
      kind: 'enrolled',
      item: { agentId: 'agent-9', accessKey: 'a2V5', policyId: 'web' },
    });
  });

  it.each([
    [401, 'unauthorised'],
    [403, 'forbidden'],
    [429, 'tooMany'],
    [500, 'serverError'],
    [200, 'garbage'],
  ])('names the answer %i', async (status, kind) => {
    server.handle((response) => json(response, status, { statusCode: status, error: 'ErrX' }));
    expect(await enroll()).toMatchObject({ kind });
  });

  it('takes no key that could never be sent', async () => {
    for (const key of ['a2V5\nX-Evil: 1', 'a2V5\u0000', 'schlüssel', 'two words']) {
      server.handle((response) => json(response, 200, { action: 'created', item: { id: 'a', access_api_key: key } }));
      expect(await enroll()).toMatchObject({ kind: 'garbage' });
    }
  });

  it('speaks of the token, not of an agent there is not yet, when it is refused', async () => {
    for (const status of [401, 403]) {
      server.handle((response) => json(response, status, { statusCode: status, error: 'ErrX', message: 'no' }));
      expect(await enroll()).toMatchObject({ message: `${server.url} answered ${status}: ErrX: no`, byFleet: true });
    }
  });
});

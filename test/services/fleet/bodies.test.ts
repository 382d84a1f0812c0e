import { describe, expect, it } from 'vitest';
import { acksBody, checkinBody } from '../../../src/services/fleet/bodies.ts';
import { failureOfThrown, retryAfterMs } from '../../../src/services/fleet/failures.ts';
import { proxyFor } from '../../../src/services/fleet/transport.ts';
import { acksRequestSchema, checkinRequestSchema } from '../../../src/wire/fleet.ts';
import { owed, report } from '../../machines/link-fixtures.ts';
import { local, poll } from './local.ts';

const component = {
  id: 'nginx-default-web',
  type: 'nginx',
  state: 'backingOff',
  message: 'restarts in 5 s',
  pid: null,
  restarts: 3,
  hash: 'h',
  units: [{ id: 'nginx-default-web-in-1', type: 'input', state: 'reloading', message: 'reloading' }],
} as const;

describe('the body of a check-in', () => {
  it('is what the wire schema wants, with units in the words Kibana knows', () => {
    const body = checkinBody(poll('https://a', { report: { ...report, components: [component] } }), local, 420_000);
    expect(checkinRequestSchema.safeParse(body).success).toBe(true);
    expect(body.components).toEqual([
      {
        id: 'nginx-default-web',
        type: 'nginx',
        status: 'DEGRADED',
        message: 'restarts in 5 s',
        units: [{ id: 'nginx-default-web-in-1', type: 'input', status: 'CONFIGURING', message: 'reloading' }],
      },
    ]);
  });

  it('describes agent and host in ECS form, and the start and policy under holdfast', () => {
    expect(checkinBody(poll('https://a'), local, 1).local_metadata).toMatchObject({
      elastic: { agent: { id: 'agent-1', version: '9.2.0', upgradeable: false, log_level: 'info' } },
      host: { hostname: 'h' },
      os: { platform: 'debian' },
      holdfast: { start: 1, previous: 'first', policy: { running: null, persisted: null }, generation: 0 },
    });
  });

  it('cuts a message at 1,024 characters', () => {
    const body = checkinBody(poll('https://a', { report: { ...report, message: 'x'.repeat(5000) } }), local, 1);
    expect(body.message).toHaveLength(1024);
  });
});

describe('the body of acks', () => {
  it('says that an action failed even when nobody said how', () => {
    const body = acksBody('agent-1', [owed('a', { error: '' })]);
    expect(body.events?.[0]?.error).toBe('failed');
    expect(acksRequestSchema.safeParse(body).success).toBe(true);
  });
});

describe('small decisions at the edge', () => {
  it('reads Retry-After as seconds or as a date', () => {
    const now = Date.UTC(2026, 0, 1);
    expect(retryAfterMs('120', now)).toBe(120_000);
    expect(retryAfterMs('Thu, 01 Jan 2026 00:00:30 GMT', now)).toBe(30_000);
    expect(retryAfterMs('soon', now)).toBeNull();
    expect(retryAfterMs(null, now)).toBeNull();
  });

  it('knows which proxy stands between here and a host', () => {
    const environmentProxy = { https: 'http://user:secret@proxy:3128', http: null, no: 'localhost,.corp.example' };
    const settings = { agentVersion: '', ssl: {} as never, proxyUrl: null, environmentProxy };
    expect(proxyFor('https://fleet.example:8220', settings)).toBe('http://proxy:3128');
    expect(proxyFor('https://fleet.corp.example', settings)).toBeNull();
    expect(proxyFor('http://fleet.example', settings)).toBeNull();
    expect(proxyFor('http://fleet.example', { ...settings, proxyUrl: 'http://own:1' })).toBe('http://own:1');
  });

  it.each([
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'tls', false],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'tls', false],
    ['EAI_AGAIN', 'unreachable', false],
    ['UND_ERR_CONNECT_TIMEOUT', 'unreachable', false],
    ['ECONNRESET', 'truncated', true],
    ['HPE_INVALID_CONSTANT', 'garbage', false],
    ['UND_ERR_HEADERS_OVERFLOW', 'garbage', false],
  ])('names the error code %s', (code, kind, answerLost) => {
    const thrown = Object.assign(new Error('what it said'), { code });
    expect(failureOfThrown(new Error('fetch failed', { cause: thrown }), 'https://a', null, 1)).toMatchObject({
      kind,
      answerLost,
    });
  });
});

import { describe, expect, it } from 'vitest';
import { acksBody, checkinBody } from '../../../src/services/fleet/bodies.ts';
import { failureOfThrown, retryAfterMs } from '../../../src/services/fleet/failures.ts';
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

  it.each([
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'tls', false],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'tls', false],
    ['ECONNRESET', 'truncated', true],
    ['HPE_INVALID_CONSTANT', 'garbage', false],
    ['UND_ERR_HEADERS_OVERFLOW', 'garbage', false],
  ])('names the error code %s', (code, kind, answerLost) => {
    const thrown = Object.assign(new Error('what it said'), { code });
    const way = { host: 'https://a', proxy: null, sent: true };
    expect(failureOfThrown(new Error('fetch failed', { cause: thrown }), way, 1)).toMatchObject({ kind, answerLost });
  });

  it.each([
    ['ETIMEDOUT', 'read', true, 'truncated', true],
    ['EHOSTUNREACH', 'read', true, 'truncated', true],
    ['ENETUNREACH', 'write', true, 'truncated', true],
    ['EPIPE', 'write', true, 'truncated', true],
    ['ETIMEDOUT', 'connect', false, 'unreachable', false],
    ['EHOSTUNREACH', 'connect', false, 'unreachable', false],
    ['EAI_AGAIN', 'getaddrinfo', false, 'unreachable', false],
    ['EACCES', 'connect', false, 'unreachable', false],
    ['EPERM', 'connect', false, 'unreachable', false],
  ])('tells %s of %s from the same code elsewhere', (code, syscall, sent, kind, answerLost) => {
    const thrown = Object.assign(new Error(`${syscall} ${code}`), { code, syscall });
    const way = { host: 'https://a', proxy: null, sent };
    expect(failureOfThrown(thrown, way, 1)).toMatchObject({ kind, answerLost });
  });

  it('calls a forbidden connection a firewall, not a certificate file', () => {
    const thrown = Object.assign(new Error('connect EPERM 10.0.0.1:443'), { code: 'EPERM', syscall: 'connect' });
    const { message } = failureOfThrown(thrown, { host: 'https://a', proxy: null, sent: false }, 1);
    expect(message).toContain('firewall');
    expect(message).not.toContain('certificate');
  });

  it('blames no proxy for a host that has the word in its name', () => {
    const way = { host: 'https://proxy.example', proxy: null, sent: false };
    const thrown = Object.assign(new Error('getaddrinfo ENOTFOUND proxy.example'), {
      code: 'ENOTFOUND',
      syscall: 'getaddrinfo',
    });
    expect(failureOfThrown(thrown, way, 1)).toMatchObject({ kind: 'unreachable' });
  });
});

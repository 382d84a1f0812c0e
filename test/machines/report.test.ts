/** What Fleet is told, worst first (design of the status a server and its users see). */
import { describe, expect, it } from 'vitest';
import { type AgentContext, initialContext } from '../../src/machines/agent-context.ts';
import { emptyFacts, type Facts, NOTHING_SPENT } from '../../src/machines/facts.ts';
import { buildReport, MESSAGE_LIMIT } from '../../src/machines/report.ts';
import type { ComponentStatus } from '../../src/policy/component.ts';
import { policyRef } from '../../src/policy/identity.ts';
import { policyNamed, SETTINGS } from '../support/agent-world.ts';

const ref = (name: string) => policyRef(policyNamed(name));
const good = (name: string) => ({ ...ref(name), promotedAt: 1, attempts: 0 });
const start = {
  number: 7,
  bootId: 'boot',
  at: 1,
  previous: 'crashed' as const,
  crashes: 2,
  inFlight: 'applying web:2 (attempt 1)',
  confirmed: false,
  goodbye: false,
  spent: NOTHING_SPENT,
};
const ill: ComponentStatus = {
  id: 'nginx-default-web',
  type: 'nginx',
  state: 'backingOff',
  message: 'exited with 1',
  pid: null,
  restarts: 3,
  hash: 'h',
  units: [],
};
const rejection = {
  ...ref('web:2'),
  kind: 'check' as const,
  reason: 'no such directive',
  rejectedAt: 5,
  times: 1,
  retry: null,
};

function told(facts: Partial<Facts>, more: Partial<AgentContext> = {}) {
  const context = {
    ...initialContext(SETTINGS),
    facts: { ...emptyFacts('agent'), generations: [good('web:1')], received: { ...ref('web:1'), at: 1 }, ...facts },
    factsProven: true,
    running: ref('web:1'),
    ...more,
  };
  return buildReport(context);
}

describe('the report', () => {
  it.each([
    ['online', 'running web:1', {}, {}],
    ['degraded', 'running web:1; nginx-default-web is backingOff: exited with 1', {}, { components: [ill] }],
    [
      'degraded',
      'restarted after crash: applying web:2 (attempt 1); running web:1',
      { starts: [start] },
      { components: [ill] },
    ],
    [
      'degraded',
      /^passed over web:3, which the agent did not survive; running web:1/,
      { starts: [start], runs: 1, generations: [good('web:3'), good('web:1')] },
      {},
    ],
    [
      'degraded',
      'policy rejected: web:2: no such directive; running web:1',
      { starts: [start], rejected: [rejection], received: { ...ref('web:2'), at: 5 } },
      {},
    ],
    [
      'degraded',
      /^holds an older policy: lost; running web:1/,
      { rejected: [rejection] },
      { orphaned: { reason: 'lost', since: 1, receivedAt: null, damaged: null } },
    ],
    [
      'degraded',
      /^holds no policy: lost; running nothing/,
      { generations: [] },
      { running: null, orphaned: { reason: 'lost', since: 1, receivedAt: null, damaged: null } },
    ],
    [
      'error',
      'the store takes no writes: full; running web:1',
      { rejected: [rejection] },
      { storeProblem: { code: 'STORE_WRITE_FAILED', message: 'full' } },
    ],
    [
      'error',
      /^safe mode: it crashed; nothing is started/,
      { safeMode: { reason: 'it crashed', since: 1, until: { at: 9, delayMs: 8 } } },
      {},
    ],
    ['error', 'unenrolled: asked to', { unenrolled: { at: 1, reason: 'asked to' } }, {}],
    ['starting', 'waiting for the first policy', { generations: [], received: null }, { running: null }],
  ] as const)('says %s: %s', (status, message, facts, more) => {
    const report = told(facts as Partial<Facts>, more as Partial<AgentContext>);
    expect(report.status).toBe(status);
    expect(report.message).toEqual(typeof message === 'string' ? message : expect.stringMatching(message));
    expect(report.message).not.toMatch(/orphan/i);
  });

  it('is silent about a rejection that Fleet has moved on from, and says one it has come back to', () => {
    const older = { ...rejection, ...ref('web:0') };
    const both = { rejected: [rejection, older] };
    expect(told({ ...both, received: { ...ref('web:1'), at: 9 } }).status).toBe('online');
    expect(told({ ...both, received: { ...ref('web:0'), at: 9 } }).message).toMatch(/^policy rejected: web:0/);
  });

  it('carries starts, crashes, hashes and the generation that runs', () => {
    const { metadata } = told({ starts: [start], generations: [good('web:3'), good('web:1')], runs: 1 });
    expect(metadata).toEqual({
      start: 7,
      previous: 'crashed',
      crashes: 2,
      policy: { running: 'hash-web:1', persisted: 'hash-web:3' },
      rejected: null,
      generation: 1,
    });
  });

  it('tells of this start while the disk takes no record of it, not of the one on record (P9)', () => {
    const before = { ...start, number: 6, previous: 'goodbye' as const, crashes: 0, inFlight: null, confirmed: true };
    const { message, metadata } = told({ starts: [before] }, { factsProven: false });
    expect(metadata).toMatchObject({ start: 7, previous: 'crashed', crashes: 1 });
    expect(message).toBe('restarted after crash: at rest; running web:1');
    expect(told({ starts: [before] }, { factsProven: true }).metadata).toMatchObject({ start: 6, previous: 'goodbye' });
    expect(told({ starts: [] }, { factsProven: false }).metadata).toMatchObject({ start: 1, previous: 'first' });
  });

  it('is never longer than Kibana shows', () => {
    const { message } = told({ unenrolled: { at: 1, reason: 'x'.repeat(5000) } });
    expect(message).toHaveLength(MESSAGE_LIMIT);
    expect(message.endsWith('…')).toBe(true);
  });
});

import { expect } from 'vitest';
import { gatewayMachine } from '../../src/machines/gateway.ts';
import { GATEWAY_TIMINGS, type GatewayContext } from '../../src/machines/gateway-context.ts';
import { describePaths, type Told } from '../support/paths.ts';
import { AT, answered, factsWith, failure, generation, report } from './link-fixtures.ts';

type Snapshot = { context: GatewayContext; value: unknown };

const held = factsWith({ generations: [generation('web')] });
const verified = (problem: null | { code: 'STORE_UNREADABLE'; message: string } = null) => ({
  verdict: { hash: 'hash-web-1', problem },
  hasElasticsearchOutput: false,
  at: AT,
});
const content = answered({ idle: false, text: '{"actions":[1]}', tookMs: 5 });
const empty = { kind: 'decoded', token: null, actions: [], policy: null } as const;

const cases = [
  { type: 'facts.changed', facts: held, at: AT },
  { type: 'facts.changed', facts: factsWith(), at: AT },
  { type: 'facts.changed', facts: factsWith({ unenrolled: { at: AT, reason: 'asked' } }), at: AT },
  { type: 'report.changed', report, urgent: true },
  { type: 'report.changed', report, urgent: false },
  { type: 'delivery.taken', news: { policy: true, actions: false } },
  { type: 'delivery.taken', news: { policy: false, actions: false } },
  { type: 'delivery.unstorable', problem: { code: 'STORE_WRITE_FAILED', message: 'full' } },
  { type: 'store.committed', id: 'answer 1', facts: held, at: AT, news: null },
  { type: 'store.committed', id: 'another', facts: held, at: AT, news: null },
  { type: 'store.delayed', id: 'answer 1', problem: { code: 'STORE_WRITE_FAILED', message: 'full' } },
  { type: 'xstate.done.actor.verifyHeld', output: verified() },
  { type: 'xstate.done.actor.verifyHeld', output: { ...verified(), verdict: null } },
  { type: 'xstate.done.actor.checkin', output: answered() },
  { type: 'xstate.done.actor.checkin', output: answered({ tookMs: 5 }) },
  { type: 'xstate.done.actor.checkin', output: content },
  { type: 'xstate.done.actor.checkin', output: { ...content, tookMs: 290_000 } },
  { type: 'xstate.done.actor.checkin', output: failure('cut') },
  { type: 'xstate.done.actor.checkin', output: failure('unreachable') },
  { type: 'xstate.done.actor.checkin', output: failure('unauthorised', { status: 401 }) },
  { type: 'xstate.done.actor.decode', output: { ...empty, token: 'token-1' } },
  { type: 'xstate.done.actor.decode', output: empty },
  { type: 'xstate.done.actor.decode', output: { kind: 'garbage', problem: { code: 'FLEET_GARBAGE', message: 'no' } } },
  { type: 'xstate.error.actor.*', error: new Error('the port broke') },
  { type: 'host.woke' },
] as never;

const options = {
  input: {
    facts: { ...held, answerDeaths: 1 },
    proven: true,
    report,
    agentId: 'agent-1',
    hosts: ['https://a', 'https://b'],
    timings: { ...GATEWAY_TIMINGS, unauthorisedTolerated: 1 },
    jitterSeed: 1,
  },
  cases,
  skip: (event: { type: string; id?: string }, snapshot: { context: { answerNumber: number } }) =>
    event.id === 'answer 1' && snapshot.context.answerNumber !== 1,
  project: ({ context, value }: Snapshot) => [
    context.urgentOwed,
    // What the guards of the open poll read; elsewhere it only multiplies the paths.
    JSON.stringify(value).includes('checkingIn') && context.says !== null && context.facts.generations.length,
    Math.min(context.tried.length, 1),
    Math.min(context.refusals, 1),
    (context.answer?.tookMs ?? 0) > 1000,
  ],
};

describePaths('gateway', gatewayMachine, {
  ...options,
  unwalked: {
    'gateway.opening — always [the agent is unenrolled] → gateway.closed': 'another input; see gateway.test.ts',
    'gateway.decoding — xstate.done.actor.decode [only actions answer the question for everything] → gateway.delivering / rememberDelivery, oweEverything, forgetTheQuestion, reopenQuestion':
      'another input; see gateway.test.ts',
    'gateway.opening — always → gateway.verifying': 'another input; see gateway.test.ts',
  },
  invariants: ({ context, value }: Snapshot, { told }: { told: Told[] }) => {
    for (const { to, event } of told) {
      // P7: a delivery goes to the dispatcher only, and the store is only asked for marks.
      if (to === 'store')
        expect((event as unknown as { changes: { type: string }[] }).changes[0]?.type).toMatch(/^answer\./);
      if (to === 'dispatcher') expect(event.type).toBe('delivery.arrived');
    }
    if (value === 'closed') expect(context.facts.unenrolled).not.toBeNull();
    expect(context.delayMs).toBeGreaterThanOrEqual(0);
  },
} as never);

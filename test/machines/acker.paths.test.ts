import { expect } from 'vitest';
import { ackerMachine } from '../../src/machines/acker.ts';
import type { AckerContext } from '../../src/machines/acker-decisions.ts';
import { describePaths, type Told } from '../support/paths.ts';
import { AT, factsWith, failure, owed } from './link-fixtures.ts';

const one = factsWith({ outbox: [owed('a')] });
const two = factsWith({ outbox: [owed('a'), owed('b')] });
const none = factsWith();
const gone = factsWith({ outbox: [owed('a')], unenrolled: { at: AT, reason: 'asked' } });
const left = (tries: number | null) =>
  factsWith({
    unenrolled: { at: AT, reason: 'asked' },
    audit: tries === null ? null : { reason: 'uninstall', tries },
  });
const judged = (...statuses: number[]) => ({
  kind: 'judged',
  items: statuses.map((status) => ({ status, message: 'said' })),
  at: AT,
});

describePaths('acker', ackerMachine, {
  input: {
    facts: none,
    proven: true,
    withheld: [],
    agentId: 'agent-1',
    hosts: ['https://a', 'https://b'],
    backoff: { initialMs: 5000, maxMs: 60_000 },
    jitterSeed: 1,
  },
  cases: [
    ...[one, two, none, gone].map((facts) => ({ type: 'facts.changed', facts, at: AT })),
    { type: 'store.committed', id: 'settlement 1', facts: none, at: AT, news: null },
    { type: 'store.committed', id: 'settlement 1', facts: one, at: AT, news: null },
    { type: 'store.committed', id: 'another', facts: two, at: AT, news: null },
    { type: 'facts.changed', facts: left(0), at: AT },
    { type: 'store.committed', id: 'settlement 1', facts: left(1), at: AT, news: null },
    { type: 'store.committed', id: 'settlement 1', facts: left(5), at: AT, news: null },
    { type: 'store.committed', id: 'settlement 2', facts: left(null), at: AT, news: null },
    { type: 'xstate.done.actor.tellUnenrolled', output: { kind: 'taken', at: AT } },
    { type: 'xstate.done.actor.tellUnenrolled', output: failure('unreachable') },
    { type: 'xstate.done.actor.sendAcks', output: judged(200, 200) },
    { type: 'xstate.done.actor.sendAcks', output: judged(404, 200) },
    { type: 'xstate.done.actor.sendAcks', output: failure('badRequest', { status: 400, byFleet: true }) },
    { type: 'xstate.done.actor.sendAcks', output: failure('tooLarge', { status: 413 }) },
    { type: 'xstate.done.actor.sendAcks', output: failure('unauthorised', { status: 401, byFleet: true }) },
    { type: 'xstate.done.actor.sendAcks', output: failure('unreachable') },
    { type: 'xstate.error.actor.*', error: new Error('the port broke') },
    { type: 'host.woke' },
  ],
  project: ({ context }: { context: AckerContext }) => [
    context.facts.outbox.length,
    context.facts.unenrolled !== null,
    context.facts.audit?.tries ?? null,
    context.batch.length > 1,
    context.deferred.length > 0,
    Math.min(context.tried.length, 1),
    Math.min(context.settlement, 2),
  ],
  invariants: ({ context }: { context: AckerContext }, { told }: { told: Told[] }) => {
    for (const { to, event } of told) {
      if (to === 'agent') expect(context.facts.outbox).toEqual([]);
      if (to !== 'store') continue;
      const { changes } = event as unknown as { changes: { type: string; verdicts: { actionId: string }[] }[] };
      if (changes[0]?.type.startsWith('audit.')) continue;
      // Each ack of the batch gets one verdict, and nothing else does.
      expect(changes[0]?.verdicts.map(({ actionId }) => actionId)).toEqual(
        context.batch.map(({ actionId }) => actionId),
      );
    }
  },
} as never);

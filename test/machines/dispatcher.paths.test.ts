/** Every state and transition of the dispatcher, and its rule: nothing is taken before it is durable (P4). */
import { expect, it } from 'vitest';
import { type DispatcherContext, dispatcherMachine } from '../../src/machines/dispatcher.ts';
import { emptyFacts, type Facts, type JournalEntry } from '../../src/machines/facts.ts';
import { actionNamed, policyNamed } from '../support/agent-world.ts';
import { describePaths, startControlled, type Told } from '../support/paths.ts';

type Snapshot = { context: DispatcherContext; value: unknown };

const entry = (state: JournalEntry['state'], id = 'a1'): JournalEntry => ({
  ...actionNamed(id, 'SETTINGS', { log_level: 'debug' }),
  state,
  receivedAt: 1,
  doneAt: null,
  outcome: null,
});
const withJournal = (...journal: JournalEntry[]): Facts => ({ ...emptyFacts('agent'), journal });
const idle = withJournal();
const waiting = withJournal(entry('received'));
const begun = withJournal(entry('started'));
const full = { code: 'STORE_WRITE_FAILED', message: 'full' } as const;
const reply = (id: string, facts: Facts) => ({
  type: 'store.committed',
  id,
  facts,
  at: 2,
  news: { policy: true, actions: true },
});
const delivery = {
  type: 'delivery.arrived',
  token: 't',
  actions: [actionNamed('a1', 'SETTINGS', {})],
  policy: policyNamed('web:1'),
};

describePaths('dispatcher', dispatcherMachine, {
  cases: [
    { type: 'dispatcher.open', facts: idle, at: 1 },
    { type: 'dispatcher.open', facts: waiting, at: 1 },
    { type: 'dispatcher.open', facts: begun, at: 1 },
    { type: 'facts.changed', facts: idle, at: 2 },
    { type: 'facts.changed', facts: waiting, at: 2 },
    delivery,
    reply('delivery', waiting),
    reply('results', idle),
    { type: 'store.delayed', id: 'delivery', problem: full },
    { type: 'store.delayed', id: 'results', problem: full },
  ] as never,
  project: ({ context }: Snapshot) => [context.facts.journal.map((one) => one.state), context.delivery === null],
  invariants: ((_: Snapshot, { event, told }: { event: { type: string; id?: string }; told: Told[] }) => {
    const types = told.map((one) => one.event.type);
    if (types.includes('delivery.taken')) expect(event).toMatchObject({ type: 'store.committed', id: 'delivery' });
    if (event.type === 'delivery.arrived') expect(types.filter((type) => type.startsWith('delivery.'))).toEqual([]);
    for (const { to } of told) expect(['store', 'gateway']).toContain(to);
  }) as never,
} as never);

it('a delivery that overtakes one on a slow disk is taken too: each is answered when it is durable', () => {
  const run = startControlled(dispatcherMachine, { systemId: 'dispatcher' });
  run.send({ type: 'dispatcher.open', facts: idle, at: 1 } as never);
  run.send(delivery as never);
  run.send({ ...delivery, token: 'newer' } as never);
  run.flush();
  run.send(reply('delivery', idle) as never);
  run.send(reply('delivery', idle) as never);
  expect(run.flush().map((one) => one.event.type)).toEqual(['delivery.taken', 'delivery.taken']);
});

it('an action that expired before this start is answered as expired, also when it had begun', () => {
  const run = startControlled(dispatcherMachine, { systemId: 'dispatcher' });
  run.send({ type: 'dispatcher.open', facts: withJournal({ ...entry('started'), expiration: 50 }), at: 100 } as never);
  const [asked] = run.flush();
  expect(asked).toMatchObject({
    to: 'store',
    event: { id: 'results', changes: [{ outcome: { ok: false, error: expect.stringContaining('expired') } }] },
  });
});

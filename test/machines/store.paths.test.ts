/** Every state and transition of the store, and the one rule that all of them keep: nothing is true before a commit has ended. */
import { describe, expect, it } from 'vitest';
import { emptyFacts } from '../../src/machines/facts.ts';
import { type StoreContext, storeMachine } from '../../src/machines/store.ts';
import { describePaths, startControlled, type Told } from '../support/paths.ts';

type Snapshot = { context: StoreContext; value: unknown };

const INPUT = { agentId: 'agent', retry: { initialMs: 1000, maxMs: 60_000 } };
const full = { code: 'STORE_WRITE_FAILED', message: 'no space left on device' } as const;
const readable = { code: 'STORE_READABLE_AGAIN', message: 'it can be read again' } as const;
const facts = { ...emptyFacts('agent'), deliveryToken: 'token' };
const request = (from: string, id: string, type = 'start.goodbye') => ({
  type: 'store.change',
  from,
  id,
  changes: [{ type }],
});
const committed = { facts, at: 5, news: [null, null, null] };

describePaths('store', storeMachine, {
  input: INPUT,
  cases: [
    request('agent', 'start'),
    request('gateway', 'answer 1'),
    { type: 'store.close' },
    { type: 'xstate.done.actor.open', output: { facts, findings: [], at: 1 } },
    { type: 'xstate.done.actor.open', output: { facts: null, findings: ['damaged'], at: 1 } },
    { type: 'xstate.done.actor.commit', output: committed },
    { type: 'xstate.error.actor.*', error: full },
    { type: 'xstate.error.actor.commit', error: full },
    { type: 'xstate.error.actor.commit', error: readable },
  ] as never,
  project: ({ context }: Snapshot) => [
    context.queue.map((one) => one.id),
    context.writing.map((one) => one.id),
    Math.min(context.failures, 2),
    context.problem === null,
  ],
  invariants: (({ context, value }: Snapshot, { event, told }: { event: { type: string }; told: Told[] }) => {
    const types = told.map((one) => one.event.type);
    if (event.type !== 'xstate.done.actor.commit') {
      expect(types).not.toContain('store.committed');
      expect(types).not.toContain('facts.changed');
    }
    if (value === 'committing') expect(context.writing.length).toBeGreaterThan(0);
    if (value === 'ready' || value === 'failing') expect(context.writing).toEqual([]);
    if (value === 'ready') expect(context.queue).toEqual([]);
    expect(new Set(context.queue.map(({ from, id }) => `${from} ${id}`)).size).toBe(context.queue.length);
    if (value === 'failing') expect(context.problem).not.toBeNull();
  }) as never,
} as never);

describe('the store', () => {
  const opened = () => {
    const run = startControlled(storeMachine, { input: INPUT, deaf: ['store'] });
    run.port('open').resolve({ facts: null, findings: [], at: 1 });
    run.flush();
    return run;
  };

  it('makes what several ask for while it writes one commit, and answers each only when it has ended', () => {
    const run = opened();
    run.send(request('agent', 'start'));
    run.send(request('dispatcher', 'delivery'));
    run.send(request('acker', 'settled'));
    expect(run.flush()).toEqual([]);
    run.port('commit').resolve(committed);
    expect(
      run
        .flush()
        .filter((one) => one.event.type === 'store.committed')
        .map((one) => one.to),
    ).toEqual(['agent']);
    expect((run.port('commit').call.input as { requests: unknown[] }).requests).toHaveLength(2);
    run.port('commit').resolve({ ...committed, news: [{ policy: true, actions: false }, null] });
    const replies = run.flush().filter((one) => one.event.type === 'store.committed');
    expect(replies.map((one) => [one.to, (one.event as unknown as { news: unknown }).news])).toEqual([
      ['dispatcher', { policy: true, actions: false }],
      ['acker', null],
    ]);
  });

  it('replaces a waiting request of the same asker and id in its place in the line, and never one that is being written', () => {
    const run = opened();
    run.send(request('agent', 'start'));
    run.send(request('dispatcher', 'delivery', 'answer.arrived'));
    run.send(request('acker', 'settled'));
    run.send(request('dispatcher', 'delivery', 'answer.discarded'));
    expect(run.snapshot().context.writing).toMatchObject([{ id: 'start' }]);
    expect(run.snapshot().context.queue).toMatchObject([
      { changes: [{ type: 'answer.discarded' }] },
      { id: 'settled' },
    ]);
  });

  it('tries again after a growing delay, says so to everyone who waits, and says when it works again', () => {
    const run = opened();
    run.send(request('agent', 'start'));
    run.port('commit').reject(full);
    expect(run.flush().map((one) => [one.to, one.event.type])).toEqual([
      ['agent', 'store.delayed'],
      ['agent', 'store.failing'],
    ]);
    run.send(request('gateway', 'answer 1'));
    expect(run.flush().map((one) => [one.to, one.event.type])).toEqual([['gateway', 'store.delayed']]);
    expect(run.clock.nextInMs()).toBe(1000);
    run.clock.advance(1000);
    run.port('commit').reject(full);
    expect(run.clock.nextInMs()).toBe(2000);
    run.clock.advance(2000);
    expect((run.port('commit').call.input as { requests: { id: string }[] }).requests.map((one) => one.id)).toEqual([
      'start',
      'answer 1',
    ]);
    run.flush();
    run.port('commit').resolve(committed);
    expect(run.flush().map((one) => one.event.type)).toContain('store.recovered');
    expect(run.snapshot().context).toMatchObject({ failures: 0, problem: null });
  });

  it('puts what could not be written before what came after it', () => {
    const run = opened();
    run.send(request('agent', 'start'));
    run.send(request('agent', 'goodbye'));
    run.port('commit').reject(full);
    expect(run.snapshot().context.queue.map((one: { id: string }) => one.id)).toEqual(['start', 'goodbye']);
  });

  it('tells at once also who asked while a commit failed, not only after the next try', () => {
    const run = opened();
    run.send(request('dispatcher', 'delivery'));
    run.send(request('agent', 'rejected'));
    run.send(request('dispatcher', 'delivery'));
    run.flush();
    run.port('commit').reject(full);
    expect(run.flush().map(({ to, event }) => [to, event.type, (event as { id?: string }).id])).toEqual([
      ['dispatcher', 'store.delayed', 'delivery'],
      ['agent', 'store.delayed', 'rejected'],
      ['agent', 'store.failing', undefined],
    ]);
  });
});

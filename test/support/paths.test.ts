/** The path generator proves itself: on a small machine that is right, and on the same machine with one thing wrong at a time. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { assign, fromPromise, not, setup } from 'xstate';
import { tell } from '../../src/machines/system.ts';
import { describePaths, type PathOptions, provePaths, startControlled } from './paths.ts';

type FetcherEvent = { type: 'fetch.asked'; urgent: boolean } | { type: 'fetch.cancelled' };

interface Faults {
  /** An action that reads more than the context: the started actor differs from the pure machine. */
  impure?: boolean;
  /** A Date in the context. */
  richContext?: boolean;
  /** A state without a way in. */
  island?: boolean;
  /** A transition without a way to take it. */
  dead?: boolean;
  /** An action that throws. */
  throwing?: boolean;
}

function fetcher(faults: Faults = {}) {
  let calls = 0;
  return setup({
    types: {
      context: {} as { failures: number; got: string | null; since: unknown },
      events: {} as FetcherEvent,
      input: {} as { patience: number },
    },
    actors: { download: fromPromise<string, { attempt: number }>(() => Promise.reject(new Error('not provided'))) },
    guards: {
      'it is urgent': ({ event }) => event.type === 'fetch.asked' && event.urgent,
      'patience is exhausted': ({ context }) => context.failures > 2,
      never: () => false,
    },
    delays: { backoff: ({ context }) => 1000 * 2 ** context.failures },
    actions: {
      report: tell('agent', { type: 'host.woke' }),
      misbehave: () => {
        calls += 1;
        if (faults.throwing) throw new Error('an action threw');
      },
    },
  }).createMachine({
    id: 'fetcher',
    context: ({ input }) => ({
      failures: 0,
      got: null,
      since: faults.richContext ? new Date(0) : input.patience,
    }),
    initial: 'idle',
    states: {
      idle: {
        on: {
          'fetch.asked': [
            { guard: 'it is urgent', target: 'fetching' },
            { guard: not('it is urgent'), target: 'backingOff' },
          ],
        },
      },
      fetching: {
        entry: 'misbehave',
        invoke: {
          src: 'download',
          id: 'download',
          input: ({ context }) => ({ attempt: context.failures }),
          onDone: {
            target: 'done',
            actions: assign({ got: ({ event }) => (faults.impure ? `${event.output}${calls}` : event.output.trim()) }),
          },
          onError: { target: 'judging', actions: assign({ failures: ({ context }) => context.failures + 1 }) },
        },
        on: {
          'fetch.cancelled': 'idle',
          ...(faults.dead ? { 'fetch.asked': { guard: 'never' as const, target: 'idle' as const } } : {}),
        },
        after: { 60000: 'judging' },
      },
      judging: { always: [{ guard: 'patience is exhausted', target: 'failed' }, { target: 'backingOff' }] },
      backingOff: { after: { backoff: 'fetching' } },
      failed: { entry: 'report', type: 'final' },
      done: { entry: 'report', type: 'final' },
      ...(faults.island ? { island: {} } : {}),
    },
  });
}

const doneBytes = { type: 'xstate.done.actor.download', output: 'bytes' } as const;

const options: PathOptions<ReturnType<typeof fetcher>> = {
  input: { patience: 3 },
  cases: [
    { type: 'fetch.asked', urgent: true },
    { type: 'fetch.asked', urgent: false },
    doneBytes,
    { type: 'xstate.error.actor.*', error: new Error('gone') },
  ],
  project: ({ context }) => Math.min(context.failures, 3),
};

function walkAll(faults: Faults, changed: Partial<typeof options> = {}): void {
  const proof = provePaths(fetcher(faults), { ...options, ...changed });
  for (const path of proof.paths) proof.walk(path);
}

describePaths('sample', fetcher(), {
  ...options,
  invariants: ({ status }, { told }) => {
    expect(told.map((one) => one.to)).toEqual(status === 'done' ? ['agent'] : []);
  },
});

describe('a proof by paths', () => {
  it('walks after, always, done, error and guarded transitions and commits their names', () => {
    const list = readFileSync(new URL('../machines/transitions/sample.txt', import.meta.url), 'utf8');
    expect(list.trim().split('\n')).toEqual([
      'fetcher.idle — fetch.asked [it is urgent] → fetcher.fetching',
      'fetcher.idle — fetch.asked [not it is urgent] → fetcher.backingOff',
      'fetcher.fetching — fetch.cancelled → fetcher.idle',
      'fetcher.fetching — xstate.done.actor.download → fetcher.done / xstate.assign',
      'fetcher.fetching — xstate.error.actor.download → fetcher.judging / xstate.assign',
      'fetcher.fetching — xstate.after.60000.fetcher.fetching → fetcher.judging',
      'fetcher.judging — always [patience is exhausted] → fetcher.failed',
      'fetcher.judging — always → fetcher.backingOff',
      'fetcher.backingOff — xstate.after.backoff.fetcher.backingOff → fetcher.fetching',
    ]);
  });

  it('fails when the started actor differs from the pure machine', () => {
    expect(() => walkAll({ impure: true })).toThrow(/context after step/);
  });

  it('fails when the context is not plain JSON', () => {
    expect(() => walkAll({ richContext: true })).toThrow(/context is plain JSON/);
  });

  it('fails when an action throws', () => {
    expect(() => walkAll({ throwing: true })).toThrow(/the machine died after step 1/);
  });

  it('fails when an invariant does not hold', () => {
    const invariants = ({ value }: { value: unknown }) => expect(value).not.toBe('failed');
    expect(() => walkAll({}, { invariants })).toThrow(/failed/);
  });

  it('names the state that is never reached and the transition that is never walked', () => {
    expect(provePaths(fetcher({ island: true }), options).unreached()).toEqual(['fetcher.island']);
    const dead = 'fetcher.fetching — fetch.asked [never] → fetcher.idle';
    expect(provePaths(fetcher({ dead: true }), options).unwalked()).toEqual([dead]);
    expect(provePaths(fetcher({ dead: true }), { ...options, unwalked: { [dead]: 'why' } }).unwalked()).toEqual([]);
  });

  it('names an excuse that excuses nothing', () => {
    const proof = provePaths(fetcher(), { ...options, unreached: { 'fetcher.idle': 'why' } });
    expect(proof.unreached()).toEqual(['excused for nothing: fetcher.idle']);
  });

  it('names the state and the event that lack a payload', () => {
    const cases = options.cases.filter((one) => one.type !== 'xstate.done.actor.download');
    expect(() => provePaths(fetcher(), { ...options, cases })).toThrow(
      'fetcher in "fetching" threw on {"type":"xstate.done.actor.download"}: does it need a case with a payload?',
    );
  });

  it('tells two errors apart by their message', () => {
    const asked = { type: 'fetch.asked', urgent: true } as const;
    const errors = ['gone', 'refused'].map(
      (text) => ({ type: 'xstate.error.actor.*', error: new Error(text) }) as const,
    );
    const { paths } = provePaths(fetcher(), { input: { patience: 3 }, cases: [asked, doneBytes, ...errors] });
    const seen = paths.flat().map(({ event }) => (event as { error?: Error }).error?.message);
    expect(new Set(seen)).toEqual(new Set([undefined, 'gone', 'refused']));
  });

  it('gives up on a projection that is not bounded', () => {
    let times = 0;
    const project = () => ++times;
    expect(() => provePaths(fetcher(), { ...options, project, limit: 200 })).toThrow(/limit/i);
  });
});

describe('a machine under control', () => {
  it('gives the test its ports, its clock and what it tells', () => {
    const run = startControlled(fetcher(), { input: { patience: 3 } });
    const download = run.port('download');
    run.send({ type: 'fetch.asked', urgent: true } as FetcherEvent);
    download.reject(new Error('gone'));
    expect(run.snapshot().value).toBe('backingOff');
    run.clock.advance(1999);
    expect(run.snapshot().value).toBe('backingOff');
    run.clock.advance(1);
    expect(download.call.input).toEqual({ attempt: 1 });
    expect(run.flush()).toEqual([]);
    download.resolve('bytes');
    expect(run.snapshot()).toMatchObject({ status: 'done', context: { got: 'bytes' } });
    expect(run.flush()).toEqual([{ to: 'agent', event: { type: 'host.woke' } }]);
  });

  it('stops the port of a state that is left and says so when it is settled late', () => {
    const run = startControlled(fetcher(), { input: { patience: 3 } });
    run.send({ type: 'fetch.asked', urgent: true } as FetcherEvent);
    const { call } = run.port('download');
    run.send({ type: 'fetch.cancelled' });
    expect(call.stopped()).toBe(true);
    expect(() => call.resolve('late')).toThrow('port download (download) is not open');
    expect(() => run.port('download').resolve()).toThrow(
      'port download has no open call. The machine is active in "idle"',
    );
  });

  it('fires the timers it passes one by one, each at its own time', () => {
    const run = startControlled(fetcher(), { input: { patience: 3 } });
    run.send({ type: 'fetch.asked', urgent: false } as FetcherEvent);
    expect(run.clock.nextInMs()).toBe(1000);
    run.clock.advance(1000 + 60_000 + 1000 + 59_999);
    expect(run.snapshot().value).toBe('fetching');
    expect(run.port('download').calls).toHaveLength(2);
  });
});

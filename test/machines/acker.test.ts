import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ackerMachine } from '../../src/machines/acker.ts';
import {
  ACK_BATCH_BYTES,
  ACK_BATCH_COUNT,
  type AckOutcome,
  type AckRequest,
  AUDIT_TRIES,
} from '../../src/machines/acker-decisions.ts';
import type { AckVerdict, Facts, OwedAck } from '../../src/machines/facts.ts';
import type { AckerEvent } from '../../src/machines/system.ts';
import { startControlled } from '../support/paths.ts';
import { AT, factsWith, failure, generation, owed } from './link-fixtures.ts';

const BACKOFF = { initialMs: 5000, maxMs: 300_000 };
/** As the reducer has it: so many 404 answers are index lag. */
const NOT_FOUND_LIMIT = 3;

/** An acker with a store that commits its verdicts as the rules do, until told otherwise. */
function start(
  outbox: readonly OwedAck[],
  changed: Partial<Facts> = {},
  hosts = ['https://a'],
  { proven = true, withheld = [] as readonly string[] } = {},
) {
  const run = startControlled(ackerMachine, {
    input: {
      facts: factsWith({ outbox, ...changed }),
      proven,
      withheld,
      agentId: 'agent-1',
      hosts,
      backoff: BACKOFF,
      jitterSeed: 3,
    },
  });
  let facts = factsWith({ outbox, ...changed });
  const send = (event: AckerEvent) => run.send(event);
  const settled: AckVerdict[] = [];
  const commit = (at = AT) => {
    const asked = run.flush().find(({ to }) => to === 'store')?.event as unknown as {
      id: string;
      changes: { verdicts: AckVerdict[] }[];
    };
    const verdicts = asked.changes[0]!.verdicts;
    settled.push(...verdicts);
    const left = facts.outbox.flatMap((one) => {
      const verdict = verdicts.find(({ actionId }) => actionId === one.actionId)?.verdict;
      if (verdict === 'taken' || verdict === 'refused') return [];
      if (verdict !== 'notFound') return [one];
      return one.notFound + 1 < NOT_FOUND_LIMIT ? [{ ...one, notFound: one.notFound + 1 }] : [];
    });
    facts = { ...facts, outbox: left };
    send({ type: 'store.committed', id: asked.id, facts, at, news: null });
  };
  return {
    ...run,
    send,
    commit,
    settled,
    state: () => run.snapshot().value,
    asked: () => run.port('sendAcks').call.input as AckRequest,
    ids: () => (run.port('sendAcks').call.input as AckRequest).acks.map(({ actionId }) => actionId),
    fail: (outcome: AckOutcome) => run.port('sendAcks').resolve(outcome),
    /** Answers with a status for each ack and commits the verdicts. */
    judge: (statusOf: (id: string) => number, at = AT) => {
      const items = (run.port('sendAcks').call.input as AckRequest).acks.map(({ actionId }) => ({
        status: statusOf(actionId),
        message: 'said',
      }));
      run.port('sendAcks').resolve({ kind: 'judged', items, at });
      commit(at);
    },
    owe: (...more: OwedAck[]) => {
      facts = { ...facts, outbox: [...facts.outbox, ...more] };
      send({ type: 'facts.changed', facts, at: AT });
    },
    wait: () => {
      const ms = run.clock.nextInMs() ?? Number.NaN;
      run.clock.advance(ms);
      return ms;
    },
  };
}

describe('draining the outbox (P6)', () => {
  it('sends what is owed as soon as a commit owes it, and rests when nothing is left', () => {
    const run = start([]);
    expect(run.state()).toBe('idle');
    run.owe(owed('a'), owed('b'));
    expect(run.ids()).toEqual(['a', 'b']);
    run.judge(() => 200);
    expect(run.state()).toBe('idle');
  });

  it('sends nothing that was only found on disk before a commit of this start: a power cut may still take it back (P1, P6)', () => {
    const run = start([owed('a')], { audit: null }, ['https://a'], { proven: false });
    expect(run.snapshot().value).toBe('idle');
    run.owe();
    expect(run.snapshot().value).toBe('sending');
  });

  it('sends no ack of a policy that this start found lost, and everything else (P1)', () => {
    const lost = {
      ...owed('policy:web:2'),
      policy: { id: 'web', revision: 2, hash: 'lost', actionId: 'policy:web:2' },
    };
    const run = start([lost], { audit: null }, ['https://a'], { withheld: ['lost'] });
    expect(run.snapshot().value).toBe('idle');
    run.send({
      type: 'facts.changed',
      facts: factsWith({ outbox: [lost, owed('a')], generations: [{ ...generation('web', 2), hash: 'lost' }] }),
      at: AT,
    });
    const sent = () => (run.port('sendAcks').call.input as AckRequest).acks.map(({ actionId }) => actionId);
    expect(sent()).toEqual(['a']);
  });

  it('gives each ack the verdict at its own place in a worst-status answer', () => {
    const run = start([owed('a'), owed('b'), owed('c'), owed('d'), owed('e')]);
    const statuses: Record<string, number> = { a: 200, b: 404, c: 500, d: 400, e: 429 };
    run.judge((id) => statuses[id]!);
    expect(run.settled.map(({ actionId, verdict }) => [actionId, verdict])).toEqual([
      ['a', 'taken'],
      ['b', 'notFound'],
      ['c', 'retry'],
      ['d', 'refused'],
      ['e', 'retry'],
    ]);
    expect(run.state()).toBe('backingOff');
    run.wait();
    expect(run.ids()).toEqual(['b', 'c', 'e']);
  });

  it('decides nothing about an ack the answer does not mention', () => {
    const run = start([owed('a'), owed('b')]);
    run.fail({ kind: 'judged', items: [{ status: 200, message: 'OK' }], at: AT });
    run.commit();
    expect(run.settled[1]).toMatchObject({ actionId: 'b', verdict: 'retry' });
  });

  it('sends nothing further before the verdicts are durable, however long that takes', () => {
    const run = start([owed('a')]);
    run.fail({ kind: 'judged', items: [{ status: 200, message: 'OK' }], at: AT });
    run.send({ type: 'store.delayed', id: 'settlement 1', problem: { code: 'STORE_WRITE_FAILED', message: 'full' } });
    run.clock.advance(3_600_000);
    run.send({ type: 'host.woke' });
    expect(run.state()).toBe('settling');
    expect(run.port('sendAcks').calls).toHaveLength(1);
    run.commit();
    expect(run.state()).toBe('idle');
  });

  it('bounds a batch in number and bytes', () => {
    const many = Array.from({ length: 250 }, (_, index) => owed(`a${index}`));
    const run = start(many);
    const sizes: number[] = [];
    while (run.state() === 'sending') {
      sizes.push(run.ids().length);
      run.judge(() => 200);
    }
    expect(sizes).toEqual([ACK_BATCH_COUNT, ACK_BATCH_COUNT, 50]);
    const big = 'ß'.repeat(ACK_BATCH_BYTES / 8);
    const heavy = start(Array.from({ length: 8 }, (_, index) => owed(`b${index}`, { error: big })));
    expect(heavy.ids()).toHaveLength(3);
  });

  it('finds the one ack that spoils a request, refuses it with the reason, and sends all others', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 120 }), fc.nat(), (count, at) => {
        const bad = `a${at % count}`;
        const run = start(Array.from({ length: count }, (_, index) => owed(`a${index}`)));
        for (let requests = 0; run.state() === 'sending'; requests++) {
          // Halved at each refusal: for 120 acks at most seven times, each half sent once.
          expect(requests).toBeLessThanOrEqual(20);
          if (!run.ids().includes(bad)) run.judge(() => 200);
          else {
            run.fail(failure('badRequest', { status: 400, byFleet: true, message: 'Bad request: no' }));
            if (run.state() === 'settling') run.commit();
          }
        }
        expect(run.state()).toBe('idle');
        expect(run.settled.filter(({ verdict }) => verdict === 'refused')).toEqual([
          { actionId: bad, owedAt: expect.any(Number), verdict: 'refused', reason: 'Bad request: no' },
        ]);
        expect(run.settled.filter(({ verdict }) => verdict === 'taken')).toHaveLength(count - 1);
      }),
      { numRuns: 40 },
    );
  });

  it('asks again about an unknown action while that can be index lag, and lets newly owed acks pass meanwhile', () => {
    const run = start([owed('late')]);
    run.judge(() => 404);
    expect(run.state()).toBe('backingOff');
    run.owe(owed('new'));
    expect(run.ids()).toEqual(['new']);
    run.judge(() => 200);
    expect(run.state()).toBe('backingOff');
    run.wait();
    run.judge(() => 404);
    run.wait();
    run.judge(() => 404);
    expect(run.state()).toBe('idle');
  });

  it('takes only what Fleet itself says for a verdict: the page of a proxy of any status is waited out (P6)', () => {
    for (const outcome of [
      failure('badRequest', { status: 400 }),
      failure('forbidden', { status: 403 }),
      failure('serverError', { status: 503 }),
    ]) {
      for (const outbox of [[owed('a')], [owed('a'), owed('b')]]) {
        const run = start(outbox, { unenrolled: { at: AT, reason: 'asked' } });
        run.fail(outcome);
        expect(run.state()).toBe('backingOff');
        run.wait();
        expect(run.ids()).toEqual(outbox.map(({ actionId }) => actionId));
      }
    }
  });

  it('goes on owing an ack that was answered 503 among others', () => {
    const run = start([owed('a'), owed('b')]);
    run.judge((id) => (id === 'a' ? 503 : 200));
    expect(run.settled).toContainEqual(expect.objectContaining({ actionId: 'a', verdict: 'retry' }));
    run.wait();
    expect(run.ids()).toEqual(['a']);
  });

  it('splits what is too large for something on the way, and puts off, never drops, the one ack that is', () => {
    const run = start(['a', 'b', 'c', 'd'].map((id) => owed(id)));
    const tooLarge = failure('tooLarge', { status: 413, message: 'https://a answered 413' });
    for (let requests = 0; run.state() === 'sending' && requests < 12; requests++) {
      if (!run.ids().includes('c')) run.judge(() => 200);
      else {
        run.fail(tooLarge);
        if (run.state() === 'settling') run.commit();
      }
    }
    expect(run.settled.filter(({ verdict }) => verdict === 'taken').map(({ actionId }) => actionId)).toEqual([
      'a',
      'b',
      'd',
    ]);
    expect(run.settled.at(-2)).toMatchObject({ actionId: 'c', verdict: 'retry', reason: 'https://a answered 413' });
    expect(run.state()).toBe('backingOff');
    run.wait();
    expect(run.ids()).toEqual(['c']);
  });

  it('asks again about what was put off when its time has come, however much is newly owed meanwhile', () => {
    const run = start([owed('late')]);
    run.judge(() => 404, AT);
    const waitMs = run.clock.nextInMs() ?? Number.NaN;
    for (let passed = 1000, n = 0; passed < waitMs; passed += 1000, n++) {
      run.clock.advance(1000);
      run.owe(owed(`new ${n}`));
      expect(run.ids()).toEqual([`new ${n}`]);
      run.judge(() => 200, AT + passed);
    }
    run.clock.advance(1000);
    expect(run.ids()).toEqual(['late']);
  });

  it('sends the ack of UNENROLL alone and last', () => {
    const run = start([owed('bye', { actionType: 'UNENROLL' }), owed('a'), owed('b')]);
    expect(run.ids()).toEqual(['a', 'b']);
    run.judge((id) => (id === 'a' ? 200 : 500));
    expect(run.state()).toBe('backingOff');
    run.wait();
    expect(run.ids()).toEqual(['b']);
    run.judge(() => 200);
    expect(run.ids()).toEqual(['bye']);
  });
});

describe('telling Fleet that this agent has left it', () => {
  const left = { unenrolled: { at: AT, reason: 'asked' }, audit: { reason: 'uninstall', tries: 0 } } as const;
  /** Commits what was asked of the store last. */
  const commit = (run: ReturnType<typeof start>, facts: Partial<Facts>) => {
    const asked = run.flush().find(({ to }) => to === 'store')?.event as unknown as { id: string; changes: unknown[] };
    run.send({ type: 'store.committed', id: asked.id, facts: factsWith({ ...left, ...facts }), at: AT, news: null });
    return asked.changes;
  };
  const spent = (tries: number) => ({ audit: { reason: 'uninstall', tries } }) as const;

  it('is done after the last ack, once, and each try is durable before it is made', () => {
    const run = start([owed('a')], left);
    expect(run.ids()).toEqual(['a']);
    run.judge(() => 200);
    expect(run.state()).toBe('spending');
    expect(run.port('tellUnenrolled').calls).toHaveLength(0);
    expect(commit(run, spent(1))).toEqual([{ type: 'audit.tried' }]);
    expect(run.port('tellUnenrolled').call.input).toEqual({
      agentId: 'agent-1',
      host: 'https://a',
      reason: 'uninstall',
      at: AT,
    });
    run.port('tellUnenrolled').resolve({ kind: 'taken', at: AT });
    expect(commit(run, { audit: null })).toEqual([{ type: 'audit.settled' }]);
    expect(run.state()).toBe('idle');
  });

  it('ends with an answer of Fleet that trying again does not change', () => {
    for (const status of [400, 401, 403, 409]) {
      const run = start([], left);
      commit(run, spent(1));
      run.port('tellUnenrolled').resolve(failure('unexpected', { status, byFleet: true }));
      expect(run.state()).toBe('ending');
    }
  });

  it('is tried again after an outage, and five times in all', () => {
    const run = start([], left);
    for (let tries = 1; tries <= AUDIT_TRIES; tries++) {
      expect(run.state()).toBe('spending');
      commit(run, spent(tries));
      run.port('tellUnenrolled').resolve(failure('unreachable'));
      if (tries < AUDIT_TRIES) run.wait();
    }
    expect(run.state()).toBe('idle');
    expect(start([], { ...left, ...spent(AUDIT_TRIES) }).state()).toBe('idle');
  });
});

describe('when Fleet cannot be reached', () => {
  it('waits ever longer, without a limit of attempts, and forgets nothing', () => {
    const run = start([owed('a')]);
    const waits = Array.from({ length: 30 }, () => {
      run.fail(failure('unreachable'));
      expect(run.state()).toBe('backingOff');
      return run.wait();
    });
    expect(waits[0]).toBeGreaterThanOrEqual(5000);
    expect(Math.max(...waits)).toBeLessThanOrEqual(300_000);
    expect(waits.at(-1)).toBeGreaterThanOrEqual(150_000);
    expect(run.ids()).toEqual(['a']);
  });

  it('lets nothing newly owed shorten the wait', () => {
    const run = start([owed('a')]);
    run.fail(failure('unreachable'));
    run.owe(owed('b'));
    expect(run.state()).toBe('backingOff');
  });

  it('waits as long as the server asks, and not at all when the host wakes up', () => {
    const run = start([owed('a')]);
    run.fail(failure('tooMany', { status: 429, retryAfterMs: 60_000 }));
    expect(run.clock.nextInMs()).toBeGreaterThanOrEqual(60_000);
    run.send({ type: 'host.woke' });
    expect(run.state()).toBe('sending');
  });

  it('takes the next host at once, and waits when each has had its turn', () => {
    const run = start([owed('a')], {}, ['https://a', 'https://b']);
    run.fail(failure('unreachable'));
    expect(run.asked().host).toBe('https://b');
    expect(run.clock.now()).toBe(0);
    run.fail(failure('unreachable'));
    expect(run.state()).toBe('backingOff');
    run.wait();
    expect(run.state()).toBe('sending');
  });

  it('goes on owing after a 401, except when the agent is unenrolled: then nobody is left to take it', () => {
    const run = start([owed('a')]);
    run.fail(failure('unauthorised', { status: 401 }));
    expect(run.state()).toBe('backingOff');
    const gone = start([owed('a')], { unenrolled: { at: AT, reason: 'asked' } });
    gone.fail(failure('unauthorised', { status: 401, byFleet: true, message: 'Fleet does not know this agent' }));
    gone.commit();
    expect(gone.settled).toMatchObject([
      { actionId: 'a', verdict: 'refused', reason: 'Fleet does not know this agent' },
    ]);
    expect(gone.state()).toBe('idle');
  });
});

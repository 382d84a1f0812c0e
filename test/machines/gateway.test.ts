import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DeliveredAction, Facts } from '../../src/machines/facts.ts';
import { gatewayMachine } from '../../src/machines/gateway.ts';
import {
  GATEWAY_TIMINGS,
  type GatewayInput,
  type PollOutcome,
  type PollRequest,
} from '../../src/machines/gateway-context.ts';
import type { FailureKind } from '../../src/machines/link.ts';
import type { GatewayEvent, LinkStatus } from '../../src/machines/system.ts';
import { actionNamed } from '../support/agent-world.ts';
import { startControlled } from '../support/paths.ts';
import { AT, answered, factsWith, failure, generation, owed, report } from './link-fixtures.ts';

const web = generation('web', 3);
const MINUTE = 60_000;

function start(facts: Partial<Facts> = { generations: [web] }, input: Partial<GatewayInput> = {}) {
  const run = startControlled(gatewayMachine, {
    input: {
      facts: factsWith(facts),
      proven: true,
      report,
      agentId: 'agent-1',
      hosts: ['https://a'],
      timings: GATEWAY_TIMINGS,
      jitterSeed: 7,
      ...input,
    },
  });
  const verify = (changed: { elasticsearch?: boolean; broken?: boolean; at?: number } = {}) => {
    const { generation: held } = run.port('verifyHeld').call.input as { generation: { hash: string } | null };
    const problem = changed.broken ? { code: 'STORE_UNREADABLE', message: 'torn' } : null;
    run.port('verifyHeld').resolve({
      verdict: held === null ? null : { hash: held.hash, problem },
      hasElasticsearchOutput: changed.elasticsearch ?? false,
      at: changed.at ?? AT,
    });
  };
  const send = (event: GatewayEvent) => run.send(event);
  return {
    ...run,
    send,
    verify,
    /** The check-in that is open. */
    poll: () => run.port('checkin').call.input as PollRequest,
    answer: (outcome: PollOutcome) => run.port('checkin').resolve(outcome),
    state: () => run.snapshot().value,
    /** Waits out a rest or a delay and tells how long it was. */
    wait: () => {
      const ms = run.clock.nextInMs() ?? Number.NaN;
      run.clock.advance(ms);
      return ms;
    },
    /** Takes an answer with content through to its delivery, which `news` judges. */
    deliver: (news: { policy: boolean; actions: boolean }, actions: readonly DeliveredAction[] = []) => {
      run.port('checkin').resolve(answered({ idle: false, text: '{}', tookMs: 3 }));
      const marked = run.told.at(-1)?.event as unknown as { id: string };
      send({ type: 'store.committed', id: marked.id, facts: run.snapshot().context.facts, at: AT, news: null });
      run.port('decode').resolve({ kind: 'decoded', token: 't', actions, policy: null });
      send({ type: 'delivery.taken', news });
    },
    link: (): LinkStatus => {
      const told = run.told.filter(({ to, event }) => to === 'agent' && event.type === 'link.changed').at(-1);
      return (told as unknown as { event: { link: LinkStatus } }).event.link;
    },
  };
}

const nothingNew = { policy: false, actions: false };
const nothing = { policyId: '', revision: 0 };
const held = { policyId: 'web', revision: 3 };

describe('what a check-in says (P7, P8)', () => {
  it('is the last good policy that was read back from disk just before', () => {
    const run = start();
    expect(run.state()).toBe('verifying');
    run.verify();
    expect(run.poll()).toMatchObject({ ...held, agentId: 'agent-1', host: 'https://a' });
    expect(run.told[0]).toMatchObject({
      to: 'agent',
      event: { type: 'held.verified', verdict: { hash: web.hash, problem: null } },
    });
  });

  it('is nothing when nothing is held, when it cannot be read, and when the reading fails', () => {
    const empty = start({});
    empty.verify();
    expect(empty.poll()).toMatchObject(nothing);
    const torn = start();
    torn.verify({ broken: true });
    expect(torn.poll()).toMatchObject(nothing);
    expect(torn.told[0]).toMatchObject({
      event: { type: 'held.verified', verdict: { problem: { code: 'STORE_UNREADABLE' } } },
    });
    const broken = start();
    broken.port('verifyHeld').reject(new Error('EIO'));
    expect(broken.poll()).toMatchObject(nothing);
  });

  it('is nothing when Fleet has our ack for other bytes than those that are held', () => {
    const acked = { ...generation('web', 3), hash: 'other bytes', at: AT + 1000 };
    const run = start({ generations: [web], acked });
    run.verify();
    expect(run.poll()).toMatchObject(nothing);
  });

  it('is what is held while the ack for it is still owed, or was refused', () => {
    const acked = { ...generation('web', 2), at: AT - 1000 };
    const owing = start({
      generations: [web],
      acked: { ...acked, at: AT + 1 },
      outbox: [owed('policy:web:3', { policy: web })],
    });
    owing.verify();
    expect(owing.poll()).toMatchObject(held);
    const refused = start({ generations: [web], acked });
    refused.verify();
    expect(refused.poll()).toMatchObject(held);
  });

  it('carries no token before a commit of this start: Fleet would forget what a power cut may still take from the journal (P4)', () => {
    const run = start({ generations: [web], deliveryToken: 'token-1' }, { proven: false });
    run.verify();
    expect(run.poll().token).toBe('');
    run.deliver(nothingNew);
    run.send({ type: 'facts.changed', facts: factsWith({ generations: [web], deliveryToken: 'token-1' }), at: AT });
    run.wait();
    run.verify();
    expect(run.poll().token).toBe('token-1');
  });

  it('carries the delivery token of committed facts and no other', () => {
    const run = start({ generations: [web], deliveryToken: 'token-1' });
    run.verify();
    expect(run.poll().token).toBe('token-1');
    run.deliver(nothingNew);
    run.wait();
    run.verify();
    expect(run.poll().token).toBe('token-1');
    run.send({ type: 'facts.changed', facts: factsWith({ generations: [web], deliveryToken: 'token-2' }), at: AT });
    run.deliver(nothingNew);
    run.wait();
    run.verify();
    expect(run.poll().token).toBe('token-2');
  });
});

describe('the damping rule', () => {
  const damp = (run: ReturnType<typeof start>) => {
    run.verify();
    run.deliver(nothingNew);
    expect(run.state()).toBe('damped');
    expect(run.link()).toMatchObject({ state: 'damped' });
    return run.wait();
  };

  it('doubles from one second to four minutes, spread by a fifth, whatever keeps bringing nothing new', () => {
    const run = start();
    const waits = Array.from({ length: 12 }, () => damp(run));
    waits.forEach((ms, times) => {
      const middle = Math.min(1000 * 2 ** times, 4 * MINUTE);
      expect(ms).toBeGreaterThanOrEqual(middle * 0.8);
      expect(ms).toBeLessThanOrEqual(middle * 1.2);
    });
    // Not taken back by the next poll alone, but once it has been open for a while: then nothing is slowed down any more.
    run.verify();
    expect(run.link()).toMatchObject({ state: 'damped' });
    run.clock.advance(GATEWAY_TIMINGS.urgentEveryMs + GATEWAY_TIMINGS.openMs);
    expect(run.link()).toMatchObject({ state: 'connected' });
  });

  it('is ended by real news', () => {
    const run = start();
    for (let times = 0; times < 5; times++) damp(run);
    run.verify();
    run.deliver({ policy: true, actions: false });
    expect(run.state()).toBe('resting');
    run.wait();
    expect(damp(run)).toBeLessThan(1300);
  });

  it('is ended by a long poll that ran its course, not by an empty answer that came early', () => {
    const run = start();
    for (let times = 0; times < 5; times++) damp(run);
    run.verify();
    run.answer(answered({ tookMs: 10 }));
    expect(run.state()).toBe('damped');
    expect(run.wait()).toBeGreaterThan(20_000);
    run.verify();
    run.answer(answered({ tookMs: 285_000 }));
    expect(run.state()).toBe('resting');
    run.wait();
    expect(damp(run)).toBeLessThan(1300);
  });

  it('is not ended by a report, urgent or not, nor by errors of the link', () => {
    const run = start();
    for (let times = 0; times < 5; times++) damp(run);
    run.verify();
    run.answer(failure('unreachable'));
    run.wait();
    run.verify();
    run.deliver(nothingNew);
    run.send({ type: 'report.changed', report, urgent: true });
    expect(run.state()).toBe('damped');
    expect(run.wait()).toBeGreaterThan(20_000);
  });

  it('lets go at once, and stays grown, when what is held or tried changes', () => {
    const run = start();
    for (let times = 0; times < 5; times++) damp(run);
    run.verify();
    run.deliver(nothingNew);
    run.send({ type: 'facts.changed', facts: factsWith({ generations: [generation('web', 4), web] }), at: AT });
    expect(run.state()).toBe('verifying');
    expect(damp(run)).toBeGreaterThan(40_000);
  });

  it('lets go when Fleet takes the ack of another policy, and not when it takes the same one again', () => {
    const run = start();
    run.verify();
    run.deliver(nothingNew);
    expect(run.state()).toBe('damped');
    const acked = { ...web, at: AT };
    run.send({ type: 'facts.changed', facts: factsWith({ generations: [web], acked }), at: AT });
    expect(run.state()).toBe('verifying');
    run.verify();
    run.deliver(nothingNew);
    run.send({
      type: 'facts.changed',
      facts: factsWith({ generations: [web], acked: { ...acked, at: AT + 1 } }),
      at: AT,
    });
    expect(run.state()).toBe('damped');
  });

  it('counts what cannot be made durable, or is never settled, as nothing new', () => {
    for (const end of [
      (run: ReturnType<typeof start>) =>
        run.send({ type: 'delivery.unstorable', problem: { code: 'STORE_WRITE_FAILED', message: 'full' } }),
      (run: ReturnType<typeof start>) => run.clock.advance(GATEWAY_TIMINGS.deliveringMs),
    ]) {
      const run = start();
      run.verify();
      run.answer(answered({ idle: false, text: '{}', tookMs: 3 }));
      run.send({
        type: 'store.committed',
        id: 'answer 1',
        facts: factsWith({ generations: [web] }),
        at: AT,
        news: null,
      });
      run.port('decode').resolve({ kind: 'decoded', token: 't', actions: [], policy: null });
      end(run);
      expect(run.state()).toBe('damped');
    }
  });
});

describe('a poll that is ended or cut', () => {
  const cut = (run: ReturnType<typeof start>) => {
    run.clock.advance(GATEWAY_TIMINGS.urgentEveryMs);
    run.send({ type: 'report.changed', report: { ...report, status: 'degraded' }, urgent: true });
    expect(run.state()).toEqual({ checkingIn: 'ending' });
    run.answer(failure('cut', { answerLost: true }));
  };

  it('is followed by a new one at once, with the new report and without an error backoff', () => {
    const run = start();
    run.verify();
    cut(run);
    expect(run.state()).toBe('verifying');
    run.verify();
    expect(run.poll().report.status).toBe('degraded');
    expect(run.clock.now()).toBe(GATEWAY_TIMINGS.urgentEveryMs);
  });

  it('is not ended more often than every few seconds, and not for a report that is not urgent', () => {
    const run = start();
    run.verify();
    run.send({ type: 'report.changed', report, urgent: true });
    expect(run.state()).toEqual({ checkingIn: 'fresh' });
    run.clock.advance(GATEWAY_TIMINGS.urgentEveryMs - 1);
    expect(run.state()).toEqual({ checkingIn: 'fresh' });
    run.clock.advance(1);
    expect(run.state()).toEqual({ checkingIn: 'ending' });
    const calm = start();
    calm.verify();
    calm.send({ type: 'report.changed', report, urgent: false });
    calm.clock.advance(MINUTE);
    expect(calm.state()).toEqual({ checkingIn: 'settled' });
  });

  it('waits for the old connection to close, but not for ever', () => {
    const run = start();
    run.verify();
    run.clock.advance(GATEWAY_TIMINGS.urgentEveryMs);
    run.send({ type: 'report.changed', report, urgent: true });
    run.port('endPoll').resolve(null);
    expect(run.state()).toEqual({ checkingIn: 'ending' });
    run.clock.advance(GATEWAY_TIMINGS.closingMs);
    expect(run.state()).toBe('verifying');
  });

  it('keeps the answer that came while it was being ended', () => {
    const run = start();
    run.verify();
    run.clock.advance(GATEWAY_TIMINGS.urgentEveryMs);
    run.send({ type: 'report.changed', report, urgent: true });
    run.answer(answered({ idle: false, text: '{}' }));
    expect(run.state()).toBe('marking');
  });

  /** A start that asked for everything an hour ago, with a policy whose key Fleet rotates. */
  const HOUR = 3_600_000;
  const settled = () => {
    const run = start({ generations: [web], everythingAskedAt: AT });
    run.verify({ elasticsearch: true, at: AT });
    expect(run.poll()).toMatchObject(held);
    return run;
  };
  const later = { elasticsearch: true, at: AT + HOUR };

  it('makes the next one ask for everything, and only the next', () => {
    const run = settled();
    cut(run);
    run.verify(later);
    expect(run.poll()).toMatchObject(nothing);
    run.deliver(nothingNew);
    run.wait();
    run.verify(later);
    expect(run.poll()).toMatchObject(held);
  });

  it('asks again when the answer brought actions alone, since a server with actions waiting does not look at the policy', () => {
    const run = settled();
    cut(run);
    run.verify(later);
    expect(run.poll()).toMatchObject(nothing);
    run.deliver({ policy: false, actions: true }, [actionNamed('a', 'SETTINGS', {})]);
    expect(run.told.map(({ event }) => event)).toContainEqual(
      expect.objectContaining({ type: 'store.change', changes: [{ type: 'everything.unanswered' }] }),
    );
    run.wait();
    run.verify(later);
    expect(run.poll()).toMatchObject(nothing);
    run.deliver(nothingNew);
    run.wait();
    run.verify(later);
    expect(run.poll()).toMatchObject(held);
  });

  it('is followed by one that says nothing is held while something is lost, even when what is left is whole (P8)', () => {
    const run = settled();
    cut(run);
    run.send({ type: 'report.changed', report: { ...report, holdsLess: true }, urgent: false });
    run.verify({ elasticsearch: true });
    expect(run.poll()).toMatchObject(nothing);
    run.deliver(nothingNew);
    run.send({ type: 'report.changed', report, urgent: false });
    run.wait();
    run.verify({ elasticsearch: true });
    expect(run.poll()).toMatchObject(held);
  });

  it('makes the first one of the next start ask, however the one before ended, and once an hour over all starts', () => {
    const first = start({ generations: [web] });
    first.verify({ elasticsearch: true });
    expect(first.poll()).toMatchObject(nothing);
    first.answer(answered({ idle: false, text: '{}', tookMs: 3 }));
    expect(first.told.at(-1)?.event).toMatchObject({
      type: 'store.change',
      changes: [{ type: 'answer.arrived' }, { type: 'everything.asked' }],
    });
    const second = start({ generations: [web], everythingAskedAt: AT });
    second.verify({ elasticsearch: true, at: AT + HOUR - 1 });
    expect(second.poll()).toMatchObject(held);
    const third = start({ generations: [web], everythingAskedAt: AT });
    third.verify(later);
    expect(third.poll()).toMatchObject(nothing);
  });

  it('makes none ask for everything when no output of last good has a key that Fleet rotates', () => {
    const run = start();
    run.verify();
    for (let n = 0; n < 5; n++) {
      cut(run);
      run.verify();
      expect(run.poll()).toMatchObject(held);
    }
  });

  it('makes none ask when it was ended before the request had left', () => {
    const run = start();
    run.verify({ elasticsearch: true });
    run.answer(answered());
    run.wait();
    run.verify({ elasticsearch: true });
    run.clock.advance(GATEWAY_TIMINGS.urgentEveryMs);
    run.send({ type: 'report.changed', report, urgent: true });
    run.answer(failure('cut', { answerLost: false }));
    run.verify(later);
    expect(run.poll()).toMatchObject(held);
  });

  it('counts against the hour when it is the asking one that is cut', () => {
    const run = start();
    run.verify({ elasticsearch: true });
    expect(run.poll()).toMatchObject(nothing);
    cut(run);
    run.verify({ elasticsearch: true, at: AT + HOUR - 1 });
    expect(run.poll()).toMatchObject(held);
    cut(run);
    run.verify(later);
    expect(run.poll()).toMatchObject(nothing);
  });

  it('asks for everything after the network cut it, too, as soon as Fleet can be asked', () => {
    const run = settled();
    run.answer(failure('truncated', { answerLost: true }));
    expect(run.state()).toBe('backingOff');
    run.wait();
    run.verify(later);
    expect(run.poll()).toMatchObject(nothing);
    run.answer(failure('unreachable'));
    run.wait();
    run.verify(later);
    expect(run.poll()).toMatchObject(nothing);
  });

  it('does not make one ask for everything when nothing can have been lost', () => {
    const run = start();
    run.verify();
    run.answer(failure('unreachable'));
    run.wait();
    run.verify();
    expect(run.poll()).toMatchObject(held);
  });

  it('asks for everything at most once an hour when last good has an Elasticsearch output', () => {
    const run = start();
    let at = AT;
    const next = () => run.verify({ elasticsearch: true, at });
    next();
    expect(run.poll()).toMatchObject(nothing);
    run.answer(answered({ at }));
    run.wait();
    next();
    cut(run);
    next();
    expect(run.poll()).toMatchObject(held);
    run.answer(answered({ at }));
    run.wait();
    at = AT + 3_600_000;
    next();
    expect(run.poll()).toMatchObject(nothing);
  });

  it('asks again within the hour when the clock has gone back behind the last time', () => {
    const run = start();
    run.verify({ elasticsearch: true });
    run.answer(answered());
    run.wait();
    run.verify({ elasticsearch: true });
    cut(run);
    run.verify({ elasticsearch: true, at: AT - 10 });
    expect(run.poll()).toMatchObject(nothing);
  });

  it('is ended when the host slept, and when what it says is lost', () => {
    const slept = start();
    slept.verify();
    slept.send({ type: 'host.woke' });
    expect(slept.state()).toEqual({ checkingIn: 'ending' });
    const lost = start();
    lost.verify();
    lost.clock.advance(GATEWAY_TIMINGS.urgentEveryMs);
    lost.send({ type: 'facts.changed', facts: factsWith(), at: AT });
    lost.answer(failure('cut', { answerLost: true }));
    lost.verify();
    expect(lost.poll()).toMatchObject(nothing);
  });
});

describe('an answer with content', () => {
  it('is marked on disk before it is parsed, and handed over whole', () => {
    const run = start();
    run.verify();
    run.flush();
    run.answer(answered({ idle: false, text: '{"actions":[…]}' }));
    expect(run.flush()).toEqual([
      {
        to: 'store',
        event: { type: 'store.change', from: 'gateway', id: 'answer 1', changes: [{ type: 'answer.arrived' }] },
      },
    ]);
    expect(run.port('decode').calls).toHaveLength(0);
    run.send({ type: 'store.committed', id: 'answer 1', facts: factsWith({ generations: [web] }), at: AT, news: null });
    run.port('decode').resolve({ kind: 'decoded', token: 't', actions: [], policy: null });
    expect(run.flush()).toEqual([
      { to: 'dispatcher', event: { type: 'delivery.arrived', token: 't', actions: [], policy: null } },
    ]);
    expect(run.state()).toBe('delivering');
  });

  it('is not read when the mark cannot be written; the mark is taken back and everything asked for', () => {
    const run = start();
    run.verify();
    run.answer(answered({ idle: false, text: '{}' }));
    run.flush();
    run.send({ type: 'store.delayed', id: 'answer 1', problem: { code: 'STORE_WRITE_FAILED', message: 'full' } });
    expect(run.state()).toBe('damped');
    expect(run.flush()[0]).toMatchObject({
      to: 'store',
      event: { id: 'answer 1', changes: [{ type: 'answer.discarded' }] },
    });
    run.wait();
    run.verify({ elasticsearch: true });
    expect(run.poll()).toMatchObject(nothing);
  });

  it('is discarded when it is garbage, and the link backs off', () => {
    const run = start();
    run.verify();
    run.answer(answered({ idle: false, text: '{}' }));
    run.send({ type: 'store.committed', id: 'answer 1', facts: factsWith({ generations: [web] }), at: AT, news: null });
    run.flush();
    run.port('decode').resolve({ kind: 'garbage', problem: { code: 'FLEET_GARBAGE', message: 'no JSON' } });
    expect(run.told[0]).toMatchObject({ to: 'store', event: { changes: [{ type: 'answer.discarded' }] } });
    expect(run.state()).toBe('backingOff');
    expect(run.link()).toMatchObject({ state: 'backing-off', message: 'no JSON' });
  });

  it('slows a start whose predecessors died on one, ever longer, before it says anything', () => {
    const waits = [1, 2, 3, 12].map((answerDeaths) => {
      const run = start({ generations: [web], answerDeaths });
      expect(run.state()).toBe('slowed');
      expect(run.link().message).toContain('died while reading an answer');
      const ms = run.wait();
      run.verify({ elasticsearch: true });
      // What they died on was lost with them.
      expect(run.poll()).toMatchObject(nothing);
      return ms;
    });
    const woken = start({ generations: [web], answerDeaths: 12 });
    woken.send({ type: 'host.woke' });
    expect(woken.state()).toBe('verifying');
    expect([...waits].sort((a, b) => a - b)).toEqual(waits);
    expect(waits.at(-1)).toBeLessThanOrEqual(3_600_000 * 1.2);
  });
});

describe('errors of the link', () => {
  it('wait as the reference does: 60 to 120 s, doubling, at most 15 min', () => {
    const run = start();
    const waits = Array.from({ length: 8 }, () => {
      run.verify();
      run.answer(failure('serverError', { status: 503 }));
      return run.wait();
    });
    const [first, second] = waits;
    expect(first).toBeGreaterThanOrEqual(60_000);
    expect(first).toBeLessThanOrEqual(120_000);
    expect(second).toBeGreaterThanOrEqual(120_000);
    expect(Math.max(...waits)).toBeLessThanOrEqual(15 * MINUTE);
  });

  it('wait as long as the server asks, within the longest wait', () => {
    const run = start();
    run.verify();
    run.answer(failure('tooMany', { status: 429, retryAfterMs: 7000 }));
    const ms = run.wait();
    expect(ms).toBeGreaterThanOrEqual(7000);
    expect(ms).toBeLessThanOrEqual(8400);
    run.verify();
    run.answer(failure('tooMany', { status: 429, retryAfterMs: 10 * 3_600_000 }));
    expect(run.wait()).toBeLessThanOrEqual(15 * MINUTE * 1.2);
  });

  it('end at once when the host wakes up', () => {
    const run = start();
    run.verify();
    run.answer(failure('unreachable'));
    run.send({ type: 'host.woke' });
    expect(run.state()).toBe('verifying');
  });

  it('are shown with their sentence, and forgotten with the next good answer', () => {
    const run = start();
    run.verify();
    run.answer(failure('tls', { message: 'no trusted connection' }));
    expect(run.link()).toMatchObject({
      state: 'backing-off',
      message: 'no trusted connection',
      host: 'https://a',
      lastCheckinAt: null,
    });
    run.wait();
    run.verify();
    run.answer(answered({ warning: 'maintenance at noon' }));
    expect(run.link()).toEqual({
      state: 'connected',
      message: 'connected; Fleet warns: maintenance at noon',
      host: 'https://a',
      lastCheckinAt: AT,
      warning: 'maintenance at noon',
    });
  });

  it('keep what Fleet warns of while check-ins are damped, until an answer warns no more', () => {
    const run = start();
    run.verify();
    run.answer(answered({ warning: 'maintenance at noon', tookMs: 3 }));
    expect(run.link()).toMatchObject({ state: 'damped', warning: 'maintenance at noon' });
    expect(run.link().message).toMatch(/bring nothing new.*; Fleet warns: maintenance at noon$/);
    run.wait();
    run.verify();
    run.answer(answered());
    expect(run.link()).toMatchObject({ state: 'connected', message: 'connected', warning: null });
  });

  it('are over when Fleet holds the poll: the link is shown as up before anything is answered', () => {
    const run = start();
    run.verify();
    run.answer(failure('unreachable'));
    run.wait();
    run.verify();
    run.clock.advance(GATEWAY_TIMINGS.urgentEveryMs);
    expect(run.link().state).toBe('backing-off');
    run.clock.advance(GATEWAY_TIMINGS.openMs);
    expect(run.link()).toMatchObject({ state: 'connected', lastCheckinAt: null });
  });

  it('of 401 are believed at the seventh in a row: then Fleet is asked about once an hour', () => {
    const run = start();
    for (let times = 1; times <= 6; times++) {
      run.verify();
      run.answer(failure('unauthorised', { status: 401 }));
      expect(run.state()).toBe('backingOff');
      run.wait();
    }
    for (let times = 0; times < 3; times++) {
      run.verify();
      run.answer(failure('unauthorised', { status: 401 }));
      expect(run.state()).toBe('unauthorised');
      expect(run.link().state).toBe('unauthorised');
      expect(Math.abs(run.wait() - 60 * MINUTE)).toBeLessThanOrEqual(12 * MINUTE);
    }
    run.verify();
    run.answer(answered());
    run.wait();
    run.verify();
    run.answer(failure('unauthorised', { status: 401 }));
    expect(run.state()).toBe('backingOff');
  });
});

describe('a row of 401', () => {
  const seventhAfter = (between: FailureKind, status: number | null) => {
    const run = start();
    for (const kind of [...Array<FailureKind>(6).fill('unauthorised'), between, 'unauthorised'] as const) {
      run.verify();
      run.answer(failure(kind, { status: kind === between ? status : 401 }));
      if (kind !== 'unauthorised' || run.state() === 'backingOff') run.wait();
    }
    return run.link().state;
  };

  it('is not broken by a dead network, but by any other answer', () => {
    expect(seventhAfter('unreachable', null)).toBe('unauthorised');
    expect(seventhAfter('serverError', 503)).toBe('backing-off');
  });
});

describe('several hosts', () => {
  const hosts = ['https://a', 'https://b', 'https://c'];

  it('are each tried once, without waiting, before the link backs off', () => {
    const run = start({ generations: [web] }, { hosts });
    const tried = hosts.map(() => {
      run.verify();
      const { host } = run.poll();
      run.answer(failure('unreachable'));
      return host;
    });
    expect(tried).toEqual(hosts);
    expect(run.state()).toBe('backingOff');
  });

  it('that erred are passed over for five minutes', () => {
    const run = start({ generations: [web] }, { hosts: ['https://a', 'https://b'] });
    run.verify();
    run.answer(failure('unreachable', { at: AT }));
    const used: string[] = [];
    for (const at of [AT + 1, AT + MINUTE, AT + 6 * MINUTE]) {
      run.verify({ at });
      used.push(run.poll().host);
      run.answer(answered({ at }));
      run.wait();
    }
    expect(used).toEqual(['https://b', 'https://b', 'https://a']);
  });

  it('are not tried for what another host cannot do better', () => {
    const run = start({ generations: [web] }, { hosts });
    run.verify();
    run.answer(failure('unsupportedVersion', { status: 400 }));
    expect(run.state()).toBe('backingOff');
  });
});

describe('the conversation', () => {
  it('ends when the agent is unenrolled, in whatever state, and never begins when it already is', () => {
    const unenrolled = { at: AT, reason: 'asked' };
    expect(start({ unenrolled }).snapshot().status).toBe('done');
    const run = start();
    run.verify();
    run.send({ type: 'facts.changed', facts: factsWith({ unenrolled }), at: AT });
    expect(run.snapshot()).toMatchObject({ status: 'done', value: 'closed' });
    expect(run.port('checkin').calls[0]?.stopped()).toBe(true);
  });

  it('never goes faster than damping and backoff allow, whatever Fleet does', () => {
    const outcome = fc.oneof(
      fc.constant('stale'),
      fc.constant('early'),
      fc.constantFrom('unreachable' as const, 'garbage' as const, 'serverError' as const),
    );
    fc.assert(
      fc.property(fc.array(outcome, { minLength: 20, maxLength: 60 }), fc.integer(), (outcomes, jitterSeed) => {
        const run = start({ generations: [web] }, { jitterSeed });
        for (const one of outcomes) {
          run.verify();
          if (one === 'stale') run.deliver(nothingNew);
          else if (one === 'early') run.answer(answered({ tookMs: 1 }));
          else run.answer(failure(one));
          run.wait();
        }
        // n answers of nothing new take at least 0.8 × (1 + 2 + 4 …) s.
        const stale = outcomes.filter((one) => one === 'stale' || one === 'early').length;
        const least = Array.from({ length: stale }, (_, times) => 0.8 * Math.min(1000 * 2 ** times, 4 * MINUTE));
        expect(run.clock.now()).toBeGreaterThanOrEqual(least.reduce((sum, ms) => sum + ms, 0));
      }),
      { numRuns: 30 },
    );
  });
});

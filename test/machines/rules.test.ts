/** The rules of the durable facts, one by one, and the promises they keep over every order of changes. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ACTION_DATA_KEPT,
  type Change,
  type DeliveredAction,
  emptyFacts,
  type Facts,
  GENERATIONS_KEPT,
  JOURNAL_KEPT,
  JOURNAL_KEPT_MS,
  OUTBOX_KEPT,
  REJECTIONS_KEPT,
  type RejectionKind,
  STARTS_KEPT,
  UNFINISHED_KEPT,
} from '../../src/machines/facts.ts';
import { advance, bodiesNamed, isRetryable, type Rules, remainingMs } from '../../src/machines/rules.ts';
import type { PolicyBody } from '../../src/policy/identity.ts';
import { policiesNamed } from '../../src/services/store/record.ts';

const RULES: Rules = {
  attemptLimit: 3,
  freshMs: 3_600_000,
  retry: { initialMs: 60_000, maxMs: 3_600_000 },
  recovery: { initialMs: 300_000, maxMs: 86_400_000 },
  notFoundLimit: 3,
};
const T0 = 1_000_000;

const policy = (name: string, actionId = `policy:web:${name}`): PolicyBody => ({
  id: 'web',
  revision: Number.parseInt(name, 36),
  hash: `hash-${name}`,
  actionId,
  text: `{"revision":"${name}"}`,
});
const action = (id: string, more: Partial<DeliveredAction> = {}): DeliveredAction => ({
  id,
  type: 'SETTINGS',
  data: '{"log_level":"debug"}',
  inputType: null,
  startTime: null,
  expiration: null,
  undecodable: null,
  ...more,
});

const opened: Change = { type: 'start.opened', bootId: 'boot' };
const goodbye: Change = { type: 'start.goodbye' };
const deliver = (
  name: string | null,
  actions: readonly DeliveredAction[] = [],
  token: string | null = 't',
): Change => ({
  type: 'delivery.received',
  token,
  actions,
  policy: name === null ? null : policy(name),
});
const promote = (name: string): Change => ({ type: 'policy.promoted', hash: `hash-${name}` });
const reject = (name: string, kind: RejectionKind = 'health'): Change => ({
  type: 'policy.rejected',
  hash: `hash-${name}`,
  kind,
  reason: 'it broke nginx',
});
const confirmed = (name: string): Change => ({ type: 'replay.confirmed', hash: `hash-${name}` });
const retry: Change = { type: 'rejection.retried', hash: null };
const spent = (name: string): Change => ({ type: 'candidate.spent', hash: `hash-${name}` });
const lost = (...names: string[]): Change => ({ type: 'held.lost', hashes: names.map((name) => `hash-${name}`) });
const done = (id: string, ok = true): Change => ({
  type: 'action.done',
  id,
  outcome: ok ? { ok, message: 'did it' } : { ok, error: 'did not' },
  intents: null,
});
const THE_ONE_OWED = -1;
const settled = (actionId: string, verdict: 'taken' | 'notFound' | 'refused' | 'retry'): Change => ({
  type: 'acks.settled',
  verdicts: [{ actionId, owedAt: THE_ONE_OWED, verdict, reason: '' }],
});
/** Stands for the ack that is owed at that moment. */
function addressed(facts: Facts, change: Change): Change {
  if (change.type !== 'acks.settled') return change;
  const owedAt = (id: string) => facts.outbox.find((one) => one.actionId === id)?.owedAt ?? THE_ONE_OWED;
  return {
    ...change,
    verdicts: change.verdicts.map((one) =>
      one.owedAt === THE_ONE_OWED ? { ...one, owedAt: owedAt(one.actionId) } : one,
    ),
  };
}

/** Each change in a commit of its own, one second apart. */
function factsAfter(...changes: readonly Change[]): Facts {
  return next(emptyFacts('agent'), T0, ...changes);
}
function next(from: Facts, at: number, ...changes: readonly Change[]): Facts {
  return changes.reduce(
    (facts, change, index) => advance(facts, [addressed(facts, change)], at + index * 1000, RULES).facts,
    from,
  );
}
const held = (facts: Facts) => facts.generations.map((one) => one.hash.slice(5));
const owed = (facts: Facts) => facts.outbox.map((one) => one.actionId);
const attempts = (facts: Facts) => facts.generations.map((one) => one.attempts);

describe('a policy', () => {
  it('is a candidate with one attempt spent when it is delivered, in the same commit as token and actions (P4, P10)', () => {
    const { facts, bodies, news } = advance(emptyFacts('a'), [deliver('1', [action('x')], 'token')], T0, RULES);
    expect(facts).toMatchObject({
      deliveryToken: 'token',
      candidate: { hash: 'hash-1', attempts: 1 },
      received: { hash: 'hash-1' },
      journal: [{ id: 'x', state: 'received' }],
      outbox: [],
    });
    expect(bodies).toEqual({ 'hash-1': policy('1').text });
    expect(news).toEqual({ policy: true, actions: true });
  });

  it('is acked only with its promotion, which makes it last good (P1)', () => {
    const facts = factsAfter(opened, deliver('1'), promote('1'));
    expect(held(facts)).toEqual(['1']);
    expect(facts.candidate).toBeNull();
    expect(facts.outbox).toMatchObject([{ actionId: 'policy:web:1', policy: { hash: 'hash-1' }, error: null }]);
    expect(facts.acked).toBeNull();
    expect(next(facts, T0, settled('policy:web:1', 'taken')).acked).toMatchObject({ hash: 'hash-1' });
  });

  it('that was superseded cannot be promoted any more', () => {
    const facts = factsAfter(deliver('1'), deliver('2'));
    expect(next(facts, T0, promote('1'), reject('1'), spent('1'))).toEqual(facts);
  });

  it('that is last good already is acked again under the action it came in now, and drops what was in flight', () => {
    const before = factsAfter(opened, deliver('1'), promote('1'), settled('policy:web:1', 'taken'), deliver('2'));
    const again: Change = { ...deliver(null), policy: policy('1', 'policy:web:1:9') } as Change;
    const { facts, news } = advance(before, [again], T0, RULES);
    expect(facts.candidate).toBeNull();
    expect(facts.generations[0]).toMatchObject({
      actionId: 'policy:web:1:9',
      promotedAt: before.generations[0]?.promotedAt,
    });
    expect(owed(facts)).toEqual(['policy:web:1:9']);
    expect(news?.policy).toBe(false);
  });

  it('that is older than a lost one that was acked is not acked anew when it is replayed: Fleet must not take it for the newest (P8)', () => {
    const acked = ['1', '2'].flatMap((name) => [deliver(name), promote(name), settled(`policy:web:${name}`, 'taken')]);
    const replayed = (...changes: Change[]) => factsAfter(opened, ...acked, ...changes);
    expect(owed(replayed(opened, confirmed('2')))).toEqual(['policy:web:2']);
    const late = factsAfter(opened, ...acked.slice(0, 5), opened, lost('2'));
    expect([held(late), owed(late), late.everythingAskedAt]).toEqual([['1'], [], null]);
    const orphan = replayed(opened, lost('2'), confirmed('1'));
    expect(held(orphan)).toEqual(['1']);
    expect(owed(orphan)).toEqual([]);
  });

  it('that is in flight stays in flight without a new attempt, under the newest action id', () => {
    const again: Change = { ...deliver(null), policy: policy('1', 'policy:web:1:9') } as Change;
    const { facts, news } = advance(factsAfter(deliver('1')), [again], T0, RULES);
    expect(facts.candidate).toMatchObject({ attempts: 1, actionId: 'policy:web:1:9' });
    expect(news?.policy).toBe(false);
  });

  it('is kept for three generations, and one that comes back moves to the front', () => {
    const four = factsAfter(...['1', '2', '3', '4'].flatMap((name) => [deliver(name), promote(name)]));
    expect(held(four)).toEqual(['4', '3', '2']);
    expect(held(next(four, T0, deliver('2'), promote('2')))).toEqual(['2', '4', '3']);
  });

  it('is wanted on disk while it is a generation, the candidate or the newest rejected one', () => {
    const facts = factsAfter(
      deliver('1'),
      promote('1'),
      deliver('2'),
      reject('2'),
      deliver('3'),
      reject('3'),
      deliver('4'),
    );
    expect(bodiesNamed(facts)).toEqual(['hash-1', 'hash-4', 'hash-3']);
  });
});

describe('what was received last', () => {
  it('keeps the time it first came, however often Fleet repeats it', () => {
    const facts = factsAfter(opened, deliver('1'), deliver('1'), deliver('1'));
    expect(facts.received).toMatchObject({ hash: 'hash-1', since: T0 + 1000, at: T0 + 3000 });
    expect(next(facts, T0 + 9000, deliver('2'), deliver('1')).received).toMatchObject({ since: T0 + 10_000 });
  });
});

describe('a rejected policy', () => {
  const broken = factsAfter(opened, deliver('1'), promote('1'), deliver('2'), reject('2'));

  it('leaves last good, is remembered with its reason, and owes no ack (P3)', () => {
    expect(held(broken)).toEqual(['1']);
    expect(broken.candidate).toBeNull();
    expect(broken.rejected).toMatchObject([
      { hash: 'hash-2', reason: 'it broke nginx', times: 1, retry: { delayMs: 60_000 } },
    ]);
    expect(owed(broken)).toEqual(['policy:web:1']);
  });

  it('that Fleet sends again stays rejected, and its next try where it was: no thrashing', () => {
    const { facts, news } = advance(broken, [deliver('2')], T0 + 50_000, RULES);
    expect(facts.candidate).toBeNull();
    expect(facts.rejected).toEqual(broken.rejected);
    expect(news?.policy).toBe(false);
  });

  it('is tried again after a delay that doubles, up to its limit', () => {
    let facts = broken;
    const delays: (number | undefined)[] = [];
    for (let time = 0; time < 8; time += 1) {
      delays.push(facts.rejected[0]?.retry?.delayMs);
      facts = next(facts, T0, retry, reject('2'));
    }
    expect(delays).toEqual([60_000, 120_000, 240_000, 480_000, 960_000, 1_920_000, 3_600_000, 3_600_000]);
  });

  it('has no time for its next try while it is tried, and none ever when it cannot be parsed', () => {
    expect(next(broken, T0, retry)).toMatchObject({
      candidate: { hash: 'hash-2', attempts: 1 },
      rejected: [{ retry: null }],
    });
    expect(factsAfter(deliver('2'), reject('2', 'unparsable')).rejected[0]?.retry).toBeNull();
  });

  it('can be asked for only while Fleet wants it and nothing else is in flight', () => {
    expect(isRetryable(broken)).toBe(true);
    expect(isRetryable(next(broken, T0, deliver('3')))).toBe(false);
    expect(isRetryable(next(broken, T0, deliver('1')))).toBe(false);
    const elsewhere = next(broken, T0, deliver('1'));
    expect(next(elsewhere, T0, retry)).toEqual(elsewhere);
    const other: Change = { type: 'rejection.retried', hash: 'hash-9' };
    expect(next(broken, T0, other)).toEqual(broken);
  });

  it('that a newer good one has overtaken is never tried again by itself', () => {
    const overtaken = next(broken, T0, deliver('3'), promote('3'));
    expect(overtaken.rejected).toMatchObject([{ hash: 'hash-2', retry: null }]);
    expect(isRetryable(overtaken)).toBe(false);
  });

  it('that Fleet comes back to is wanted again: first in the list, with a time for its next try', () => {
    const back = next(broken, T0, deliver('3'), reject('3'), deliver('2'));
    expect(back.rejected).toMatchObject([
      { hash: 'hash-2', retry: { delayMs: 60_000 } },
      { hash: 'hash-3', retry: null },
    ]);
    expect(isRetryable(back)).toBe(true);
    expect(back.candidate).toBeNull();
  });

  it('is forgotten when it becomes good', () => {
    expect(next(broken, T0, retry, promote('2'))).toMatchObject({
      rejected: [],
      generations: [{ hash: 'hash-2' }, { hash: 'hash-1' }],
    });
  });

  it('that ended the agent each time gets a single attempt a try (P10)', () => {
    const crashed = next(factsAfter(opened, deliver('2')), T0, opened, spent('2'), opened, spent('2'), opened);
    expect(crashed).toMatchObject({ candidate: null, rejected: [{ kind: 'attempts' }] });
    const tried = next(crashed, T0, retry);
    expect(tried.candidate?.attempts).toBe(3);
    expect(next(tried, T0, opened)).toMatchObject({ candidate: null, rejected: [{ times: 2 }] });
  });
});

describe('a start', () => {
  it.each([
    ['the first', [opened], 'first', 0],
    ['one after a goodbye', [opened, goodbye, opened], 'goodbye', 0],
    ['one after none', [opened, opened], 'crashed', 1],
    ['the third in a row', [opened, opened, opened], 'crashed', 2],
    [
      'one on a host that was rebooted',
      [opened, opened, { type: 'start.opened', bootId: 'other' }],
      'host-rebooted',
      1,
    ],
    ['one after a confirmed one', [opened, opened, deliver('1'), promote('1'), opened], 'crashed', 1],
  ] as const)('%s knows how the one before ended (P9)', (_name, changes, previous, crashes) => {
    expect(factsAfter(...(changes as readonly Change[])).starts[0]).toMatchObject({ previous, crashes });
  });

  it.each([
    ['an answer', [{ type: 'answer.arrived' }], 'reading an answer from Fleet'],
    ['a candidate', [deliver('7')], 'applying web:7 (attempt 1)'],
    ['an action', [deliver(null, [action('x')]), { type: 'action.started', id: 'x' }], 'running action x (SETTINGS)'],
    ['a replay', [deliver('7'), promote('7'), opened], 'replaying web:7'],
    ['nothing', [deliver('7'), promote('7')], null],
  ] as const)('names what was in flight: %s', (_name, changes, inFlight) => {
    expect(factsAfter(opened, ...(changes as readonly Change[]), opened).starts[0]?.inFlight).toBe(inFlight);
  });

  it('is one of ten that are kept', () => {
    expect(factsAfter(...Array.from({ length: 30 }, () => opened)).starts).toHaveLength(STARTS_KEPT);
  });

  it('that dies on an answer is counted, and the count ends with an answer that was taken or discarded', () => {
    const twice = factsAfter(opened, { type: 'answer.arrived' }, opened, { type: 'answer.arrived' }, opened);
    expect(twice).toMatchObject({ answerDeaths: 2, answerInFlight: false });
    expect(next(twice, T0, deliver(null))).toMatchObject({ answerDeaths: 0, answerInFlight: false });
    expect(next(twice, T0, { type: 'answer.discarded' }).answerDeaths).toBe(0);
  });

  it('spends an attempt on what it runs, given back by confirmation or a goodbye and by nothing else (P10)', () => {
    const good = factsAfter(opened, deliver('1'), promote('1'));
    expect(attempts(next(good, T0, opened))).toEqual([1]);
    expect(attempts(next(good, T0, opened, opened))).toEqual([2]);
    expect(attempts(next(good, T0, opened, opened, goodbye))).toEqual([1]);
    expect(attempts(next(good, T0, opened, opened, goodbye, goodbye))).toEqual([1]);
    expect(attempts(next(good, T0, opened, opened, confirmed('1')))).toEqual([0]);
    expect(attempts(next(good, T0, opened, opened, confirmed('1'), goodbye))).toEqual([0]);
  });

  it('gets its attempt back by the promotion of a policy that overtook the replay', () => {
    const facts = next(factsAfter(opened, deliver('1'), promote('1')), T0, opened, opened, deliver('2'), promote('2'));
    expect(attempts(facts)).toEqual([0, 1]);
    expect(attempts(next(facts, T0, goodbye))).toEqual([0, 1]);
  });

  it('gives back to a candidate at its goodbye only what it spent itself', () => {
    const crashed = factsAfter(opened, deliver('1'), opened);
    expect(next(crashed, T0, goodbye).candidate?.attempts).toBe(1);
    expect(next(crashed, T0, spent('1'), goodbye).candidate?.attempts).toBe(1);
    expect(next(crashed, T0, spent('1')).candidate?.attempts).toBe(2);
  });

  it('does not take the verdict on an earlier ack for one on other bytes under the same action id (P1)', () => {
    const first = factsAfter(opened, deliver('1'), promote('1'));
    const verdict: Change = {
      type: 'acks.settled',
      verdicts: first.outbox.map(({ actionId, owedAt }) => ({ actionId, owedAt, verdict: 'taken', reason: '' })),
    };
    const rotated: Change = {
      type: 'delivery.received',
      token: null,
      actions: [],
      policy: { id: 'web', revision: 1, hash: 'hash-rotated', actionId: 'policy:web:1', text: '{"rotated":true}' },
    };
    const both = next(first, T0 + 60_000, rotated, { type: 'policy.promoted', hash: 'hash-rotated' }, verdict);
    expect(both.acked).toBeNull();
    expect(both.outbox).toMatchObject([{ actionId: 'policy:web:1', policy: { hash: 'hash-rotated' } }]);
  });

  it('acks last good again once it is confirmed, and only the first time', () => {
    const good = factsAfter(opened, deliver('1'), promote('1'), settled('policy:web:1', 'taken'));
    const again = next(good, T0, opened, confirmed('1'));
    expect(owed(again)).toEqual(['policy:web:1']);
    expect(owed(next(again, T0, settled('policy:web:1', 'taken'), confirmed('1')))).toEqual([]);
  });
});

describe('a crash loop (P10)', () => {
  const two = factsAfter(opened, deliver('1'), promote('1'), deliver('2'), promote('2'));
  const crash = (times: number) => Array.from({ length: times }, () => opened);

  it('passes a fresh last good over for the generation before it, and then does nothing any more', () => {
    const third = next(two, T0, ...crash(3));
    expect(third).toMatchObject({ runs: 0, generations: [{ attempts: 3 }, { attempts: 0 }] });
    const stepped = next(third, T0, opened);
    expect(stepped).toMatchObject({
      runs: 1,
      generations: [{ attempts: 3 }, { attempts: 1 }],
      passedOver: { times: 1 },
    });
    expect(next(stepped, T0, ...crash(2))).toMatchObject({ runs: 1, safeMode: null });
    expect(next(stepped, T0, ...crash(3))).toMatchObject({ runs: 1, safeMode: { until: { delayMs: 300_000 } } });
  });

  it('leaves a last good that has run for long alone and goes to safe mode', () => {
    expect(next(two, T0 + RULES.freshMs * 2, ...crash(4))).toMatchObject({
      runs: 0,
      safeMode: { until: { delayMs: 300_000 } },
    });
  });

  it('passes over a generation that used up its own attempts before', () => {
    const stepped = next(two, T0, ...crash(4));
    const third = next(stepped, T0, deliver('3'), promote('3'), ...crash(4));
    expect(third).toMatchObject({
      generations: [{ hash: 'hash-3' }, { hash: 'hash-2' }, { hash: 'hash-1' }],
      safeMode: null,
    });
    expect(third.runs).toBe(2);
  });

  it('gives the passed-over policy one attempt a try, after a delay that grows, until it is confirmed', () => {
    const stepped = next(two, T0, ...crash(4), confirmed('1'));
    expect(stepped).toMatchObject({ runs: 1, passedOver: { delayMs: 300_000 } });
    const asked = next(stepped, T0, { type: 'generation.retried' }, goodbye, opened);
    expect(asked).toMatchObject({ runs: 0, generations: [{ attempts: 3 }, { attempts: 0 }] });
    expect(next(asked, T0, opened)).toMatchObject({ runs: 1, passedOver: { delayMs: 600_000, times: 2 } });
    expect(next(asked, T0, confirmed('2'))).toMatchObject({
      runs: 0,
      passedOver: null,
      generations: [{ attempts: 0 }, { attempts: 0 }],
    });
    const later = T0 + RULES.freshMs * 3;
    expect(next(stepped, later, opened)).toMatchObject({ runs: 0, generations: [{ attempts: 3 }, { attempts: 0 }] });
    expect(next(stepped, later, opened, opened), 'also when it is not fresh any more').toMatchObject({
      runs: 1,
      safeMode: null,
    });
  });

  it('ends in a safe mode that is left by time, by asking, or by a promotion, with one attempt', () => {
    const safe = next(two, T0 + RULES.freshMs * 2, ...crash(4));
    const until = safe.safeMode?.until.at as number;
    expect(next(safe, until - 1, opened)).toMatchObject({ safeMode: { since: safe.safeMode?.since } });
    expect(next(safe, until, opened)).toMatchObject({ safeMode: null, runs: 0, generations: [{ attempts: 3 }, {}] });
    expect(next(safe, until, opened, opened)).toMatchObject({ safeMode: { until: { delayMs: 600_000 } } });
    expect(next(safe, T0, { type: 'safeMode.left' }, goodbye, opened).generations[0]?.attempts).toBe(3);
    expect(next(safe, T0, deliver('3'))).toMatchObject({ safeMode: {}, candidate: { hash: 'hash-3' } });
    expect(next(safe, T0, deliver('3'), promote('3'))).toMatchObject({ safeMode: null, safeModeTimes: 0 });
  });

  it('is not concluded from a start that could be spent only after it had replayed well', () => {
    const late = next(two, T0 + RULES.freshMs * 2, ...crash(4), confirmed('2'));
    expect(late).toMatchObject({ safeMode: null, runs: 0, generations: [{ attempts: 0 }, {}] });
  });

  it('rejects a candidate that used up its attempts', () => {
    const facts = next(factsAfter(opened, deliver('1')), T0, opened, spent('1'), opened, spent('1'));
    expect(facts.candidate?.attempts).toBe(3);
    expect(next(facts, T0, opened)).toMatchObject({
      candidate: null,
      rejected: [{ kind: 'attempts', hash: 'hash-1' }],
    });
    expect(next(facts, T0, spent('1'))).toMatchObject({ candidate: null, rejected: [{ kind: 'attempts' }] });
  });
});

describe('what is lost on disk (P8)', () => {
  const three = factsAfter(opened, ...['1', '2', '3'].flatMap((name) => [deliver(name), promote(name)]));

  it('is not claimed any more, and the next older generation takes its place', () => {
    expect(held(next(three, T0, lost('3')))).toEqual(['2', '1']);
    expect(held(next(three, T0, lost('3', '2', '1')))).toEqual([]);
    expect(next(three, T0, deliver('4'), lost('4')).candidate).toBeNull();
  });

  it('does not bring back a passed-over policy when the one that runs in its place is lost', () => {
    const stepped = next(three, T0, opened, opened, opened, opened);
    expect(stepped.runs).toBe(1);
    const facts = next(stepped, T0, lost('2'));
    expect(facts.generations[facts.runs]?.hash).toBe('hash-1');
  });

  it('takes away the next try of a rejected policy, until Fleet sends its bytes again', () => {
    const facts = next(three, T0, deliver('4'), reject('4'), lost('4'));
    expect(facts.rejected[0]?.retry).toBeNull();
    expect(next(facts, T0, deliver('4')).rejected[0]?.retry).not.toBeNull();
  });
});

describe('an action', () => {
  it('owes its ack from the commit of its result on, until the server gives its verdict (P6)', () => {
    const facts = factsAfter(deliver(null, [action('x')]), { type: 'action.started', id: 'x' }, done('x', false));
    expect(facts.journal).toMatchObject([{ state: 'done', data: null, outcome: { error: 'did not' } }]);
    expect(facts.outbox).toMatchObject([{ actionId: 'x', error: 'did not', policy: null }]);
    expect(owed(next(facts, T0, settled('x', 'retry'), settled('y', 'taken')))).toEqual(['x']);
    expect(owed(next(facts, T0, settled('x', 'taken')))).toEqual([]);
    expect(owed(next(facts, T0, settled('x', 'refused')))).toEqual([]);
    expect(owed(next(facts, T0, settled('x', 'notFound'), settled('x', 'notFound')))).toEqual(['x']);
    expect(owed(next(facts, T0, settled('x', 'notFound'), settled('x', 'notFound'), settled('x', 'notFound')))).toEqual(
      [],
    );
  });

  it('keeps the reason of an ack that was given up, until that ack is taken after all', () => {
    const facts = next(next(emptyFacts('a'), T0, opened), T0, deliver(null, [action('x')]), {
      type: 'action.done',
      id: 'x',
      outcome: { ok: true, message: 'done' },
      intents: null,
    });
    const owedAt = facts.outbox[0]?.owedAt ?? 0;
    const given = (verdict: 'taken' | 'notFound' | 'refused' | 'retry', reason: string): Change => ({
      type: 'acks.settled',
      verdicts: [{ actionId: 'x', owedAt, verdict, reason }],
    });
    const refused = next(facts, T0 + 5, given('refused', '400 Bad Request'));
    expect(refused.refusedAcks).toEqual([
      { actionId: 'x', actionType: 'SETTINGS', reason: '400 Bad Request', at: T0 + 5 },
    ]);
    const notFound = given('notFound', '404 Not Found');
    expect(next(facts, T0, notFound, notFound, notFound).refusedAcks[0]?.reason).toBe('404 Not Found, 3 times');
    expect(next(facts, T0, given('retry', '503 busy'))).toMatchObject({ refusedAcks: [], outbox: [{ actionId: 'x' }] });
    const owedAgain = next(refused, owedAt, deliver(null, [action('x')]));
    expect(next(owedAgain, T0, given('taken', 'OK')).refusedAcks).toEqual([]);
  });

  it('owes Fleet word of an unenrollment that it does not know of, and counts each try to give it', () => {
    const bySelf: Change = { type: 'agent.unenrolled', reason: 'asked to', audit: 'uninstall' };
    const told = next(next(emptyFacts('a'), T0, opened), T0, bySelf);
    expect(told.audit).toEqual({ reason: 'uninstall', tries: 0 });
    expect(next(told, T0, { type: 'audit.tried' }, { type: 'audit.tried' }).audit?.tries).toBe(2);
    expect(next(told, T0, { type: 'audit.settled' }, bySelf).audit).toBeNull();
    expect(
      next(next(emptyFacts('a'), T0, opened), T0, { type: 'agent.unenrolled', reason: 'Fleet sent UNENROLL' }).audit,
    ).toBeNull();
  });

  it('that is delivered again after it was done is acked again with its result, and does not run (P5)', () => {
    const facts = factsAfter(deliver(null, [action('x')]), done('x'), settled('x', 'taken'));
    const { facts: again, news } = advance(facts, [deliver(null, [action('x')])], T0, RULES);
    expect(again.journal).toEqual(facts.journal);
    expect(again.outbox).toMatchObject([{ actionId: 'x', message: 'did it', error: null }]);
    expect(news).toEqual({ policy: false, actions: false });
  });

  it('that is done stays done: no second result, no second start', () => {
    const facts = factsAfter(deliver(null, [action('x'), action('x')]), done('x'));
    expect(facts.journal).toHaveLength(1);
    expect(next(facts, T0, done('x', false), { type: 'action.started', id: 'x' }, done('unknown'))).toEqual(facts);
  });

  it('is remembered with its result for 30 days or 500 others', () => {
    const old = factsAfter(deliver(null, [action('x')]), done('x'), settled('x', 'taken'));
    expect(next(old, T0 + JOURNAL_KEPT_MS, deliver(null)).journal).toHaveLength(1);
    expect(next(old, T0 + JOURNAL_KEPT_MS + 1000, deliver(null)).journal).toHaveLength(0);
    let facts = old;
    for (let n = 0; n < JOURNAL_KEPT; n += 1) facts = next(facts, T0, deliver(null, [action(`a${n}`)]), done(`a${n}`));
    expect(facts.journal).toHaveLength(JOURNAL_KEPT);
    expect(facts.journal[0]?.id).toBe('a0');
  });

  it('is remembered while its ack is owed, whatever the clock says, also when it is delivered again (P4, P5)', () => {
    const late = T0 + 2 * JOURNAL_KEPT_MS;
    const owed = factsAfter(deliver(null, [action('x')]), done('x'));
    expect(next(owed, late, deliver(null)).journal).toMatchObject([{ id: 'x', state: 'done' }]);
    const acked = next(owed, T0, settled('x', 'taken'));
    const again = next(acked, late, deliver(null, [action('x')]));
    expect([again.journal.length, again.outbox.length]).toEqual([1, 1]);
    const settledAgain = next(again, late, settled('x', 'taken'), deliver(null));
    expect([settledAgain.journal, settledAgain.outbox]).toEqual([[], []]);
  });

  it('does not run again while its ack is owed, also when 500 others were done since (P5)', () => {
    let facts = factsAfter(deliver(null, [action('x')]), done('x'));
    for (let n = 0; n <= JOURNAL_KEPT; n += 1) facts = next(facts, T0, deliver(null, [action(`a${n}`)]), done(`a${n}`));
    expect(facts.journal.some(({ id }) => id === 'x')).toBe(false);
    const { facts: again, news } = advance(facts, [deliver(null, [action('x')])], T0, RULES);
    expect(again.journal.some(({ id }) => id === 'x')).toBe(false);
    expect(news).toEqual({ policy: false, actions: false });
  });

  it('of a flood is answered with an error when too many wait, or when it is too large: never dropped', () => {
    const many = Array.from({ length: UNFINISHED_KEPT + 2 }, (_, n) => action(`a${n}`));
    const facts = factsAfter(deliver(null, many));
    expect(facts.journal.filter((entry) => entry.state === 'received')).toHaveLength(UNFINISHED_KEPT);
    expect(facts.outbox.map((one) => [one.actionId, one.error])).toEqual([
      ['a500', '500 actions are waiting already; send it again later'],
      ['a501', '500 actions are waiting already; send it again later'],
    ]);
    const large = factsAfter(deliver(null, [action('x', { data: 'x'.repeat(ACTION_DATA_KEPT + 1) })]));
    expect(large.outbox[0]?.error).toMatch(/its data has 262145 characters/);
    expect(large.journal[0]?.data).toBeNull();
  });

  it('is not taken at all, and its token neither, while too many acks are owed: Fleet sends it again (P4)', () => {
    let facts = emptyFacts('a');
    for (let n = 0; facts.outbox.length < OUTBOX_KEPT; n += 1) {
      const ids = Array.from({ length: 400 }, (_, at) => `a${n}-${at}`);
      facts = advance(
        facts,
        [
          deliver(
            null,
            ids.map((id) => action(id)),
          ),
          ...ids.map((id) => done(id)),
        ],
        T0,
        RULES,
      ).facts;
    }
    const { facts: full, news } = advance(facts, [deliver('1', [action('x')], 'newer')], T0, RULES);
    expect(full.deliveryToken).toBe('t');
    expect(full.journal).toEqual(facts.journal);
    expect(full.candidate?.hash).toBe('hash-1');
    expect(news).toEqual({ policy: true, actions: false });
    expect(next(next(full, T0, settled('a0-0', 'taken')), T0, deliver(null, [action('x')], 'newer'))).toMatchObject({
      deliveryToken: 'newer',
    });
  }, 30_000);
});

describe('an unenrolled agent', () => {
  it('has nothing in flight', () => {
    expect(factsAfter(deliver('1'), { type: 'agent.unenrolled', reason: 'asked' })).toMatchObject({
      candidate: null,
      unenrolled: { reason: 'asked' },
    });
  });
});

it('waits for a stored deadline at most the delay that was chosen, whatever the clock says', () => {
  expect(remainingMs({ at: T0 + 500, delayMs: 1000 }, T0)).toBe(500);
  expect(remainingMs({ at: T0 + 500, delayMs: 1000 }, T0 + 900)).toBe(0);
  expect(remainingMs({ at: T0 + 500, delayMs: 1000 }, 0)).toBe(1000);
});

// ---- every order of changes ----

const names = fc.constantFrom('1', '2', '3', '4', '5');
/** `*`: whatever is the candidate then. */
const candidates = fc.oneof({ weight: 3, arbitrary: fc.constant('*') }, { weight: 1, arbitrary: names });
const ids = fc.constantFrom('a', 'b', 'c', 'd');
const anyChange: fc.Arbitrary<Change> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom(opened, opened, opened, goodbye, { type: 'start.opened', bootId: 'other' } as Change),
  },
  {
    weight: 5,
    arbitrary: fc
      .tuple(fc.option(names), fc.array(ids, { maxLength: 3 }), fc.option(fc.string({ maxLength: 3 })))
      .map(([name, actions, token]) =>
        deliver(
          name,
          actions.map((id) => action(id)),
          token,
        ),
      ),
  },
  { weight: 6, arbitrary: candidates.map(promote) },
  {
    weight: 3,
    arbitrary: fc
      .tuple(candidates, fc.constantFrom<RejectionKind>('health', 'unparsable'))
      .map((one) => reject(...one)),
  },
  { weight: 2, arbitrary: names.map(confirmed) },
  { weight: 2, arbitrary: candidates.map(spent) },
  { weight: 1, arbitrary: fc.array(names, { maxLength: 2 }).map((all) => lost(...all)) },
  { weight: 2, arbitrary: ids.map((id): Change => ({ type: 'action.started', id })) },
  { weight: 3, arbitrary: fc.tuple(ids, fc.boolean()).map(([id, ok]) => done(id, ok)) },
  {
    weight: 3,
    arbitrary: fc
      .tuple(
        fc.oneof(
          ids,
          names.map((name) => `policy:web:${name}`),
        ),
        fc.constantFrom<'taken' | 'notFound' | 'refused' | 'retry'>('taken', 'notFound', 'refused', 'retry'),
      )
      .map(([id, verdict]) => settled(id, verdict)),
  },
  {
    weight: 2,
    arbitrary: fc.constantFrom<Change>(
      retry,
      { type: 'generation.retried' },
      { type: 'safeMode.left' },
      { type: 'answer.arrived' },
      { type: 'answer.discarded' },
    ),
  },
);

/** Commits of one to three changes, and the ms that pass before each. */
const history = fc.array(
  fc.tuple(
    fc.array(anyChange, { minLength: 1, maxLength: 3 }),
    fc.constantFrom(0, 1000, 400_000, 4_000_000, -4_000_000),
  ),
  { maxLength: 40 },
);

/** Walks a history; `check` sees each change alone, between the facts before and after it. */
function walk(
  commits: readonly (readonly [readonly Change[], number])[],
  check: (before: Facts, change: Change, after: Facts, now: number) => void,
): Facts {
  let facts = emptyFacts('agent');
  let now = T0 * 1000;
  for (const [templates, passed] of commits) {
    now += passed;
    let step = facts;
    const changes: Change[] = [];
    for (const template of templates) {
      const change = addressed(
        step,
        'hash' in template && template.hash === 'hash-*'
          ? { ...template, hash: step.candidate?.hash ?? 'hash-1' }
          : template,
      );
      changes.push(change);
      const moved = advance(frozen(step), [change], now, RULES).facts;
      check(step, change, moved, now);
      step = moved;
    }
    // What the rules say a record needs is what the store keeps for it.
    expect(policiesNamed(step)).toEqual(bodiesNamed(step));
    // One commit of several changes is the changes one after the other.
    expect(advance(frozen(facts), changes, now, RULES).facts).toEqual(step);
    facts = step;
  }
  return facts;
}

function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) frozen(inner);
  }
  return value;
}

const always = (check: (before: Facts, change: Change, after: Facts, now: number) => void) =>
  fc.assert(
    fc.property(history, (commits) => void walk(commits, check)),
    { numRuns: 400 },
  );

describe('in every order of changes', () => {
  it('P1: an ack for a policy is owed or taken only if that policy was made good', () => {
    const good = new Set<string>();
    always((before, change, now) => {
      if (before.starts.length === 0 && before.generations.length === 0 && before.outbox.length === 0) good.clear();
      if (change.type === 'policy.promoted' && now.generations[0]?.hash === change.hash) good.add(change.hash);
      for (const { policy } of now.outbox) if (policy !== null) expect(good).toContain(policy.hash);
      if (now.acked !== null) expect(good).toContain(now.acked.hash);
      for (const one of now.generations) expect(good).toContain(one.hash);
    });
  });

  it('P3: last good changes by a promotion or a loss, and by nothing else', () => {
    always((before, change, now) => {
      const moved = before.generations[0]?.hash !== now.generations[0]?.hash;
      if (moved) expect(['policy.promoted', 'held.lost']).toContain(change.type);
    });
  });

  it('P4: a token is taken only together with every action it covers', () => {
    always((before, change, now) => {
      if (change.type !== 'delivery.received') return expect(now.deliveryToken).toBe(before.deliveryToken);
      for (const { id } of change.actions) expect(now.journal.map((entry) => entry.id)).toContain(id);
    });
  });

  it('P5: what is done stays done with its result, and is acked again when it is delivered again', () => {
    always((before, change, now) => {
      for (const entry of before.journal.filter((one) => one.state === 'done')) {
        const later = now.journal.find((one) => one.id === entry.id);
        if (later !== undefined) expect(later).toEqual(entry);
        if (
          later !== undefined &&
          change.type === 'delivery.received' &&
          change.actions.some(({ id }) => id === entry.id)
        ) {
          expect(owed(now)).toContain(entry.id);
        }
      }
    });
  });

  it('P6: an owed ack leaves the outbox by the server’s verdict only, and there is one an action', () => {
    always((before, change, now) => {
      expect(new Set(owed(now)).size).toBe(now.outbox.length);
      for (const { actionId, notFound, policy } of before.outbox.filter((one) => !owed(now).includes(one.actionId))) {
        if (change.type === 'held.lost') {
          expect(change.hashes).toContain(policy?.hash);
          continue;
        }
        if (change.type !== 'acks.settled') throw new Error(`${actionId} was dropped by ${change.type}`);
        const verdict = change.verdicts.find((one) => one.actionId === actionId)?.verdict;
        expect(['taken', 'refused', 'notFound']).toContain(verdict);
        if (verdict === 'notFound') expect(notFound + 1).toBe(RULES.notFoundLimit);
      }
      for (const entry of now.journal.filter((one) => one.state === 'done')) {
        if (before.journal.find((one) => one.id === entry.id)?.state !== 'done') expect(owed(now)).toContain(entry.id);
      }
    });
  });

  it('P10: attempts never exceed their limit, and are given back by confirmation, promotion, goodbye or a retry only', () => {
    always((before, change, now) => {
      for (const one of [...now.generations, ...(now.candidate ? [now.candidate] : [])]) {
        expect(one.attempts).toBeGreaterThanOrEqual(0);
        expect(one.attempts).toBeLessThanOrEqual(RULES.attemptLimit);
        const earlier = before.generations.find(({ hash }) => hash === one.hash);
        if (earlier !== undefined && one !== now.candidate && one.attempts < earlier.attempts) {
          expect([
            'replay.confirmed',
            'policy.promoted',
            'start.goodbye',
            'generation.retried',
            'safeMode.left',
            'start.opened',
          ]).toContain(change.type);
        }
      }
    });
  });

  it('keeps everything bounded, consistent and plain JSON', () => {
    always((_before, _change, now) => {
      expect(JSON.parse(JSON.stringify(now))).toStrictEqual(now);
      expect(now.generations.length).toBeLessThanOrEqual(GENERATIONS_KEPT);
      expect(new Set(held(now)).size).toBe(now.generations.length);
      expect(now.rejected.length).toBeLessThanOrEqual(REJECTIONS_KEPT);
      expect(new Set(now.rejected.map((one) => one.hash)).size).toBe(now.rejected.length);
      expect(now.runs).toBeLessThanOrEqual(Math.max(0, now.generations.length - 1));
      if (now.runs > 0) expect(now.passedOver).not.toBeNull();
      expect(now.candidate?.hash).not.toBe(now.generations[0]?.hash ?? '');
      expect(now.journal.length).toBeLessThanOrEqual(JOURNAL_KEPT + UNFINISHED_KEPT);
      expect(now.starts.length).toBeLessThanOrEqual(STARTS_KEPT);
      expect(now.rejected.slice(1).filter((one) => one.retry !== null)).toEqual([]);
    });
  });

  it('P3: a rejected policy becomes a candidate again only by a retry, while Fleet wants it', () => {
    always((before, change, now) => {
      const again = now.candidate;
      if (again === null || before.candidate?.hash === again.hash) return;
      if (!before.rejected.some((one) => one.hash === again.hash)) return;
      expect(change.type).toBe('rejection.retried');
      expect(now.received?.hash).toBe(again.hash);
    });
  });

  it('P10: crashes alone end in safe mode within a bound, whatever came before', () => {
    fc.assert(
      fc.property(history, (commits) => {
        let facts = walk(commits, () => {});
        const now = 10 * T0 * 1000;
        for (let n = 0; n < RULES.attemptLimit * (GENERATIONS_KEPT + 1) + 2; n += 1) facts = next(facts, now, opened);
        if (facts.generations.length > 0) expect(facts.safeMode).not.toBeNull();
        const calm = next(facts, now, opened);
        expect(calm.generations).toEqual(facts.generations);
        if (facts.candidate !== null) expect(facts.candidate.attempts).toBeLessThan(RULES.attemptLimit);
      }),
      { numRuns: 200 },
    );
  });

  it('P10: a start that says goodbye leaves every attempt as it found it', () => {
    fc.assert(
      fc.property(history, (commits) => {
        const facts = walk(commits, () => {});
        const started = next(facts, 10 * T0 * 1000, opened);
        const ended = next(started, 10 * T0 * 1000, goodbye);
        if (started.safeMode !== facts.safeMode || started.runs !== facts.runs) return;
        expect(attempts(ended)).toEqual(attempts(facts));
        if (started.candidate !== null) expect(ended.candidate).toEqual(facts.candidate);
      }),
      { numRuns: 200 },
    );
  });
});

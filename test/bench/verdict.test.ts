import { describe, expect, test } from 'vitest';
import { type Round, verdictOf } from '../../scripts/bench/verdict.ts';

const LIMIT = 1.15;

/** A disk that answers in a millisecond, and noise that is the same in every run. */
function rounds({ count = 400, costs, noise = 0, late = 0 }: Host): readonly Round[] {
  let seed = 7;
  const random = () => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed / 2_147_483_647;
  };
  const commit = (computing: number, waiting: number) => ({
    ms: 1 + computing + waiting + noise * random() ** 4,
    cpuMs: 0.5 + computing * (1 + random() / 10),
  });
  return Array.from({ length: count }, () => ({ readable: commit(0, 0), encrypted: commit(costs, late) }));
}

interface Host {
  readonly count?: number;
  /** What encryption computes, in commits. */
  readonly costs: number;
  /** How many commits others hold one up, at most. */
  readonly noise?: number;
  /** What an encrypted commit waits for besides. */
  readonly late?: number;
}

describe('on a quiet host', () => {
  test.each([0.05, 0.1, 0.14])('%d commits more are within 1.15', (costs) => {
    const verdict = verdictOf(rounds({ costs }), LIMIT);
    expect(verdict.found).toBe('within');
    expect(verdict.timed.middle).toBeCloseTo(1 + costs, 5);
  });

  test.each([0.16, 0.2, 1])('%d commits more are above', (costs) => {
    expect(verdictOf(rounds({ costs }), LIMIT).found).toBe('above');
  });

  test('time that is waited and not computed counts as well', () => {
    expect(verdictOf(rounds({ costs: 0.05, late: 0.2 }), LIMIT).found).toBe('above');
  });
});

describe('on a host whose commits others hold up, thirty times their own length at most', () => {
  test.each([
    [0.08, 'within'],
    [0.5, 'above'],
  ])('%d commits more are %s, by what is computed', (costs, found) => {
    const verdict = verdictOf(rounds({ count: 60, costs, noise: 30 }), LIMIT);
    expect(verdict.found).toBe(found);
    expect(verdict.timed.low).toBeLessThan(LIMIT);
    expect(verdict.timed.high).toBeGreaterThan(LIMIT);
  });

  test('a few rounds whose computing was held up too tell nothing, rather than something wrong', () => {
    const restless = rounds({ count: 12, costs: 0.1, noise: 30 }).map(({ readable, encrypted }, at) => ({
      readable,
      encrypted: { ...encrypted, cpuMs: encrypted.cpuMs * (at % 4 < 2 ? 3 : 1) },
    }));
    expect(verdictOf(restless, LIMIT).found).toBe('unknown');
  });
});

test('who goes first in a round gains nothing: turns are judged in twos', () => {
  const first = { ms: 2, cpuMs: 1 };
  const second = { ms: 1, cpuMs: 1 };
  const even = { readable: first, encrypted: second };
  const odd = { readable: second, encrypted: first };
  const turns = Array.from({ length: 101 }, (_, at) => (at % 2 === 0 ? even : odd));
  expect(verdictOf(turns, LIMIT)).toMatchObject({ found: 'within', timed: { low: 1, middle: 1, high: 1 } });
});

test('no rounds tell nothing', () => {
  expect(verdictOf([], LIMIT).found).toBe('unknown');
});

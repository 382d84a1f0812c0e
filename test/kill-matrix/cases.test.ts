/** Which of many cases a run plays. */
import { expect, test } from 'vitest';
import { shareOf } from './cases.ts';

const CASES = Array.from({ length: 257 }, (_, at) => at);

test('a share has as many cases as it says, spread over all of them', () => {
  const share = shareOf(CASES, '24');
  expect(share).toHaveLength(24);
  const gaps = share.slice(1).map((at, index) => at - (share[index] ?? 0));
  expect(Math.min(...gaps)).toBeGreaterThanOrEqual(10);
  expect(Math.max(...gaps)).toBeLessThanOrEqual(11);
});

test('shares with one offset after the other come to every case', () => {
  const shares = Array.from({ length: 11 }, (_, offset) => shareOf(CASES, '24', 100 + offset));
  expect(shares.map((share) => share.length)).toEqual(Array(11).fill(24));
  expect(new Set(shares.flat()).size).toBe(CASES.length);
});

test('all of them, or more than there are, is each once', () => {
  expect(shareOf(CASES, 'all')).toEqual(CASES);
  expect(shareOf(CASES, '1000', 7)).toEqual(CASES);
});

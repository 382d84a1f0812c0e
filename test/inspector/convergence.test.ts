/** "Why is it not converged?" has one answer, the first thing that stands in the way. */
import { describe, expect, test } from 'vitest';
import { convergence } from '../../src/commands/convergence.ts';
import { aStatus, NOW, policy } from '../commands/fakes.ts';

const why = (changes: Parameters<typeof aStatus>[0]) => convergence(aStatus(changes), NOW);

describe('an agent', () => {
  test('that runs, holds and has acked what Fleet assigned is converged', () => {
    expect(why({})).toEqual({
      converged: true,
      sentence: expect.stringMatching(/^Converged: web:\d+ runs/),
      step: null,
    });
  });

  test('that applies a policy names the step it waits for, by its id', () => {
    const applying = why({
      path: { policy: 'apply' },
      policy: { received: policy(9) },
      awaiting: 'reload nginx-default-web: waiting for "reconfigured"',
    });
    expect(applying).toMatchObject({ converged: false, step: 'reload nginx-default-web' });
    expect(applying.sentence).toMatch(/^web:9 is being applied\. Awaited: step reload nginx-default-web: waiting/);
  });

  test.each([
    ['persists', { path: { policy: 'persist' } }, /is on its way to the disk/],
    ['acks', { path: { policy: 'ack' } }, /its ack is on its way to Fleet/],
    ['goes back', { path: { policy: 'rollback' } }, /is being taken back: web:\d+ is brought up again/],
    ['cannot write', { store: { failing: 'no space left on device' } }, /The disk takes no writes.*no space left/],
    [
      'holds less',
      { policy: { orphaned: { reason: 'the file is torn', since: '' } } },
      /less than Fleet believes \(the file is torn\)/,
    ],
    ['is in safe mode', { state: 'safeMode', start: { crashes: 3 } }, /In safe mode after 3 crashes/],
    ['is unenrolled', { state: 'unenrolled' }, /has left Fleet/],
    ['owes acks', { actions: { outbox: 2 } }, /2 acks are owed to Fleet/],
    [
      'has no link',
      { fleet: { state: 'backing-off', message: 'connection refused' } },
      /cannot be reached.*connection refused/,
    ],
  ] as const)('that %s says so', (_, changes, sentence) => {
    const answer = why(changes);
    expect(answer.converged).toBe(false);
    expect(answer.sentence).toMatch(sentence);
  });

  test('that rejected what Fleet assigned says why, what runs, and when it is tried again', () => {
    const rejected = {
      ...policy(9),
      kind: 'check',
      reason: 'unknown directive "lisen".',
      rejected_at: new Date(NOW - 5_000).toISOString(),
      next_try: new Date(NOW + 58_000).toISOString(),
    };
    const { sentence } = why({ policy: { received: policy(9), rejected: [rejected] } });
    expect(sentence).toMatch(
      /^Fleet assigned web:9, which was rejected 5 s ago: unknown directive "lisen"; web:\d+ runs on\. Next try in 58 s\.$/,
    );
  });

  test('whose component is unwell is converged, and its health is told beside that (P12)', () => {
    const components = [{ ...aStatus().components[0], state: 'degraded', message: 'no answer.' }] as never;
    expect(why({ components })).toEqual({
      converged: true,
      sentence:
        'Converged: web:3 runs, is held, and Fleet knows. Its health: nginx-default-web is degraded: no answer.',
      step: null,
    });
  });

  test('that brings up again what it holds is not converged before the step has been seen to work', () => {
    const awaiting = 'start nginx-default-web: healthy, and has to stay so for 5 s (policy.apply.stable_for)';
    expect(why({ awaiting })).toEqual({
      converged: false,
      sentence:
        'web:3 is brought up again. Awaited: step start nginx-default-web: healthy, and has to stay so for 5 s (policy.apply.stable_for).',
      step: 'start nginx-default-web',
    });
  });

  test('that is damped says when Fleet is asked next', () => {
    const fleet = { state: 'damped', next_checkin: new Date(NOW + 40_000).toISOString() } as const;
    expect(why({ fleet, path: { policy: 'ack' } }).sentence).toMatch(
      /Fleet's answers bring nothing new, so it is asked again in 40 s\.$/,
    );
  });
});

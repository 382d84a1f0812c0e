import { describe, expect, it } from 'vitest';
import {
  type EnrollmentInput,
  type EnrollOutcome,
  type EnrollRequestInput,
  enrollmentMachine,
} from '../../src/machines/enrollment.ts';
import { startControlled } from '../support/paths.ts';
import { AT, failure } from './link-fixtures.ts';

const item = { agentId: 'agent-9', accessKey: 'a2V5', policyId: 'web' };

function start(changed: Partial<EnrollmentInput> = {}) {
  const run = startControlled(enrollmentMachine, {
    input: {
      hosts: ['https://a'],
      token: 'token',
      tags: ['web'],
      backoff: { initialMs: 5000, maxMs: 600_000 },
      attempts: null,
      jitterSeed: 5,
      ...changed,
    },
  });
  return {
    ...run,
    state: () => run.snapshot().value,
    prepared: (enrollmentId = 'enrollment-1') => run.port('prepare').resolve({ enrollmentId }),
    asked: () => run.port('enroll').call.input as EnrollRequestInput,
    answer: (outcome: EnrollOutcome) => run.port('enroll').resolve(outcome),
    wait: () => {
      const ms = run.clock.nextInMs() ?? Number.NaN;
      run.clock.advance(ms);
      return ms;
    },
  };
}

describe('enrolling', () => {
  it('asks for nothing before the enrollment id is durable, and has no identity before it is on disk', () => {
    const run = start();
    expect(run.port('enroll').calls).toHaveLength(0);
    run.prepared();
    expect(run.asked()).toEqual({ host: 'https://a', token: 'token', enrollmentId: 'enrollment-1', tags: ['web'] });
    run.answer({ kind: 'enrolled', item, at: AT });
    expect(run.state()).toBe('adopting');
    expect(run.port('adopt').call.input).toEqual({ item, hosts: ['https://a'], enrollmentId: 'enrollment-1' });
    run.port('adopt').resolve(null);
    expect(run.snapshot()).toMatchObject({ status: 'done', output: { enrolled: true, agentId: 'agent-9' } });
  });

  it('repeats the request with the same enrollment id, however often', () => {
    const run = start();
    run.prepared();
    const kinds = ['tooMany', 'serverError', 'unreachable', 'truncated', 'timeout', 'tls', 'garbage'] as const;
    for (const kind of kinds) {
      run.answer(failure(kind));
      run.wait();
    }
    expect(run.port('enroll').calls.map(({ input }) => (input as EnrollRequestInput).enrollmentId)).toEqual(
      Array.from({ length: kinds.length + 1 }, () => 'enrollment-1'),
    );
  });

  it('goes on with the enrollment id that a killed try left behind', () => {
    const killed = start();
    killed.prepared('enrollment-7');
    killed.stop();
    const next = start();
    next.prepared('enrollment-7');
    expect(next.asked().enrollmentId).toBe('enrollment-7');
  });

  it('waits from 5 s to 10 min between tries, or as long as the server asks', () => {
    const run = start();
    run.prepared();
    const waits = Array.from({ length: 12 }, () => {
      run.answer(failure('serverError', { status: 503 }));
      return run.wait();
    });
    expect(waits[0]).toBeGreaterThanOrEqual(5000);
    expect(waits[0]).toBeLessThanOrEqual(10_000);
    expect(Math.max(...waits)).toBeLessThanOrEqual(600_000);
    run.answer(failure('tooMany', { status: 429, retryAfterMs: 30_000 }));
    expect(run.wait()).toBeGreaterThanOrEqual(30_000);
  });

  it('tells who waits why, and for how long', () => {
    const run = start();
    const said: unknown[] = [];
    run.actor.on('enrollment.delayed', (event: unknown) => said.push(event));
    run.prepared();
    run.answer(failure('unreachable', { message: 'https://a cannot be reached' }));
    expect(said).toEqual([
      {
        type: 'enrollment.delayed',
        problem: { code: 'FLEET_UNREACHABLE', message: 'https://a cannot be reached' },
        delayMs: run.clock.nextInMs(),
      },
    ]);
  });

  it('tries each host before it waits', () => {
    const run = start({ hosts: ['https://a', 'https://b'] });
    run.prepared();
    run.answer(failure('unreachable'));
    expect(run.asked().host).toBe('https://b');
    run.answer(failure('unreachable'));
    expect(run.state()).toBe('backingOff');
  });

  it.each([
    ['unauthorised', 401, 'ENROLL_REFUSED', /take a current one/],
    ['forbidden', 403, 'ENROLL_REFUSED', /take another enrollment token/],
    ['badRequest', 400, 'ENROLL_REFUSED', /check that the URL/],
    ['unsupportedVersion', 400, 'FLEET_UNSUPPORTED_VERSION', /it was unsupportedVersion/],
  ] as const)('ends when it is %s, and says what to do', (kind, status, code, sentence) => {
    const run = start();
    run.prepared();
    run.answer(failure(kind, { status, byFleet: true }));
    expect(run.snapshot()).toMatchObject({
      status: 'done',
      output: { enrolled: false, problem: { code, message: expect.stringMatching(sentence) } },
    });
  });

  it.each([
    ['badRequest', 400],
    ['forbidden', 403],
    ['tooLarge', 413],
  ] as const)('goes on when something between here and Fleet says %s', (kind, status) => {
    const run = start({ hosts: ['https://a', 'https://b'] });
    run.prepared();
    run.answer(failure(kind, { status, byFleet: false }));
    expect(run.asked().host).toBe('https://b');
    run.answer(failure(kind, { status, byFleet: false }));
    expect(run.state()).toBe('backingOff');
  });

  it('ends after as many tries as were allowed', () => {
    const run = start({ attempts: 2 });
    run.prepared();
    run.answer(failure('unreachable'));
    run.wait();
    run.answer(failure('unreachable'));
    expect(run.snapshot()).toMatchObject({ output: { enrolled: false, problem: { code: 'FLEET_UNREACHABLE' } } });
  });

  it('ends when the disk takes neither the enrollment id nor the identity', () => {
    const before = start();
    before.port('prepare').reject(new Error('ENOSPC'));
    expect(before.port('enroll').calls).toHaveLength(0);
    expect(before.snapshot()).toMatchObject({ output: { problem: { code: 'STORE_WRITE_FAILED' } } });
    const after = start();
    after.prepared();
    after.answer({ kind: 'enrolled', item, at: AT });
    after.port('adopt').reject(new Error('ENOSPC'));
    expect(after.snapshot()).toMatchObject({ output: { enrolled: false, problem: { code: 'STORE_WRITE_FAILED' } } });
  });
});

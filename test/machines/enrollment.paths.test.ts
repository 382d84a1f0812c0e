import { expect } from 'vitest';
import { type EnrollmentContext, enrollmentMachine } from '../../src/machines/enrollment.ts';
import { describePaths } from '../support/paths.ts';
import { AT, failure } from './link-fixtures.ts';

describePaths('enrollment', enrollmentMachine, {
  input: {
    hosts: ['https://a', 'https://b'],
    token: 'token',
    tags: [],
    backoff: { initialMs: 5000, maxMs: 600_000 },
    attempts: 2,
    jitterSeed: 1,
  },
  cases: [
    { type: 'xstate.done.actor.prepare', output: { enrollmentId: 'enrollment-1' } },
    {
      type: 'xstate.done.actor.enroll',
      output: { kind: 'enrolled', item: { agentId: 'agent-1', accessKey: 'key', policyId: 'web' }, at: AT },
    },
    { type: 'xstate.done.actor.enroll', output: failure('unauthorised', { status: 401 }) },
    { type: 'xstate.done.actor.enroll', output: failure('unsupportedVersion', { status: 400 }) },
    { type: 'xstate.done.actor.enroll', output: failure('tooMany', { status: 429 }) },
    { type: 'xstate.done.actor.enroll', output: failure('unreachable') },
    { type: 'xstate.done.actor.adopt', output: null },
    { type: 'xstate.error.actor.*', error: new Error('the port broke') },
    { type: 'host.woke' },
  ],
  project: ({ context }: { context: EnrollmentContext }) => [
    Math.min(context.tried.length, 1),
    Math.min(context.failures, 2),
    context.item !== null,
    context.problem?.code,
  ],
  invariants: ({
    context,
    value,
    output,
  }: {
    context: EnrollmentContext;
    value: unknown;
    output: { enrolled: boolean } | undefined;
  }) => {
    if (value !== 'preparing' && value !== 'refused') expect(context.enrollmentId).toBe('enrollment-1');
    if (value === 'enrolled') expect(output).toEqual({ enrolled: true, agentId: 'agent-1' });
    if (value === 'refused') expect(output).toMatchObject({ enrolled: false });
  },
} as never);

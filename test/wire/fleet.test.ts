/** The wire schemas: tolerant where the protocol is, strict where a wrong type would do harm. */
import { describe, expect, test } from 'vitest';
import {
  acksRequestSchema,
  checkinRequestSchema,
  enrollRequestSchema,
  IDLE_CHECKIN_BODY,
  parseAckResponse,
  parseCheckinResponse,
  parseErrorBody,
  parseGoDuration,
  parsePolicyActionId,
  policyActionId,
} from '../../src/wire/fleet.ts';

describe('the answer to a check-in', () => {
  test('an idle one is empty', () => {
    expect(parseCheckinResponse(JSON.parse(IDLE_CHECKIN_BODY))).toEqual({ ackToken: '', actions: [] });
  });

  test('an answer without ack_token (graceful forced unenrollment) is read', () => {
    const answer = parseCheckinResponse({ action: 'checkin', actions: [{ id: 'u', type: 'UNENROLL', data: null }] });
    expect(answer.ackToken).toBe('');
    expect(answer.actions[0]).toMatchObject({ ok: true, action: { id: 'u', type: 'UNENROLL', data: null } });
  });

  test('big integers inside data stay what they are', () => {
    const big = 9007199254740993n;
    const answer = parseCheckinResponse({
      action: 'checkin',
      ack_token: 't',
      actions: [{ id: 'policy:web:3', type: 'POLICY_CHANGE', data: { policy: { big } } }],
    });
    expect(answer.actions[0]).toMatchObject({ ok: true, action: { data: { policy: { big } } } });
  });

  test('one undecodable action does not cost the others, and keeps its id', () => {
    const answer = parseCheckinResponse({
      action: 'checkin',
      ack_token: 't',
      actions: [
        { id: 'a', type: 7 },
        'garbage',
        { id: 'b', type: 'SETTINGS', expiration: 'never' },
        { id: 'c', type: 'X' },
      ],
    });
    expect(answer.actions.map((action) => action.ok)).toEqual([false, false, false, true]);
    expect(answer.actions[0]).toMatchObject({ id: 'a', type: null, problem: expect.stringContaining('type') });
    expect(answer.actions[1]).toMatchObject({ id: null, type: null });
    expect(answer.actions[2]).toMatchObject({
      id: 'b',
      type: 'SETTINGS',
      problem: expect.stringContaining('expiration'),
    });
  });

  test.each([
    {},
    [],
    null,
    'page',
    { action: 'acks' },
    { action: 'checkin', ack_token: 3 },
    { action: 'checkin', actions: {} },
  ])('%j is not one', (body) => {
    expect(() => parseCheckinResponse(body)).toThrow();
  });
});

describe('the answer to acks', () => {
  test('verdicts are read whatever the status was', () => {
    expect(
      parseAckResponse({
        action: 'acks',
        errors: true,
        items: [{ status: 200 }, { status: 404, message: 'Not Found' }],
      }),
    ).toEqual({
      action: 'acks',
      errors: true,
      items: [
        { status: 200, message: '' },
        { status: 404, message: 'Not Found' },
      ],
    });
  });

  test('items omitted mean none', () => {
    expect(parseAckResponse({ action: 'acks' })).toEqual({ action: 'acks', errors: false, items: [] });
  });

  test('an error body is not one, and an ack response is not an error body', () => {
    expect(parseAckResponse({ statusCode: 400, error: 'BadRequest' })).toBeNull();
    expect(parseErrorBody({ statusCode: 400, error: 'BadRequest' })).toEqual({ statusCode: 400, error: 'BadRequest' });
    expect(parseErrorBody({ action: 'acks' })).toBeNull();
  });
});

describe('requests', () => {
  test('a real first check-in with components null is read; absent policy fields stay absent', () => {
    const request = checkinRequestSchema.parse({
      status: 'starting',
      message: 'm',
      components: null,
      upgrade: {},
      unknown: 1,
    });
    expect(request.components).toBeNull();
    expect(request.agent_policy_id).toBeUndefined();
    expect(request.policy_revision_idx).toBeUndefined();
  });

  test('unknown words in status are kept', () => {
    expect(
      checkinRequestSchema.parse({ status: 'DEGRADED', components: [{ id: 'c', status: 'WHATEVER', units: null }] }),
    ).toMatchObject({ status: 'DEGRADED', components: [{ status: 'WHATEVER' }] });
  });

  test.each([{ status: 1 }, { status: 'online', policy_revision_idx: '3' }, { status: 'online', components: {} }])(
    'wrong types are refused: %j',
    (body) => {
      expect(checkinRequestSchema.safeParse(body).success).toBe(false);
    },
  );

  test('acks without events, and with malformed times, are read', () => {
    expect(acksRequestSchema.parse({}).events).toEqual([]);
    expect(acksRequestSchema.parse({ events: null }).events).toEqual([]);
    expect(acksRequestSchema.parse({ events: [{ action_id: 'a', timestamp: 7 }] }).events).toHaveLength(1);
  });

  test('empty strings of an enroll request count as absent', () => {
    expect(enrollRequestSchema.parse({ type: 'PERMANENT', id: null })).toMatchObject({
      id: '',
      enrollment_id: '',
      replace_token: '',
    });
  });
});

describe('policy action ids', () => {
  test.each([
    ['policy:web:3', { id: 'web', revision: 3 }],
    ['policy:web:3:1', { id: 'web', revision: 3 }],
    ['policy:web#9.4:12', { id: 'web#9.4', revision: 12 }],
    ['policy:a:b:3', null],
    ['policy:web', null],
    ['6f0c', null],
  ])('%s', (actionId, expected) => {
    expect(parsePolicyActionId(actionId)).toEqual(expected);
  });

  test('what is made is read back', () => {
    expect(parsePolicyActionId(policyActionId('web', 7))).toEqual({ id: 'web', revision: 7 });
  });
});

test.each([
  ['5m', 300_000],
  ['90s', 90_000],
  ['1h30m', 5_400_000],
  ['1.5s', 1500],
  ['100ms', 100],
  ['0', 0],
  ['-5s', -5000],
  ['5', null],
  ['', null],
  ['5 m', null],
  ['soon', null],
])('the Go duration %j is %j ms', (duration, expected) => {
  expect(parseGoDuration(duration)).toBe(expected);
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeAnswer } from '../../../src/services/fleet/decode.ts';
import { sliceArray, sliceObject } from '../../../src/services/fleet/json-slices.ts';
import { IDLE_CHECKIN_BODY } from '../../../src/wire/fleet.ts';

const answer = (...actions: unknown[]) => JSON.stringify({ action: 'checkin', ack_token: 'token-1', actions });
const action = (id: string, type: string, data: unknown = null) => ({
  id,
  type,
  data,
  agent_id: 'a',
  created_at: '2026-01-01T00:00:00Z',
  input_type: '',
});
const policy = (id: string, revision: number) =>
  action(`policy:${id}:${revision}`, 'POLICY_CHANGE', { policy: { id, revision } });

describe('decoding an answer', () => {
  it('gives nothing for an answer that says nothing', () => {
    expect(decodeAnswer(IDLE_CHECKIN_BODY)).toEqual({ kind: 'decoded', token: null, actions: [], policy: null });
  });

  it('keeps every digit of a number, in a policy and in the data of an action', () => {
    const text = `{"action":"checkin","ack_token":"t","actions":[
      {"id":"a1","type":"SETTINGS","data":{"big":12345678901234567890}},
      {"id":"policy:web:3","type":"POLICY_CHANGE","data":{"policy":{"id":"web","revision":3,"n":98765432109876543210}}}]}`;
    expect(decodeAnswer(text)).toMatchObject({
      actions: [{ id: 'a1', data: '{"big":12345678901234567890}' }],
      policy: {
        id: 'web',
        revision: 3,
        actionId: 'policy:web:3',
        text: '{"id":"web","n":98765432109876543210,"revision":3}',
      },
    });
  });

  it('names a policy by its action id, as the server matches it', () => {
    const versioned = action('policy:web#9.4:3', 'POLICY_CHANGE', { policy: { id: 'web', revision: 2 } });
    expect(decodeAnswer(answer(versioned))).toMatchObject({ policy: { id: 'web#9.4', revision: 3 } });
  });

  it('takes the newest of several policies', () => {
    expect(decodeAnswer(answer(policy('web', 4), policy('web', 3)))).toMatchObject({
      policy: { revision: 4 },
      actions: [],
    });
    expect(decodeAnswer(answer(policy('web', 3), policy('web', 4)))).toMatchObject({ policy: { revision: 4 } });
    expect(decodeAnswer(answer(policy('web', 9), policy('db', 1)))).toMatchObject({ policy: { id: 'db' } });
  });

  it('gives the empty policy of a forced unenrollment as the policy {}', () => {
    const empty = action('7b7e6a4e-0000-4000-8000-000000000000', 'POLICY_CHANGE', { policy: {} });
    expect(decodeAnswer(answer(empty))).toMatchObject({ policy: { text: '{}' } });
  });

  it('takes the policy of an action whose other fields are bad', () => {
    const bad = { ...policy('web', 4), expiration: 'soon', timeout: 'long' };
    expect(decodeAnswer(answer(bad))).toMatchObject({ actions: [], policy: { id: 'web', revision: 4 } });
  });

  it('tells of an action that has no id, since nobody else will', () => {
    const dropped: string[] = [];
    const nameless = { type: 'SETTINGS', data: {} };
    const decoded = decodeAnswer(answer(nameless, { id: 7, type: 'CANCEL' }, action('a', 'SETTINGS', {})), (message) =>
      dropped.push(message),
    );
    expect(decoded).toMatchObject({ actions: [{ id: 'a' }] });
    expect(dropped).toEqual([
      expect.stringMatching(/of type SETTINGS that cannot be answered: id: .*it is ignored/),
      expect.stringMatching(/of type CANCEL that cannot be answered: id: /),
    ]);
  });

  it('lets one action that cannot be read cost the others nothing', () => {
    const decoded = decodeAnswer(
      answer(
        action('a1', 'SETTINGS', { log_level: 'debug' }),
        { id: 'a2', type: 'CANCEL', expiration: 'soon' },
        { id: 'a3' },
        { type: 'SETTINGS' },
        'not an action',
        action('a4', 'POLICY_CHANGE', { no: 'policy' }),
        policy('web', 1),
      ),
    );
    expect(decoded).toMatchObject({
      token: 'token-1',
      policy: { id: 'web' },
      actions: [
        { id: 'a1', type: 'SETTINGS', data: '{"log_level":"debug"}', undecodable: null },
        { id: 'a2', type: 'CANCEL', undecodable: expect.stringContaining('expiration') },
        { id: 'a3', type: '', undecodable: expect.stringContaining('type') },
        { id: 'a4', type: 'POLICY_CHANGE', undecodable: expect.stringContaining('policy') },
      ],
    });
  });

  it('lets one that is nested beyond all limits cost the others nothing, and has a policy like that rejected, not lost', () => {
    const deep = `${'['.repeat(300)}${']'.repeat(300)}`;
    const text = `{"action":"checkin","ack_token":"t","actions":[
      {"id":"a1","type":"SETTINGS","data":{"log_level":"debug, \\"x"}}, {"data":${deep},"type":"CANCEL","id":"a2"},
      {"id":"policy:web:4","type":"POLICY_CHANGE","data":{"policy":{"id":"web","deep":${deep}}}}]}`;
    expect(decodeAnswer(text)).toMatchObject({
      token: 't',
      actions: [
        { id: 'a1', undecodable: null },
        { id: 'a2', type: 'CANCEL', undecodable: expect.stringContaining('nested 3') },
      ],
      policy: { id: 'web', revision: 4, actionId: 'policy:web:4', text: `{"id":"web","deep":${deep}}` },
    });
  });

  it('reads each action alone as it reads them together', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ id: fc.string({ minLength: 1 }), data: fc.jsonValue({ maxDepth: 4 }) })),
        (records) => {
          const actions = records.map(({ id, data }) => ({ id, type: 'INPUT_ACTION', data }));
          const body = JSON.stringify({ action: 'checkin', ack_token: 't', actions });
          const parts = sliceArray(sliceObject(body)?.get('actions') ?? '');
          expect(parts?.map((part) => JSON.parse(part))).toEqual(JSON.parse(JSON.stringify(actions)));
        },
      ),
    );
  });

  it('reads the times of an action as epoch milliseconds', () => {
    const timed = {
      ...action('a1', 'UPGRADE', {}),
      start_time: '2026-01-01T00:00:00Z',
      expiration: '2026-01-02T00:00:00Z',
    };
    expect(decodeAnswer(answer(timed))).toMatchObject({
      actions: [{ startTime: Date.UTC(2026, 0, 1), expiration: Date.UTC(2026, 0, 2) }],
    });
  });

  it.each([
    ['cut text', '{"action":"checkin","ack_to'],
    ['another kind of answer', '{"action":"acks"}'],
    ['a list', '[]'],
    ['nothing', ''],
    ['nesting without end', `{"action":"checkin","ack_token":"","actions":${'['.repeat(100_000)}`],
  ])('calls %s garbage instead of throwing', (_name, text) => {
    expect(decodeAnswer(text)).toMatchObject({ kind: 'garbage', problem: { code: 'FLEET_GARBAGE' } });
  });
});

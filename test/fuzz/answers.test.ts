/** Answers of a Fleet server that is broken, or not one: each is used as far as it can be or named as garbage. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeAnswer } from '../../src/services/fleet/decode.ts';
import { enrollResponseSchema, parseAckResponse, parseErrorBody } from '../../src/wire/fleet.ts';
import {
  BOMBS,
  BOUND_MS,
  expectNothingPolluted,
  hostileJson,
  hostileText,
  listText,
  objectText,
  outcomeOf,
  quoted,
  RUNS,
  torn,
} from './support.ts';

const policy = objectText({
  id: quoted(hostileText),
  revision: fc.oneof(fc.nat(99).map(String), hostileJson),
  outputs: hostileJson,
  inputs: listText(hostileJson),
});
const action = objectText({
  id: fc.oneof(
    fc.constantFrom('"policy:web:3"', '"a1"', '"policy::"', '"policy:web:99999999999999999999"'),
    quoted(hostileText),
  ),
  type: fc.oneof(
    fc.constantFrom('"POLICY_CHANGE"', '"SETTINGS"', '"UNENROLL"', '"CANCEL"', '"POLICY_REASSIGN"'),
    quoted(hostileText),
  ),
  agent_id: quoted(hostileText),
  created_at: fc.constantFrom('"2026-01-01T00:00:00Z"', '"never"'),
  start_time: fc.constantFrom('"2026-01-01T00:00:00Z"', 'null', '""', '"+275760-09-13T00:00:00.001Z"'),
  expiration: fc.constantFrom('"2026-01-01T00:00:00Z"', 'null'),
  input_type: quoted(hostileText),
  data: fc.oneof(
    policy.map((text) => `{"policy":${text}}`),
    hostileJson,
  ),
});
const answer = objectText({
  action: fc.constant('"checkin"'),
  ack_token: quoted(hostileText),
  actions: listText(action, 4),
});

describe('the answer to a check-in', () => {
  test('is decoded, or garbage that is named; what is decoded has the shape that the machines count on', () => {
    let delivered = 0;
    fc.assert(
      fc.property(torn(answer), (text) => {
        const decoded = outcomeOf(() => decodeAnswer(text));
        if (decoded instanceof Error) throw decoded;
        if (decoded.kind === 'garbage') {
          expect(decoded.problem.code).toBe('FLEET_GARBAGE');
          return;
        }
        delivered += decoded.actions.length + (decoded.policy === null ? 0 : 1);
        if (decoded.policy !== null) {
          expect(decoded.policy.hash).toMatch(/^[0-9a-f]{64}$/);
          expect(typeof decoded.policy.text).toBe('string');
          expect(Number.isSafeInteger(decoded.policy.revision)).toBe(true);
        }
        for (const each of decoded.actions) {
          expect(typeof each.id).toBe('string');
          expect(each.id).not.toBe('');
          for (const instant of [each.startTime, each.expiration]) {
            if (instant !== null) expect(Number.isFinite(instant)).toBe(true);
          }
        }
        // Facts are JSON, and what is delivered goes into them.
        expect(JSON.parse(JSON.stringify(decoded))).toEqual(decoded);
      }),
      RUNS,
    );
    // The property would hold for a decoder that refuses everything.
    expect(delivered).toBeGreaterThan(RUNS.numRuns / 20);
  });

  test.each<readonly [string, string]>([
    ...BOMBS,
    ['many actions', `{"actions":[${'{},'.repeat(200_000)}{}]}`],
    ['many commas', `{"actions":[${','.repeat(1_000_000)}]}`],
  ])('with %s is bounded in time', (_, text) => {
    const started = performance.now();
    outcomeOf(() => decodeAnswer(text));
    outcomeOf(() =>
      decodeAnswer(`{"action":"checkin","actions":[{"id":"a","type":"POLICY_CHANGE","data":{"policy":${text}}}]}`),
    );
    expect(performance.now() - started).toBeLessThan(BOUND_MS);
  });
});

describe('the other answers', () => {
  const any = fc.oneof(
    objectText({
      action: fc.constant('"acks"'),
      errors: fc.boolean().map(String),
      items: listText(objectText({ status: fc.constantFrom('200', '404', '500'), message: quoted(hostileText) })),
    }),
    objectText({
      action: fc.constant('"created"'),
      item: objectText({
        id: quoted(hostileText),
        access_api_key: quoted(hostileText),
        policy_id: quoted(hostileText),
      }),
    }),
    objectText({ statusCode: fc.constantFrom('400', '429'), error: quoted(hostileText), message: quoted(hostileText) }),
    hostileJson,
  );

  test('to an ack, an enrollment or an error are taken or refused by their schema', () => {
    fc.assert(
      fc.property(any, (text) => {
        const value: unknown = JSON.parse(text);
        const acks = parseAckResponse(value);
        if (acks !== null) expect(Array.isArray(acks.items ?? [])).toBe(true);
        parseErrorBody(value);
        enrollResponseSchema.safeParse(value);
        expectNothingPolluted();
      }),
      RUNS,
    );
  });
});

/** The schema of {@link Facts} as they stand in a root record; keys that a newer minor format added are ignored. */
import { z } from 'zod';
import type { Facts } from '../../machines/facts.ts';

const time = z.number();
const count = z.number().int().nonnegative();
const text = z.string();

const policyRef = { id: text, revision: z.number(), hash: text, actionId: text };
const deadline = { at: time, delayMs: z.number() };

const outcome = z.union([
  z.object({ ok: z.literal(true), message: text }),
  z.object({ ok: z.literal(false), error: text }),
]);

export const factsSchema = z.object({
  agentId: text,
  deliveryToken: text,
  generations: z.array(z.object({ ...policyRef, promotedAt: time, attempts: count })),
  runs: count,
  passedOver: z.object({ ...deadline, times: count }).nullable(),
  candidate: z.object({ ...policyRef, receivedAt: time, attempts: count }).nullable(),
  rejected: z.array(
    z.object({
      ...policyRef,
      kind: z.enum(['unparsable', 'unrendered', 'check', 'health', 'attempts']),
      reason: text,
      rejectedAt: time,
      times: count,
      retry: z.object(deadline).nullable(),
    }),
  ),
  received: z.object({ ...policyRef, at: time, since: time.optional() }).nullable(),
  acked: z.object({ ...policyRef, at: time }).nullable(),
  journal: z.array(
    z.object({
      id: text,
      type: text,
      data: text.nullable(),
      inputType: text.nullable(),
      startTime: time.nullable(),
      expiration: time.nullable(),
      undecodable: text.nullable(),
      state: z.enum(['received', 'started', 'done']),
      receivedAt: time,
      doneAt: time.nullable(),
      outcome: outcome.nullable(),
    }),
  ),
  outbox: z.array(
    z.object({
      actionId: text,
      actionType: text,
      message: text,
      error: text.nullable(),
      owedAt: time,
      notFound: count,
      policy: z.object(policyRef).nullable(),
    }),
  ),
  refusedAcks: z.array(z.object({ actionId: text, actionType: text, reason: text, at: time })).default([]),
  intents: z.object({ logLevel: z.enum(['trace', 'debug', 'info', 'warning', 'error']).nullable() }),
  starts: z.array(
    z.object({
      number: count,
      bootId: text,
      at: time,
      previous: z.enum(['first', 'goodbye', 'crashed', 'host-rebooted']),
      crashes: count,
      inFlight: text.nullable(),
      confirmed: z.boolean(),
      goodbye: z.boolean(),
      spent: z
        .object({ generation: text.nullable(), candidate: text.nullable() })
        .default({ generation: null, candidate: null }),
    }),
  ),
  answerInFlight: z.boolean(),
  answerDeaths: count,
  safeMode: z.object({ reason: text, since: time, until: z.object(deadline) }).nullable(),
  safeModeTimes: count,
  unenrolled: z.object({ at: time, reason: text }).nullable(),
  audit: z
    .object({ reason: z.enum(['uninstall']), tries: count })
    .nullable()
    .default(null),
  everythingAskedAt: time.nullable().default(null),
});

// A field of Facts that the schema forgets would be lost at the next start, so the two must be the same type, both ways.
type Mutable<T> = T extends readonly (infer Item)[]
  ? Mutable<Item>[]
  : T extends object
    ? { -readonly [K in keyof T]: Mutable<T[K]> }
    : T;
type Parsed = z.infer<typeof factsSchema>;
true satisfies [Parsed] extends [Mutable<Facts>] ? true : never;
true satisfies [Mutable<Facts>] extends [Parsed] ? true : never;

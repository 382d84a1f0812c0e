/**
 * What Holdfast and a Fleet Server say to each other, as schemas: the only Fleet wire types of the project.
 *
 * Tolerant where the protocol is (unknown fields, unknown words in `status`, `type` and `action` of requests, `null` for "nothing"),
 * strict where a wrong type would do harm later. The schemas take values from a parser that keeps big integers as `bigint`:
 * `data` of an action and every metadata object pass through as they are. Names, numbers and limits are those of Fleet Server 9.6.
 */
import { z } from 'zod';

// ---- headers ------------------------------------------------------------------------------------------------------------------

/** Header names, lower case, as Node and the fetch standard have them. */
export const HEADER = {
  apiVersion: 'elastic-api-version',
  requestId: 'x-request-id',
  userAgent: 'user-agent',
  authorization: 'authorization',
  contentType: 'content-type',
  contentEncoding: 'content-encoding',
  acceptEncoding: 'accept-encoding',
  retryAfter: 'retry-after',
  /** On an answer: a notice for people. It stands in `fleet.message` of `status` while answers carry it, and is logged once. */
  warning: 'warning',
} as const;

/** The one supported value of `Elastic-Api-Version`. */
export const API_VERSION = '2023-06-01';

/** The `User-Agent` that enroll and check-in require: Fleet Server reads the version from it and refuses any other form. */
export function userAgent(version: string): string {
  return `Elastic Agent v${version}`;
}

/** `Authorization` for an access key or an enrollment token; both are base64 of `id:secret` and used verbatim. */
export function authorization(key: string): string {
  return `ApiKey ${key}`;
}

/** What may stand in a header: a key with anything else could never be sent, and is refused where it comes in. */
const HEADER_SAFE = /^[\x21-\x7e]+$/;

// ---- limits -------------------------------------------------------------------------------------------------------------------

const KiB = 1024;
const MiB = 1024 * KiB;

/** Body limits in bytes (defaults of Fleet Server; beyond them it answers 400 `BadRequest`). */
export const LIMIT = {
  enrollBodyBytes: 512 * KiB,
  checkinBodyBytes: 1 * MiB,
  /** A gzipped check-in, decompressed. */
  checkinInflatedBytes: 20 * MiB,
  acksBodyBytes: 2 * MiB,
  auditBodyBytes: 1 * KiB,
  headersBytes: 8 * KiB,
  /** Answers of more bytes than this are gzipped for those who ask for exactly `gzip`. */
  gzipAnswerBytes: 1024,
  /** Actions in one answer. */
  actionsInAnswer: 100,
} as const;

/** Times of the long poll, in milliseconds (defaults of Fleet Server). */
export const POLL = {
  defaultMs: 5 * 60_000,
  jitterMs: 30_000,
  /** `poll_timeout` minus this is what the server waits, … */
  marginMs: 2 * 60_000,
  /** … at least this, … */
  minMs: 60_000,
  /** … and at most this. */
  maxMs: 60 * 60_000,
} as const;

// ---- paths --------------------------------------------------------------------------------------------------------------------

const agentPath = (agentId: string): string => `/api/fleet/agents/${encodeURIComponent(agentId)}`;

/** Request paths below the server's URL. */
export const PATH = {
  status: '/api/status',
  enroll: '/api/fleet/agents/enroll',
  checkin: (agentId: string): string => `${agentPath(agentId)}/checkin`,
  acks: (agentId: string): string => `${agentPath(agentId)}/acks`,
  auditUnenroll: (agentId: string): string => `${agentPath(agentId)}/audit/unenroll`,
} as const;

// ---- small parts --------------------------------------------------------------------------------------------------------------

/** Absent, `null` and `""` all mean "nothing" where the protocol uses Go's zero values. */
const text = z
  .string()
  .nullish()
  .transform((value) => value ?? '');

const integer = z.int();
const metadata = z.record(z.string(), z.unknown());

/** RFC 3339, or nothing. */
const instant = z
  .string()
  .nullish()
  .transform((value) => value || null)
  .refine((value) => value === null || !Number.isNaN(Date.parse(value)), 'is not a time (RFC 3339)');

// ---- errors -------------------------------------------------------------------------------------------------------------------

/** The body of every answer that is an error. `message` may be absent. */
const errorBodySchema = z.object({ statusCode: integer, error: z.string(), message: z.string().optional() });
export type ErrorBody = z.infer<typeof errorBodySchema>;

/** The error body in `value`, or null when that is something else (a proxy's page, an ack response, nothing). */
export function parseErrorBody(value: unknown): ErrorBody | null {
  const parsed = errorBodySchema.safeParse(value);
  return parsed.success ? parsed.data : null;
}

// ---- enroll -------------------------------------------------------------------------------------------------------------------

export const enrollRequestSchema = z.object({
  /** `PERMANENT`; Fleet Server also takes `EPHEMERAL` and `TEMPORARY`. */
  type: z.string(),
  /** Wanted agent id; replacing an active agent needs `replace_token`. */
  id: text,
  /** The server creates one agent for it, however often the request is repeated. */
  enrollment_id: text,
  replace_token: text,
  metadata: z
    .object({
      local: metadata.nullish(),
      user_provided: metadata.nullish(),
      tags: z.array(z.string()).readonly().nullish(),
    })
    .nullish(),
});
export type EnrollRequest = z.input<typeof enrollRequestSchema>;

export const enrollResponseSchema = z.object({
  action: z.string(),
  item: z.object({
    id: z.string().min(1),
    /** Base64 of `id:secret`; goes verbatim after `ApiKey `. */
    access_api_key: z
      .string()
      .regex(HEADER_SAFE, 'is not a key that can be sent: it holds spaces, control or other characters'),
    access_api_key_id: text,
    policy_id: text,
    type: text,
    enrolled_at: text,
  }),
});

// ---- components and units -----------------------------------------------------------------------------------------------------

/** States that Kibana knows; any other word is stored and shown as it is. */
const UNIT_STATES = ['STARTING', 'CONFIGURING', 'HEALTHY', 'DEGRADED', 'FAILED', 'STOPPING', 'STOPPED'] as const;
export type UnitState = (typeof UNIT_STATES)[number];

const unitSchema = z.object({
  id: z.string(),
  type: z.string(),
  status: z.string(),
  message: text,
  payload: metadata.nullish(),
});

const componentSchema = z.object({
  id: z.string(),
  type: text,
  status: text,
  message: text,
  units: z.array(unitSchema).readonly().nullish(),
});
export type WireComponent = z.input<typeof componentSchema>;

// ---- check-in -----------------------------------------------------------------------------------------------------------------

/** What a check-in says under `local_metadata.holdfast`; other agents do not send it. */
export const holdfastMetadataSchema = z.object({
  start: integer.optional(),
  previous: z.string().optional(),
  crashes: integer.optional(),
  policy: z.unknown().optional(),
  rejected: z.unknown().optional(),
  generation: z.unknown().optional(),
});

export const checkinRequestSchema = z.object({
  /** Required and not empty: `online`, `degraded`, `error`, `starting`, or any other word. */
  status: text,
  message: text,
  ack_token: text,
  local_metadata: metadata.nullish(),
  /** `null` or absent: no change. */
  components: z.array(componentSchema).readonly().nullish(),
  /** Go duration (`"5m"`, `"90s"`). */
  poll_timeout: z.string().nullish(),
  /** Absent is not the same as `""`: see `policy_revision_idx`. */
  agent_policy_id: z.string().nullish(),
  /** With `agent_policy_id`: what the agent holds. `""` and 0 ask for everything; if either is absent the server trusts its own record. */
  policy_revision_idx: integer.nullish(),
  upgrade_details: metadata.nullish(),
  upgrade: metadata.nullish(),
});
export type CheckinRequest = z.input<typeof checkinRequestSchema>;

export const actionSchema = z.object({
  id: z.string().min(1),
  type: z.string().min(1),
  /** Kept as parsed; `bigint` inside when the parser makes them. */
  data: z.unknown().optional(),
  agent_id: text,
  created_at: text,
  input_type: text,
  expiration: instant,
  start_time: instant,
  /** Seconds. */
  timeout: z.number().nullish(),
  traceparent: text,
  signed: z.object({ data: z.string(), signature: z.string() }).nullish(),
});
export type Action = z.infer<typeof actionSchema>;

/** The answer to a check-in, with its actions not looked at yet: one bad action must not cost the others. */
const checkinResponseSchema = z.object({
  action: z.literal('checkin'),
  /** The delivery cursor; `""` says nothing and must not replace a stored one. */
  ack_token: text,
  actions: z
    .array(z.unknown())
    .nullish()
    .transform((value) => value ?? []),
});

/** One action of an answer: decoded, or what could still be read of it and why the rest could not. */
export type ReceivedAction =
  | { readonly ok: true; readonly action: Action }
  | {
      readonly ok: false;
      readonly id: string | null;
      readonly type: string | null;
      readonly data: unknown;
      readonly problem: string;
    };

export interface CheckinResponse {
  readonly ackToken: string;
  readonly actions: readonly ReceivedAction[];
}

/** Reads the answer to a check-in. Throws a {@link z.ZodError} when it is not one at all; decodes each action by itself. */
export function parseCheckinResponse(value: unknown): CheckinResponse {
  const body = checkinResponseSchema.parse(value);
  return { ackToken: body.ack_token, actions: body.actions.map(receiveAction) };
}

function receiveAction(value: unknown): ReceivedAction {
  const parsed = actionSchema.safeParse(value);
  if (parsed.success) return { ok: true, action: parsed.data };
  const named = z.object({ id: z.string().min(1) }).safeParse(value);
  const typed = z.object({ type: z.string().min(1) }).safeParse(value);
  const carried = z.object({ data: z.unknown() }).safeParse(value);
  return {
    ok: false,
    id: named.success ? named.data.id : null,
    type: typed.success ? typed.data.type : null,
    data: carried.success ? carried.data.data : undefined,
    problem: describeIssues(parsed.error),
  };
}

/** An idle check-in's answer, byte for byte. */
export const IDLE_CHECKIN_BODY = '{"ack_token":"","action":"checkin"}';

// ---- policies as actions ------------------------------------------------------------------------------------------------------

/** What a Fleet Server delivers beside policies; any other type never leaves it. */
export const ACTION_TYPES = [
  'CANCEL',
  'INPUT_ACTION',
  'MIGRATE',
  'POLICY_REASSIGN',
  'PRIVILEGE_LEVEL_CHANGE',
  'REQUEST_DIAGNOSTICS',
  'SETTINGS',
  'UNENROLL',
  'UPGRADE',
] as const;

export const policyReassignDataSchema = z.object({ policy_id: z.string() });
export const cancelDataSchema = z.object({ target_id: z.string().min(1) });

/** `policy:<id>:<revision>`; a colon inside the id makes it unreadable for every Fleet Server. */
export function policyActionId(policyId: string, revision: number): string {
  return `policy:${policyId}:${revision}`;
}

/** Policy id and revision of an action id; also of the form before 8.15 with a fourth part. Null: it does not name a policy. */
export function parsePolicyActionId(actionId: string): { readonly id: string; readonly revision: number } | null {
  const match = /^policy:([^:]+):(\d+)(?::\d+)?$/.exec(actionId);
  if (!match?.[1] || !match[2]) return null;
  const revision = Number(match[2]);
  return Number.isSafeInteger(revision) ? { id: match[1], revision } : null;
}

// ---- acks ---------------------------------------------------------------------------------------------------------------------

const ackEventSchema = z.object({
  /** `ACTION_RESULT`; not looked at by a server. */
  type: text,
  /** `ACKNOWLEDGED`; not looked at by a server. */
  subtype: text,
  agent_id: text,
  action_id: text,
  message: text,
  /** RFC 3339, not checked: a malformed time must not cost an ack. */
  timestamp: z.unknown().optional(),
  /** Not empty: the action failed. */
  error: text,
  data: z.unknown().optional(),
  payload: z.unknown().optional(),
  action_input_type: text,
  action_data: z.unknown().optional(),
  action_response: z.unknown().optional(),
  started_at: z.unknown().optional(),
  completed_at: z.unknown().optional(),
});
export type AckEvent = z.input<typeof ackEventSchema>;

export const acksRequestSchema = z.object({
  /** Null: an event that cannot be read. It is refused by itself, since it must not cost the others their ack. */
  events: z
    .array(ackEventSchema.nullable().catch(null))
    .nullish()
    .transform((value) => value ?? []),
});
export interface AcksRequest {
  readonly events: readonly AckEvent[];
}

const acksResponseSchema = z.object({
  action: z.literal('acks'),
  errors: z
    .boolean()
    .nullish()
    .transform((value) => value ?? false),
  /** In the order of the events; omitted when empty. */
  items: z
    .array(z.object({ status: integer, message: text }))
    .nullish()
    .transform((value) => value ?? []),
});
export type AcksResponse = z.infer<typeof acksResponseSchema>;

/**
 * The verdicts in the answer to acks, whatever its HTTP status: that is only the worst of the items. Null when the body is not an
 * ack response, so that the status decides for the whole request.
 */
export function parseAckResponse(value: unknown): AcksResponse | null {
  const parsed = acksResponseSchema.safeParse(value);
  return parsed.success ? parsed.data : null;
}

// ---- audit --------------------------------------------------------------------------------------------------------------------

export const auditUnenrollRequestSchema = z.object({ reason: z.string().min(1), timestamp: text });

// ---- helpers ------------------------------------------------------------------------------------------------------------------

const GO_UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** Milliseconds of a Go duration (`"1h30m"`, `"90s"`, `"0"`); null when it is not one. */
export function parseGoDuration(duration: string): number | null {
  const match = /^([+-]?)(.+)$/.exec(duration);
  const body = match?.[2];
  if (!body) return null;
  if (body === '0') return 0;
  if (!/^(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+$/.test(body)) return null;
  let totalMs = 0;
  for (const [, amount, unit] of body.matchAll(/(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g)) {
    totalMs += Number(amount) * (GO_UNIT_MS[unit ?? ''] ?? Number.NaN);
  }
  return match[1] === '-' ? -totalMs : totalMs;
}

/** What a schema found wrong, in one line: `actions[0].id: Invalid input`. */
export function describeIssues(error: z.ZodError): string {
  return error.issues
    .slice(0, 5)
    .map((issue) => {
      const place = issue.path.map(String).join('.');
      return place ? `${place}: ${issue.message}` : issue.message;
    })
    .join('; ');
}

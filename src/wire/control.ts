/**
 * What the daemon and its command line say to each other over the control socket, as schemas: the only types of that API. The keys of
 * `status` are an interface (design, section 9): more may be added, none is renamed or dropped.
 *
 * Plain HTTP over `<home>/holdfast.sock`, JSON bodies. Times are RFC 3339 strings in UTC; `…_s` are seconds.
 */
import { z } from 'zod';

/** Paths of the control API. */
export const CONTROL_PATH = {
  /** GET: {@link Status}. */
  status: '/status',
  /** GET: one {@link Status} a line (NDJSON), first at once and then at each change, until the client goes. */
  watch: '/watch',
  /** GET: {@link Inspection}. */
  inspect: '/inspect',
  /** POST: {@link Accepted}, whose message says what is tried again, now; 409 with NOTHING_TO_RETRY when there is nothing. */
  retry: '/retry',
  /** POST: {@link Accepted}; stop the actors and start them anew, in the same process. */
  restart: '/restart',
  /** POST: {@link Accepted}; leave Fleet. */
  unenroll: '/unenroll',
  /** POST: {@link Accepted}; the identity file was replaced: start anew as what it says. */
  identityChanged: '/identity-changed',
} as const;

const instant = z.string();

/** A policy as `status` names it. */
const policyStatusSchema = z.object({
  id: z.string(),
  revision: z.number(),
  /** SHA-256 (hex) of the canonical JSON. */
  hash: z.string(),
  /** When it became what it is called here (received, promoted, acked). */
  at: instant,
});
export type PolicyStatus = z.infer<typeof policyStatusSchema>;

const rejectionStatusSchema = z.object({
  hash: z.string(),
  id: z.string(),
  revision: z.number(),
  kind: z.string(),
  reason: z.string(),
  rejected_at: instant,
  /** When it is tried again by itself; null: only on request. */
  next_try: instant.nullable(),
});

const unitStatusSchema = z.object({
  id: z.string(),
  type: z.string(),
  state: z.string(),
  message: z.string(),
});

const componentStatusSchema = z.object({
  id: z.string(),
  type: z.string(),
  state: z.string(),
  message: z.string(),
  pid: z.number().nullable(),
  /** Restarts after an unexpected end since this start of the agent began to look after it. */
  restarts: z.number(),
  hash: z.string(),
  units: z.array(unitStatusSchema).readonly(),
});
export type ComponentStatusLine = z.infer<typeof componentStatusSchema>;

export const HEALTH = ['healthy', 'degraded', 'failed', 'starting', 'stopped'] as const;

export const statusSchema = z.object({
  version: z.string(),
  /** 0: no daemon runs and this was read from disk. */
  pid: z.number(),
  uptime_s: z.number(),
  /** State of the root chart: `boot`, `crashed`, `restore`, `replay`, `running`, `safeMode`, `unenrolled`, `draining`, `stopped`. */
  state: z.string(),
  /** Where the charts are: policy region and link among them. */
  path: z.record(z.string(), z.string()),
  health: z.enum(HEALTH),
  /** What Fleet is told, in words. */
  message: z.string(),
  /** The plan's step that is awaited, and why: `<step id>: <message>`. */
  awaiting: z.string().nullish(),
  /** The plan that is carried out, or was last, by step ids (`reload nginx-default-web`). */
  plan: z
    .array(z.object({ id: z.string(), state: z.enum(['ahead', 'awaited', 'done', 'refused']), note: z.string() }))
    .readonly()
    .nullish(),
  start: z.object({
    number: z.number(),
    previous: z.string(),
    /** Crashes in a row. */
    crashes: z.number(),
    in_flight: z.string().nullable(),
  }),
  agent: z.object({ id: z.string().nullable(), enrolled: z.boolean() }),
  fleet: z.object({
    state: z.enum(['connected', 'damped', 'backing-off', 'unauthorised', 'never']),
    message: z.string(),
    host: z.string().nullable(),
    last_checkin: instant.nullable(),
    /** When it is asked next; absent or null: it is being asked, or never will be. */
    next_checkin: instant.nullish(),
  }),
  policy: z.object({
    received: policyStatusSchema.nullable(),
    running: policyStatusSchema.nullable(),
    persisted: policyStatusSchema.nullable(),
    acked: policyStatusSchema.nullable(),
    /** Newest first; the first is last good. */
    generations: z.array(policyStatusSchema).readonly(),
    /** Newest first. */
    rejected: z.array(rejectionStatusSchema).readonly(),
    orphaned: z.object({ reason: z.string(), since: instant }).nullable(),
  }),
  actions: z.object({
    journal: z.number(),
    outbox: z.number(),
    scheduled: z.number(),
    /** Acks that Fleet does not take, for good; newest first. */
    refused_acks: z
      .array(z.object({ action: z.string(), type: z.string(), reason: z.string(), at: z.string() }))
      .default([]),
  }),
  components: z.array(componentStatusSchema).readonly(),
  store: z.object({
    sequence: z.number(),
    encrypted: z.boolean(),
    /** What the disk refuses; null while commits succeed. */
    failing: z.string().nullable(),
    quarantined: z.number(),
  }),
});
/** What `holdfast status --json` prints. */
export type Status = z.infer<typeof statusSchema>;

const row = z.record(z.string(), z.unknown());

/** Parts of an inspection, by the name the command line knows them under. */
export const INSPECTION_PARTS = ['policy', 'components', 'variables', 'journal', 'outbox', 'starts'] as const;
export type InspectionPart = (typeof INSPECTION_PARTS)[number];

export const inspectionSchema = z.object({
  /** Last good (or what runs in its place), secrets masked; null: none is held. */
  policy: row.nullable(),
  /** Wanted and running, a component a row. */
  components: z.array(row).readonly(),
  /** Providers and their values, secrets masked. */
  variables: row,
  journal: z.array(row).readonly(),
  outbox: z.array(row).readonly(),
  /** Newest first. */
  starts: z.array(row).readonly(),
});
/** What is held and what runs, masked. */
export type Inspection = z.infer<typeof inspectionSchema>;

/** The request was handed to the daemon; what comes of it shows in `status`. */
export const acceptedSchema = z.object({ accepted: z.literal(true), message: z.string() });
export type Accepted = z.infer<typeof acceptedSchema>;

/** The body of every answer that is not 2xx. */
export const controlErrorSchema = z.object({ code: z.string(), message: z.string() });
export type ControlError = z.infer<typeof controlErrorSchema>;

/** Body of `POST /unenroll` and `/restart`; absent or empty is fine. */
export const reasonSchema = z.object({ reason: z.string().max(1024).optional() });

/** What the embedded Fleet server must not forget: its policies with their revisions, its agents and the actions sent to them. */
import { z } from 'zod';

const pair = z.object({ id: z.string(), revision: z.number() });
const pairAt = pair.extend({ at: z.number() });

const policySchema = z.object({
  id: z.string(),
  revision: z.number(),
  /** SHA-256 (hex) of `text`: a file saved with the same content makes no new revision. */
  hash: z.string(),
  /** The body as JSON text, every integer with all its digits, without `id` and `revision`. */
  text: z.string(),
  savedAt: z.number(),
});

const actionSchema = z.object({
  /** Order of delivery; the cursor of an agent is the sequence of the last action it has a token for. */
  seq: z.number(),
  /** The delivery token that stands for this action; not its id. */
  token: z.string(),
  id: z.string(),
  type: z.string(),
  /** JSON text, embedded in answers as it is. */
  data: z.string(),
  agents: z.array(z.string()),
  createdAt: z.number(),
  expiration: z.number(),
  startTime: z.number().nullable(),
  inputType: z.string(),
  timeoutS: z.number().nullable(),
  /** The first result of each agent that acked it; later ones change nothing. */
  results: z.array(
    z.object({ agentId: z.string(), at: z.number(), message: z.string(), error: z.string().nullable() }),
  ),
});

const agentSchema = z.object({
  id: z.string(),
  accessKeyId: z.string(),
  /** SHA-256 (hex) of the key's secret half; the key itself is known to the agent alone. */
  accessKeyHash: z.string(),
  active: z.boolean(),
  enrolledAt: z.number(),
  unenrolledAt: z.number().nullable(),
  enrollmentId: z.string(),
  replaceTokenHash: z.string().nullable(),
  tags: z.array(z.string()),
  /** The assignment: what this agent should run. */
  policyId: z.string(),
  /** What the agent last acked or reported: the one pair that a stock Fleet Server keeps and the revision rules compare with. */
  record: pair.nullable(),
  /** Sequence of the last action the agent has acknowledged receiving by its token; -1 at first. */
  cursor: z.number(),
  /** Kept apart for people: reporting is not acking is not having been sent it. */
  reported: pairAt.nullable(),
  acked: pairAt.nullable(),
  delivered: pairAt.extend({ times: z.number() }).nullable(),
  rejected: pairAt.extend({ reason: z.string() }).nullable(),
  /** Acks of a policy that had been acked before: what a restarted agent does. */
  reAcks: z.number(),
  lastReAck: pairAt.nullable(),
  /** From the check-in's `local_metadata.holdfast`: how the agent's last start came about. */
  start: z.object({ number: z.number(), previous: z.string(), crashes: z.number(), at: z.number() }).nullable(),
  status: z.string(),
  message: z.string(),
  components: z.array(z.unknown()),
  metadata: z.record(z.string(), z.unknown()),
  lastCheckinAt: z.number().nullable(),
  audit: z.object({ reason: z.string(), at: z.number() }).nullable(),
});

/** The state file. A later format gets a new number and a reader for this one. */
const stateFileSchema = z.object({
  format: z.literal(1),
  enrollmentSecret: z.string(),
  adminSecret: z.string(),
  nextSeq: z.number(),
  policies: z.array(policySchema),
  agents: z.array(agentSchema),
  actions: z.array(actionSchema),
});

export type StoredPolicy = z.infer<typeof policySchema>;
export type StoredAction = z.infer<typeof actionSchema>;
export type StoredAgent = z.infer<typeof agentSchema>;
export type PolicyPair = z.infer<typeof pair>;

/** {@link stateFileSchema} as it is worked with. */
export interface ServerState {
  enrollmentSecret: string;
  readonly adminSecret: string;
  nextSeq: number;
  readonly policies: Map<string, StoredPolicy>;
  readonly agents: Map<string, StoredAgent>;
  actions: StoredAction[];
}

export function readState(text: string): ServerState {
  const file = stateFileSchema.parse(JSON.parse(text));
  return {
    enrollmentSecret: file.enrollmentSecret,
    adminSecret: file.adminSecret,
    nextSeq: file.nextSeq,
    policies: new Map(file.policies.map((policy) => [policy.id, policy])),
    agents: new Map(file.agents.map((agent) => [agent.id, agent])),
    actions: file.actions,
  };
}

export function writeState(state: ServerState): string {
  const file: z.infer<typeof stateFileSchema> = {
    format: 1,
    enrollmentSecret: state.enrollmentSecret,
    adminSecret: state.adminSecret,
    nextSeq: state.nextSeq,
    policies: [...state.policies.values()],
    agents: [...state.agents.values()],
    actions: state.actions,
  };
  return `${JSON.stringify(file, null, 1)}\n`;
}

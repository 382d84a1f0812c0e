/** The ports of gateway, acker and enrollment: each does one exchange, or one reading, and says how it ended. */
import { fromPromise } from 'xstate';
import type { Problem } from '../../errors.ts';
import type { AckOutcome, AckRequest, AuditOutcome, AuditRequest } from '../../machines/acker-decisions.ts';
import type { EnrollOutcome, EnrollRequestInput } from '../../machines/enrollment.ts';
import type { Generation } from '../../machines/facts.ts';
import type { Decoded, PollOutcome, PollRequest, VerifiedHeld } from '../../machines/gateway-context.ts';
import type { LinkFailure } from '../../machines/link.ts';
import { getOwn, isObject, parseJson } from '../../policy/json.ts';
import {
  type CheckinRequest,
  enrollResponseSchema,
  IDLE_CHECKIN_BODY,
  LIMIT,
  PATH,
  parseAckResponse,
  parseErrorBody,
} from '../../wire/fleet.ts';
import type { HostClock } from '../host/clock.ts';
import type { FleetSettings } from '../settings/settings.ts';
import { acksBody, checkinBody, enrollBody, type LocalFacts } from './bodies.ts';
import { decodeAnswer } from './decode.ts';
import { failure, failureOfAnswer, parsedOrNull } from './failures.ts';
import { type Answer, createTransport, nameOf, type Transport } from './transport.ts';

/** Beyond `poll_timeout` the server is taken for dead: with the default of 7 min, after 10. */
const POLL_GRACE_MS = 3 * 60_000;
/** For acks and enrollment. */
const SHORT_TIMEOUT_MS = 90_000;

export interface FleetPortsOptions {
  readonly settings: Omit<
    FleetSettings,
    'hosts' | 'checkin' | 'ack' | 'enroll' | 'tags' | 'enrollmentToken' | 'insecure'
  > & {
    readonly checkin: Pick<FleetSettings['checkin'], 'pollTimeoutMs'>;
  };
  readonly clock: HostClock;
  /** Asked at each check-in and enrollment, since the log level and the network change. */
  readonly local: () => LocalFacts;
  /** Base64 of `id:secret`, as the identity file has it. */
  readonly accessKey: string;
  /** Whether the disk holds what is said to be held; null: it does (the store's own). */
  readonly verifyHeld: (hash: string) => Promise<Problem | null>;
  /** A policy as it stands on disk (the store's own). */
  readonly readPolicy: (hash: string) => Promise<{ readonly text: string } | { readonly problem: Problem }>;
  /** Told of what Fleet sent and nobody can answer. */
  readonly warn?: (message: string) => void;
  /** Makes a set of connections; undici's when absent. */
  readonly transport?: () => Transport;
  /** For tests: the client's own limit of one poll. */
  readonly pollLimitMs?: number;
  readonly answerLimitBytes?: number;
}

export function fleetPorts(options: FleetPortsOptions) {
  const { settings, clock, local, accessKey } = options;
  const { pollTimeoutMs } = settings.checkin;
  // A poll has connections of its own: ending it must close them, and nothing else.
  const connect = options.transport ?? (() => createTransport(settings, clock, options.answerLimitBytes));
  const polls = connect();
  const acks = connect();
  /** Hosts that refused a compressed body and took it plain. */
  const plainHosts = new Set<string>();
  let open: { readonly end: AbortController; readonly ended: Promise<unknown> } | null = null;

  async function checkin(poll: PollRequest, signal: AbortSignal): Promise<PollOutcome> {
    await open?.ended;
    const end = new AbortController();
    const onAbort = () => end.abort();
    if (signal.aborted) end.abort();
    signal.addEventListener('abort', onAbort, { once: true });
    const ending = pollOnce(poll, end.signal).finally(() => {
      signal.removeEventListener('abort', onAbort);
      open = null;
    });
    open = { end, ended: ending };
    return ending;
  }

  async function pollOnce(poll: PollRequest, signal: AbortSignal): Promise<PollOutcome> {
    const body = checkinBody(poll, local(), pollTimeoutMs);
    const wanted = {
      host: poll.host,
      path: PATH.checkin(poll.agentId),
      key: accessKey,
      timeoutMs: options.pollLimitMs ?? pollTimeoutMs + POLL_GRACE_MS,
    };
    const gzip = !plainHosts.has(poll.host);
    let answer = await polls.exchange({ ...wanted, body: fitted(body, gzip), gzip }, signal);
    if (gzip && answer.kind === 'answer' && mayNotKnowGzip(answer)) {
      answer = await polls.exchange({ ...wanted, body: fitted(body, false), gzip: false }, signal);
      // Only what a plain body got through is a sign that the compressed one was the fault.
      if (answer.kind === 'answer' && answer.status === 200) plainHosts.add(poll.host);
    }
    // The next poll must not begin while the server still holds this one.
    if (answer.kind === 'cut' || answer.kind === 'timeout') await polls.close();
    if (answer.kind !== 'answer') return answer;
    const strange = unusable(answer, poll.host);
    if (strange !== null) return strange;
    return {
      kind: 'answered',
      idle: isIdle(answer.text),
      text: answer.text,
      tookMs: answer.tookMs,
      warning: answer.warning,
      at: answer.at,
    };
  }

  async function verifyHeld(generation: Generation | null): Promise<VerifiedHeld> {
    const at = clock.wallMs();
    if (generation === null) return { verdict: null, hasElasticsearchOutput: false, at };
    const { hash } = generation;
    const problem = await options.verifyHeld(hash);
    if (problem !== null) return { verdict: { hash, problem }, hasElasticsearchOutput: false, at };
    const read = await options.readPolicy(hash);
    if ('problem' in read) return { verdict: { hash, problem: read.problem }, hasElasticsearchOutput: false, at };
    return { verdict: { hash, problem: null }, hasElasticsearchOutput: sendsToElasticsearch(read.text), at };
  }

  return {
    /** For `gatewayMachine.provide({ actors })`. */
    gateway: {
      verifyHeld: fromPromise<VerifiedHeld, { generation: Generation | null }>(({ input }) =>
        verifyHeld(input.generation),
      ),
      checkin: fromPromise<PollOutcome, PollRequest>(({ input, signal }) => checkin(input, signal)),
      endPoll: fromPromise<null, null>(async () => {
        const poll = open;
        poll?.end.abort();
        await poll?.ended;
        return null;
      }),
      decode: fromPromise<Decoded, { text: string }>(async ({ input }) => decodeAnswer(input.text, options.warn)),
    },
    /** For `ackerMachine.provide({ actors })`. */
    acker: {
      sendAcks: fromPromise<AckOutcome, AckRequest>(({ input, signal }) => sendAcks(acks, accessKey, input, signal)),
      tellUnenrolled: fromPromise<AuditOutcome, AuditRequest>(async ({ input, signal }) => {
        const { host, agentId, reason, at } = input;
        const body = JSON.stringify({ reason, timestamp: new Date(at).toISOString() });
        const answer = await acks.exchange(
          { host, path: PATH.auditUnenroll(agentId), key: accessKey, body, gzip: false, timeoutMs: SHORT_TIMEOUT_MS },
          signal,
        );
        if (answer.kind !== 'answer') return answer;
        return answer.status === 200 ? { kind: 'taken', at: answer.at } : failureOfAnswer(answer, nameOf(host));
      }),
    },
    /** Ends what is open; resolves when the connections have closed. */
    close: async (): Promise<void> => {
      open?.end.abort();
      await Promise.all([open?.ended, polls.close(), acks.close()]);
    },
  };
}

async function sendAcks(
  transport: Transport,
  key: string,
  input: AckRequest,
  signal: AbortSignal,
): Promise<AckOutcome> {
  const { agentId, host, acks } = input;
  const body = JSON.stringify(acksBody(agentId, acks));
  const answer = await transport.exchange(
    { host, path: PATH.acks(agentId), key, body, gzip: false, timeoutMs: SHORT_TIMEOUT_MS },
    signal,
  );
  if (answer.kind !== 'answer') return answer;
  // The status is only the worst of the items: an ack response is read whatever it is.
  const judged = parseAckResponse(parsedOrNull(answer.text));
  if (judged === null) return failureOfAnswer(answer, nameOf(host));
  // A 200 without items is how a server says that there was nothing to complain about.
  const items =
    judged.items.length === 0 && answer.status === 200
      ? acks.map(() => ({ status: 200, message: 'OK' }))
      : judged.items;
  return { kind: 'judged', items, at: answer.at };
}

export interface EnrollPortsOptions {
  readonly settings: FleetPortsOptions['settings'];
  readonly clock: HostClock;
  readonly local: () => LocalFacts;
}

/** `enroll` is for `enrollmentMachine.provide({ actors })`, beside `prepare` and `adopt` of the identity file. */
export function enrollPorts({ settings, clock, local }: EnrollPortsOptions) {
  const transport = createTransport(settings, clock);
  return {
    enroll: fromPromise<EnrollOutcome, EnrollRequestInput>(async ({ input, signal }) => {
      const { host, token, enrollmentId, tags } = input;
      const body = JSON.stringify(enrollBody(enrollmentId, tags, local()));
      const answer = await transport.exchange(
        { host, path: PATH.enroll, key: token, body, gzip: false, timeoutMs: SHORT_TIMEOUT_MS },
        signal,
      );
      return answer.kind === 'answer' ? enrolledOf(answer, host) : answer;
    }),
    close: () => transport.close(),
  };
}

function enrolledOf(answer: Answer, host: string): EnrollOutcome {
  if (answer.status !== 200) return failureOfAnswer(answer, nameOf(host), 'enrollment');
  const parsed = enrollResponseSchema.safeParse(parsedOrNull(answer.text));
  if (!parsed.success) return notFleet(answer, host);
  const { id, access_api_key, policy_id } = parsed.data.item;
  return { kind: 'enrolled', item: { agentId: id, accessKey: access_api_key, policyId: policy_id }, at: answer.at };
}

/** Bytes of a check-in before compression: what a server takes plain, and what surely compresses to as much. */
const BODY_LIMIT_BYTES = { plain: LIMIT.checkinBodyBytes, gzip: 4 * LIMIT.checkinBodyBytes } as const;

/** Components that are too many to be sent are left out, which says "no change": a check-in that is refused for its size heals nothing. */
function fitted(body: CheckinRequest, gzip: boolean): string {
  const text = JSON.stringify(body);
  const limitBytes = gzip ? BODY_LIMIT_BYTES.gzip : BODY_LIMIT_BYTES.plain;
  return Buffer.byteLength(text) <= limitBytes ? text : JSON.stringify({ ...body, components: null });
}

/** A server that does not inflate sees bytes that are not JSON: 400 `BadRequest`, or a 400 of something that is no Fleet Server. */
function mayNotKnowGzip({ status, text }: Answer): boolean {
  if (status !== 400) return false;
  const error = parseErrorBody(parsedOrNull(text))?.error;
  return error === undefined || error === 'BadRequest';
}

function unusable(answer: Answer, host: string): LinkFailure | null {
  if (answer.status !== 200) return failureOfAnswer(answer, nameOf(host));
  return answer.text.trimStart().startsWith('{') ? null : notFleet(answer, host);
}

function notFleet(answer: Answer, host: string): LinkFailure {
  const message = `${nameOf(host)} answers, but not as a Fleet Server does: is something between here and Fleet answering in its place?`;
  return failure('garbage', message, answer.at, { status: answer.status });
}

/** Byte for byte: an answer that says nothing needs no mark on disk before it is read. Anything else does. */
function isIdle(text: string): boolean {
  return text.trim() === IDLE_CHECKIN_BODY;
}

/** Outputs whose key Fleet makes and rotates; it is sent once, to the agent it is for. */
const OUTPUTS_WITH_KEYS = new Set(['elasticsearch', 'remote_elasticsearch']);

function sendsToElasticsearch(text: string): boolean {
  try {
    const policy = parseJson(text);
    const outputs = isObject(policy) ? getOwn(policy, 'outputs') : undefined;
    if (!isObject(outputs)) return false;
    return Object.values(outputs).some(
      (output) => isObject(output) && OUTPUTS_WITH_KEYS.has(String(getOwn(output, 'type'))),
    );
  } catch {
    // What cannot be read is treated as the careful case.
    return true;
  }
}

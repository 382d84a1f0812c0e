/** From an enrollment token to an identity: one agent on the server however often the request is repeated, one rename on disk. Diagram: diagrams/enrollment.md */
import { assign, emit, setup } from 'xstate';
import { asProblem, type Problem } from '../errors.ts';
import type { Growing } from './deadline.ts';
import {
  anotherHostMayHelp,
  draw,
  faultOf,
  type HostRecord,
  type LinkFailure,
  markHost,
  newHosts,
  nextHost,
  problemOfFailure,
  retryDelay,
} from './link.ts';
import { unwired } from './system.ts';

export interface EnrollmentInput {
  /** URLs of the Fleet Servers, at least one. */
  readonly hosts: readonly string[];
  readonly token: string;
  readonly tags: readonly string[];
  /** 5 s to 10 min in the reference agent. */
  readonly backoff: Growing;
  /** Requests before it is given up; null: as long as it takes. */
  readonly attempts: number | null;
  /** Any integer; the same seed gives the same delays. */
  readonly jitterSeed: number;
}

/** What is durable before the first request, so that a repeated one makes no second agent. */
export interface PendingEnrollment {
  readonly enrollmentId: string;
}

export interface EnrollRequestInput {
  readonly host: string;
  readonly token: string;
  readonly enrollmentId: string;
  readonly tags: readonly string[];
}

/** The server's answer, as far as an identity needs it. */
export interface Enrolled {
  readonly agentId: string;
  /** Base64 of `id:secret`; goes verbatim after `ApiKey `. */
  readonly accessKey: string;
  readonly policyId: string;
}

export type EnrollOutcome = { readonly kind: 'enrolled'; readonly item: Enrolled; readonly at: number } | LinkFailure;

export interface AdoptInput {
  readonly item: Enrolled;
  readonly hosts: readonly string[];
  readonly enrollmentId: string;
}

export type EnrollmentOutput =
  | { readonly enrolled: true; readonly agentId: string }
  | { readonly enrolled: false; readonly problem: Problem };

/** For who waits: a try failed and the next one comes after `delayMs`. */
export interface EnrollmentDelayed {
  readonly type: 'enrollment.delayed';
  readonly problem: Problem;
  readonly delayMs: number;
}

export interface EnrollmentContext {
  readonly token: string;
  readonly tags: readonly string[];
  readonly hosts: readonly HostRecord[];
  readonly host: string | null;
  readonly tried: readonly string[];
  readonly backoff: Growing;
  readonly attempts: number | null;
  readonly jitterSeed: number;
  readonly now: number;
  readonly enrollmentId: string;
  readonly item: Enrolled | null;
  readonly failures: number;
  readonly delayMs: number;
  readonly problem: Problem | null;
}

type EnrollmentEvent = { readonly type: 'host.woke' };
type Args = { readonly context: EnrollmentContext; readonly event: EnrollmentEvent };
type Patch = Partial<EnrollmentContext>;

export const enrollmentMachine = setup({
  types: {
    context: {} as EnrollmentContext,
    events: {} as EnrollmentEvent,
    input: {} as EnrollmentInput,
    output: {} as EnrollmentOutput,
    emitted: {} as EnrollmentDelayed,
  },
  actors: {
    prepare: unwired<PendingEnrollment, { readonly hosts: readonly string[] }>('prepare'),
    enroll: unwired<EnrollOutcome, EnrollRequestInput>('enroll'),
    adopt: unwired<null, AdoptInput>('adopt'),
  },
  delays: {
    'the chosen delay': ({ context }) => context.delayMs,
  },
  guards: {
    'the server took it': (_, outcome: EnrollOutcome) => outcome.kind === 'enrolled',
    'the server refused it': (_, outcome: EnrollOutcome) => isRefusal(outcome),
    'another host has not been tried': otherHostLeft,
    'the last try is spent': ({ context }) => context.attempts !== null && context.failures + 1 >= context.attempts,
  },
  actions: {
    rememberPending: assign((_: Args, pending: PendingEnrollment): Patch => ({ enrollmentId: pending.enrollmentId })),
    chooseHost: assign(chooseHost),
    rememberEnrolled: assign(
      (_: Args, outcome: EnrollOutcome): Patch =>
        outcome.kind === 'enrolled' ? { item: outcome.item, now: outcome.at, problem: null } : {},
    ),
    rememberRefusal: assign(rememberRefusal),
    rememberFailure: assign(rememberFailure),
    rememberFault: assign(rememberFault),
    rememberDiskProblem: assign(rememberDiskProblem),
    chooseBackoff: assign(chooseBackoff),
    forgetRound: assign({ tried: [] }),
    sayDelayed: emit(
      ({ context }: Args): EnrollmentDelayed => ({
        type: 'enrollment.delayed',
        problem: problemOf(context),
        delayMs: context.delayMs,
      }),
    ),
  },
}).createMachine({
  id: 'enrollment',
  context: ({ input }) => initialContext(input),
  initial: 'preparing',
  output: ({ context }) => outputOf(context),
  states: {
    preparing: {
      description: 'The enrollment id is made durable, or found from a try before. Left when it is on disk.',
      invoke: {
        src: 'prepare',
        id: 'prepare',
        input: ({ context }) => ({ hosts: context.hosts.map(({ url }) => url) }),
        onDone: { target: 'requesting', actions: { type: 'rememberPending', params: ({ event }) => event.output } },
        onError: {
          target: 'refused',
          actions: { type: 'rememberDiskProblem', params: ({ event }) => ({ error: event.error }) },
        },
      },
    },
    requesting: {
      description: 'Fleet is asked. Left with an agent id and key, a refusal, or a failure worth another try.',
      entry: 'chooseHost',
      invoke: {
        src: 'enroll',
        id: 'enroll',
        input: ({ context }) => ({
          host: context.host ?? '',
          token: context.token,
          enrollmentId: context.enrollmentId,
          tags: context.tags,
        }),
        onDone: [
          {
            guard: { type: 'the server took it', params: ({ event }) => event.output },
            target: 'adopting',
            actions: { type: 'rememberEnrolled', params: ({ event }) => event.output },
          },
          {
            guard: { type: 'the server refused it', params: ({ event }) => event.output },
            target: 'refused',
            actions: { type: 'rememberRefusal', params: ({ event }) => event.output },
          },
          {
            guard: { type: 'another host has not been tried', params: ({ event }) => event.output },
            target: 'requesting',
            reenter: true,
            actions: { type: 'rememberFailure', params: ({ event }) => event.output },
          },
          {
            guard: 'the last try is spent',
            target: 'refused',
            actions: { type: 'rememberFailure', params: ({ event }) => event.output },
          },
          { target: 'backingOff', actions: { type: 'rememberFailure', params: ({ event }) => event.output } },
        ],
        onError: [
          {
            guard: 'the last try is spent',
            target: 'refused',
            actions: { type: 'rememberFault', params: ({ event }) => ({ error: event.error }) },
          },
          {
            target: 'backingOff',
            actions: { type: 'rememberFault', params: ({ event }) => ({ error: event.error }) },
          },
        ],
      },
    },
    backingOff: {
      description: 'No host could take the request now. Left after a growing delay, or when the host wakes up.',
      entry: ['chooseBackoff', 'sayDelayed'],
      exit: 'forgetRound',
      after: { 'the chosen delay': 'requesting' },
      on: { 'host.woke': 'requesting' },
    },
    adopting: {
      description:
        'The identity is switched by one rename. Left when it is on disk; if it cannot be, the next try asks with the same enrollment id.',
      invoke: {
        src: 'adopt',
        id: 'adopt',
        input: ({ context }) => ({
          item: context.item ?? { agentId: '', accessKey: '', policyId: '' },
          hosts: context.hosts.map(({ url }) => url),
          enrollmentId: context.enrollmentId,
        }),
        onDone: 'enrolled',
        onError: {
          target: 'refused',
          actions: { type: 'rememberDiskProblem', params: ({ event }) => ({ error: event.error }) },
        },
      },
    },
    enrolled: { description: 'The identity is on disk.', type: 'final' },
    refused: {
      description: 'There is no identity, and trying the same again does not help; the output says why.',
      type: 'final',
    },
  },
});

function initialContext({ hosts, token, tags, backoff, attempts, jitterSeed }: EnrollmentInput): EnrollmentContext {
  return {
    token,
    tags,
    hosts: newHosts(hosts),
    host: null,
    tried: [],
    backoff,
    attempts,
    jitterSeed,
    now: 0,
    enrollmentId: '',
    item: null,
    failures: 0,
    delayMs: 0,
    problem: null,
  };
}

function outputOf(context: EnrollmentContext): EnrollmentOutput {
  const { item, problem } = context;
  return item !== null && problem === null
    ? { enrolled: true, agentId: item.agentId }
    : { enrolled: false, problem: problemOf(context) };
}

function problemOf({ problem }: EnrollmentContext): Problem {
  return problem ?? { code: 'INTERNAL', message: 'enrollment ended without a reason' };
}

function isRefusal(outcome: EnrollOutcome): boolean {
  switch (outcome.kind) {
    case 'unauthorised':
    case 'unsupportedVersion':
      return true;
    case 'forbidden':
    case 'badRequest':
      // The same from a proxy or a firewall on the way can pass.
      return outcome.byFleet === true;
    default:
      return false;
  }
}

function otherHostLeft({ context }: { context: EnrollmentContext }, outcome: EnrollOutcome): boolean {
  if (outcome.kind === 'enrolled' || !anotherHostMayHelp(outcome) || context.host === null) return false;
  return nextHost(context.hosts, context.now, [...context.tried, context.host]) !== null;
}

function chooseHost({ context }: Args): Patch {
  return { host: nextHost(context.hosts, context.now, context.tried) ?? nextHost(context.hosts, context.now) };
}

function rememberRefusal(_: Args, outcome: EnrollOutcome): Patch {
  if (outcome.kind === 'enrolled') return {};
  if (outcome.kind === 'unsupportedVersion') return { problem: problemOfFailure(outcome) };
  const advice: Partial<Record<LinkFailure['kind'], string>> = {
    unauthorised: 'the enrollment token is unknown or revoked: take a current one from Fleet',
    forbidden: 'Fleet does not let this token enroll this agent: take another enrollment token',
    badRequest: 'Fleet does not take the request: check that the URL is that of a Fleet Server and the token is whole',
  };
  return { problem: { code: 'ENROLL_REFUSED', message: `${outcome.message}; ${advice[outcome.kind] ?? ''}` } };
}

function rememberFailure({ context }: Args, outcome: EnrollOutcome): Patch {
  if (outcome.kind === 'enrolled') return {};
  const at = outcome.at || context.now;
  return {
    now: at,
    hosts: context.host === null ? context.hosts : markHost(context.hosts, context.host, at, true),
    tried: context.host === null ? context.tried : [...context.tried, context.host],
    delayMs: outcome.retryAfterMs ?? 0,
    problem: problemOfFailure(outcome),
  };
}

function rememberFault({ context }: Args, { error }: { error: unknown }): Patch {
  return rememberFailure({ context, event: { type: 'host.woke' } }, faultOf(error, context.now));
}

function rememberDiskProblem(_: Args, { error }: { error: unknown }): Patch {
  return { problem: asProblem(error, 'STORE_WRITE_FAILED', 'the identity could not be written') };
}

function chooseBackoff({ context }: Args): Patch {
  const { value, seed } = draw(context.jitterSeed);
  const failures = context.failures + 1;
  return { jitterSeed: seed, failures, delayMs: retryDelay(context.backoff, failures, context.delayMs, value) };
}

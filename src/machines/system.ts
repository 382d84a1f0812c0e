/**
 * The address book of the actor system: who can be told what. A wrong event name, or one sent to an actor that does not know it,
 * does not compile. Actors are found by `systemId`, so no actor reference ever lives in a context.
 */
import {
  type ActionFunction,
  type EventObject,
  fromPromise,
  type MachineContext,
  type PromiseActorLogic,
  sendTo,
} from 'xstate';
import { HoldfastError, type Problem } from '../errors.ts';
import type { ComponentStatus } from '../policy/component.ts';
import type { PolicyBody } from '../policy/identity.ts';
import type { Change, DeliveredAction, DeliveryNews, Facts, LogLevel } from './facts.ts';

/** What Fleet is told beside the policy that is held (design, section 8). */
export interface Report {
  readonly status: 'online' | 'degraded' | 'error' | 'starting';
  /** At most 1,024 characters. */
  readonly message: string;
  readonly components: readonly ComponentStatus[];
  /** Something that Fleet may believe to be held is lost: nothing is said to be held until an answer has brought a policy (P8). */
  readonly holdsLess: boolean;
  /** The `holdfast` object of `local_metadata`. */
  readonly metadata: ReportMetadata;
}

export interface ReportMetadata {
  readonly start: number;
  readonly previous: string;
  readonly crashes: number;
  readonly policy: { readonly running: string | null; readonly persisted: string | null };
  readonly rejected: string | null;
  readonly generation: number;
}

/** The link as `status` shows it. */
export interface LinkStatus {
  readonly state: 'connected' | 'damped' | 'backing-off' | 'unauthorised' | 'never';
  readonly message: string;
  readonly host: string | null;
  /** Epoch ms of the last answer that was a valid check-in response. */
  readonly lastCheckinAt: number | null;
  /** What the last answer warned of (its `Warning` header). */
  readonly warning: string | null;
}

/** Why the policy that is held on disk is less than it should be; null: it is whole. */
export interface HeldVerdict {
  readonly hash: string;
  readonly problem: Problem | null;
}

export type StoreEvent =
  /** Asks for one commit. `from` is answered with `store.committed` or, at each failed try, `store.delayed`. A queued request of the same `from` and `id` is replaced. */
  | {
      readonly type: 'store.change';
      readonly from: ActorName;
      readonly id: string;
      readonly changes: readonly Change[];
    }
  | { readonly type: 'store.close' };

/** What the store answers to those who asked. */
export type StoreReply =
  | {
      readonly type: 'store.committed';
      readonly id: string;
      readonly facts: Facts;
      /** Epoch ms of the commit. */
      readonly at: number;
      /** Set when the request held a `delivery.received`. */
      readonly news: DeliveryNews | null;
    }
  | { readonly type: 'store.delayed'; readonly id: string; readonly problem: Problem };

/** What the store tells everyone after each commit. */
export interface FactsChanged {
  readonly type: 'facts.changed';
  readonly facts: Facts;
  readonly at: number;
}

export type AgentEvent =
  | StoreReply
  | FactsChanged
  | {
      readonly type: 'store.opened';
      /** Null: the disk holds no record of this agent. */
      readonly facts: Facts | null;
      /** What was found damaged, foreign or strange, in words. */
      readonly findings: readonly string[];
      readonly at: number;
    }
  | { readonly type: 'store.unopenable'; readonly problem: Problem }
  | { readonly type: 'store.failing'; readonly problem: Problem }
  | { readonly type: 'store.recovered' }
  /** The disk holds more than could be read at the start, and can be read now. Nothing was written since. */
  | { readonly type: 'store.readable' }
  | { readonly type: 'store.closed' }
  | { readonly type: 'components.issued'; readonly plan: string }
  | { readonly type: 'components.confirmed'; readonly plan: string; readonly degraded: readonly string[] }
  | {
      readonly type: 'components.refused';
      readonly plan: string;
      readonly kind: 'unparsable' | 'unrendered' | 'check' | 'health';
      readonly reason: string;
    }
  | {
      readonly type: 'components.changed';
      readonly components: readonly ComponentStatus[];
      readonly awaiting: string | null;
    }
  | { readonly type: 'components.stopped' }
  /** A person's wish; what Fleet itself sends is an action. */
  | { readonly type: 'unenroll.requested'; readonly reason: string }
  | { readonly type: 'link.changed'; readonly link: LinkStatus }
  /** The gateway found, before a check-in, whether last good is on disk as it should be (P7, P8). */
  | { readonly type: 'held.verified'; readonly verdict: HeldVerdict }
  /** From outside: signals and the control socket. */
  | { readonly type: 'shutdown.requested'; readonly reason: string }
  | { readonly type: 'restart.requested'; readonly reason: string }
  | { readonly type: 'retry.requested' }
  /** Wall and monotonic time have drifted apart: the host slept. */
  | { readonly type: 'host.woke' };

export type DispatcherEvent =
  | StoreReply
  | FactsChanged
  /** Reconcile the journal (P5), then take deliveries. `at`: epoch ms, what an expiry is compared with. */
  | { readonly type: 'dispatcher.open'; readonly facts: Facts; readonly at: number }
  | {
      readonly type: 'delivery.arrived';
      readonly token: string | null;
      readonly actions: readonly DeliveredAction[];
      readonly policy: PolicyBody | null;
    };

export type GatewayEvent =
  | StoreReply
  | FactsChanged
  /** `urgent`: a component changed state, so the open poll is ended and a new one begun. */
  | { readonly type: 'report.changed'; readonly report: Report; readonly urgent: boolean }
  /** The delivery is durable; the next check-in may carry its token. */
  | { readonly type: 'delivery.taken'; readonly news: DeliveryNews }
  /** It could not be made durable (it is being tried): nothing of it is true yet. */
  | { readonly type: 'delivery.unstorable'; readonly problem: Problem }
  | { readonly type: 'host.woke' };

export type AckerEvent = StoreReply | FactsChanged | { readonly type: 'host.woke' };

export type ComponentsEvent =
  /**
   * Make this policy what runs. `fresh`: refused for P3's reasons. `replay`: never refused for health, only degraded. `revert`: as replay, the way back.
   * A newer apply supersedes one in flight; the plan is made from what runs at that moment.
   */
  | {
      readonly type: 'components.apply';
      readonly plan: string;
      readonly mode: 'fresh' | 'replay' | 'revert';
      readonly policy: PolicyBody;
      /** Hash of what is last good at this moment; null: nothing is. */
      readonly lastGood: string | null;
    }
  /** Nothing is started, stopped or changed; what runs is adopted if it can be and watched (safeMode). */
  | { readonly type: 'components.leave' }
  /** `keep`: let them run on for the next start to adopt. `hurry`: no grace. */
  | { readonly type: 'components.stop'; readonly keep: boolean; readonly hurry: boolean };

export interface Inboxes {
  agent: AgentEvent;
  store: StoreEvent;
  dispatcher: DispatcherEvent;
  gateway: GatewayEvent;
  acker: AckerEvent;
  components: ComponentsEvent;
}

export type ActorName = keyof Inboxes;

/** An action of a machine with this context and these events. */
type Telling<C extends MachineContext, E extends EventObject> = ActionFunction<
  C,
  E,
  E,
  undefined,
  never,
  never,
  never,
  never,
  never
>;

/**
 * An action that tells the actor registered as `to` one of the events it knows. An actor that does not live at the moment is not told:
 * everything that must not be missed is a durable fact and is read from there.
 */
export function tell<C extends MachineContext, E extends EventObject, K extends ActorName>(
  to: K,
  event: Inboxes[K] | ((args: { context: C; event: E }) => Inboxes[K]),
): Telling<C, E> {
  return sendTo<C, E, undefined, never, E, never>(
    ({ system }) => system.get(to) ?? DEAF,
    event as never,
  ) as unknown as Telling<C, E>;
}

/** Takes what is sent to an actor that does not live at the moment. */
const DEAF = { send: () => {}, _send: () => {}, id: 'nobody', sessionId: 'nobody' } as never;

/** A port that has not been wired yet: fails loudly instead of doing nothing. */
export function unwired<Output, Input>(port: string): PromiseActorLogic<Output, Input> {
  return fromPromise<Output, Input>(() =>
    Promise.reject(new HoldfastError('INTERNAL', `the port ${port} was not provided`)),
  );
}

/** The level a log line needs to be written. */
export type { LogLevel };

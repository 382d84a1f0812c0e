/** The composition root: assembles the machines and the services through which they reach the world, and decides nothing. */
import { type AnyActorRef, createActor, fromPromise, type InspectionEvent, type SnapshotFrom } from 'xstate';
import { asProblem, type Problem } from './errors.ts';
import { ackerMachine } from './machines/acker.ts';
import { agentMachine } from './machines/agent.ts';
import { retriedBy } from './machines/agent-context.ts';
import type { AgentInput } from './machines/agent-setup.ts';
import { componentMachine } from './machines/component.ts';
import { componentsMachine } from './machines/components.ts';
import { type DeliveryNews, emptyFacts, type Facts } from './machines/facts.ts';
import { gatewayMachine } from './machines/gateway.ts';
import { GATEWAY_TIMINGS } from './machines/gateway-context.ts';
import { buildReport } from './machines/report.ts';
import { advance, type Rules } from './machines/rules.ts';
import { type StoreRequest, storeMachine } from './machines/store.ts';
import type { AgentEvent } from './machines/system.ts';
import { thisStart } from './machines/this-start.ts';
import { type StepShown, stepsShown } from './machines/verdict.ts';
import type { Rendering } from './policy/component.ts';
import { parseJson } from './policy/json.ts';
import { secretsIn } from './policy/mask.ts';
import { agentInspection, policyForPeople } from './services/control/agent-inspection.ts';
import { agentStatus } from './services/control/agent-status.ts';
import { fleetPorts } from './services/fleet/ports.ts';
import type { Logger } from './services/log/logger.ts';
import { narrate } from './services/log/narrate.ts';
import type { Settings } from './services/settings/settings.ts';
import { insecureWarning, withIdentity } from './services/settings/with-identity.ts';
import { type Identity, readIdentity } from './services/store/identity.ts';
import { type Decided, storePorts } from './services/store/ports.ts';
import type { Inspection, Status } from './wire/control.ts';
import { realWorld, type World } from './world.ts';

export interface AgentOptions {
  /** Absolute path. */
  readonly home: string;
  readonly settings: Settings;
  readonly log: Logger;
  readonly version: string;
  /** The real one when absent. */
  readonly world?: World;
  /** Sees every event of every actor; must not throw. */
  readonly inspect?: (event: InspectionEvent) => void;
}

export interface AgentHandle {
  /** Resolves when the actors have stopped; `restart` asks for a new agent in this process. */
  readonly ended: Promise<{ readonly restart: boolean; readonly problem: Problem | null }>;
  send(event: AgentEvent): void;
  /** Tries again what was rejected or passed over, and says what that is; null: there is nothing. */
  retry(): string | null;
  status(): Status;
  inspect(): Inspection;
  /** A policy that is held, as masked YAML; null: it is not held, or cannot be read. */
  heldPolicy(hash: string): Promise<string | null>;
  /** The secrets of every policy that is held: last good, those before it, a candidate, what was rejected. */
  secrets(): Promise<readonly string[]>;
  /** Calls `listener` after each change of what `status` says; the returned function ends that. */
  onChange(listener: () => void): () => void;
}

/** With the acker's growing delays this is some minutes: an action that no index shows by then does not exist. */
const NOT_FOUND_LIMIT = 10;

/** Starts one agent on `home`. Resolves when the store has been opened, or could not be: then `ended` says why. */
export async function startAgent(options: AgentOptions): Promise<AgentHandle> {
  const { home, settings, log, version, world = realWorld, inspect } = options;
  const identityOnDisk = () => readIdentity(world.files, home, world.host.machineId());
  const read = await identityOnDisk();
  for (const finding of read.findings) log.warning(finding.message);
  const { identity } = read;
  const bootId = world.host.bootId();
  const rules = rulesOf(settings);
  const state = storePorts({
    home,
    files: world.files,
    clock: world.clock,
    log,
    lock: world.lock,
    encryption: settings.encryption,
    identity: read,
    readIdentity: identityOnDisk,
    beginWith: identity !== null && isNew(identity, world) ? emptyFacts(identity.agentId) : null,
    decide: (facts, requests, now) => decide(facts, requests, now, rules),
  });
  const variables = () =>
    world.variables({
      home,
      agentId: state.agentId(),
      agentVersion: settings.fleet.agentVersion,
      local: settings.localVariables,
    });
  const fleetSettings = withIdentity(settings.fleet, identity);
  const insecure = insecureWarning(settings.fleet, identity);
  if (insecure !== null) log.warning(insecure);
  const fleet = fleetPorts({
    settings: fleetSettings,
    clock: world.clock,
    transport: () => world.transport(fleetSettings),
    local: () => ({
      host: world.host.facts(),
      agentVersion: settings.fleet.agentVersion,
      version,
      logLevel: log.level,
      unprivileged: !world.host.isRoot,
    }),
    accessKey: identity?.accessApiKey ?? '',
    verifyHeld: state.verifyHeld,
    readPolicy: state.readPolicy,
    warn: (message) => log.warning(message),
  });
  const processes = world.processes({ home, bootId, log });
  const note = once((message) => log.info(message));
  const warn = once((message) => log.warning(message));
  const { unsupported } = settings.components;

  const machine = agentMachine.provide({
    actors: {
      store: storeMachine.provide({ actors: state.store }),
      components: componentsMachine.provide({
        actors: {
          ...processes.components,
          component: componentMachine.provide({ actors: processes.component }),
          prepare: fromPromise<Rendering, { readonly text: string; readonly mode: 'fresh' | 'replay' | 'revert' }>(
            ({ input }) => {
              if (log.level === 'trace') log.trace(`rendering\n${maskedOrUnreadable(input.text)}`);
              return world.render(input.text, { home, variables: variables(), unsupported, note });
            },
          ),
        },
      }),
      gateway: gatewayMachine.provide({ actors: fleet.gateway }),
      acker: ackerMachine.provide({ actors: fleet.acker }),
      ...state.agent,
    },
  });

  const listeners = new Set<() => void>();
  let rest: { readonly state: string; readonly until: number | null } = { state: '', until: null };
  const actor = createActor(machine, {
    systemId: 'agent',
    input: inputOf(settings, identity, bootId, world.seed()),
    ...(world.timers === null ? {} : { clock: world.timers }),
    inspect: (event) => {
      inspect?.(event);
      trace(event, log);
      const link = linkIn(event);
      if (link !== null && link.state !== rest.state) {
        rest = { state: link.state, until: link.restsMs === null ? null : world.clock.wallMs() + link.restsMs };
      }
      if (event.type === '@xstate.snapshot') for (const listener of listeners) listener();
    },
  });
  const startedAt = world.clock.monotonicMs();
  const stopWatching = world.onWake(() => actor.send({ type: 'host.woke' }));
  actor.on('said', ({ level, message }) => log[level](message));

  const opened = new Promise<void>((resolve) => {
    let link = 'never';
    let told = emptyFacts('');
    actor.subscribe({
      next: (snapshot) => {
        const { facts, link: now } = snapshot.context;
        log.setLevel(facts.intents.logLevel ?? settings.logging.level);
        for (const { level, message } of narrate(told, facts)) log[level](message);
        told = facts;
        // While a policy is being applied the server repeats it and the link is damped: nothing to tell anyone about.
        const state = now.state === 'damped' ? 'connected' : now.state;
        if (link !== state) log.info(`link to Fleet is ${state}: ${state === 'connected' ? now.host : now.message}`);
        link = state;
        if (now.warning !== null) warn(`Fleet warns: ${now.warning}`);
        if (!snapshot.matches({ boot: 'opening' })) resolve();
      },
      error: () => resolve(),
      complete: () => resolve(),
    });
  });
  const ended = new Promise<{ restart: boolean; problem: Problem | null }>((resolve) => {
    actor.subscribe({
      error: (fault) => {
        reap(actor);
        resolve({ restart: false, problem: asProblem(fault) });
      },
      complete: () => resolve(actor.getSnapshot().output ?? { restart: false, problem: null }),
    });
  }).finally(async () => {
    stopWatching();
    await Promise.all([fleet.close(), state.release()]);
  });
  actor.start();
  await opened;

  return {
    ended,
    send: (event) => actor.send(event),
    retry: () => {
      const snapshot = actor.getSnapshot();
      const what = snapshot.can({ type: 'retry.requested' }) ? retriedBy(snapshot.context) : null;
      if (what !== null) actor.send({ type: 'retry.requested' });
      return what;
    },
    status: () => {
      const snapshot = actor.getSnapshot();
      return agentStatus({
        snapshot,
        report: buildReport(snapshot.context),
        start: thisStart(snapshot.context),
        plan: planIn(snapshot.children.components?.getSnapshot()),
        nextCheckinAt: snapshot.children.gateway === undefined ? null : rest.until,
        version,
        pid: world.pid,
        uptimeMs: world.clock.monotonicMs() - startedAt,
        agentId: state.agentId(),
        store: state.status(),
      });
    },
    inspect: () => agentInspection(actor.getSnapshot().context, variables(), state.remembered),
    heldPolicy: async (hash) => {
      const found = await state.readPolicy(hash).catch(() => null);
      return found !== null && 'text' in found ? policyForPeople(found.text) : null;
    },
    secrets: async () => {
      const { generations, candidate, rejected } = actor.getSnapshot().context.facts;
      const hashes = [...generations, ...(candidate === null ? [] : [candidate]), ...rejected].map(({ hash }) => hash);
      const found = await Promise.all(hashes.map((hash) => state.readPolicy(hash).catch(() => null)));
      return found.flatMap((one) => (one !== null && 'text' in one ? secretsOfText(one.text) : []));
    },
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

function secretsOfText(text: string): readonly string[] {
  try {
    return secretsIn(parseJson(text));
  } catch {
    return []; // what is not JSON is refused as a policy, and never reaches a program
  }
}

/** The plan of the components, as their chart stands. */
function planIn(snapshot: SnapshotFrom<typeof componentsMachine> | undefined): StepShown[] {
  if (snapshot === undefined) return [];
  const { value } = snapshot;
  return stepsShown(snapshot.context, typeof value === 'string' ? value : (Object.keys(value)[0] ?? ''));
}

/** States of the gateway in which Fleet is not asked until the chosen delay is over. */
const RESTS: readonly unknown[] = ['slowed', 'resting', 'damped', 'backingOff', 'unauthorised'];

/** The state of the link when this is a step of it, and how long it rests there. */
function linkIn(event: InspectionEvent): { readonly state: string; readonly restsMs: number | null } | null {
  if (event.type !== '@xstate.snapshot' || (event.actorRef as AnyActorRef).id !== 'gateway') return null;
  const { value, context } = event.snapshot as unknown as SnapshotFrom<typeof gatewayMachine>;
  return { state: JSON.stringify(value), restsMs: RESTS.includes(value) ? context.delayMs : null };
}

/** Several requests, one commit: each is applied to what the ones before it made true. */
function decide(before: Facts, requests: readonly StoreRequest[], now: number, rules: Rules): Decided {
  const news: (DeliveryNews | null)[] = [];
  const bodies: Record<string, string> = {};
  let facts = before;
  for (const { changes } of requests) {
    const step = advance(facts, changes, now, rules);
    facts = step.facts;
    news.push(step.news);
    Object.assign(bodies, step.bodies);
  }
  return { facts, bodies, news };
}

/** An identity younger than this process cannot have lost anything yet. One from the future is older: the clock was set back. */
function isNew({ enrolledAt }: Identity, { processStartedAt, clock }: World): boolean {
  return enrolledAt >= processStartedAt && enrolledAt <= clock.wallMs();
}

function rulesOf(settings: Settings): Rules {
  return {
    attemptLimit: settings.crash.limit,
    freshMs: settings.policy.freshForMs,
    retry: settings.policy.retry,
    recovery: settings.safeMode,
    notFoundLimit: NOT_FOUND_LIMIT,
  };
}

function inputOf(settings: Settings, identity: Identity | null, bootId: string, jitterSeed: number): AgentInput {
  const { checkin, ack, hosts } = settings.fleet;
  const { timeoutMs, stableForMs, onFailure } = settings.policy.apply;
  return {
    agentId: identity?.agentId ?? '',
    bootId,
    hosts: hosts.length > 0 ? hosts : (identity?.hosts ?? []),
    onExit: settings.components.onExit,
    storeRetry: settings.store.retry,
    ackBackoff: ack.backoff,
    gateway: { ...GATEWAY_TIMINGS, backoff: checkin.backoff, damping: checkin.damping, restMs: checkin.restMs },
    components: {
      timeoutMs,
      stableForMs,
      onFailure: onFailure === 'rollback' ? 'reject' : 'degrade',
      lookEveryMs: settings.components.lookEveryMs,
      component: settings.components.timing,
    },
    jitterSeed,
  };
}

/** For the log: a policy as people may see it. */
function maskedOrUnreadable(policyText: string): string {
  const unreadable = `${policyText.length} characters that are no policy`;
  try {
    return policyForPeople(policyText) ?? unreadable;
  } catch {
    return unreadable;
  }
}

/** Calls `say` with each message once. */
function once(say: (message: string) => void): (message: string) => void {
  const said = new Set<string>();
  return (message) => {
    if (said.has(message)) return;
    said.add(message);
    say(message);
  };
}

/** Every step of every actor, at debug. Never throws: an observer that did would break the actor it looks at. */
function trace(event: InspectionEvent, log: Logger): void {
  if (event.type !== '@xstate.snapshot' || (log.level !== 'debug' && log.level !== 'trace')) return;
  try {
    const { value } = event.snapshot as { value?: unknown };
    const name = (event.actorRef as AnyActorRef).id;
    log.debug(`${name}: ${event.event.type} → ${value === undefined ? event.snapshot.status : JSON.stringify(value)}`);
  } catch {
    // What cannot be shown is not shown.
  }
}

/**
 * Stops the children that an actor leaves running when it throws (statelyai/xstate#5153, open): they would go on in its name.
 * `_stop` is not public API; the version of xstate is pinned.
 */
function reap(ref: AnyActorRef): void {
  const snapshot = ref.getSnapshot() as { children?: Record<string, AnyActorRef | undefined> } | undefined;
  for (const child of Object.values(snapshot?.children ?? {})) {
    if (child === undefined) continue;
    reap(child);
    (child as unknown as { _stop(): void })._stop();
  }
}

/** Gateway, acker, dispatcher and enrollment in a real conversation with the embedded Fleet server; only the disk is a variable. */
import { type AddressInfo, createServer } from 'node:net';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { type AnyActorRef, createActor, fromCallback, fromPromise, setup, toPromise } from 'xstate';
import { ackerMachine } from '../../../src/machines/acker.ts';
import { dispatcherMachine } from '../../../src/machines/dispatcher.ts';
import {
  type AdoptInput,
  type EnrollmentOutput,
  enrollmentMachine,
  type PendingEnrollment,
} from '../../../src/machines/enrollment.ts';
import { type Change, emptyFacts, type Facts } from '../../../src/machines/facts.ts';
import { gatewayMachine } from '../../../src/machines/gateway.ts';
import { GATEWAY_TIMINGS, type GatewayTimings } from '../../../src/machines/gateway-context.ts';
import { advance } from '../../../src/machines/rules.ts';
import type { AgentEvent, LinkStatus, Report, StoreEvent } from '../../../src/machines/system.ts';
import { enrollPorts } from '../../../src/services/fleet/ports.ts';
import { systemClock } from '../../../src/services/host/clock.ts';
import { SHORT_POLL_MS, shortPoll, startServer } from '../../fleet-server/support.ts';
import { report } from '../../machines/link-fixtures.ts';
import { local, ports, settings } from './local.ts';

const RULES = {
  attemptLimit: 3,
  freshMs: 3_600_000,
  retry: { initialMs: 60_000, maxMs: 60_000 },
  recovery: { initialMs: 60_000, maxMs: 60_000 },
  notFoundLimit: 3,
};
const QUICK: GatewayTimings = {
  ...GATEWAY_TIMINGS,
  backoff: { initialMs: 20, maxMs: 200 },
  damping: { initialMs: 20, maxMs: 200 },
  restMs: 5,
  urgentEveryMs: 20,
  openMs: 20,
  idleMs: 50,
};

async function enrolled(hosts: readonly string[], token: string) {
  const fleet = enrollPorts({ settings, clock: systemClock, local: () => local });
  let accessKey = '';
  const machine = enrollmentMachine.provide({
    actors: {
      enroll: fleet.enroll,
      prepare: fromPromise<PendingEnrollment, { readonly hosts: readonly string[] }>(async () => ({
        enrollmentId: 'e-1',
      })),
      adopt: fromPromise<null, AdoptInput>(async ({ input }) => {
        accessKey = input.item.accessKey;
        return null;
      }),
    },
  });
  const input = { hosts, token, tags: ['test'], backoff: QUICK.backoff, attempts: 3, jitterSeed: 1 };
  const output = (await toPromise(createActor(machine, { input }).start())) as EnrollmentOutput;
  await fleet.close();
  if (!output.enrolled) throw new Error(output.problem.message);
  return { agentId: output.agentId, accessKey };
}

/** Starts the conversation. Its agent promotes each policy it is handed, at once. */
async function converse(
  hosts: readonly string[],
  identity: { agentId: string; accessKey: string },
  pollTimeoutMs = SHORT_POLL_MS,
) {
  let facts: Facts = emptyFacts(identity.agentId);
  const bodies = new Map<string, string>();
  const links: LinkStatus[] = [];
  const committed: string[] = [];
  let broken = false;
  const waiting = new Map<string, () => void>();

  const store = fromCallback<StoreEvent>(({ receive, system }) => {
    receive((event) => {
      if (event.type !== 'store.change') return;
      const get = (name: string) => (system as unknown as { get(name: string): AnyActorRef | undefined }).get(name);
      const told = get(event.from);
      if (broken) {
        // As the real one: kept, one a sender and id, and written when the disk takes writes again.
        waiting.set(`${event.from} ${event.id}`, () => commit(event.changes, get, told, event.id));
        told?.send({ type: 'store.delayed', id: event.id, problem: { code: 'STORE_WRITE_FAILED', message: 'full' } });
        return;
      }
      commit(event.changes, get, told, event.id);
    });
  });
  const commit = (
    changes: readonly Change[],
    get: (name: string) => AnyActorRef | undefined,
    from?: AnyActorRef,
    id = '',
  ) => {
    const at = Date.now();
    const next = advance(facts, changes, at, RULES);
    facts = next.facts;
    for (const [hash, text] of Object.entries(next.bodies)) bodies.set(hash, text);
    committed.push(...changes.map(({ type }) => type));
    from?.send({ type: 'store.committed', id, facts, at, news: next.news });
    for (const name of ['gateway', 'acker', 'dispatcher']) get(name)?.send({ type: 'facts.changed', facts, at });
    const hash = facts.candidate?.hash;
    if (hash !== undefined) setImmediate(() => commit([{ type: 'policy.promoted', hash }], get));
  };
  const fleet = ports({
    settings: { ...settings, checkin: { pollTimeoutMs } },
    accessKey: identity.accessKey,
    verifyHeld: async (hash) => (bodies.has(hash) ? null : { code: 'STORE_UNREADABLE', message: 'gone' }),
    readPolicy: async (hash) => ({ text: bodies.get(hash) ?? '' }),
  });
  const root = setup({
    types: { events: {} as AgentEvent },
    actors: {
      store,
      dispatcher: dispatcherMachine,
      gateway: gatewayMachine.provide({ actors: fleet.gateway }),
      acker: ackerMachine.provide({ actors: fleet.acker }),
    },
    actions: {
      link: ({ event }) => {
        if (event.type === 'link.changed') links.push(event.link);
      },
    },
  }).createMachine({
    invoke: [
      { src: 'store', systemId: 'store' },
      { src: 'dispatcher', systemId: 'dispatcher' },
      {
        src: 'gateway',
        systemId: 'gateway',
        input: { facts, proven: true, report, agentId: identity.agentId, hosts, timings: QUICK, jitterSeed: 1 },
      },
      {
        src: 'acker',
        systemId: 'acker',
        input: {
          facts,
          proven: true,
          withheld: [],
          agentId: identity.agentId,
          hosts,
          backoff: QUICK.backoff,
          jitterSeed: 2,
        },
      },
    ],
    on: { 'link.changed': { actions: 'link' } },
  });
  const actor = createActor(root, { systemId: 'agent' });
  actor.start();
  const get = (name: string): AnyActorRef => (actor.system as unknown as { get(name: string): AnyActorRef }).get(name);
  get('dispatcher').send({ type: 'dispatcher.open', facts });
  onTestFinished(async () => {
    actor.stop();
    await fleet.close();
  });
  return {
    facts: () => facts,
    bodies,
    links,
    committed,
    breakStore: (now: boolean) => {
      broken = now;
      if (now) return;
      for (const write of waiting.values()) write();
      waiting.clear();
    },
    say: (changed: Partial<Report>) =>
      get('gateway').send({ type: 'report.changed', report: { ...report, ...changed }, urgent: true }),
    gateway: () => get('gateway')?.getSnapshot(),
  };
}

const soon = <T>(check: () => T) => vi.waitFor(check, { timeout: 4000, interval: 10 });

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe('a conversation with a Fleet server', () => {
  it('enrolls once for one enrollment id, and is taken as a holdfast agent', async () => {
    const { server } = await startServer();
    await enrolled([server.url], server.token());
    await enrolled([server.url], server.token());
    expect(server.agents().filter(({ active }) => active)).toMatchObject([
      { tags: ['holdfast', 'test'], policy: { assigned: 'web' } },
    ]);
  });

  it('refuses a wrong token with what to do', async () => {
    const { server } = await startServer();
    await expect(enrolled([server.url], 'd3Jvbmc6dG9rZW4=')).rejects.toThrow(/enrollment token is unknown or revoked/);
  });

  it('receives, holds, acks and reports a policy, and then each next one', async () => {
    const { server, save } = await startServer();
    const agent = await converse([server.url], await enrolled([server.url], server.token()));
    await soon(() =>
      expect(server.agents()[0]!.policy).toMatchObject({
        acked: { id: 'web', revision: 1 },
        reported: { revision: 1 },
      }),
    );
    await soon(() =>
      expect(agent.facts()).toMatchObject({
        generations: [{ id: 'web', revision: 1 }],
        acked: { revision: 1 },
        outbox: [],
      }),
    );
    await save('web', 'inputs: [{id: second, type: none}]');
    await soon(() =>
      expect(server.agents()[0]!.policy).toMatchObject({ acked: { revision: 2 }, reported: { revision: 2 } }),
    );
    // Marked before it was read, made durable before it was acked.
    const order = agent.committed.filter((type) => /answer|delivery|promoted|settled/.test(type));
    expect(order.slice(0, 4)).toEqual(['answer.arrived', 'delivery.received', 'policy.promoted', 'acks.settled']);
  });

  it('heals by the first answer when what it holds is gone (P8)', async () => {
    const { server } = await startServer();
    const agent = await converse([server.url], await enrolled([server.url], server.token()));
    await soon(() => expect(agent.facts().acked?.revision).toBe(1));
    const delivered = server.agents()[0]!.policy.delivered!.times;
    agent.bodies.clear();
    await soon(() => expect(server.agents()[0]!.policy.delivered!.times).toBeGreaterThan(delivered));
  });

  it('takes actions once, answers them, and moves the token on', async () => {
    const { server } = await startServer();
    const agent = await converse([server.url], await enrolled([server.url], server.token()));
    await soon(() => expect(agent.facts().acked?.revision).toBe(1));
    const sent = await server.send(server.agents()[0]!.id, 'SETTINGS', { data: '{"log_level":"debug"}' });
    await soon(() => expect(agent.facts().intents.logLevel).toBe('debug'));
    await soon(() => expect(agent.facts().outbox).toEqual([]));
    await soon(() => expect(server.agents()[0]!.actions.waiting).toBe(0));
    expect(agent.facts().deliveryToken).not.toBe('');
    expect(agent.facts().journal.filter(({ type }) => type === 'SETTINGS')).toMatchObject([{ state: 'done' }]);
    expect(sent).toBeDefined();
  });

  it('ends a long poll for an urgent report, which the server then sees', async () => {
    const { server } = await startServer(
      { web: 'inputs: []' },
      { poll: { ...shortPoll, defaultMs: 30_000, minMs: 30_000 } },
    );
    const agent = await converse([server.url], await enrolled([server.url], server.token()));
    await soon(() => expect(server.agents()[0]!.policy.reported?.revision).toBe(1));
    await soon(() => expect(agent.gateway().value).toEqual({ checkingIn: 'settled' }));
    agent.say({ status: 'degraded', message: 'nginx is down' });
    await soon(() => expect(server.agents()[0]).toMatchObject({ status: 'degraded', message: 'nginx is down' }));
    expect(agent.links.filter(({ state }) => state === 'backing-off')).toEqual([]);
  });

  it('goes on when its server is killed and comes back', async () => {
    const world = await startServer({ web: 'inputs: []' }, { listen: `127.0.0.1:${await freePort()}` });
    const agent = await converse([world.server.url], await enrolled([world.server.url], world.server.token()));
    await soon(() => expect(agent.facts().acked?.revision).toBe(1));
    const again = await world.killAndRestart();
    await soon(() => expect(agent.links.some(({ state }) => state === 'backing-off')).toBe(true));
    await soon(() => expect(agent.links.at(-1)).toMatchObject({ state: 'connected' }));
    await again.save('web', 'inputs: [{id: second, type: none}]');
    await soon(() => expect(agent.facts().acked?.revision).toBe(2));
  });

  it('acks nothing and reports nothing new while the disk takes no writes, and all of it afterwards', async () => {
    const { server, save } = await startServer();
    const agent = await converse([server.url], await enrolled([server.url], server.token()));
    await soon(() => expect(server.agents()[0]!.policy.reported?.revision).toBe(1));
    agent.breakStore(true);
    await save('web', 'inputs: [{id: second, type: none}]');
    await soon(() => expect(agent.links.at(-1)?.state).toBe('damped'));
    expect(server.agents()[0]!.policy).toMatchObject({ acked: { revision: 1 }, reported: { revision: 1 } });
    agent.breakStore(false);
    await soon(() =>
      expect(server.agents()[0]!.policy).toMatchObject({ acked: { revision: 2 }, reported: { revision: 2 } }),
    );
  });

  it('is told when Fleet does not know it any more, and keeps what it holds', async () => {
    const { server } = await startServer();
    const agent = await converse([server.url], await enrolled([server.url], server.token()));
    await soon(() => expect(agent.facts().acked?.revision).toBe(1));
    await server.forceUnenroll(server.agents()[0]!.id);
    await soon(() => expect(agent.links.at(-1)).toMatchObject({ state: 'unauthorised' }));
    expect(agent.facts().generations).toHaveLength(1);
  });
});

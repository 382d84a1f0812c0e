/** SIGKILL of the agent around every step of a policy change: it ends converged, with one process a component, and never silent (P1, P9, P10, P12). */
import { readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { homePaths } from '../../src/services/home.ts';
import { acks, isCheckin, reports } from './support/fleet.ts';
import { COMPONENT as A, input, type Settled, settled } from './support/settled.ts';
import { componentsOf, isAlive, pidIn, settledOn, type World, type WorldOptions } from './support/world.ts';

/** What the server believes to be held is on disk at this moment, though the agent is dead (P1). */
async function expectAckedIsHeld({ fleet, disk }: World) {
  const acked = fleet.agent().policy.acked;
  const { facts, policy } = await disk();
  const held = facts?.generations[0];
  expect(held?.revision).toBeGreaterThanOrEqual(acked?.revision ?? 0);
  expect(await policy(held?.hash ?? '')).toHaveProperty('text');
}

/** Starts the agent again and waits until it is where Fleet wants it. */
async function expectConverged(made: World, revision: number) {
  const { agent, fleet, home, events } = made;
  const from = fleet.requests.length;
  agent.start();
  const status = await agent.status(settledOn(revision), `converged on ${revision}`);
  expect(status.start).toMatchObject({ previous: 'crashed' });
  expect(status.policy.rejected).toEqual([]);
  await fleet.request(reports(revision), `a check-in of a holder of ${revision}`, from);
  const seen = await fleet.until(
    ({ policy, start }) => policy.acked?.revision === revision && start?.previous === 'crashed',
    `has acked ${revision} and says that it crashed`,
  );
  expect(seen.start?.crashes).toBeGreaterThanOrEqual(1);
  expect(componentsOf(home).map(({ pid }) => pid)).toContain(pidIn(status, A));
  // The program itself, and at most what it runs at this moment.
  expect(componentsOf(home).filter(({ command }) => command.includes('service.sh'))).toHaveLength(1);
  expect(events(A).filter((line) => line.startsWith('two'))).toEqual([]);
  return status;
}

/** One instant of a policy change from revision 2 to 3. Resolves when it is there; then the agent is killed. */
interface Instant {
  readonly at: string;
  /** `adopted`: nothing had touched the component yet, or all was done with it. `replaced`: a process that has taken half a change. */
  readonly component: 'adopted' | 'replaced' | 'any';
  readonly options?: WorldOptions;
  readonly config?: string;
  readonly reached: (made: Settled, change: () => Promise<unknown>) => Promise<unknown>;
  /** After the kill, before the next start. */
  readonly afterwards?: (made: Settled) => Promise<unknown>;
}

const objectsIn = (home: string) => readdirSync(homePaths(home).objects).filter((name) => /^[0-9a-f]{64}$/.test(name));

const INSTANTS: readonly Instant[] = [
  {
    at: 'while the check-in that would bring it is on its way to the server',
    component: 'adopted',
    reached: async ({ fleet, agent }, change) => {
      const held = fleet.hold(isCheckin);
      await fleet.server.send(fleet.agent().id, 'SETTINGS', { data: '{"log_level":"info"}' });
      await held;
      await change();
      expect(agent.runs).toBe(true);
    },
  },
  {
    at: 'when the answer with it has left the server',
    component: 'any',
    reached: async ({ fleet, seen }, change) => {
      const answered = fleet.request(
        (one) => one.answer?.includes('policy:web:3') === true,
        'answered with it',
        seen - 1,
      );
      await change();
      await answered;
    },
  },
  {
    at: "when the candidate's object appears",
    component: 'any',
    reached: async ({ home, file }, change) => {
      const before = objectsIn(home);
      const appeared = file(
        homePaths(home).objects,
        () => objectsIn(home).find((name) => !before.includes(name)),
        'an object of the candidate',
      );
      await change();
      await appeared;
    },
  },
  {
    at: 'when it says that it applies it',
    component: 'any',
    reached: async ({ agent }, change) => {
      const applying = agent.line(/applying web:3/);
      await change();
      await applying;
    },
  },
  {
    at: 'while the component takes its reload',
    component: 'replaced',
    config: 'gated two',
    reached: async ({ event }, change) => {
      await change();
      await event(A, (line) => line.startsWith('reloaded'), 'is in its reload');
    },
    afterwards: ({ openGate }) => openGate(A),
  },
  {
    at: 'while it waits whether the components stay healthy',
    component: 'replaced',
    options: { settings: { policy: { apply: { stable_for: '2s' } } } },
    reached: async ({ agent }, change) => {
      const before = agent.now.components[0]?.hash;
      const confirming = agent.status(
        ({ path, components: [one] }) => path.policy === 'apply' && one?.state === 'healthy' && one.hash !== before,
        'healthy under the new one, and not sure yet',
      );
      await change();
      await confirming;
    },
    afterwards: ({ settings }) => settings({ policy: { apply: { stable_for: '100ms' } } }),
  },
  {
    at: 'while its ack is on its way to the server',
    component: 'adopted',
    reached: async ({ fleet }, change) => {
      const held = fleet.hold(acks(3));
      await change();
      void held.then(({ release }) => release('drop'));
      await held;
    },
  },
  {
    at: 'when the server has taken the ack and the answer is lost',
    component: 'adopted',
    reached: async ({ fleet }, change) => {
      fleet.answer(acks(3), () => 'dropAfterEffect');
      await change();
      await fleet.until(({ policy }) => policy.acked?.revision === 3, 'has acked it');
    },
  },
  {
    at: 'when the answer to its ack has left the server',
    component: 'adopted',
    reached: async ({ fleet }, change) => {
      const answered = fleet.request((one) => acks(3)(one) && one.answer !== null, 'an answered ack');
      await change();
      await answered;
    },
  },
  {
    at: 'when all is done',
    component: 'adopted',
    reached: async ({ agent }, change) => {
      const done = agent.status(settledOn(3), 'settled on the change');
      await change();
      await done;
    },
  },
];

describe('SIGKILL during a policy change: what was acked is held, and the next start converges on it', () => {
  test.each(INSTANTS)('$at', async ({ reached, afterwards, options, config = 'two', component }) => {
    const made = await settled(options);
    await reached(made, () => made.fleet.policy([input(config)]));
    await made.agent.kill9();
    expect(isAlive(made.pid), 'the program survives the agent').toBe(true);
    await expectAckedIsHeld(made);
    await afterwards?.(made);
    const status = await expectConverged(made, 3);
    if (component === 'adopted') expect(pidIn(status, A)).toBe(made.pid);
    if (component === 'replaced') expect(isAlive(made.pid)).toBe(false);
    expect(made.events(A).at(-1)).toMatch(new RegExp(`ed ${pidIn(status, A)} ${config}$`));
  });
});

describe('SIGKILL during a rejection: the next start ends on last good', () => {
  test('while the component still runs what is to be rejected', async () => {
    const made = await settled({ settings: { crash: { limit: 1 } } });
    await made.fleet.policy([input('mute')]);
    await made.event(A, (line) => line.startsWith('reloaded'), 'has taken the bad one');
    await made.agent.kill9();
    made.agent.start();
    const status = await made.agent.status(
      ({ policy, path, components: [one] }) =>
        policy.rejected[0]?.revision === 3 && path.policy === 'checkin' && one?.state === 'healthy',
      'rejected, and healthy on last good',
    );
    expect(status.policy.running?.revision).toBe(2);
    expect(made.events(A).at(-1)).toBe(`started ${pidIn(status, A)} one`);
    expect(isAlive(made.pid)).toBe(false);
  });

  test('on the way back', async () => {
    const made = await settled();
    const judged = made.agent.line(/policy rejected: web:3/);
    await made.fleet.policy([input('mute')]);
    await judged;
    await made.agent.kill9();
    made.agent.start();
    const status = await made.agent.status(
      ({ policy, path, components: [one] }) =>
        policy.rejected[0]?.revision === 3 && path.policy === 'checkin' && one?.state === 'healthy',
      'rejected, and healthy on last good',
    );
    expect(status.policy.running?.revision).toBe(2);
    expect(made.events(A).at(-1)).toMatch(/ one$/);
    await made.fleet.until(({ policy }) => policy.rejected?.revision === 3, 'rejected it');
  });
});

test('a candidate that no start survives uses up its attempts and is rejected (P10)', async () => {
  const made = await settled({ settings: { policy: { apply: { stable_for: '1500ms' } } } });
  await made.fleet.policy([input('two')]);
  for (let kills = 1; kills <= 3; kills += 1) {
    await made.agent.status(
      ({ policy, path, components: [one] }) =>
        policy.received?.revision === 3 && path.policy === 'apply' && one?.state === 'healthy',
      `trying it for the ${kills}. time`,
    );
    await made.agent.kill9();
    made.agent.start();
  }
  const status = await made.agent.status(
    ({ policy, path }) => policy.rejected[0]?.revision === 3 && path.policy === 'checkin',
    'rejected it',
  );
  expect(status.policy.rejected[0]?.kind).toBe('attempts');
  expect(status.policy.running?.revision).toBe(2);
  await made.fleet.until(({ policy }) => policy.rejected?.revision === 3, 'rejected it');
  await made.settings({ policy: { apply: { stable_for: '100ms' } } });
  await made.agent.run('restart');
  await made.agent.status(({ components: [one] }) => one?.state === 'healthy', 'healthy');
  expect(made.events(A).at(-1)).toMatch(/ one$/);
});

test('kills before any confirmation: the fresh policy is passed over for the one before it, then safe mode, left on new content (P10)', async () => {
  const made = await settled();
  await made.fleet.policy([input('two')]);
  await made.agent.status(settledOn(3), 'settled on the policy to pass over');
  // From the next start on nothing is confirmed any more.
  await made.settings({ policy: { apply: { stable_for: '1h', timeout: '2h' } } });

  // The life that made it good was confirmed: three more spend the attempts.
  const killOnce = async (what: string) => {
    const status = await made.agent.status(({ state }) => state === 'running', `running ${what}`);
    await made.agent.kill9();
    made.agent.start();
    return status;
  };
  await killOnce('the settled one');
  for (const attempt of [1, 2, 3]) expect((await killOnce(`attempt ${attempt}`)).policy.running?.revision).toBe(3);

  const passedOver = await made.agent.status(({ state }) => state === 'running', 'passed over');
  expect(passedOver.policy.running?.revision).toBe(2);
  expect(passedOver.message).toMatch(/^passed over web:3/);
  const told = await made.fleet.until(({ message }) => message.startsWith('passed over web:3'), 'passed over');
  expect(told.status).toBe('degraded');
  await made.event(A, (line) => line.endsWith('one') && made.events(A).indexOf(line) > 1, 'runs the older one');

  for (const attempt of [1, 2, 3]) await killOnce(`attempt ${attempt} of the older one`);
  const safe = await made.agent.status(({ state }) => state === 'safeMode', 'in safe mode');
  expect(safe.health).toBe('failed');
  expect(safe.message).toMatch(/^safe mode: /);
  const running = componentsOf(made.home).map(({ pid }) => pid);
  expect(running.length).toBeGreaterThan(0);
  const seen = await made.fleet.until(({ status }) => status === 'error', 'in safe mode');
  expect(seen.start?.crashes).toBeGreaterThanOrEqual(6);
  // Killed once more, it leaves alone what runs, and stays there.
  const before = made.events(A).length;
  await made.agent.kill9();
  await made.settings({});
  made.agent.start();
  await made.agent.status(({ state }) => state === 'safeMode', 'in safe mode again');
  expect(made.events(A)).toHaveLength(before);

  await made.fleet.policy([input('three')]);
  const healed = await made.agent.status(settledOn(4), 'settled on new content');
  expect(healed.state).toBe('running');
  expect(made.events(A).at(-1)).toMatch(/ three$/);
  expect(made.events(A).filter((line) => line.startsWith('two:'))).toEqual([]);
});

test('a crash is said: in status, and at Fleet as message and metadata until what runs is confirmed (P9)', async () => {
  // Confirmation alone does not end a poll: the server does.
  const made = await settled({ pollMs: 2_500 });
  await made.settings({ policy: { apply: { stable_for: '2s' } } });
  await made.agent.kill9();
  const from = made.fleet.requests.length;
  made.agent.start();
  const crashed = await made.agent.status(({ state }) => state === 'running', 'running');
  expect(crashed.start).toMatchObject({ number: 2, previous: 'crashed', crashes: 1 });
  expect(crashed.health).toBe('degraded');
  expect(crashed.message).toMatch(/^restarted after crash: /);
  const told = await made.fleet.request(
    (one) => isCheckin(one) && JSON.parse(one.body).message.startsWith('restarted after crash'),
    'a check-in that speaks of the crash',
    from,
  );
  const body = JSON.parse(told.body);
  expect(body.status).toBe('degraded');
  expect(body.local_metadata.holdfast).toMatchObject({ start: 2, previous: 'crashed', crashes: 1 });
  await made.agent.status(settledOn(2), 'confirmed');
  const after = await made.fleet.until(({ status, re_acks }) => status === 'online' && re_acks > 0, 'online, re-acked');
  expect(after.start).toMatchObject({ previous: 'crashed' });
  expect(after.warnings.join()).toMatch(/crash/);
});

test('what was in flight when it crashed is named', async () => {
  const made = await settled({ settings: { policy: { apply: { stable_for: '2s' } } } });
  const applying = made.agent.line(/applying web:3/);
  await made.fleet.policy([input('two')]);
  await applying;
  await made.agent.kill9();
  await made.settings({ policy: { apply: { stable_for: '100ms' } } });
  const status = await expectConverged(made, 3);
  expect(status.start.in_flight).toContain('web:3');
});

test('a goodbye is not a crash', async () => {
  const made = await settled();
  expect(await made.agent.stop()).toEqual({ code: 0, signal: null });
  expect(componentsOf(made.home)).toEqual([]);
  made.agent.start();
  const status = await made.agent.status(settledOn(2), 'settled');
  expect(status.start).toMatchObject({ number: 2, previous: 'goodbye', crashes: 0, in_flight: null });
  await made.fleet.until(({ start }) => start?.previous === 'goodbye', 'restarted after a goodbye');
});

/** What a start does before and without the network: the last good policy runs, whatever else is missing (P2, P11, P12). */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { componentPaths } from '../../src/services/home.ts';
import { isCheckin, reports } from './support/fleet.ts';
import { COMPONENT as A, input, settled, settles } from './support/settled.ts';
import { componentIn, isAlive, pidIn, serviceSpec, settledOn, world } from './support/world.ts';

async function endOf(pid: number): Promise<void> {
  process.kill(pid, 'SIGKILL');
  await expect.poll(() => isAlive(pid), { interval: 10, timeout: 10_000 }).toBe(false);
}

const replayed = ({ policy, components: [one] }: Parameters<ReturnType<typeof settledOn>>[0]) =>
  policy.running?.revision === 2 && one?.state === 'healthy';

test('with the server down the last good policy is replayed, and the program that ran on is taken over', async () => {
  const made = await settled();
  await made.agent.kill9();
  await made.fleet.kill();
  made.agent.start();
  const status = await made.agent.status(
    (now) => replayed(now) && now.fleet.state === 'backing-off',
    'healthy on last good without Fleet',
  );
  expect(pidIn(status, A)).toBe(made.pid);
  expect(made.events(A)).toHaveLength(1);

  const from = made.fleet.requests.length;
  await made.fleet.start();
  await made.agent.status((now) => settledOn(2)(now) && now.fleet.state === 'connected', 'settled, and connected');
  await made.fleet.request(reports(2), 'a check-in of a holder', from);
});

test('with the server down and the program dead it is started from what the disk holds', async () => {
  const made = await settled();
  await made.agent.kill9();
  await made.fleet.kill();
  await endOf(made.pid);
  // Not even the rendered configuration is needed.
  await rm(componentPaths(made.home, A).directory, { recursive: true });
  made.agent.start();
  const status = await made.agent.status(replayed, 'healthy on last good without Fleet');
  expect(made.events(A)).toEqual([`started ${pidIn(status, A)} one`]);
});

test('every step of the stored policy is issued before the first request leaves, and none waits for its answer (P2)', async () => {
  const made = await world();
  const ids = ['a', 'b', 'c'];
  await made.fleet.policy(ids.map((id) => ({ id, type: 'service', config: 'one' })));
  made.agent.start();
  const before = await settles(made, 2);
  await made.agent.kill9();
  const components = ids.map((id) => `service-default-${id}`);
  for (const id of components) await endOf(pidIn(before, id));

  const [seen, said] = [made.fleet.requests.length, made.agent.lines.length];
  const held = made.fleet.hold(() => true);
  made.agent.start();
  const { request, release } = await held;
  expect(made.fleet.requests.slice(seen)).toEqual([request]);
  for (const id of components) {
    const issued = await made.agent.line(new RegExp(`${id} is starting: its step was issued`), said);
    expect(Date.parse(JSON.parse(issued)['@timestamp'])).toBeLessThanOrEqual(request.at);
  }
  const status = await made.agent.status(
    (now) => components.every((id) => componentIn(now, id)?.state === 'healthy'),
    'healthy while the first request is without an answer',
  );
  expect(made.fleet.requests.slice(seen)).toEqual([request]);
  for (const id of components) expect(made.events(id).at(-1)).toBe(`started ${pidIn(status, id)} one`);
  release();
  await settles(made, 2);
});

test('the first check-in after a start already names what the disk holds (P7)', async () => {
  const made = await settled();
  await made.agent.stop();
  const from = made.fleet.requests.length;
  made.agent.start();
  const first = await made.fleet.request(isCheckin, 'a check-in', from);
  expect(JSON.parse(first.body)).toMatchObject({ agent_policy_id: 'web', policy_revision_idx: 2 });
});

test('a slow dependency at boot does not step back to an older policy: the component degrades and comes when it can', async () => {
  const made = await settled({
    specs: { slow: serviceSpec('slow') },
    settings: { policy: { apply: { timeout: '3s' } } },
  });
  const S = 'slow-default-s';
  await made.openGate(S);
  await made.fleet.policy([input('one'), { id: 's', type: 'slow', config: 'gated' }]);
  await made.agent.status(settledOn(3), 'settled with the dependency there');
  await made.agent.stop();
  await rm(join(componentPaths(made.home, S).data, 'gate'));

  made.agent.start();
  const waiting = await made.agent.status(
    (now) => componentIn(now, S)?.state === 'degraded' && componentIn(now, A)?.state === 'healthy',
    'the dependent component is degraded, the other is healthy',
  );
  expect(waiting.policy).toMatchObject({ running: { revision: 3 }, persisted: { revision: 3 }, rejected: [] });
  const seen = await made.fleet.until(({ message }) => message.includes(S), 'names the component');
  expect(seen.status).toBe('degraded');
  expect(seen.message).toMatch(/^running web:3; /);

  await made.openGate(S);
  const healed = await made.agent.status(settledOn(3), 'healthy when the dependency is there');
  expect(healed.policy.generations[0]?.revision).toBe(3);
});

test('what was changed while the agent was down is applied at its next start', async () => {
  const made = await settled();
  await made.agent.stop();
  await made.fleet.policy([input('two')]);
  made.agent.start();
  const status = await made.agent.status(settledOn(3), 'settled on the change');
  // It is reloaded, or started with it at once where the change came before the replay had started it.
  expect(made.events(A).at(-1)).toMatch(new RegExp(`^(reloaded|started) ${pidIn(status, A)} two$`));
});

test('a server that comes back after its own SIGKILL finds the agent where it left it', async () => {
  const made = await settled();
  await made.fleet.kill();
  await made.agent.status(({ fleet }) => fleet.state === 'backing-off', 'without Fleet');
  await made.fleet.start();
  await made.fleet.policy([input('two')]);
  await made.agent.status(settledOn(3), 'settled on a change');
  expect(made.events(A)).toEqual([`started ${made.pid} one`, `reloaded ${made.pid} two`]);
});

test('an agent that never got a policy starts, waits, and takes the first one', async () => {
  const made = await world();
  // Nothing is delivered until the test lets it.
  const hold = made.fleet.intercept((request) =>
    isCheckin(request) ? Response.json({ action: 'checkin', ack_token: '' }) : undefined,
  );
  made.agent.start();
  await made.agent.status(
    ({ state, health, message }) =>
      state === 'running' && health === 'starting' && message === 'waiting for the first policy',
    'waits for the first policy',
  );
  await made.agent.kill9();
  made.agent.start();
  await made.agent.status(({ state }) => state === 'running', 'runs again');
  hold();
  await made.fleet.policy([input('one')]);
  await made.agent.status(settledOn(2), 'settled on the first policy');
});

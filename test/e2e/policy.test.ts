/** A policy's way into the real world: applied, made durable, acked; changed, component by component (P1, P2). */
import { describe, expect, test } from 'vitest';
import { acks, isAck, reports } from './support/fleet.ts';
import { componentIn, isAlive, pidIn, serviceSpec, settledOn, world } from './support/world.ts';

describe('a first policy', () => {
  test('is applied, durable and readable on disk before its ack leaves (P1)', async () => {
    const { fleet, agent, disk } = await world();
    const revision = await fleet.policy([{ id: 'a', type: 'service', config: 'one' }]);
    const held = fleet.hold(acks(revision));
    agent.start();

    const ack = await held;
    const { facts, policy } = await disk();
    const [good] = facts?.generations ?? [];
    expect(good).toMatchObject({ id: 'web', revision, attempts: 0 });
    expect(facts?.candidate).toBeNull();
    expect(await policy(good?.hash ?? '')).toMatchObject({ text: expect.stringContaining('"config":"one"') });
    const acking = await agent.status(({ path }) => path.policy === 'ack', 'acking');
    expect(isAlive(pidIn(acking, 'service-default-a'))).toBe(true);
    expect(acking.policy.acked).toBeNull();

    ack.release();
    await agent.status(settledOn(revision), 'settled on the first policy');
    await fleet.until(({ policy }) => policy.acked?.revision === revision, 'has acked the first policy');
  });

  test('is acked and reported, and Fleet shows the agent as its healthy holder', async () => {
    const { fleet, agent } = await world();
    const revision = await fleet.policy([{ id: 'a', type: 'service', config: 'one' }]);
    agent.start();
    await agent.status(settledOn(revision), 'settled');
    await fleet.request(reports(revision), 'a check-in of its holder');
    await fleet.until(({ status, message }) => status === 'online' && message === `running web:${revision}`, 'online');
    // An answer that crossed the ack may have brought the policy once more, and that is acked again: nothing else is.
    const sent = fleet.requests.filter(isAck);
    expect(sent.length).toBeLessThanOrEqual(2);
    expect(sent.every(acks(revision))).toBe(true);
  });
});

describe('a change', () => {
  test('touches the component it concerns and not the other, whose process goes on', async () => {
    const { fleet, agent, events } = await world();
    await fleet.policy([
      { id: 'a', type: 'service', config: 'one' },
      { id: 'b', type: 'service', config: 'one' },
    ]);
    agent.start();
    const before = await agent.status(settledOn(2), 'settled');

    await fleet.policy([
      { id: 'a', type: 'service', config: 'one' },
      { id: 'b', type: 'service', config: 'two' },
    ]);
    const after = await agent.status(settledOn(3), 'settled on the change');
    expect(pidIn(after, 'service-default-a')).toBe(pidIn(before, 'service-default-a'));
    expect(events('service-default-a')).toHaveLength(1);
    expect(events('service-default-b').at(-1)).toBe(`reloaded ${pidIn(before, 'service-default-b')} two`);
  });

  test('that can be reloaded keeps the process; one that cannot makes a new one', async () => {
    const { fleet, agent, events } = await world();
    const inputs = (config: string) => [
      { id: 'a', type: 'service', config },
      { id: 'p', type: 'plain', config },
    ];
    await fleet.policy(inputs('one'));
    agent.start();
    const before = await agent.status(settledOn(2), 'settled');

    await fleet.policy(inputs('two'));
    const after = await agent.status(settledOn(3), 'settled on the change');
    expect(pidIn(after, 'service-default-a')).toBe(pidIn(before, 'service-default-a'));
    expect(pidIn(after, 'plain-default-p')).not.toBe(pidIn(before, 'plain-default-p'));
    expect(isAlive(pidIn(before, 'plain-default-p'))).toBe(false);
    expect(events('plain-default-p')).toEqual([
      `started ${pidIn(before, 'plain-default-p')} one`,
      `stopped ${pidIn(before, 'plain-default-p')}`,
      `started ${pidIn(after, 'plain-default-p')} two`,
    ]);
  });

  test('of what no component uses touches nothing, and is durable and acked all the same', async () => {
    const { fleet, agent, events } = await world();
    const inputs = [{ id: 'a', type: 'service', config: 'one' }];
    await fleet.policy(inputs);
    agent.start();
    const before = await agent.status(settledOn(2), 'settled');
    await fleet.policy(inputs, { outputs: { default: { type: 'none', api_key: 'rotated' } } });
    const after = await agent.status(settledOn(3), 'settled on the change');
    expect(pidIn(after, 'service-default-a')).toBe(pidIn(before, 'service-default-a'));
    expect(events('service-default-a')).toHaveLength(1);
  });

  test('that takes a component away stops it', async () => {
    const { fleet, agent, events } = await world();
    await fleet.policy([
      { id: 'a', type: 'service', config: 'one' },
      { id: 'b', type: 'service', config: 'one' },
    ]);
    agent.start();
    const before = await agent.status(settledOn(2), 'settled');
    await fleet.policy([{ id: 'a', type: 'service', config: 'one' }]);
    const after = await agent.status(settledOn(3), 'settled on the change');
    expect(componentIn(after, 'service-default-b')).toBeUndefined();
    expect(isAlive(pidIn(before, 'service-default-b'))).toBe(false);
    expect(events('service-default-b').at(-1)).toMatch(/^stopped/);
  });

  test('supersedes the one in flight, which is neither acked nor rejected', async () => {
    const { fleet, agent, event, events, disk } = await world({
      specs: { patient: serviceSpec('patient', { reload: false, ready: { output: 'ready', timeout: '15s' } }) },
      settings: { policy: { apply: { timeout: '18s' } } },
    });
    const policy = (config: string) => fleet.policy([{ id: 'a', type: 'patient', config }]);
    await policy('one');
    agent.start();
    await agent.status(settledOn(2), 'settled');

    await policy('gated two');
    await event('patient-default-a', (line) => line.endsWith('gated two'), 'started with the policy in flight');
    await policy('three');
    const after = await agent.status(settledOn(4), 'settled on the newest');
    expect(after.policy.rejected).toEqual([]);
    expect(after.policy.generations.map(({ revision }) => revision)).toEqual([4, 2]);
    expect(fleet.requests.filter(acks(3))).toEqual([]);
    expect(events('patient-default-a').at(-1)).toBe(`started ${pidIn(after, 'patient-default-a')} three`);
    expect((await disk()).facts?.candidate).toBeNull();
  });
});

test('keeps three generations, newest first, each readable', async () => {
  const { fleet, agent, disk } = await world();
  agent.start();
  for (const [config, revision] of [
    ['one', 2],
    ['two', 3],
    ['three', 4],
    ['four', 5],
  ] as const) {
    await fleet.policy([{ id: 'a', type: 'service', config }]);
    await agent.status(settledOn(revision), `settled on ${revision}`);
  }
  const { facts, policy } = await disk();
  expect(facts?.generations.map(({ revision }) => revision)).toEqual([5, 4, 3]);
  for (const { hash } of facts?.generations ?? []) expect(await policy(hash)).toHaveProperty('text');
});

/** A bad policy never displaces a good one: each way of being bad, with real programs (P3). */
import { describe, expect, test } from 'vitest';
import { acks, actionsAnswer, isCheckin, POLICY_ID } from './support/fleet.ts';
import { COMPONENT as A, input, settled } from './support/settled.ts';
import { componentIn, pidIn, serviceSpec, settledOn, type World, world } from './support/world.ts';

/** Waits for the rejection of this revision, then checks what holds after every rejection. */
async function expectRejected({ agent, fleet, disk }: World, revision: number, reason: RegExp, goodRevision = 2) {
  const status = await agent.status(
    ({ policy, path, components }) =>
      policy.rejected[0]?.revision === revision &&
      path.policy === 'checkin' &&
      components.every(({ state }) => state === 'healthy'),
    `rejected ${revision}, and healthy on last good`,
  );
  expect(status.policy.rejected[0]?.reason).toMatch(reason);
  expect(status.policy).toMatchObject({ running: { revision: goodRevision }, persisted: { revision: goodRevision } });
  expect(status.message).toMatch(`policy rejected: ${POLICY_ID}:${revision}: `);
  expect(status.message).toMatch(reason);
  expect(status.health).toBe('degraded');
  const seen = await fleet.until((one) => one.policy.rejected?.revision === revision, `rejected ${revision}`);
  expect(seen.status).toBe('degraded');
  expect(seen.policy.rejected?.reason).toMatch(reason);
  expect(seen.message).toMatch(`running ${POLICY_ID}:${goodRevision}`);
  // P1: nothing but what is held was acked.
  expect(fleet.requests.filter(acks(revision))).toEqual([]);
  expect((await disk()).facts?.candidate).toBeNull();
  return status;
}

describe('a policy is rejected, with the reason in status and at Fleet, and the good one goes on', () => {
  test('when it is not one at all', async () => {
    const made = await settled();
    await made.fleet.policy([], { inputs: 'nonsense' });
    const status = await expectRejected(made, 3, /inputs/);
    expect(status.policy.rejected[0]?.kind).toBe('unparsable');
    expect(pidIn(status, A)).toBe(made.pid);
    expect(made.events(A)).toHaveLength(1);
  });

  test('when its bytes are not even JSON', async () => {
    const made = await settled();
    const action = {
      id: `policy:${POLICY_ID}:7`,
      agent_id: made.fleet.agent().id,
      type: 'POLICY_CHANGE',
      created_at: '2026-01-01T00:00:00Z',
      data: { policy: '{"inputs": [' },
    };
    made.fleet.answer(isCheckin, () => actionsAnswer(action));
    // Ends the poll that is waiting now.
    await made.fleet.server.send(made.fleet.agent().id, 'SETTINGS', { data: '{"log_level":"info"}' });
    const status = await made.agent.status(({ policy }) => policy.rejected[0]?.revision === 7, 'rejected it');
    expect(status.policy.rejected[0]?.kind).toBe('unparsable');
    expect(status.policy.persisted?.revision).toBe(2);
    expect(made.events(A)).toHaveLength(1);
  });

  test('when an input cannot be rendered', async () => {
    const made = await settled();
    await made.fleet.policy([{ id: 'a', type: 'service' }]);
    const status = await expectRejected(made, 3, /config/);
    expect(status.policy.rejected[0]?.kind).toBe('unrendered');
    expect(pidIn(status, A)).toBe(made.pid);
    expect(made.events(A)).toHaveLength(1);
  });

  test('when a condition of it cannot be read', async () => {
    const made = await settled();
    await made.fleet.policy([{ ...input('two'), condition: 'true ===' }]);
    const status = await expectRejected(made, 3, /condition/);
    expect(pidIn(status, A)).toBe(made.pid);
    expect(made.events(A)).toHaveLength(1);
  });

  test("when a program's check refuses it: the words are the program's own, and nothing running was touched", async () => {
    const made = await settled();
    await made.fleet.policy([input('bad'), { id: 'b', type: 'service', config: 'fine' }]);
    const status = await expectRejected(made, 3, /\[emerg\] unknown directive "bad" in line 1/);
    expect(status.policy.rejected[0]?.kind).toBe('check');
    expect(pidIn(status, A)).toBe(made.pid);
    expect(made.events(A)).toHaveLength(1);
    expect(componentIn(status, 'service-default-b')).toBeUndefined();
    expect(made.events('service-default-b')).toEqual([]);
  });

  test('when a component that was healthy crashes under it', async () => {
    const made = await settled();
    await made.fleet.policy([input('crash')]);
    const status = await expectRejected(made, 3, /service-default-a/);
    expect(status.policy.rejected[0]?.kind).toBe('health');
    expect(made.events(A).at(-1)).toBe(`started ${pidIn(status, A)} one`);
  });

  test('when a component that was healthy does not confirm its reload', async () => {
    const made = await settled();
    await made.fleet.policy([input('mute')]);
    const status = await expectRejected(made, 3, /service-default-a/);
    expect(status.policy.rejected[0]?.kind).toBe('health');
    expect(made.events(A).at(-1)).toMatch(/ one$/);
  });

  test('when a component that was healthy is never ready again after its restart', async () => {
    const made = await world();
    await made.fleet.policy([{ id: 'a', type: 'plain', config: 'one' }]);
    made.agent.start();
    await made.agent.status(settledOn(2), 'settled');
    await made.fleet.policy([{ id: 'a', type: 'plain', config: 'silent' }]);
    const status = await expectRejected(made, 3, /plain-default-a/);
    expect(made.events('plain-default-a').at(-1)).toBe(`started ${pidIn(status, 'plain-default-a')} one`);
  });

  test('and everything it changed is taken back: what it added is stopped, what it removed is started', async () => {
    const made = await world();
    await made.fleet.policy([input('one'), { id: 'gone', type: 'service', config: 'one' }]);
    made.agent.start();
    await made.agent.status(settledOn(2), 'settled');
    await made.fleet.policy([input('crash'), { id: 'new', type: 'service', config: 'one' }]);
    const status = await expectRejected(made, 3, /service-default-a/);
    expect(status.components.map(({ id }) => id)).toEqual([A, 'service-default-gone']);
  });
});

describe('what was rejected', () => {
  test('is not tried again while Fleet goes on sending it', async () => {
    const made = await settled();
    await made.fleet.policy([input('crash')]);
    await expectRejected(made, 3, /service-default-a/);
    const tried = made.events(A).length;
    const times = made.fleet.agent().policy.delivered?.times ?? 0;
    await made.fleet.until((one) => (one.policy.delivered?.times ?? 0) >= times + 3, 'was sent it three times more');
    expect(made.events(A)).toHaveLength(tried);
    expect(made.agent.now.policy.rejected).toHaveLength(1);
    expect(made.agent.now.fleet.state).toBe('damped');
  });

  test('is tried again at its next try, by itself, and taken when its cause has gone', async () => {
    const made = await settled({ settings: { policy: { retry: { initial: '300ms', max: '300ms' } } } });
    await made.fleet.policy([input('gated')]);
    const status = await made.agent.status(({ policy }) => policy.rejected.length === 1, 'rejected the first try');
    expect(status.policy.rejected[0]?.next_try).not.toBeNull();
    await made.openGate(A);
    await made.agent.status(settledOn(3), 'settled on what was rejected at first');
    expect(made.agent.now.policy.rejected).toEqual([]);
  });

  test('is tried again at once when `holdfast retry` asks for it', async () => {
    const made = await settled();
    await made.fleet.policy([input('gated')]);
    await expectRejected(made, 3, /service-default-a/);
    await made.openGate(A);
    expect(await made.agent.run('retry')).toMatchObject({ code: 0 });
    await made.agent.status(settledOn(3), 'settled on what was rejected at first');
  });

  test('is followed by its fix, and then nothing speaks of it any more', async () => {
    const made = await settled();
    await made.fleet.policy([input('bad')]);
    await expectRejected(made, 3, /unknown directive/);
    await made.fleet.policy([input('good again')]);
    const status = await made.agent.status(settledOn(4), 'settled on the fix');
    expect(status.message).toBe('running web:4');
    await made.fleet.until((one) => one.status === 'online' && one.policy.rejected === null, 'is online with the fix');
  });

  test('is remembered by the next start, which does not try it', async () => {
    const made = await settled();
    await made.fleet.policy([input('crash')]);
    await expectRejected(made, 3, /service-default-a/);
    await made.agent.kill9();
    const tried = made.events(A).length;
    const from = made.fleet.requests.length;
    made.agent.start();
    await made.fleet.request((one) => one.answer?.includes('policy:web:3') === true, 'it is sent again', from);
    const status = await expectRejected(made, 3, /service-default-a/);
    expect(status.start.previous).toBe('crashed');
    expect(made.events(A)).toHaveLength(tried);
  });

  test('goes back to the policy before it when Fleet takes it back', async () => {
    const made = await settled();
    await made.fleet.policy([input('bad')]);
    await expectRejected(made, 3, /unknown directive/);
    await made.fleet.policy([input('one')]);
    await made.agent.status(settledOn(4), 'settled on the same bytes as a new revision');
    expect(made.events(A)).toHaveLength(1);
  });
});

describe('what only degrades: accepted, acked, and named', () => {
  test('a new component that is unhealthy', async () => {
    const made = await settled();
    await made.fleet.policy([input('one'), { id: 'b', type: 'service', config: 'crash' }]);
    await made.fleet.until(({ policy }) => policy.acked?.revision === 3, 'has acked it');
    const status = await made.agent.status(
      ({ policy, health }) => policy.acked?.revision === 3 && health === 'degraded',
      'degraded on the new policy',
    );
    expect(status.policy.rejected).toEqual([]);
    expect(status.message).toContain('service-default-b');
    expect(pidIn(status, A)).toBe(made.pid);
    await made.fleet.until(
      ({ status, message }) => status === 'degraded' && message.startsWith('running web:3; service-default-b'),
      'is degraded on the new policy, by the new component',
    );
  });

  test('a component that was unhealthy before', async () => {
    const made = await world();
    await made.fleet.policy([input('crash')]);
    made.agent.start();
    await made.fleet.until(({ policy }) => policy.acked?.revision === 2, 'has acked the first policy');
    await made.agent.status((now) => componentIn(now, A)?.state === 'failed', 'the component has failed');
    await made.fleet.policy([input('crash again')]);
    await made.fleet.until(({ policy }) => policy.acked?.revision === 3, 'has acked another that does not help');
    await made.fleet.policy([input('works')]);
    await made.agent.status(settledOn(4), 'settled on one that does');
  });

  test('an input that has no spec here', async () => {
    const made = await settled();
    await made.fleet.policy([input('one'), { id: 'x', type: 'unheard-of' }]);
    await made.fleet.until(({ policy }) => policy.acked?.revision === 3, 'has acked it');
    const seen = await made.fleet.until((one) => one.message.includes('unheard-of'), 'names the input');
    expect(seen.status).toBe('degraded');
    expect(made.agent.now.components.find(({ type }) => type === 'unheard-of')).toMatchObject({ state: 'degraded' });
    expect(made.events(A)).toHaveLength(1);
  });

  test('a change of health when `on_failure` is `degrade`: the policy stays', async () => {
    const made = await settled({ settings: { policy: { apply: { on_failure: 'degrade' } } } });
    await made.fleet.policy([input('crash')]);
    await made.fleet.until(({ policy }) => policy.acked?.revision === 3, 'has acked it');
    const status = await made.agent.status(({ health }) => health === 'degraded', 'degraded');
    expect(status.policy.rejected).toEqual([]);
    expect(status.message).toContain(A);
  });
});

test('a first policy with nothing to fall back on is taken although a component of it fails', async () => {
  const { fleet, agent } = await world({ specs: { hangs: serviceSpec('hangs', { reload: false }) } });
  await fleet.policy([{ id: 'a', type: 'hangs', config: 'silent' }]);
  agent.start();
  await fleet.until(({ policy }) => policy.acked?.revision === 2, 'has acked it');
  const status = await agent.status(({ health }) => health === 'degraded', 'degraded');
  expect(status.message).toContain('hangs-default-a');
});

/** A disk that is full or takes no writes: nothing is promised while it fails, what runs goes on, and it converges by itself afterwards (P1, P11, P12). */
import { describe, expect, test } from 'vitest';
import { homePaths } from '../../src/services/home.ts';
import type { Status } from '../../src/wire/control.ts';
import { bindReadOnly, fill, mountDisk, remount, whyNoMounts } from './support/disks.ts';
import { acks, isAck, isCheckin } from './support/fleet.ts';
import { PATIENCE_MS } from './support/waiting.ts';
import { isAlive, pidIn, serviceSpec, settledOn, world } from './support/world.ts';

const INPUT = { id: 'a', type: 'service', config: 'one' };
const COMPONENT = 'service-default-a';
/** Says by its life alone that it is ready: where no output can be written, none can be looked for. */
const SPECS = { quiet: serviceSpec('quiet', { reload: false, ready: { after: '200ms' } }) };
const QUIET = { id: 'a', type: 'quiet', config: 'one' };
const failing = ({ store }: Status) => store.failing !== null;

const refusal = await whyNoMounts();
if (refusal !== null) console.warn(`the tests of real full disks are skipped: ${refusal}`);

describe.skipIf(refusal !== null)('a disk that is full', () => {
  test('holds a new policy back unacked while last good runs on, and takes it by itself once there is room', async () => {
    const one = await world();
    const { agent, fleet, home } = one;
    const { state } = homePaths(home);
    await mountDisk(state);
    const first = await fleet.policy([INPUT]);
    const before = await agent.start().status(settledOn(first), 'settled on the first policy');
    const room = await fill(state);

    const second = await fleet.policy([{ ...INPUT, config: 'two' }]);
    const full = await agent.status(failing, 'says that the store fails');
    expect(full.store.failing).toMatch(/space|ENOSPC/i);
    expect(full.message).toMatch(/^the store takes no writes: /);
    expect(full.policy.running?.revision).toBe(first);
    expect(full.policy.persisted?.revision).toBe(first);
    await fleet.until(({ status }) => status === 'error', 'hears that the store fails');
    expect(pidIn(agent.now, COMPONENT)).toBe(pidIn(before, COMPONENT));
    expect(fleet.requests.filter(acks(second))).toEqual([]);
    const told = await agent.run('status');
    expect(told.code).toBe(1);
    expect(told.out).toMatch(/takes no writes/);

    await room();
    const healed = await agent.status(settledOn(second), 'takes the policy once there is room');
    expect(healed.store.failing).toBeNull();
    expect(one.events(COMPONENT).at(-1)).toMatch(/ two$/);
  });

  test('lets a start replay what it holds and answer, and nothing is forgotten over it', async () => {
    const one = await world();
    const { agent, fleet, home } = one;
    const { state } = homePaths(home);
    await mountDisk(state);
    const first = await fleet.policy([INPUT]);
    await agent.start().status(settledOn(first), 'settled on the first policy');
    await agent.kill9();
    const room = await fill(state);
    await fleet.kill();
    const replayed = await agent
      .start()
      .status(
        ({ policy, components }) => policy.running?.revision === first && components[0]?.state === 'healthy',
        'replays',
      );
    expect(isAlive(pidIn(replayed, COMPONENT))).toBe(true);
    await fleet.start();
    await room();
    const second = await fleet.policy([{ ...INPUT, config: 'two' }]);
    await agent.status(settledOn(second), 'converges');
  });

  test('under the components alone costs a new policy a try, says why, and is tried again by itself', async () => {
    const retry = { initial: '300ms', max: '1s' };
    const one = await world({ settings: { policy: { retry } } });
    const { agent, fleet, home } = one;
    const { components } = homePaths(home);
    await mountDisk(components);
    const first = await fleet.policy([INPUT]);
    const before = await agent.start().status(settledOn(first), 'settled on the first policy');
    const room = await fill(components);
    const second = await fleet.policy([{ ...INPUT, config: 'two' }]);
    const refused = await agent.status(({ policy }) => policy.rejected[0]?.revision === second, 'cannot carry it out');
    expect(refused.policy.rejected[0]?.reason).toMatch(/space|ENOSPC/i);
    expect(pidIn(refused, COMPONENT)).toBe(pidIn(before, COMPONENT));
    expect(fleet.requests.filter(acks(second))).toEqual([]);
    await room();
    await agent.status(settledOn(second), 'takes it once there is room');
    expect(one.events(COMPONENT).at(-1)).toMatch(/ two$/);
  });
});

describe.skipIf(refusal !== null)('a disk that turns read-only', () => {
  test('under the state: nothing is acked, last good runs on, and it converges once it can be written', async () => {
    const one = await world();
    const { agent, fleet, home } = one;
    const { state } = homePaths(home);
    await mountDisk(state);
    const first = await fleet.policy([INPUT]);
    await agent.start().status(settledOn(first), 'settled on the first policy');
    remount(state, 'ro');
    const second = await fleet.policy([{ ...INPUT, config: 'two' }]);
    const stuck = await agent.status(failing, 'says that the store fails');
    expect(stuck.policy.running?.revision).toBe(first);
    expect(stuck.store.failing).toMatch(/read-only|EROFS/i);
    expect(fleet.requests.filter(acks(second))).toEqual([]);
    remount(state, 'rw');
    await agent.status(settledOn(second), 'converges');
  });

  test.each(['goes on running', 'has died'])(
    'under the whole home, and the program %s: a start replays, answers on its control socket, and acks nothing',
    async (fate) => {
      const one = await world({ specs: SPECS });
      const { agent, fleet, home } = one;
      const first = await fleet.policy([QUIET]);
      const before = await agent.start().status(settledOn(first), 'settled on the first policy');
      // Nothing is on its way any more that a slow server could take for the next start's.
      await expect.poll(() => fleet.agent().polling, { timeout: PATIENCE_MS }).toBe(true);
      await agent.kill9();
      if (fate === 'has died') process.kill(-pidIn(before, 'quiet-default-a'), 'SIGKILL');
      const writable = bindReadOnly(home);
      const sent = fleet.requests.length;

      const replayed = await agent
        .start()
        .status(
          ({ policy, components }) => policy.running?.revision === first && components[0]?.state === 'healthy',
          'replays on a read-only home',
        );
      if (fate === 'goes on running') expect(pidIn(replayed, 'quiet-default-a')).toBe(pidIn(before, 'quiet-default-a'));
      await agent.status(failing, 'says that the store fails');
      await fleet.request(isCheckin, 'a check-in all the same', sent);
      expect((await agent.run('status', '--json')).out).toContain('"failing":"');
      expect(
        fleet.requests
          .slice(sent)
          .filter(isAck)
          .map(({ body }) => body),
      ).toEqual([]);

      writable();
      const second = await fleet.policy([{ ...QUIET, config: 'two' }]);
      await agent.status(settledOn(second), 'converges');
    },
  );
});

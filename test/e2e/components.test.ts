/** Programs that misbehave in every way programs do: each ends in the state that names it, and nothing is left behind (P3, P11). */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { componentPaths } from '../../src/services/home.ts';
import type { Status } from '../../src/wire/control.ts';
import {
  componentIn,
  componentsOf,
  isAlive,
  pidIn,
  serviceSpec,
  settledOn,
  type World,
  world,
} from './support/world.ts';

const PROGRAMS = join(import.meta.dirname, '..', 'support', 'programs');
/** The spec of an input type that runs this program. */
const runs = (name: string, args: readonly string[], more: Readonly<Record<string, unknown>> = {}) =>
  serviceSpec(name, { reload: false, check: false, args, ...more });
const program = (name: string) => join(PROGRAMS, name);

/** Starts an agent with one input of each of these types, and says the revision. */
async function running(specs: Readonly<Record<string, string>>, settings = {}): Promise<World & { revision: number }> {
  const made = await world({ specs, settings });
  const revision = await made.fleet.policy(
    Object.keys(specs).map((type, at) => ({ id: 'abc'.charAt(at), type, config: 'one' })),
  );
  made.agent.start();
  return { ...made, revision };
}

const acked = (revision: number) => (status: Status) =>
  status.policy.acked?.revision === revision && status.actions.outbox === 0;
const stateOf = (type: string, state: string) => (status: Status) =>
  componentIn(status, `${type}-default-a`)?.state === state;

describe('a program that', () => {
  test('crashes at once is started again, given up, and named; the policy stands, since nothing worked before', async () => {
    const one = await running({ crashes: runs('crashes', [program('crashes.sh'), '0'], { ready: { after: '5s' } }) });
    const failed = await one.agent.status(stateOf('crashes', 'failed'), 'given up');
    expect(componentIn(failed, 'crashes-default-a')).toMatchObject({
      pid: null,
      message: expect.stringMatching(/gave up/),
    });
    const status = await one.agent.status(acked(one.revision), 'acked');
    expect(status.health).toBe('degraded');
    expect(status.message).toContain('crashes-default-a is failed');
    await one.fleet.until(
      (agent) => agent.status === 'degraded' && agent.message.includes('crashes-default-a'),
      'hears of it',
    );
    expect(componentsOf(one.home)).toEqual([]);
  });

  test('crashes later, again and again, is started again with its last words, and given up', async () => {
    const one = await running({ crashes: runs('crashes', [program('crashes.sh'), '0.4']) }, {});
    const failed = await one.agent.status(stateOf('crashes', 'failed'), 'given up');
    expect(componentIn(failed, 'crashes-default-a')?.message).toMatch(/exited with code 7: out of luck/);
    expect(componentsOf(one.home)).toEqual([]);
  });

  test('is killed from outside is started again by itself', async () => {
    const one = await world();
    const revision = await one.fleet.policy([{ id: 'a', type: 'plain', config: 'one' }]);
    const before = pidIn(await one.agent.start().status(settledOn(revision), 'settled'), 'plain-default-a');
    process.kill(before, 'SIGKILL');
    const again = await one.agent.status(
      (now) => settledOn(revision)(now) && componentIn(now, 'plain-default-a')?.pid !== before,
      'started again',
    );
    expect(componentIn(again, 'plain-default-a')?.restarts).toBe(1);
  });

  test('hangs is named degraded by its health probe, and healthy again when it answers', async () => {
    const health = {
      command: 'sh',
      args: ['-c', 'test ! -e "$1"', 'probe', '${data.dir}/hangs'],
      every: '100ms',
      fail_after: 2,
    };
    const one = await world({ specs: { hangs: serviceSpec('hangs', { health }) } });
    const revision = await one.fleet.policy([{ id: 'a', type: 'hangs', config: 'one' }]);
    const pid = pidIn(await one.agent.start().status(settledOn(revision), 'settled'), 'hangs-default-a');
    const { data } = componentPaths(one.home, 'hangs-default-a');
    await writeFile(join(data, 'hangs'), '');
    const ill = await one.agent.status(stateOf('hangs', 'degraded'), 'degraded');
    expect(ill).toMatchObject({ health: 'degraded', policy: { acked: { revision } } });
    await one.fleet.until(({ status }) => status === 'degraded', 'hears of it');
    await rm(join(data, 'hangs'));
    const well = await one.agent.status((now) => now.health === 'healthy', 'healthy again');
    expect(pidIn(well, 'hangs-default-a')).toBe(pid);
  });

  test('never becomes ready is named, with what it said instead', async () => {
    const ready = { output: 'never said', timeout: '300ms' };
    const one = await running({ mute: serviceSpec('mute', { ready }) }, { policy: { apply: { timeout: '2s' } } });
    const status = await one.agent.status((now) => acked(one.revision)(now) && now.health === 'degraded', 'acked');
    expect(componentIn(status, 'mute-default-a')?.message).toBe('not ready after 0.3 s: its last output is "ready"');
  });

  test('ignores SIGTERM is killed with its children after its grace, and not before', async () => {
    const stop = { signal: 'SIGTERM', grace: '700ms' };
    const one = await running({ stubborn: runs('stubborn', [program('ignores-sigterm.sh')], { stop }) });
    const pid = pidIn(await one.agent.status(settledOn(one.revision), 'settled'), 'stubborn-default-a');
    expect(componentsOf(one.home).length).toBeGreaterThanOrEqual(2);
    const asked = Date.now();
    expect(await one.agent.stop()).toEqual({ code: 0, signal: null });
    expect(Date.now() - asked).toBeGreaterThanOrEqual(700);
    expect(isAlive(pid)).toBe(false);
    expect(componentsOf(one.home)).toEqual([]);
  });

  test('forks, leaves children in and out of its group, and ends: nothing of it is left after the stop', async () => {
    const args = [program('forks.sh'), '${data.dir}/child'];
    const one = await running({ forks: runs('forks', args, { ready: { output: 'forked', timeout: '2s' } }) });
    await one.agent.status(stateOf('forks', 'failed'), 'given up');
    await one.agent.stop();
    expect(componentsOf(one.home)).toEqual([]);
  });

  test('is not there is named, and the others of the policy run', async () => {
    const absent = runs('absent', [], { command: 'no-such-program-here' });
    const one = await running({ absent, fine: serviceSpec('fine') });
    const status = await one.agent.status(
      (now) => stateOf('absent', 'failed')(now) && acked(one.revision)(now),
      'acked',
    );
    expect(componentIn(status, 'absent-default-a')?.message).toMatch(/no-such-program-here/);
    expect(componentIn(status, 'fine-default-b')?.state).toBe('healthy');
  });

  test('has no spec here is named, and the others of the policy run', async () => {
    const one = await world();
    const revision = await one.fleet.policy([
      { id: 'a', type: 'service', config: 'one' },
      { id: 'b', type: 'unheard-of' },
    ]);
    const status = await one.agent.start().status((now) => acked(revision)(now) && now.health === 'degraded', 'acked');
    expect(status.message).toContain('unheard-of');
    expect(componentIn(status, 'service-default-a')?.state).toBe('healthy');
  });
});

describe('at its end the agent', () => {
  test('told to keep its components leaves them, and the next start adopts them as they are', async () => {
    const one = await world({ settings: { components: { on_exit: 'keep' } } });
    const revision = await one.fleet.policy([{ id: 'a', type: 'service', config: 'one' }]);
    const pid = pidIn(await one.agent.start().status(settledOn(revision), 'settled'), 'service-default-a');
    expect(await one.agent.stop()).toEqual({ code: 0, signal: null });
    expect(isAlive(pid)).toBe(true);
    const adopted = await one.agent.start().status(settledOn(revision), 'settled again');
    expect(pidIn(adopted, 'service-default-a')).toBe(pid);
    expect(adopted.start.previous).toBe('goodbye');
    expect(one.events('service-default-a')).toHaveLength(1);
    await one.settings({ components: { on_exit: 'stop' } });
    await one.agent.stop();
    await one.agent.start().status(settledOn(revision), 'settled once more');
  });

  test('drains on SIGTERM and hurries on the second one', async () => {
    const stop = { signal: 'SIGTERM', grace: '1h' };
    const one = await running({ stubborn: runs('stubborn', [program('ignores-sigterm.sh')], { stop }) });
    await one.agent.status(settledOn(one.revision), 'settled');
    process.kill(one.agent.pid, 'SIGTERM');
    await one.agent.status(({ state }) => state === 'draining', 'drains');
    expect(componentsOf(one.home)).not.toEqual([]);
    expect(await one.agent.stop()).toEqual({ code: 0, signal: null });
    expect(componentsOf(one.home)).toEqual([]);
    const { facts } = await one.disk();
    expect(facts?.starts[0]).toMatchObject({ goodbye: true });
  });

  test('stops also what it has not taken over yet', async () => {
    const one = await world();
    const revision = await one.fleet.policy([{ id: 'a', type: 'service', config: 'one' }]);
    await one.agent.start().status(settledOn(revision), 'settled');
    await one.agent.kill9();
    one.agent.start();
    await one.agent.status(() => true, 'answers');
    expect(await one.agent.stop()).toEqual({ code: 0, signal: null });
    expect(componentsOf(one.home)).toEqual([]);
  });
});

/** What becomes of an agent whose state directory is emptied, torn, set back or swapped: it says so, runs on, and is whole again (P5, P7, P8, P11). */
import { cp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { homePaths } from '../../src/services/home.ts';
import type { Status } from '../../src/wire/control.ts';
import { empty } from './support/directories.ts';
import { isCheckin, type SeenRequest } from './support/fleet.ts';
import { pidIn, settledOn, type World, world } from './support/world.ts';

const INPUT = { id: 'a', type: 'service', config: 'one' };
const COMPONENT = 'service-default-a';

/** A world whose agent has settled on its first policy. */
async function settled(pollMs?: number): Promise<World & { readonly pid: number; readonly first: number }> {
  const made = await world(pollMs === undefined ? {} : { pollMs });
  const revision = await made.fleet.policy([INPUT]);
  const status = await made.agent.start().status(settledOn(revision), 'settled on the first policy');
  return { ...made, pid: pidIn(status, COMPONENT), first: revision };
}

const starts = (of: World) => of.events(COMPONENT).filter((line) => line.startsWith('started'));
const lacks = ({ policy }: Status) => policy.orphaned !== null;
const asksForEverything = (request: SeenRequest) => {
  if (!isCheckin(request)) return false;
  const { agent_policy_id, policy_revision_idx } = JSON.parse(request.body);
  return agent_policy_id === '' && policy_revision_idx === 0;
};
const policySaid = ({ body }: SeenRequest) => {
  const { agent_policy_id, policy_revision_idx } = JSON.parse(body);
  return `${agent_policy_id}:${policy_revision_idx}`;
};

describe('a state directory that is emptied', () => {
  test('while the agent runs is written again from memory, and nothing is restarted', async () => {
    const one = await settled(200);
    const { agent, fleet, home, pid } = one;
    await empty(homePaths(home).state);

    await agent.status(lacks, 'says that last good is not on disk');
    const mended = await agent.status(settledOn(one.first), 'is whole again');
    expect(mended.policy.orphaned).toBeNull();
    expect(pidIn(mended, COMPONENT)).toBe(pid);

    const { facts, policy } = await one.disk();
    expect(await policy(facts?.generations[0]?.hash ?? '')).toMatchObject({ text: expect.stringContaining('one') });
    // What counts is the next start, without the server.
    await fleet.stop();
    await agent.kill9();
    const replayed = await agent
      .start()
      .status(
        ({ policy, components }) => policy.running?.revision === one.first && components[0]?.state === 'healthy',
        'replays it offline',
      );
    expect(pidIn(replayed, COMPONENT)).toBe(pid);
    expect(starts(one)).toHaveLength(1);
  });

  test('while it runs and the server is away is mended all the same', async () => {
    const one = await settled(200);
    await one.fleet.kill();
    await one.agent.status(({ fleet }) => fleet.state === 'backing-off', 'misses the server');
    await empty(homePaths(one.home).state);
    await one.agent.status(lacks, 'says that last good is not on disk');
    await one.agent.status(({ policy }) => policy.orphaned === null, 'is whole again');
    await one.fleet.start();
    expect(starts(one)).toHaveLength(1);
  });

  test('while it is dead: it holds no policy, says so, asks for everything, and goes on with the program that runs', async () => {
    const one = await settled();
    const { agent, fleet, home, pid } = one;
    await agent.kill9();
    await empty(homePaths(home).state);

    const asking = fleet.hold(isCheckin);
    agent.start();
    const { request, release } = await asking;
    expect(asksForEverything(request)).toBe(true);
    expect(JSON.parse(request.body).message).toMatch(/^holds no policy: /);
    const lost = await agent.status(lacks, 'says that it holds no policy');
    expect(lost).toMatchObject({ health: 'degraded', message: expect.stringMatching(/^holds no policy: /) });

    release();
    const whole = await agent.status(settledOn(one.first), 'is whole again');
    expect(whole.policy.orphaned).toBeNull();
    expect(pidIn(whole, COMPONENT)).toBe(pid);
    expect(starts(one)).toHaveLength(1);
  });

  test('and a server that is away: the agent answers on its control socket and what runs goes on', async () => {
    const one = await settled();
    await one.agent.kill9();
    await empty(homePaths(one.home).state);
    await one.fleet.stop();
    const status = await one.agent.start().status((now) => lacks(now) && now.fleet.state === 'backing-off', 'waits');
    expect(status.message).toMatch(/^holds no policy: /);
    expect(starts(one)).toHaveLength(1);
    await one.fleet.start();
    await one.agent.status(settledOn(one.first), 'is whole again');
    expect(starts(one)).toHaveLength(1);
  });
});

describe('a last good policy that cannot be read', () => {
  test.each([
    ['torn', (path: string) => writeFile(path, 'HF')],
    ['gone', (path: string) => rm(path)],
  ])('%s while the agent is stopped: the generation before it runs, and Fleet heals it', async (_how, harm) => {
    const one = await settled();
    const { agent, fleet, home } = one;
    const second = await fleet.policy([{ ...INPUT, config: 'two' }]);
    const before = await agent.status(settledOn(second), 'settled on the second policy');
    await agent.stop();
    await harm(join(homePaths(home).objects, before.policy.persisted?.hash ?? ''));

    const asking = fleet.hold(isCheckin);
    agent.start();
    const { request, release } = await asking;
    expect(JSON.parse(request.body).policy_revision_idx).toBe(0);
    const older = await agent.status(
      ({ policy }) => policy.running?.revision === one.first,
      'runs the older generation',
    );
    expect(older.message).toMatch(/^holds an older policy: /);
    expect(older.health).toBe('degraded');
    await one.event(COMPONENT, (line) => line.endsWith(' one'), 'runs the older configuration again');

    release();
    const whole = await agent.status(settledOn(second), 'is whole again');
    expect(whole.policy.orphaned).toBeNull();
    expect(one.events(COMPONENT).at(-1)).toMatch(/ two$/);
  });

  test('damaged while the agent runs is written again from memory', async () => {
    const one = await settled(200);
    const hash = one.agent.now.policy.persisted?.hash ?? '';
    await writeFile(join(homePaths(one.home).objects, hash), 'not what it was');
    await one.agent.status(lacks, 'says that last good is damaged');
    await one.agent.status(settledOn(one.first), 'is whole again');
    expect(await (await one.disk()).policy(hash)).toHaveProperty('text');
    expect(starts(one)).toHaveLength(1);
  });
});

describe('a state directory of another time or another agent', () => {
  test('set back to an older one: what is held is what is reported, known actions do not run again, and it converges', async () => {
    const one = await settled();
    const { agent, fleet, home } = one;
    const { state } = homePaths(home);
    const { actionId: known } = await fleet.server.send(fleet.agent().id, 'SETTINGS', {
      data: '{"log_level":"debug"}',
    });
    await fleet.until(({ actions }) => actions.acked === 1, 'acked the action');
    await agent.stop();
    await cp(state, `${state}.old`, { recursive: true });
    agent.start();
    await agent.status(settledOn(one.first), 'settled again');
    await fleet.server.send(fleet.agent().id, 'SETTINGS', { data: '{"log_level":"info"}' });
    await fleet.until(({ actions }) => actions.acked === 2, 'acked the second action');
    const second = await fleet.policy([{ ...INPUT, config: 'two' }]);
    await agent.status(settledOn(second), 'settled on the second policy');
    await agent.stop();
    await rm(state, { recursive: true });
    await cp(`${state}.old`, state, { recursive: true });

    const asking = fleet.hold(isCheckin);
    agent.start();
    const { request, release } = await asking;
    expect(policySaid(request)).toBe(`web:${one.first}`);
    release();
    await agent.status(settledOn(second), 'converges');
    const { facts } = await one.disk();
    expect(facts?.journal.filter((entry) => entry.id === known)).toHaveLength(1);
    expect(facts?.journal.every((entry) => entry.state === 'done')).toBe(true);
  });

  test('of another agent is set aside, named, and the agent is made whole by Fleet', async () => {
    const one = await settled();
    const other = await settled();
    await other.agent.stop();
    await one.agent.stop();
    const { state } = homePaths(one.home);
    await rm(state, { recursive: true });
    await cp(homePaths(other.home).state, state, { recursive: true });

    const asking = one.fleet.hold(isCheckin);
    one.agent.start();
    const { request, release } = await asking;
    expect(asksForEverything(request)).toBe(true);
    const lost = await one.agent.status(lacks, 'says that it holds no policy');
    expect(lost.agent.id).toBe(one.fleet.agent().id);
    expect(lost.store.quarantined).toBeGreaterThan(0);
    await one.agent.line(/another agent|foreign|belongs to/);
    release();
    await one.agent.status(settledOn(one.first), 'is whole again');
  });

  test('of garbage in every slot starts all the same, keeps a copy of the garbage, and is made whole by Fleet', async () => {
    const one = await settled();
    await one.agent.kill9();
    for (const slot of homePaths(one.home).slots) await writeFile(slot, Buffer.alloc(70_000, 'garbage '));
    one.agent.start();
    const status = await one.agent.status(settledOn(one.first), 'is whole again');
    expect(status.store.quarantined).toBeGreaterThan(0);
    expect(starts(one)).toHaveLength(1);
  });

  test('where a file stands in its place starts all the same', async () => {
    const one = await settled();
    await one.agent.kill9();
    const { state } = homePaths(one.home);
    await rm(state, { recursive: true });
    await writeFile(state, 'not a directory');
    one.agent.start();
    await one.agent.status(settledOn(one.first), 'is whole again');
    expect(starts(one)).toHaveLength(1);
  });
});

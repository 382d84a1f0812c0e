/** Actions as Fleet sends them: each is carried out once, answered by one ack, and costs no other anything (P4, P5, P6); and the ways out of Fleet. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { homePaths } from '../../src/services/home.ts';
import type { Status } from '../../src/wire/control.ts';
import { isAck, isCheckin, type SeenRequest, type TestFleet, TOKEN } from './support/fleet.ts';
import { componentsOf, isAlive, pidIn, settledOn, type World, type WorldOptions, world } from './support/world.ts';

const INPUT = { id: 'a', type: 'service', config: 'one' };
const COMPONENT = 'service-default-a';

interface Acked {
  readonly action_id: string;
  readonly error?: string;
  readonly message?: string;
}

const eventsIn = ({ body }: SeenRequest): readonly Acked[] => JSON.parse(body).events;
const acksOf = (fleet: TestFleet, id: string): readonly Acked[] =>
  fleet.requests
    .filter(isAck)
    .flatMap(eventsIn)
    .filter(({ action_id }) => action_id === id);

/** Resolves with the ack of an action, once Fleet has taken it. */
async function ackOf(fleet: TestFleet, id: string): Promise<Acked> {
  await fleet.request(
    (request) => isAck(request) && request.status === 200 && request.body.includes(id),
    `ack of ${id}`,
  );
  return acksOf(fleet, id).at(-1) as Acked;
}

async function settled(options: WorldOptions = {}): Promise<World & { readonly first: number; send: Send }> {
  const made = await world(options);
  const first = await made.fleet.policy([INPUT]);
  await made.agent.start().status(settledOn(first), 'settled on the first policy');
  const send: Send = async (type, data) => {
    const { actionId } = await made.fleet.server.send(made.fleet.agent().id, type, data === undefined ? {} : { data });
    return actionId ?? '';
  };
  return { ...made, first, send };
}
type Send = (type: string, data?: string) => Promise<string>;

const unenrolled = ({ state }: Status) => state === 'unenrolled';
const debugLines = (of: World) => of.agent.lines.filter((line) => line.includes('"debug"')).length;

describe('SETTINGS', () => {
  test('changes the log level, is acked, and holds over a SIGKILL and without the server', async () => {
    const one = await settled();
    expect(debugLines(one)).toBe(0);
    const id = await one.send('SETTINGS', '{"log_level":"debug"}');
    expect(await ackOf(one.fleet, id)).not.toHaveProperty('error');
    await one.agent.line(/"log.level":"debug"|"level":"debug"/);
    await one.agent.kill9();
    await one.fleet.kill();
    const from = one.agent.lines.length;
    await one.agent.start().status(({ state }) => state === 'running', 'runs again');
    await one.agent.line(/"log.level":"debug"|"level":"debug"/, from);
    const facts = (await one.disk()).facts;
    expect(facts?.intents.logLevel).toBe('debug');
  });

  test('is cleared by an empty level', async () => {
    const one = await settled();
    await ackOf(one.fleet, await one.send('SETTINGS', '{"log_level":"debug"}'));
    await ackOf(one.fleet, await one.send('SETTINGS', '{"log_level":""}'));
    expect((await one.disk()).facts?.intents.logLevel).toBeNull();
  });

  test('with a level that there is not is answered with an error', async () => {
    const one = await settled();
    const id = await one.send('SETTINGS', '{"log_level":"loud"}');
    expect((await ackOf(one.fleet, id)).error).toMatch(/log_level is not one of/);
  });
});

describe('an action', () => {
  test('of a type nobody knows is answered with an error that names it', async () => {
    const one = await settled();
    const id = await one.send('FLY_TO_THE_MOON', '{}');
    expect((await ackOf(one.fleet, id)).error).toContain('FLY_TO_THE_MOON');
    expect(acksOf(one.fleet, id)).toHaveLength(1);
  });

  test('that cannot be decoded is answered with an error and costs the others nothing', async () => {
    const one = await settled({ pollMs: 200 });
    const good = { id: 'good-1', type: 'SETTINGS', data: { log_level: 'debug' }, created_at: '2026-01-01T00:00:00Z' };
    const bad = { id: 'bad-1', type: 'SETTINGS', start_time: 'yesterday, or so', data: { log_level: 'info' } };
    const typeless = { id: 'bad-2', type: 17 };
    one.fleet.answer(isCheckin, () =>
      Response.json({ action: 'checkin', ack_token: '', actions: [bad, good, typeless] }),
    );
    await one.fleet.request((request) => isAck(request) && request.body.includes('good-1'), 'the good one acked');
    await one.fleet.request((request) => isAck(request) && request.body.includes('bad-1'), 'the bad one acked');
    expect(acksOf(one.fleet, 'good-1').at(0)).not.toHaveProperty('error');
    expect(acksOf(one.fleet, 'bad-1').at(0)?.error).toMatch(/could not be read/);
    expect((await one.disk()).facts?.intents.logLevel).toBe('debug');
  });

  test('that is delivered again after it was done is acked again and not carried out again', async () => {
    const one = await settled({ pollMs: 200 });
    const again = { id: 'twice', type: 'SETTINGS', data: { log_level: 'debug' } };
    one.fleet.answer(isCheckin, () => Response.json({ action: 'checkin', ack_token: '', actions: [again] }));
    await one.fleet.request((request) => isAck(request) && request.body.includes('twice'), 'acked');
    const id = await one.send('SETTINGS', '{"log_level":"info"}');
    await ackOf(one.fleet, id);
    const from = one.fleet.requests.length;
    one.fleet.answer(isCheckin, () => Response.json({ action: 'checkin', ack_token: '', actions: [again] }));
    await one.fleet.request((request) => isAck(request) && request.body.includes('twice'), 'acked again', from);
    expect((await one.disk()).facts?.intents.logLevel).toBe('info');
  });

  test('CANCEL is acked also when there is nothing to cancel', async () => {
    const one = await settled();
    const id = await one.send('CANCEL', '{"target_id":"no-such-action"}');
    expect(await ackOf(one.fleet, id)).not.toHaveProperty('error');
  });

  test('POLICY_REASSIGN is acked, and the other policy is taken', async () => {
    const one = await settled();
    const other = JSON.stringify({ outputs: { default: { type: 'none' } }, inputs: [{ ...INPUT, config: 'other' }] });
    const revision = await one.fleet.policyText(other, 'other');
    const id = await one.send('POLICY_REASSIGN', '{"policy_id":"other"}');
    expect(await ackOf(one.fleet, id)).not.toHaveProperty('error');
    const status = await one.agent.status(
      (now) => settledOn(revision)(now) && now.policy.acked?.id === 'other',
      'reassigned',
    );
    expect(status.policy.running?.id).toBe('other');
    expect(one.events(COMPONENT).at(-1)).toMatch(/ other$/);
  });

  test('of which its ack is lost with the agent is acked by the next start', async () => {
    const one = await settled();
    const holding = one.fleet.hold(isAck);
    const id = await one.send('SETTINGS', '{"log_level":"warning"}');
    const { release } = await holding;
    await one.agent.kill9();
    release('drop');
    one.agent.start();
    await ackOf(one.fleet, id);
  });
});

describe('UNENROLL', () => {
  test('stops the components, is acked alone and last, and stays so after a restart', async () => {
    const one = await settled();
    const { agent, fleet } = one;
    const pid = pidIn(agent.now, COMPONENT);
    const id = await one.send('UNENROLL');
    await ackOf(fleet, id);
    const gone = await agent.status(
      (now) => unenrolled(now) && now.components.every(({ state }) => state === 'stopped'),
      'left',
    );
    expect(gone.agent.enrolled).toBe(false);
    expect(isAlive(pid)).toBe(false);
    expect(componentsOf(one.home)).toEqual([]);
    const last = fleet.requests.filter(isAck).at(-1) as SeenRequest;
    expect(eventsIn(last).map(({ action_id }) => action_id)).toEqual([id]);
    expect((await agent.run('status')).code).toBe(3);

    expect(await agent.stop()).toEqual({ code: 0, signal: null });
    const from = fleet.requests.length;
    await agent.start().status(unenrolled, 'is still unenrolled');
    expect(await agent.stop()).toEqual({ code: 0, signal: null });
    expect(fleet.requests.slice(from)).toEqual([]);
    expect(componentsOf(one.home)).toEqual([]);
  });

  test('and a SIGKILL before its ack left: the next start pays the ack and starts nothing', async () => {
    const one = await settled();
    const holding = one.fleet.hold(isAck);
    const id = await one.send('UNENROLL');
    const { release } = await holding;
    await one.agent.kill9();
    release('drop');
    one.agent.start();
    await ackOf(one.fleet, id);
    await one.agent.status(unenrolled, 'is unenrolled');
    await one.fleet.until(({ active }) => !active, 'knows that it is gone');
    expect(one.events(COMPONENT).filter((line) => line.startsWith('started'))).toHaveLength(1);
    // What the killed start left is stopped by this one.
    await one.event(COMPONENT, (line) => line.startsWith('stopped'), 'stopped');
  });

  test('by `holdfast unenroll` does the same, and says so to the server', async () => {
    const one = await settled();
    const said = await one.agent.run('unenroll');
    expect(said).toMatchObject({ code: 0 });
    await one.agent.status(unenrolled, 'is unenrolled');
    await one.fleet.until(
      ({ warnings }) => warnings.includes('says it was removed: uninstall'),
      'was told that the agent has left it',
    );
    const audits = one.fleet.requests.filter(({ path }) => path.endsWith('/audit/unenroll'));
    expect(audits).toHaveLength(1);
    await one.event(COMPONENT, (line) => line.startsWith('stopped'), 'stopped');
    expect(componentsOf(one.home)).toEqual([]);
  });

  test('by the empty policy of a forced unenrollment stops the components, too', async () => {
    const one = await settled({ pollMs: 200 });
    const actions = [{ id: 'policy:web:99', type: 'POLICY_CHANGE', data: { policy: {} } }];
    one.fleet.answer(isCheckin, () => Response.json({ action: 'checkin', ack_token: '', actions }));
    await one.agent.status(unenrolled, 'is unenrolled');
    await one.event(COMPONENT, (line) => line.startsWith('stopped'), 'stopped');
    expect(componentsOf(one.home)).toEqual([]);
  });
});

describe('enrolling again', () => {
  const enroll = ({ agent, fleet }: World, ...more: readonly string[]) =>
    agent.run('enroll', '--url', fleet.url, '--enrollment-token', TOKEN, '--insecure', ...more);

  test('an agent that is enrolled needs --force', async () => {
    const one = await settled();
    const said = await enroll(one);
    expect(said.code).toBe(2);
    expect(said.err).toContain('--force');
    expect(one.fleet.server.agents()).toHaveLength(1);
  });

  test('with --force while the daemon runs: it takes over the new identity, with nothing left of the old one', async () => {
    const one = await settled();
    const before = one.fleet.agent().id;
    const { identity } = homePaths(one.home);
    const old = readFileSync(identity, 'utf8');
    await ackOf(one.fleet, await one.send('SETTINGS', '{"log_level":"debug"}'));
    const said = await enroll(one, '--force');
    expect(said).toMatchObject({ code: 0, err: '' });
    expect(readFileSync(identity, 'utf8')).not.toBe(old);
    const renewed = await one.agent.status(
      (now) => now.agent.id !== before && settledOn(one.first)(now),
      'settled as another',
    );
    expect(one.fleet.server.agents().map(({ id }) => id)).toEqual([before, renewed.agent.id]);
    const { facts } = await one.disk();
    expect(facts?.agentId).toBe(renewed.agent.id);
    expect(facts?.journal).toEqual([]);
    expect(facts?.intents.logLevel).toBeNull();
  });

  test('after an unenrollment needs no --force, and brings the components back', async () => {
    const one = await settled();
    await one.send('UNENROLL');
    await one.agent.status(unenrolled, 'is unenrolled');
    const from = one.agent.history.length;
    expect(await enroll(one)).toMatchObject({ code: 0 });
    await one.agent.status(
      (now) => one.agent.history.indexOf(now) >= from && settledOn(one.first)(now),
      'settled again',
    );
    expect(one.fleet.server.agents()).toHaveLength(2);
  });
});

/** A server that dies, loses answers, refuses, babbles or repeats itself: the agent says what is wrong, loses nothing, and converges (P1, P4, P6, P12). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { componentPaths } from '../../src/services/home.ts';
import type { Status } from '../../src/wire/control.ts';
import { acks, type Interception, isAck, isCheckin, type SeenRequest } from './support/fleet.ts';
import { componentsOf, pidIn, settledOn, type World, type WorldOptions, world } from './support/world.ts';

const INPUT = { id: 'a', type: 'service', config: 'one' };
const COMPONENT = 'service-default-a';
const isEnrollment = ({ kind }: SeenRequest) => kind === 'enroll';
const connected = ({ fleet }: Status) => fleet.state === 'connected' || fleet.state === 'damped';

/** A world whose agent has settled on its first policy. */
async function settled(options: WorldOptions = {}): Promise<World & { readonly first: number }> {
  const made = await world(options);
  const first = await made.fleet.policy([INPUT]);
  await made.agent.start().status(settledOn(first), 'settled on the first policy');
  return { ...made, first };
}

const second = (of: World) => of.fleet.policy([{ ...INPUT, config: 'two' }]);
const starts = (of: World) => of.events(COMPONENT).filter((line) => line.startsWith('started'));

describe('an answer that is lost after it took effect', () => {
  test('to an enrollment makes no second agent', async () => {
    const { fleet, agent } = await world();
    fleet.answer(isEnrollment, () => 'dropAfterEffect', 2);
    const revision = await fleet.policy([INPUT]);
    await agent.start().status(settledOn(revision), 'settled');
    expect(fleet.server.agents()).toHaveLength(1);
    expect(fleet.requests.filter(isEnrollment)).toHaveLength(3);
  });

  test.each<Interception & string>(['dropAfterEffect', 'truncateAfterEffect'])(
    'to the check-in that carried a policy (%s) costs time, not the policy',
    async (fate) => {
      const one = await settled();
      one.fleet.answer(isCheckin, () => fate, 2);
      // The poll that is open was let pass before; this one carries the policy.
      await one.agent.run('restart');
      const revision = await second(one);
      await one.agent.status(settledOn(revision), 'settled on the second policy');
      expect(starts(one)).toHaveLength(1);
    },
  );

  test('to an ack has it sent again until there is a verdict', async () => {
    const one = await settled();
    one.fleet.answer(isAck, () => 'dropAfterEffect', 2);
    const revision = await second(one);
    await one.agent.status(settledOn(revision), 'settled on the second policy');
    expect(one.fleet.requests.filter(acks(revision)).length).toBeGreaterThanOrEqual(3);
    expect((await one.disk()).facts?.outbox).toEqual([]);
  });
});

describe('a server that dies', () => {
  test('while it is told an ack is told again when it is back', async () => {
    const one = await settled();
    const holding = one.fleet.hold(isAck);
    const revision = await second(one);
    const { release } = await holding;
    await one.fleet.kill();
    release('drop');
    const owing = await one.agent.status(({ fleet }) => fleet.state === 'backing-off', 'misses the server');
    expect(owing).toMatchObject({ policy: { persisted: { revision }, acked: { revision: one.first } } });
    expect(owing.actions.outbox).toBe(1);
    await one.fleet.start();
    await one.agent.status(settledOn(revision), 'acked');
    await one.fleet.until(({ policy }) => policy.acked?.revision === revision, 'has the ack');
  });

  test('in the middle of a poll is named, missed, and found again; nothing is restarted', async () => {
    const one = await settled();
    await one.fleet.kill();
    const missed = await one.agent.status(({ fleet }) => fleet.state === 'backing-off', 'misses the server');
    expect(missed.fleet.message).toContain(one.fleet.url);
    expect((await one.agent.run('status')).out).toMatch(/cannot be reached|ended the connection/);
    await one.fleet.start();
    const revision = await second(one);
    await one.agent.status(settledOn(revision), 'settled on the second policy');
    expect(starts(one)).toHaveLength(1);
  });

  test('and an agent that dies with it owing an ack: the next start pays it', async () => {
    const one = await settled();
    const holding = one.fleet.hold(isAck);
    const revision = await second(one);
    const { release } = await holding;
    await one.agent.kill9();
    await one.fleet.kill();
    release('drop');
    await one.agent.start().status(({ fleet }) => fleet.state === 'backing-off', 'starts without the server');
    await one.fleet.start();
    await one.fleet.until(({ policy }) => policy.acked?.revision === revision, 'has the ack');
  });
});

describe('several hosts', () => {
  test('of which the first is dead: the second is taken', async () => {
    const { fleet, agent } = await world();
    const revision = await fleet.policy([INPUT]);
    await agent.start('--url', `http://127.0.0.1:1,${fleet.url}`).status(settledOn(revision), 'settled');
    expect(agent.now.fleet.host).toBe(fleet.url);
  });
});

const NO_ANSWER = /the answer to the check-in cannot be used|not as a Fleet Server/;
/** Larger than any answer that is read. */
const HUGE_BYTES = 110 * 1024 * 1024;
const problem = (status: number, error: string, headers: Record<string, string> = {}) =>
  Response.json({ statusCode: status, error, message: 'as a test wants it' }, { status, headers });

describe('a server that answers a check-in with', () => {
  const faults: readonly (readonly [string, () => Interception, RegExp])[] = [
    ['401, which may pass', () => problem(401, 'ErrApiKeyNotEnabled'), /answered 401.*does not know this agent/],
    ['403', () => problem(403, 'AgentNotFound'), /answered 403/],
    ['400, of a version it does not take', () => problem(400, 'UnsupportedVersion'), /fleet\.agent_version/],
    ['429', () => problem(429, 'MaxLimit'), /answered 429.*busy/],
    ['500', () => problem(500, 'InternalServerError'), /answered 500/],
    ['503 of a proxy', () => new Response('<html>down</html>', { status: 503 }), /answered 503/],
    ['the page of a captive portal', () => new Response('<html>log in</html>'), NO_ANSWER],
    ['half a JSON', () => new Response('{"action":"checkin","actions":[{"id":'), NO_ANSWER],
    ['JSON of something else', () => Response.json({ hello: ['world'] }), NO_ANSWER],
    ['half an answer', () => 'truncateAfterEffect', /ended the connection before its answer was whole/],
    ['nothing', () => 'drop', /ended the connection/],
    ['more than anyone should read', () => new Response(Buffer.alloc(HUGE_BYTES, 32)), /larger than \d+ bytes/],
  ];
  test.each(faults)('%s: says so, keeps what runs, and recovers by itself', async (_what, fault, words) => {
    const one = await settled({ pollMs: 150 });
    one.fleet.answer(isCheckin, fault, 2);
    const failing = await one.agent.status(({ fleet }) => fleet.state === 'backing-off', 'backs off');
    expect(failing.fleet.message).toMatch(words);
    expect(failing.policy.running?.revision).toBe(one.first);
    await one.agent.status(connected, 'recovers');
    const revision = await second(one);
    await one.agent.status(settledOn(revision), 'settled on the second policy');
    expect(starts(one)).toHaveLength(1);
  });

  test('429 and a Retry-After is left alone for that long', async () => {
    const backoff = { initial: '50ms', max: '5s' };
    const one = await settled({ pollMs: 150, settings: { fleet: { checkin: { backoff } } } });
    one.fleet.answer(isCheckin, () => problem(429, 'MaxLimit', { 'retry-after': '2' }));
    const refused = await one.fleet.request(({ status }) => status === 429, 'answered 429');
    const next = await one.fleet.request((request) => isCheckin(request) && request.at > refused.at, 'the next one');
    expect(next.at - refused.at).toBeGreaterThanOrEqual(1_990);
  });

  test('401 again and again: the agent is shown as unauthorised, what runs goes on, and a restart asks again', async () => {
    const one = await settled({ pollMs: 150 });
    const end = one.fleet.intercept((request) => (isCheckin(request) ? problem(401, 'Unauthorized') : undefined));
    const refused = await one.agent.status(({ fleet }) => fleet.state === 'unauthorised', 'is unauthorised');
    expect(refused.policy.running?.revision).toBe(one.first);
    expect((await one.agent.run('status')).out).toMatch(/401/);
    end();
    await one.agent.run('restart');
    const revision = await second(one);
    await one.agent.status(settledOn(revision), 'settled on the second policy');
    expect(starts(one)).toHaveLength(1);
  });
});

describe('the same policy', () => {
  test('again and again is asked for at growing distances, and applied once', async () => {
    const one = await settled();
    const delivery = await one.fleet.request(({ answer }) => answer?.includes('"POLICY_CHANGE"') ?? false, 'delivery');
    const from = one.fleet.requests.length;
    one.fleet.intercept((request) =>
      isCheckin(request)
        ? new Response(delivery.answer, { headers: { 'content-type': 'application/json' } })
        : undefined,
    );
    await one.agent.run('restart');
    const polls = () => one.fleet.requests.slice(from).filter(isCheckin);
    await one.fleet.request(() => polls().length >= 10, 'ten polls', from);
    await one.agent.status(({ fleet }) => fleet.state === 'damped', 'is damped');
    const [eighth, ninth] = polls().slice(-2);
    // Damped to at most 500 ms ± 20 % in this world.
    expect((ninth?.at ?? 0) - (eighth?.at ?? 0)).toBeGreaterThanOrEqual(380);
    expect(one.events(COMPONENT).filter((line) => /started|reloaded/.test(line))).toHaveLength(1);
  });

  test('with other bytes under the same id and revision is another policy: applied and acked', async () => {
    const one = await settled();
    const delivery = await one.fleet.request(
      ({ answer }) => answer?.includes(`"policy:web:${one.first}"`) ?? false,
      'delivery',
    );
    const before = one.agent.now;
    const from = one.fleet.requests.length;
    one.fleet.answer(isCheckin, () => new Response(delivery.answer?.replaceAll('one', 'rotated')));
    await one.agent.run('restart');
    await one.event(COMPONENT, (line) => line.endsWith(' rotated'), 'runs with the other bytes');
    await one.fleet.request(acks(one.first), 'an ack of it', from);
    const rotated = await one.agent.status(
      ({ policy, actions }) => policy.acked?.hash !== before.policy.acked?.hash && actions.outbox === 0,
      'has acked it',
    );
    expect(rotated.policy.persisted?.revision).toBe(one.first);
  });

  test('with integers of any size reaches a program digit by digit', async () => {
    const spec = {
      version: 2,
      inputs: [
        {
          name: 'exact',
          outputs: ['*'],
          daemon: {
            command: 'sleep',
            args: ['1000'],
            files: [{ path: 'whole.json', format: 'json' }],
            ready: { after: '100ms' },
          },
        },
      ],
    };
    const one = await world({ specs: { exact: JSON.stringify(spec) } });
    const numbers = ['9007199254740993', '123456789012345678901234567890', '-9223372036854775808'];
    const delivered = `{"outputs":{"default":{"type":"none"}},"inputs":[{"id":"n","type":"exact","numbers":[${numbers}]}]}`;
    const revision = await one.fleet.policyText(delivered);
    await one.agent.start().status(settledOn(revision), 'settled');
    const { current } = componentPaths(one.home, 'exact-default-n');
    const written = readFileSync(join(current, 'whole.json'), 'utf8');
    expect(written.match(/-?\d{10,}/g)).toEqual(numbers);
  });
});

test('a policy that takes everything away leaves nothing running, and is acked', async () => {
  const one = await settled();
  pidIn(one.agent.now, COMPONENT);
  const revision = await one.fleet.policy([]);
  await one.agent.status(settledOn(revision), 'settled on the empty policy');
  expect(componentsOf(one.home)).toEqual([]);
});

/** The daemon and the commands that talk to it, or do without it: one daemon a home, exit codes, and what people ask of it. */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { componentPaths } from '../../src/services/home.ts';
import { TestAgent } from './support/agent.ts';
import { isCheckin } from './support/fleet.ts';
import { componentsOf, isAlive, pidIn, serviceSpec, settledOn, type World, world } from './support/world.ts';

const INPUT = { id: 'a', type: 'service', config: 'one' };
const COMPONENT = 'service-default-a';

async function settled(): Promise<World & { readonly first: number; readonly pid: number }> {
  const made = await world();
  const first = await made.fleet.policy([INPUT]);
  const status = await made.agent.start().status(settledOn(first), 'settled on the first policy');
  return { ...made, first, pid: pidIn(status, COMPONENT) };
}

describe('a second daemon on the same home', () => {
  test('ends at once and names the first, which does not notice', async () => {
    const one = await settled();
    const intruder = new TestAgent(one.home, one.fleet.url);
    expect(await intruder.start().ended).toEqual({ code: 1, signal: null });
    const said = intruder.lines.join('\n');
    expect(said).toContain('HOME_LOCKED');
    expect(said).toContain(String(one.agent.pid));
    const status = await one.agent.control.status();
    expect(status).toMatchObject({ pid: one.agent.pid, state: 'running', health: 'healthy' });
    expect(pidIn(status, COMPONENT)).toBe(one.pid);
    const second = await one.fleet.policy([{ ...INPUT, config: 'two' }]);
    await one.agent.status(settledOn(second), 'settled on the second policy');
    expect(one.events(COMPONENT).filter((line) => line.startsWith('started'))).toHaveLength(1);
  });
});

describe('while the daemon is down', () => {
  test('`status` says what the disk holds and ends with exit code 4', async () => {
    const one = await settled();
    await one.agent.stop();
    const said = await one.agent.run('status');
    expect(said.code).toBe(4);
    expect(said.out).toMatch(/not running/i);
    const json = JSON.parse((await one.agent.run('status', '--json')).out);
    expect(json).toMatchObject({
      pid: 0,
      health: 'stopped',
      agent: { enrolled: true },
      policy: { persisted: { id: 'web', revision: one.first }, acked: { revision: one.first }, running: null },
    });
  });

  test('`inspect` shows policy and starts with secrets masked, and changes nothing', async () => {
    const one = await world();
    const revision = await one.fleet.policy([INPUT], {
      outputs: { default: { type: 'none', api_key: 'very:secret', password: 'hunter2' } },
    });
    await one.agent.start().status(settledOn(revision), 'settled');
    await one.agent.stop();
    const before = (await one.disk()).facts;
    for (const part of ['policy', 'components', 'journal', 'outbox', 'starts']) {
      const { code, out } = await one.agent.run('inspect', part);
      expect({ part, code }).toEqual({ part, code: 0 });
      expect(out).not.toMatch(/very:secret|hunter2/);
    }
    expect((await one.agent.run('inspect', 'policy')).out).toContain('service');
    expect((await one.disk()).facts).toEqual(before);
  });

  test.each(['retry', 'restart', 'unenroll'])(
    '`%s` ends with exit code 4 and says how to start it',
    async (command) => {
      const one = await world();
      const { code, err } = await one.agent.run(command);
      expect(code).toBe(4);
      expect(err).toMatch(/NOT_RUNNING.*\n.*holdfast run/);
    },
  );

  test('`logs` and `logs --component` show what was written', async () => {
    const one = await settled();
    await one.agent.stop();
    const log = await one.agent.run('logs');
    expect(log.code).toBe(0);
    expect(log.out).toContain(`applying web:${one.first}`);
    const output = await one.agent.run('logs', '--component', COMPONENT);
    expect(output).toMatchObject({ code: 0, out: expect.stringContaining('ready') });
    const none = await one.agent.run('logs', '--component', 'no-such-component');
    expect(none.code).not.toBe(0);
    expect(none.err).toContain('no-such-component');
  });
});

describe('`holdfast restart`', () => {
  test('starts the agent anew in its process, touches no component, and counts as a goodbye', async () => {
    const one = await settled();
    const { number } = one.agent.now.start;
    expect(await one.agent.run('restart')).toMatchObject({ code: 0 });
    const again = await one.agent.status(
      (now) => now.start.number > number && settledOn(one.first)(now),
      'started anew',
    );
    expect(again).toMatchObject({ pid: one.agent.pid, start: { previous: 'goodbye', crashes: 0 } });
    expect(pidIn(again, COMPONENT)).toBe(one.pid);
  });
});

describe('`holdfast retry`', () => {
  test('tries a rejected policy again, now; when its cause is gone it is taken', async () => {
    const check = { command: 'sh', args: ['-c', 'test ! -e "$1"', 'check', '${data.dir}/refuse'], timeout: '5s' };
    const one = await world({ specs: { picky: serviceSpec('picky', { check }) } });
    const input = { id: 'a', type: 'picky', config: 'one' };
    const first = await one.fleet.policy([input]);
    await one.agent.start().status(settledOn(first), 'settled on the first policy');
    const refuse = join(componentPaths(one.home, 'picky-default-a').data, 'refuse');
    await writeFile(refuse, '');
    const second = await one.fleet.policy([{ ...input, config: 'two' }]);
    const rejected = await one.agent.status(
      ({ policy, path }) => policy.rejected[0]?.revision === second && path.policy === 'checkin',
      'rejected',
    );
    expect(rejected.policy.running?.revision).toBe(first);
    expect((await one.agent.run('status')).code).toBe(1);

    expect(await one.agent.run('retry')).toMatchObject({ code: 0 });
    await one.agent.line(new RegExp(`policy rejected: web:${second}`), one.agent.lines.length);
    await rm(refuse);
    expect(await one.agent.run('retry')).toMatchObject({ code: 0 });
    await one.agent.status(settledOn(second), 'takes it');
    expect((await one.agent.run('status')).code).toBe(0);
  });
});

describe('a daemon that is not enrolled', () => {
  test('without a URL or a token ends with exit code 3 and what to do', async () => {
    const one = await world();
    const { code, err } = await one.agent.run('run');
    expect(code).toBe(3);
    expect(err).toMatch(/NOT_ENROLLED/);
    expect(err).toContain('holdfast enroll --url');
  });

  test('with a token that the server refuses ends and says so', async () => {
    const one = await world();
    const said = await one.agent.run('enroll', '--url', one.fleet.url, '--enrollment-token', 'wrong', '--insecure');
    expect(said.code).toBe(1);
    expect(said.err).toContain('ENROLL_REFUSED');
    expect(said.err).toContain('enrollment token');
  });

  test('refuses to send keys over plain HTTP unless it is told to', async () => {
    const one = await world();
    const said = await one.agent.run('enroll', '--url', one.fleet.url, '--enrollment-token', 'e2e');
    expect(said.code).toBe(2);
    expect(said.err).toContain('--insecure');
    expect(one.fleet.requests).toEqual([]);
  });
});

describe('the end', () => {
  test('by SIGTERM is a goodbye with exit code 0; the next start calls it so and nothing is left', async () => {
    const one = await settled();
    expect(await one.agent.stop()).toEqual({ code: 0, signal: null });
    expect(isAlive(one.pid)).toBe(false);
    expect(componentsOf(one.home)).toEqual([]);
    const next = await one.agent.start().status(settledOn(one.first), 'settled again');
    expect(next.start).toMatchObject({ previous: 'goodbye', crashes: 0, in_flight: null });
  });

  test('by SIGTERM in the middle of an enrollment comes at once', async () => {
    const one = await world();
    const enrolling = one.fleet.hold(({ kind }) => kind === 'enroll');
    one.agent.start();
    const { release } = await enrolling;
    const ended = await one.agent.stop();
    release('drop');
    expect(ended.signal).toBeNull();
    expect(one.fleet.requests.filter(isCheckin)).toEqual([]);
  });
});

/** Settings, flags and environment of the built program: what is wrong is named with its place, and never keeps last good from running (P11). */
import { writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { homePaths } from '../../src/services/home.ts';
import { TestAgent } from './support/agent.ts';
import { TOKEN } from './support/fleet.ts';
import { pidIn, settledOn, world } from './support/world.ts';

const INPUT = { id: 'a', type: 'service', config: 'one' };
const COMPONENT = 'service-default-a';

describe('wrong usage', () => {
  test.each([
    ['an unknown command', ['frobnicate'], /frobnicate/],
    ['an unknown option', ['status', '--frobnicate'], /--frobnicate/],
    ['an option without its value', ['logs', '--component'], /--component/],
    [
      'a log level there is not',
      ['run', '--log-level', 'loud', '--url', 'http://127.0.0.1:1', '--enrollment-token', 'x'],
      /loud/,
    ],
    ['a part of the inspection there is not', ['inspect', 'entrails'], /entrails/],
  ])('%s ends with exit code 2, its name and where help is', async (_what, args, named) => {
    const { agent } = await world();
    const { code, err } = await agent.run(...args);
    expect(code).toBe(2);
    expect(err).toMatch(named);
    expect(err.split('\n').filter((line) => /^\s+at /.test(line))).toEqual([]);
  });

  test('no command at all shows the help and ends with exit code 2; --help and version end with 0', async () => {
    const { agent } = await world();
    const help = await agent.run('--help');
    expect(help).toMatchObject({ code: 0, err: '' });
    for (const command of [
      'run',
      'enroll',
      'status',
      'inspect',
      'logs',
      'retry',
      'restart',
      'unenroll',
      'render',
      'fleet',
    ]) {
      expect(help.out).toMatch(new RegExp(`^\\s+${command}\\b`, 'm'));
    }
    expect(await agent.run('version')).toMatchObject({ code: 0, err: '' });
  });
});

describe('a settings file that is wrong', () => {
  test.each([
    ['no YAML', 'fleet: [', /holdfast\.yml/],
    ['an unknown key', 'fleet:\n  hots: [a]\n', /hots/],
    ['a duration without a unit', 'store:\n  retry:\n    initial: 5\n', /store\.retry\.initial.*unit/s],
  ])('(%s) before the enrollment: exit code 2 and the place', async (_what, text, named) => {
    const { agent, home } = await world();
    await writeFile(homePaths(home).settings, text);
    const { code, err } = await agent.run(
      'run',
      '--url',
      'http://127.0.0.1:1',
      '--enrollment-token',
      'x',
      '--insecure',
    );
    expect(code).toBe(2);
    expect(err).toContain('SETTINGS_INVALID');
    expect(err).toMatch(named);
  });

  test('once enrolled is complained about, and last good runs all the same', async () => {
    const { agent, fleet, home, settings } = await world();
    const revision = await fleet.policy([INPUT]);
    const before = await agent.start().status(settledOn(revision), 'settled');
    await agent.kill9();
    await writeFile(homePaths(home).settings, 'agent: { logging: { level: loud } }\n');
    await agent.start().status(({ components }) => components[0]?.state === 'healthy', 'replays');
    expect(pidIn(agent.now, COMPONENT)).toBe(pidIn(before, COMPONENT));
    await agent.line(/settings: .*loud/);
    await settings({});
  });
});

describe('SIGHUP', () => {
  test('has the settings read again: a new log level holds at once, and nothing is restarted', async () => {
    const { agent, fleet, settings } = await world();
    const revision = await fleet.policy([INPUT]);
    const before = await agent.start().status(settledOn(revision), 'settled');
    await settings({ agent: { logging: { level: 'debug' } } });
    const from = agent.lines.length;
    process.kill(agent.pid, 'SIGHUP');
    await agent.line(/settings read again/, from);
    const second = await fleet.policy([{ ...INPUT, config: 'two' }]);
    await agent.status(settledOn(second), 'settled on the second policy');
    await agent.line(/"log.level":"debug"|"level":"debug"/, from);
    expect(pidIn(agent.now, COMPONENT)).toBe(pidIn(before, COMPONENT));
  });

  test('with a file that is wrong leaves the settings that hold, and says why', async () => {
    const { agent, fleet, home } = await world();
    const revision = await fleet.policy([INPUT]);
    await agent.start().status(settledOn(revision), 'settled');
    await writeFile(homePaths(home).settings, 'fleet: [');
    process.kill(agent.pid, 'SIGHUP');
    await agent.line(/settings were not taken over/);
    expect((await agent.run('status')).code).toBe(0);
  });
});

describe('the environment', () => {
  test('enrolls by the names Elastic Agent has', async () => {
    const one = await world();
    const env = { FLEET_URL: one.fleet.url, FLEET_ENROLLMENT_TOKEN: TOKEN, FLEET_INSECURE: 'true' };
    const other = new TestAgent(one.home, one.fleet.url, env);
    expect(await other.run('enroll')).toMatchObject({ code: 0 });
    expect(one.fleet.server.agents()).toHaveLength(1);
    const revision = await one.fleet.policy([INPUT]);
    await one.agent.start().status(settledOn(revision), 'settled as the agent that was enrolled');
    expect(one.fleet.server.agents()).toHaveLength(1);
  });
});

/** A component outlives the agent, and the next start takes it over only when it is without doubt what it should be (design, section 7). */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { componentPaths } from '../../src/services/home.ts';
import { COMPONENT as A, input, settled } from './support/settled.ts';
import { componentIn, componentsOf, isAlive, pidIn, serviceSpec, settledOn } from './support/world.ts';

/** Each runs in a session of its own; a fork of its shell that is about to become `sleep` still has its command line, and is no second one. */
const services = (home: string) =>
  componentsOf(home).filter(({ pid, command }) => command.includes('service.sh') && leadsSession(pid));

function leadsSession(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[3] === String(pid);
  } catch {
    return false;
  }
}

/** Resolves when a process that is not our child has ended. */
async function ended(pid: number): Promise<void> {
  await expect.poll(() => isAlive(pid), { interval: 10, timeout: 10_000 }).toBe(false);
}

test('a program that ran on while the agent was dead is taken over: same process, nothing asked of it', async () => {
  const made = await settled();
  for (let kills = 1; kills <= 2; kills += 1) {
    await made.agent.kill9();
    expect(isAlive(made.pid)).toBe(true);
    made.agent.start();
    const status = await made.agent.status(settledOn(2), 'settled again');
    expect(pidIn(status, A)).toBe(made.pid);
  }
  expect(made.events(A)).toEqual([`started ${made.pid} one`]);
});

test('an adopted program is managed like any other: it is reloaded, and stopped at the end', async () => {
  const made = await settled();
  await made.agent.kill9();
  made.agent.start();
  await made.agent.status(settledOn(2), 'settled again');
  await made.fleet.policy([input('two')]);
  const status = await made.agent.status(settledOn(3), 'settled on the change');
  expect(pidIn(status, A)).toBe(made.pid);
  expect(await made.agent.stop()).toEqual({ code: 0, signal: null });
  expect(made.events(A)).toEqual([`started ${made.pid} one`, `reloaded ${made.pid} two`, `stopped ${made.pid}`]);
});

test('an adopted program that dies is noticed and started again', async () => {
  const made = await settled();
  await made.agent.kill9();
  made.agent.start();
  await made.agent.status(settledOn(2), 'settled again');
  process.kill(made.pid, 'SIGKILL');
  const status = await made.agent.status(
    (now) => componentIn(now, A)?.state === 'healthy' && componentIn(now, A)?.pid !== made.pid,
    'healthy as another process',
  );
  expect(services(made.home).map(({ pid }) => pid)).toEqual([pidIn(status, A)]);
});

test('a half-reloaded program is not taken over: it is ended before another one starts', async () => {
  const made = await settled();
  await made.fleet.policy([input('mute two')]);
  await made.event(
    A,
    (line) => line === `reloaded ${made.pid} mute two`,
    'has read the new configuration, and says nothing',
  );
  await made.agent.kill9();
  expect(isAlive(made.pid)).toBe(true);
  // Without Fleet only last good can be meant.
  await made.fleet.stop();
  made.agent.start();
  await made.event(A, (line) => /^started/.test(line) && !line.includes(` ${made.pid} `), 'started anew');
  expect(isAlive(made.pid)).toBe(false);
  expect(made.events(A).slice(2, 4)).toEqual([`stopped ${made.pid}`, expect.stringMatching(/^started \d+ one$/)]);
  expect(made.events(A).filter((line) => line.startsWith('two:'))).toEqual([]);
  expect(services(made.home)).toHaveLength(1);
});

test('a program that is not what the policy wants any more is ended, and the wanted one started', async () => {
  const made = await settled();
  await made.agent.kill9();
  const spec = serviceSpec('service', { env: { NEW: 'yes' } });
  await writeFile(join(made.home, 'specs', 'service.spec.yml'), spec);
  made.agent.start();
  const status = await made.agent.status(settledOn(2), 'settled again');
  expect(pidIn(status, A)).not.toBe(made.pid);
  expect(isAlive(made.pid)).toBe(false);
  expect(made.events(A)).toEqual([`started ${made.pid} one`, `stopped ${made.pid}`, `started ${pidIn(status, A)} one`]);
});

test('a typo in a spec stops nothing that worked: the program runs on, is named, and is taken over when the spec is corrected', async () => {
  const made = await settled();
  const spec = join(made.home, 'specs', 'service.spec.yml');
  const correct = await readFile(spec, 'utf8');
  await made.agent.kill9();
  await writeFile(spec, correct.replace(/\bcommand\b/, 'comand'));
  made.agent.start();
  const status = await made.agent.status(
    (now) => now.state === 'running' && componentIn(now, A)?.state === 'degraded',
    'degraded for want of its spec',
  );
  expect(componentIn(status, A)).toMatchObject({
    pid: made.pid,
    message: expect.stringMatching(/^runs on as it was confirmed: .*service\.spec\.yml:\d+:\d+: /),
  });
  expect(isAlive(made.pid)).toBe(true);
  await writeFile(spec, correct);
  const after = await made.agent.status(settledOn(2), 'settled by the corrected spec');
  expect(pidIn(after, A)).toBe(made.pid);
  expect(made.events(A)).toEqual([`started ${made.pid} one`]);
});

test('a program that died while the agent was dead is started again', async () => {
  const made = await settled();
  await made.agent.kill9();
  process.kill(made.pid, 'SIGKILL');
  await ended(made.pid);
  made.agent.start();
  const status = await made.agent.status(settledOn(2), 'settled again');
  expect(made.events(A)).toEqual([`started ${made.pid} one`, `started ${pidIn(status, A)} one`]);
});

test('a stranger that has the pid on record is neither taken over nor harmed', async () => {
  const made = await settled();
  await made.agent.kill9();
  process.kill(made.pid, 'SIGKILL');
  await ended(made.pid);
  const stranger = spawn('sleep', ['1000'], { detached: true });
  onTestFinished(() => void stranger.kill('SIGKILL'));
  await once(stranger, 'spawn');
  const path = componentPaths(made.home, A).process;
  const record = JSON.parse(await readFile(path, 'utf8'));
  await writeFile(path, JSON.stringify({ ...record, pid: stranger.pid }));

  made.agent.start();
  const status = await made.agent.status(settledOn(2), 'settled again');
  expect(pidIn(status, A)).not.toBe(stranger.pid);
  expect(isAlive(stranger.pid ?? 0)).toBe(true);
  await made.agent.stop();
  expect(isAlive(stranger.pid ?? 0)).toBe(true);
});

test('a record that cannot be read does not leave a second program: the first is found by its environment', async () => {
  const made = await settled();
  await made.agent.kill9();
  await writeFile(componentPaths(made.home, A).process, '{"pid":');
  made.agent.start();
  const status = await made.agent.status(settledOn(2), 'settled again');
  expect(services(made.home).map(({ pid }) => pid)).toEqual([pidIn(status, A)]);
  expect(made.events(A).filter((line) => line.startsWith('two:'))).toEqual([]);
});

test('a component whose input went while the agent was dead is ended', async () => {
  const made = await settled();
  await made.fleet.policy([input('one'), { id: 'b', type: 'service', config: 'one' }]);
  const both = await made.agent.status(settledOn(3), 'settled on two');
  await made.agent.kill9();
  await made.fleet.policy([{ id: 'b', type: 'service', config: 'one' }]);
  made.agent.start();
  const status = await made.agent.status(settledOn(4), 'settled on the other one');
  expect(isAlive(made.pid)).toBe(false);
  expect(pidIn(status, 'service-default-b')).toBe(pidIn(both, 'service-default-b'));
  expect(services(made.home)).toHaveLength(1);
});

test('with `components.on_exit: keep` an orderly end leaves the program running, and the next start takes it over', async () => {
  const made = await settled({ settings: { components: { on_exit: 'keep' } } });
  expect(await made.agent.stop()).toEqual({ code: 0, signal: null });
  expect(isAlive(made.pid)).toBe(true);
  await made.settings({ components: { on_exit: 'stop' } });
  made.agent.start();
  const status = await made.agent.status(settledOn(2), 'settled again');
  expect(pidIn(status, A)).toBe(made.pid);
  expect(status.start.previous).toBe('goodbye');
  expect(made.events(A)).toHaveLength(1);
});

test('two agents on one home: the second says who has it, and touches nothing', async () => {
  const made = await settled();
  const second = await made.agent.run('run', '--insecure');
  expect(second.code).toBe(1);
  expect(second.err).toContain('HOME_LOCKED');
  expect(second.err).toContain(String(made.agent.pid));
  expect(made.events(A)).toHaveLength(1);
  expect((await made.agent.control.status()).pid).toBe(made.agent.pid);
});

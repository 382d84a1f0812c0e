/** `holdfast run`: what it does before, around and after the agent. The agent itself is a stand-in here. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { runProgram } from '../../src/commands/program.ts';
import type { AgentStart, RunningAgent } from '../../src/commands/surroundings.ts';
import { EXIT, HoldfastError } from '../../src/errors.ts';
import { controlClient } from '../../src/services/control/client.ts';
import { learnSecrets } from '../../src/services/log/known-secrets.ts';
import { aStatus, fakeAgent, fakeSurroundings } from './fakes.ts';

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'hf-run-'));
});
afterEach(() => {
  rmSync(home, { recursive: true, force: true });
});

const NOT_ENROLLED = { identity: async () => ({ kind: 'none' }) as const };
const FLEET = ['--url', 'https://f:8220', '--enrollment-token', 'tok'];

/** Runs the daemon with these agents, one after the other; `started` resolves when the socket answers. */
function daemon(agents: readonly RunningAgent[], changes: Parameters<typeof fakeSurroundings>[0] = {}) {
  const starts: AgentStart[] = [];
  const surroundings = fakeSurroundings({
    startAgent: async (start) => {
      starts.push(start);
      const agent = agents[starts.length - 1];
      if (!agent) throw new Error('one agent too many was started');
      return agent;
    },
    ...changes,
  });
  const run = (...argv: string[]) => runProgram(['run', '--home', home, '--log-format', 'ecs', ...argv], surroundings);
  return { surroundings, starts, run };
}

async function answering(): Promise<void> {
  await expect
    .poll(() =>
      controlClient(home, {})
        .status()
        .catch(() => null),
    )
    .not.toBeNull();
}

describe('not enrolled', () => {
  test('without a URL or a token it ends with exit code 3 and what to do, and touches nothing', async () => {
    const { surroundings, run } = daemon([], NOT_ENROLLED);
    expect(await run()).toBe(EXIT.notEnrolled);
    expect(surroundings.terminal.said.err).toContain('NOT_ENROLLED');
    expect(surroundings.terminal.said.err).toContain('holdfast enroll --url');
    expect(existsSync(join(home, 'logs'))).toBe(false);
  });

  test('with both it enrolls first, trying as long as it takes', async () => {
    const one = fakeAgent();
    const asked: unknown[] = [];
    const { starts, run } = daemon([one.agent], {
      ...NOT_ENROLLED,
      enroll: async ({ hosts, token, attempts }) => {
        asked.push({ hosts, token, attempts, startedBefore: starts.length });
        return 'agent-1';
      },
    });
    const done = run(...FLEET);
    await expect.poll(() => starts.length).toBe(1);
    expect(asked).toEqual([{ hosts: ['https://f:8220'], token: 'tok', attempts: null, startedBefore: 0 }]);
    one.end({ restart: false, problem: null });
    expect(await done).toBe(EXIT.success);
  });

  test('a refused enrollment ends it', async () => {
    const { surroundings, run } = daemon([], {
      ...NOT_ENROLLED,
      enroll: () => Promise.reject(new HoldfastError('ENROLL_REFUSED', 'the token is unknown')),
    });
    expect(await run(...FLEET)).toBe(EXIT.failure);
    expect(surroundings.terminal.said.err).toContain('ENROLL_REFUSED: the token is unknown');
  });

  test('wrong settings end it with exit code 2', async () => {
    writeFileSync(join(home, 'holdfast.yml'), 'polcy: {}\n');
    const { surroundings, run } = daemon([], NOT_ENROLLED);
    expect(await run(...FLEET)).toBe(EXIT.usage);
    expect(surroundings.terminal.said.err).toContain(
      `${home}/holdfast.yml:1:1: polcy is not a setting; did you mean policy?`,
    );
  });
});

describe('enrolled', () => {
  test('wrong settings do not keep what worked last from running (P11); they are named', async () => {
    writeFileSync(join(home, 'holdfast.yml'), 'polcy: {}\ncrash.limit: 7\n');
    const one = fakeAgent();
    const { surroundings, starts, run } = daemon([one.agent]);
    const done = run();
    await expect.poll(() => starts[0]?.settings.crash.limit).toBe(7);
    expect(surroundings.terminal.said.out).toContain('polcy is not a setting');
    one.end({ restart: false, problem: null });
    expect(await done).toBe(EXIT.success);
  });

  test('answers on the control socket while it runs, and hands requests to the agent', async () => {
    const one = fakeAgent();
    const { run } = daemon([one.agent]);
    const done = run();
    await answering();
    const client = controlClient(home, {});
    await client.retry();
    await client.restart('because');
    await client.unenroll('enough');
    await client.identityChanged();
    await expect
      .poll(() => one.sent)
      .toEqual([
        { type: 'retry.requested' },
        { type: 'restart.requested', reason: 'because' },
        { type: 'unenroll.requested', reason: 'enough' },
        { type: 'restart.requested', reason: 'the identity was replaced' },
      ]);
    one.end({ restart: false, problem: null });
    expect(await done).toBe(EXIT.success);
    await expect(client.status()).rejects.toMatchObject({ code: 'NOT_RUNNING' });
  });

  test('a restart starts a new agent in the same process, behind the same socket', async () => {
    const one = fakeAgent();
    const two = fakeAgent();
    const { starts, run } = daemon([one.agent, two.agent]);
    const done = run();
    await answering();
    one.end({ restart: true, problem: null });
    await expect.poll(() => starts.length).toBe(2);
    await controlClient(home, {}).retry();
    await expect.poll(() => two.sent).toEqual([{ type: 'retry.requested' }]);
    two.end({ restart: false, problem: null });
    expect(await done).toBe(EXIT.success);
  });

  test('a watcher sees changes of the agent that took over', async () => {
    const one = fakeAgent();
    const two = fakeAgent();
    const { starts, run } = daemon([one.agent, two.agent]);
    const done = run();
    await answering();
    const watched = controlClient(home, {}).watch(new AbortController().signal);
    await watched.next();
    one.end({ restart: true, problem: null });
    await expect.poll(() => starts.length).toBe(2);
    two.change();
    expect((await watched.next()).done).toBe(false);
    two.end({ restart: false, problem: null });
    await done;
  });

  test.each(['SIGTERM', 'SIGINT'] as const)('%s drains, a second one is handed on to hurry', async (signal) => {
    const one = fakeAgent();
    const { surroundings, starts, run } = daemon([one.agent]);
    const done = run();
    await expect.poll(() => starts.length).toBe(1);
    surroundings.signal(signal);
    surroundings.signal(signal);
    const wanted = { type: 'shutdown.requested', reason: signal };
    expect(one.sent).toEqual([wanted, wanted]);
    one.end({ restart: false, problem: null });
    expect(await done).toBe(EXIT.success);
  });

  test('a signal during a restart is not lost', async () => {
    const one = fakeAgent();
    const { surroundings, starts, run } = daemon([one.agent]);
    const done = run();
    await expect.poll(() => starts.length).toBe(1);
    surroundings.signal('SIGTERM');
    one.end({ restart: true, problem: null });
    expect(await done).toBe(EXIT.success);
  });

  test('SIGHUP starts anew with settings that have changed; the same ones and wrong ones change nothing', async () => {
    const one = fakeAgent();
    const two = fakeAgent();
    const { surroundings, starts, run } = daemon([one.agent, two.agent]);
    const done = run();
    await expect.poll(() => starts.length).toBe(1);
    writeFileSync(join(home, 'holdfast.yml'), 'crash.limit: 8\nagent.logging.level: debug\n');
    surroundings.signal('SIGHUP');
    expect(one.sent).toEqual([{ type: 'restart.requested', reason: 'the settings have changed' }]);
    expect(starts[0]?.log.level).toBe('debug');
    surroundings.signal('SIGHUP');
    expect(one.sent).toHaveLength(1);
    writeFileSync(join(home, 'holdfast.yml'), 'crash.limit: none\n');
    surroundings.signal('SIGHUP');
    expect(one.sent).toHaveLength(1);
    expect(surroundings.terminal.said.out).toContain('settings were not taken over');
    one.end({ restart: true, problem: null });
    await expect.poll(() => starts[1]?.settings.crash.limit).toBe(8);
    two.end({ restart: false, problem: null });
    await done;
  });

  test.each([
    ['HOME_LOCKED', EXIT.failure],
    ['IDENTITY_UNREADABLE', EXIT.notEnrolled],
  ] as const)('an agent that ends with %s ends the process with its exit code and a sentence', async (code, exit) => {
    const one = fakeAgent();
    const { surroundings, run } = daemon([one.agent]);
    const done = run();
    one.end({ restart: false, problem: { code, message: 'so it is' } });
    expect(await done).toBe(exit);
    expect(surroundings.terminal.said.err).toContain(`holdfast: ${code}: so it is\n`);
  });

  test('an agent that stopped at once, as on a locked home, gets no control socket', async () => {
    const one = fakeAgent(aStatus({ state: 'stopped' }));
    const { run } = daemon([one.agent]);
    const done = run();
    await new Promise((resolve) => setImmediate(resolve));
    expect(existsSync(join(home, 'holdfast.sock'))).toBe(false);
    one.end({ restart: false, problem: { code: 'HOME_LOCKED', message: 'taken' } });
    expect(await done).toBe(EXIT.failure);
    expect(existsSync(join(home, 'holdfast.sock'))).toBe(false);
  });

  test('the log goes to the log file of the home as well', async () => {
    const one = fakeAgent();
    const { starts, run } = daemon([one.agent]);
    const done = run();
    await expect.poll(() => starts.length).toBe(1);
    starts[0]?.log.info('policy applied');
    expect(readFileSync(join(home, 'logs/holdfast.ndjson'), 'utf8')).toContain('"message":"policy applied"');
    one.end({ restart: false, problem: null });
    await done;
  });
});

test('a fault that quotes a secret is told without it, on the screen as in the log', async () => {
  learnSecrets('policy of the test', ['s3cr3t-value']);
  const one = fakeAgent();
  const { surroundings, run } = daemon([one.agent]);
  const ended = run();
  await answering();
  one.end({ restart: false, problem: { code: 'HOME_LOCKED', message: 'it is locked by s3cr3t-value' } });
  expect(await ended).toBe(EXIT.failure);
  expect(surroundings.terminal.said.err).toContain('it is locked by <REDACTED>');
  expect(surroundings.terminal.said.err + surroundings.terminal.said.out).not.toContain('s3cr3t-value');
});

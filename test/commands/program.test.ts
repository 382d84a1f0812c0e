/** The command line against a control server of its own: what is printed, and the exit codes others rely on. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { runProgram } from '../../src/commands/program.ts';
import { EXIT, HoldfastError } from '../../src/errors.ts';
import { emptyFacts } from '../../src/machines/facts.ts';
import { sha256 } from '../../src/policy/canonical.ts';
import { type Controlled, type ControlServer, startControlServer } from '../../src/services/control/server.ts';
import { SILENT } from '../../src/services/log/logger.ts';
import { nodeFiles } from '../../src/services/store/files.ts';
import { openStore } from '../../src/services/store/store.ts';
import type { Status } from '../../src/wire/control.ts';
import { aStatus, fakeSurroundings, INSPECTION, NOW } from './fakes.ts';

let home: string;
let server: ControlServer | null = null;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'hf-commands-'));
});
afterEach(async () => {
  await server?.close();
  server = null;
  rmSync(home, { recursive: true, force: true });
});

/** Starts a control server whose daemon has this status; returns what it is asked for. */
async function daemon(status: Status = aStatus(), retried: string | null = null): Promise<string[]> {
  const asked: string[] = [];
  const controlled: Controlled = {
    status: () => status,
    inspect: () => INSPECTION,
    onChange: () => () => {},
    retry: () => {
      asked.push('retry');
      return retried;
    },
    restart: (reason) => asked.push(`restart: ${reason}`),
    unenroll: (reason) => asked.push(`unenroll: ${reason}`),
    identityChanged: () => asked.push('identityChanged'),
  };
  server = await startControlServer({ home, env: {}, controlled, log: SILENT });
  return asked;
}

async function run(...argv: string[]) {
  const surroundings = fakeSurroundings();
  const code = await runProgram([...argv, '--home', home], surroundings);
  return { code, ...surroundings.terminal.said };
}

describe('wrong usage ends with exit code 2 and a sentence', () => {
  test.each([
    [['stats'], "unknown command 'stats'"],
    [['status', '--jsn'], "unknown option '--jsn'"],
    [['status', 'now'], 'too many arguments'],
    [['inspect', 'everything'], "command-argument value 'everything' is invalid"],
    [['logs', '-n', 'many'], "argument 'many' is invalid"],
    [['logs', '--component', '../../etc'], 'is not the id of a component'],
    [['render'], "missing required argument 'policy.yml'"],
    [['render', '/nowhere.yml'], '/nowhere.yml cannot be read: there is no such file'],
    [['--home', '', 'status'], ''],
  ])('%j', async (argv, sentence) => {
    const surroundings = fakeSurroundings();
    expect(await runProgram(argv, surroundings)).toBe(EXIT.usage);
    expect(surroundings.terminal.said.err).toContain('holdfast: USAGE: ');
    expect(surroundings.terminal.said.err).toContain(sentence);
    expect(surroundings.terminal.said.out).toBe('');
  });

  test.each([
    [['--log-level', 'loud', 'status'], 'option --log-level: agent.logging.level wants'],
    [['status', '--log-format', 'xx'], 'option --log-format: agent.logging.format wants'],
    [['--config', '/nope', 'inspect'], 'option --config: /nope: there is no such file'],
    [['--config', '/nope', 'version'], 'option --config: /nope: there is no such file'],
  ])('%j', async (argv, sentence) => {
    const surroundings = fakeSurroundings();
    expect(await runProgram([...argv], surroundings)).toBe(EXIT.usage);
    expect(surroundings.terminal.said.err).toContain(`holdfast: SETTINGS_INVALID: ${sentence}`);
    expect(surroundings.terminal.said.out).toBe('');
  });

  test('no command shows the help', async () => {
    const surroundings = fakeSurroundings();
    expect(await runProgram([], surroundings)).toBe(EXIT.usage);
    expect(surroundings.terminal.said.out).toContain('Exit codes');
  });
});

test.each(['--to', '--from'])(
  'rekey %s refuses a key in the place of its file, and does not repeat it',
  async (option) => {
    const key = 'a5'.repeat(32);
    const { code, out, err } = await run('rekey', option, key);
    expect(code).toBe(EXIT.usage);
    expect(err).toContain(`${option} names a file that holds the key`);
    expect(out + err).not.toContain(key);
  },
);

test('help and version are no failure', async () => {
  expect((await run('--help')).code).toBe(0);
  expect(await run('version')).toMatchObject({ code: 0, out: expect.stringMatching(/^holdfast 0\.1\.0 \(node /) });
  expect(JSON.parse((await run('version', '--json')).out)).toMatchObject({ version: '0.1.0' });
});

describe('status', () => {
  test('a healthy daemon: the sentence first, exit code 0', async () => {
    await daemon();
    const { code, out } = await run('status');
    expect(code).toBe(EXIT.success);
    expect(out).toMatch(/^Running web:3\.\n\n {2}agent /);
    expect(out).toContain('nginx-default-web  healthy  pid 99, ready');
    expect(out.endsWith('\n')).toBe(true);
  });

  test.each([
    [EXIT.failure, { health: 'degraded' as const }],
    [EXIT.failure, { health: 'starting' as const }],
    [EXIT.notEnrolled, { agent: { id: null, enrolled: false } }],
  ])('exit code %d for %j', async (code, changes) => {
    await daemon(aStatus(changes));
    expect((await run('status')).code).toBe(code);
  });

  test('--json prints everything the daemon said, also what this version does not know', async () => {
    const status = { ...aStatus(), newer: { key: true } };
    await daemon(status);
    expect(JSON.parse((await run('status', '--json')).out)).toEqual(status);
  });

  test('without a daemon the disk is read, and exit code 4 says so', async () => {
    const { code, out } = await run('status');
    expect(code).toBe(EXIT.notRunning);
    expect(out).toMatch(/^Not running; read from disk: holds no policy\.\n/);
    expect(JSON.parse((await run('status', '--json')).out)).toMatchObject({
      pid: 0,
      state: 'stopped',
      health: 'stopped',
    });
  });

  test('what the disk holds is told without a daemon: policy, rejection, actions, starts', async () => {
    const { store } = await openStore({ files: nodeFiles, home, agentId: 'agent-1', now: () => NOW });
    const text = '{"id":"web","outputs":{"default":{"api_key":"geheimnis"}},"revision":3}';
    const ref = { id: 'web', revision: 3, hash: sha256(text), actionId: 'policy:web:3' };
    const facts = { ...emptyFacts('agent-1'), generations: [{ ...ref, promotedAt: NOW - 60_000, attempts: 0 }] };
    await store.commit({ facts, policies: { [ref.hash]: text } });
    await store.close();
    const { code, out } = await run('status');
    expect(code).toBe(EXIT.notRunning);
    expect(out).toMatch(/^Not running; read from disk: holds web:3\./);
    expect(out).toContain('held for 60 s');
    expect(JSON.parse((await run('status', '--json')).out).policy.generations).toHaveLength(1);
    const shown = (await run('inspect', 'policy')).out;
    expect(shown).toContain('id: web');
    expect(shown).not.toContain('geheimnis');
  });

  test('a home that is not there is not running', async () => {
    const surroundings = fakeSurroundings({ identity: () => Promise.resolve({ kind: 'none' }) });
    expect(await runProgram(['status', '--home', join(home, 'none')], surroundings)).toBe(EXIT.notRunning);
    expect(surroundings.terminal.said.out).toMatch(/not enrolled\.\n/);
  });

  test('a home whose identity cannot be read is not said never to have been enrolled', async () => {
    const problem = { code: 'IDENTITY_UNREADABLE' as const, message: 'the identity cannot be used: it is not JSON' };
    const surroundings = fakeSurroundings({ identity: () => Promise.resolve({ kind: 'unreadable', problem }) });
    expect(await runProgram(['status', '--home', home], surroundings)).toBe(EXIT.notRunning);
    expect(surroundings.terminal.said.out).toContain('read from disk: the identity cannot be used: it is not JSON.');
  });

  test('--watch prints each status until it is interrupted', async () => {
    const asked = await daemon();
    expect(asked).toEqual([]);
    const surroundings = fakeSurroundings();
    const done = runProgram(['status', '--watch', '--json', '--home', home], surroundings);
    await expect.poll(() => surroundings.terminal.said.out).toContain('"state":"running"');
    surroundings.signal('SIGINT');
    expect(await done).toBe(EXIT.success);
  });
});

describe('inspect', () => {
  test('shows all of it, or one part', async () => {
    await daemon();
    expect((await run('inspect')).out).toContain('api_key: <REDACTED>');
    expect(JSON.parse((await run('inspect', 'journal', '--json')).out)).toEqual(INSPECTION.journal);
  });

  test('works without a daemon and says so', async () => {
    const { code, out, err } = await run('inspect', '--json');
    expect(code).toBe(EXIT.success);
    expect(err).toContain('not running; read from');
    expect(JSON.parse(out)).toMatchObject({ policy: null, journal: [] });
  });
});

describe('asking the daemon', () => {
  test.each([
    ['restart', 'restart: holdfast restart'],
    ['unenroll', 'unenroll: holdfast unenroll'],
  ])('%s', async (command, wanted) => {
    const asked = await daemon();
    expect((await run(command)).code).toBe(EXIT.success);
    expect(asked).toEqual([wanted]);
  });

  test('retry says what it tries, and that there is nothing with a code of its own', async () => {
    await daemon(aStatus(), 'trying web:4 again, which was rejected');
    expect(await run('retry')).toMatchObject({
      code: EXIT.success,
      out: 'Trying web:4 again, which was rejected.\n',
      err: '',
    });
    await server?.close();
    await daemon(aStatus(), null);
    const nothing = await run('retry');
    expect(nothing).toMatchObject({ code: EXIT.failure, out: '' });
    expect(nothing.err).toMatch(/^holdfast: NOTHING_TO_RETRY: nothing was rejected or passed over that could be tried/);
  });

  test.each(['retry', 'restart', 'unenroll'])(
    '%s without a daemon ends with exit code 4 and what to do',
    async (command) => {
      const { code, err } = await run(command);
      expect(code).toBe(EXIT.notRunning);
      expect(err).toBe(`holdfast: NOT_RUNNING: no daemon runs on ${home}\n  Start the daemon with \`holdfast run\`.\n`);
    },
  );
});

/** Commits to the home that agent-1 has left Fleet. */
async function leave(directory: string): Promise<void> {
  const { store } = await openStore({ files: nodeFiles, home: directory, agentId: 'agent-1', now: () => NOW });
  const facts = { ...emptyFacts('agent-1'), unenrolled: { at: NOW, reason: 'enough' } };
  await store.commit({ facts, policies: {} });
  await store.close();
}

describe('enroll', () => {
  const enrolling = (identity: 'none' | 'enrolled', enroll = async () => 'agent-9') =>
    fakeSurroundings({
      enroll,
      identity: async () => (identity === 'none' ? { kind: 'none' } : { kind: 'enrolled', agentId: 'agent-1' }),
    });
  const enroll = async (surroundings: ReturnType<typeof fakeSurroundings>, ...more: string[]) => ({
    code: await runProgram(['enroll', '--home', home, ...more], surroundings),
    ...surroundings.terminal.said,
  });
  const FLEET = ['--url', 'https://f:8220', '--enrollment-token', 'tok'];

  test('prints the agent id, and tells a running daemon', async () => {
    expect(await enroll(enrolling('none'), ...FLEET)).toMatchObject({ code: 0, out: 'Enrolled as agent-9.\n' });
    const asked = await daemon();
    expect((await enroll(enrolling('none'), ...FLEET)).out).toContain('the running daemon takes over');
    expect(asked).toEqual(['identityChanged']);
  });

  test('needs a URL, a token, and leave to speak in the clear', async () => {
    expect((await enroll(enrolling('none'))).err).toContain('--url');
    expect((await enroll(enrolling('none'), '--url', 'https://f')).err).toContain('--enrollment-token');
    const plain = await enroll(enrolling('none'), '--url', 'http://f', '--enrollment-token', 't');
    expect(plain).toMatchObject({ code: EXIT.usage, err: expect.stringContaining('--insecure') });
  });

  test('an agent that left Fleet is enrolled anew without force', async () => {
    await leave(home);
    expect(await enroll(enrolling('enrolled'), ...FLEET)).toMatchObject({ code: EXIT.success });
  });

  test('replaces an identity only by force', async () => {
    expect(await enroll(enrolling('enrolled'), ...FLEET)).toMatchObject({ code: EXIT.usage });
    expect(await enroll(enrolling('enrolled'), ...FLEET, '--force')).toMatchObject({ code: EXIT.success });
  });

  test('a refusal ends with its own code and no change', async () => {
    const refused = enrolling('none', () =>
      Promise.reject(new HoldfastError('ENROLL_REFUSED', 'the token is not known')),
    );
    expect(await enroll(refused, ...FLEET)).toMatchObject({
      code: EXIT.failure,
      err: 'holdfast: ENROLL_REFUSED: the token is not known\n  Check the enrollment token.\n',
    });
  });
});

describe('logs', () => {
  test('the last lines, readable or as they are', async () => {
    mkdirSync(join(home, 'logs'));
    const line = (message: string) =>
      `${JSON.stringify({ 'log.level': 'info', '@timestamp': '2026-11-23T12:00:00Z', message })}\n`;
    writeFileSync(join(home, 'logs/holdfast.ndjson'), line('one') + line('two') + line('three'));
    expect((await run('logs', '-n', '2')).out).toMatch(/INFO.*two\n.*INFO.*three\n$/);
    expect((await run('logs', '-n', '1', '--log-format', 'ecs')).out).toBe(line('three'));
  });

  test('what a component wrote comes as it was written', async () => {
    mkdirSync(join(home, 'components/nginx-default'), { recursive: true });
    writeFileSync(join(home, 'components/nginx-default/output.log'), 'GET /\nGET /favicon.ico\n');
    expect((await run('logs', '--component', 'nginx-default')).out).toBe('GET /\nGET /favicon.ico\n');
  });
});

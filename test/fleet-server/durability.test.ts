/** What the server has answered for survives its own SIGKILL; what it could not make durable it does not answer for. */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { systemClock } from '../../src/fleet-server/clock.ts';
import { Ledger } from '../../src/fleet-server/ledger.ts';
import { silent } from '../../src/fleet-server/log.ts';
import { readState, type ServerState } from '../../src/fleet-server/state.ts';
import { replaceFile } from '../../src/services/durable-file.ts';
import { PATH } from '../../src/wire/fleet.ts';
import { enroll, holds, ids, post, startServer, temporaryDirectory } from './support.ts';

describe('after a kill', () => {
  test('agents, acks, assignments, revisions and pending actions are as they were answered', async () => {
    const world = await startServer({ web: '{}', db: '{}' });
    await world.save('web', 'inputs: [{big: 12345678901234567890}]');
    const agent = await enroll(world.server.url, 'T:web');
    await agent.ack({ action_id: 'policy:web:2' });
    const moved = await enroll(world.server.url, 'T:web');
    await world.server.send(moved.id, 'POLICY_REASSIGN', { data: '{"policy_id":"db"}' });
    const sent = await world.server.send(agent.id, 'SETTINGS', { data: '{}' });

    const { server } = await world.killAndRestart();
    expect(server.policies()).toMatchObject([
      { id: 'db', revision: 1 },
      { id: 'web', revision: 2 },
    ]);
    const answer = await agent.at(server.url).checkin();
    expect(ids(answer)).toEqual([sent.actionId]);
    expect(ids(await agent.at(server.url).checkin({ ack_token: answer.json.ack_token }))).toEqual([]);
    const healed = await agent.at(server.url).checkin({ ack_token: answer.json.ack_token, ...holds('', 0) });
    expect(healed.text).toContain('12345678901234567890');
    expect(server.agents().find(({ id }) => id === moved.id)?.policy.assigned).toBe('db');
  });

  test('a new revision follows the last one, even when the file was broken over the restart', async () => {
    const world = await startServer({ web: '{}' });
    await world.save('web', '{');
    const again = await world.killAndRestart();
    expect(again.server.policies()).toMatchObject([{ id: 'web', revision: 1, problem: expect.any(String) }]);
    await again.save('web', 'inputs: [{id: a}]');
    expect(again.server.policies()).toMatchObject([{ id: 'web', revision: 2, problem: null }]);
  });

  test('the enrollment token that was made is kept', async () => {
    const directories = { policiesDir: await temporaryDirectory(), stateDir: await temporaryDirectory() };
    const options = { ...directories, listen: '127.0.0.1:0' };
    const { createFleetServer } = await import('../../src/fleet-server/server.ts');
    const first = await createFleetServer(options);
    const token = first.token();
    await first.kill();
    const second = await createFleetServer(options);
    onTestFinished(() => second.close());
    expect(second.token()).toBe(token);
    expect(token.length).toBeGreaterThanOrEqual(20);
  });

  test('an answer whose effect was lost on the way is the same when asked again', async () => {
    let lose = true;
    const world = await startServer(
      { web: '{}' },
      { hooks: { intercept: ({ kind }) => (kind === 'enroll' && lose ? 'dropAfterEffect' : undefined) } },
    );
    await expect(enroll(world.server.url, 'T', { enrollment_id: 'one' })).rejects.toThrow();
    expect(world.server.agents()).toHaveLength(1);
    lose = false;
    const again = await world.killAndRestart();
    const agent = await enroll(again.server.url, 'T', { enrollment_id: 'one' });
    expect(again.server.agents()).toMatchObject([{ id: agent.id }]);
  });
});

describe('a disk that takes no writes', () => {
  test('nothing is answered for that is not durable, and it is once the disk is back', async () => {
    const { server, stateDir, save } = await startServer();
    const agent = await enroll(server.url);
    // A directory in the place of the temporary file: the next write fails, for root too.
    const obstacle = join(stateDir, 'fleet-server.json.tmp');
    await mkdir(join(obstacle, 'x'), { recursive: true });
    expect((await agent.ack({ action_id: 'policy:web:1' })).status).toBe(503);
    expect((await post(`${server.url}${PATH.enroll}`, 'T', { type: 'PERMANENT', enrollment_id: 'e' })).status).toBe(
      503,
    );
    await save('web', 'inputs: [{id: a}]').catch(() => undefined);
    expect((await agent.checkin(holds('web', 1))).status).toBe(503);
    await rm(obstacle, { recursive: true });
    expect((await agent.ack({ action_id: 'policy:web:1' })).status).toBe(200);
    expect(ids(await agent.checkin(holds('web', 1)))).toEqual(['policy:web:2']);
    await enroll(server.url, 'T', { enrollment_id: 'e' });
    expect(server.agents()).toHaveLength(2);
  });
});

describe('the state directory', () => {
  test('is for its owner only, and so is everything in it', async () => {
    const parent = await temporaryDirectory();
    const stateDir = join(parent, 'a', 'b');
    await startServer({ web: '{}' }, { stateDir });
    expect((await stat(stateDir)).mode & 0o777).toBe(0o700);
    for (const name of await readdir(stateDir)) expect((await stat(join(stateDir, name))).mode & 0o777).toBe(0o600);
  });

  test('in use by a running server is refused', async () => {
    const { stateDir, server } = await startServer();
    await expect(startServer({ web: '{}' }, { stateDir })).rejects.toMatchObject({
      code: 'SERVER_STATE',
      message: expect.stringContaining(server.url),
    });
  });

  test('that cannot be read is refused with its path, not started over', async () => {
    const stateDir = await temporaryDirectory();
    await writeFile(join(stateDir, 'fleet-server.json'), '{"format":1');
    await expect(startServer({ web: '{}' }, { stateDir })).rejects.toMatchObject({
      code: 'SERVER_STATE',
      message: expect.stringMatching(
        /fleet-server\.json: it is not the state of a Fleet server \(.+\); put a copy back/,
      ),
    });
    expect(await readFile(join(stateDir, 'fleet-server.json'), 'utf8')).toBe('{"format":1');
    await writeFile(join(stateDir, 'fleet-server.json'), '{"format":1}');
    // One line, not the validator's own listing.
    await expect(startServer({ web: '{}' }, { stateDir })).rejects.toMatchObject({
      message: expect.stringMatching(/^[^\n]*\(enrollmentSecret: [^\n]*\)[^\n]*enroll again$/),
    });
  });

  test('no agent has its key in it', async () => {
    const { server, stateDir } = await startServer();
    const agent = await enroll(server.url);
    const secret = Buffer.from(agent.key, 'base64').toString().split(':')[1] ?? '';
    const state = await readFile(join(stateDir, 'fleet-server.json'), 'utf8');
    expect(secret.length).toBeGreaterThan(10);
    expect(state).not.toContain(secret);
  });
});

describe('the ledger', () => {
  test('many changes at once are a few writes, and each waiter finds its own on disk', async () => {
    const directory = await temporaryDirectory();
    const ledger = await Ledger.open(directory, emptyState, systemClock, silent);
    const path = join(directory, 'fleet-server.json');
    const inodes = new Set<number>();
    await Promise.all(
      Array.from({ length: 100 }, async (_, index) => {
        ledger.state.nextSeq = index + 1;
        ledger.changed();
        await ledger.durable();
        expect(readState(await readFile(path, 'utf8')).nextSeq).toBeGreaterThan(index);
        inodes.add((await stat(path)).ino);
      }),
    );
    expect(inodes.size).toBeLessThan(10);
    await ledger.close();
  });
});

describe('the durable file', () => {
  test('has the old content or the new, also beside what a killed writer left', async () => {
    const directory = await temporaryDirectory();
    const path = join(directory, 'file');
    await replaceFile(path, 'old');
    await writeFile(`${path}.tmp`, 'half of a longer and unfinis', { mode: 0o644 });
    await replaceFile(path, 'new');
    expect(await readFile(path, 'utf8')).toBe('new');
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readdir(directory)).toEqual(['file']);
  });
});

describe('a real server process', () => {
  let build: string;
  beforeAll(() => {
    // Inside the project, so that its packages are found.
    build = mkdtempSync(join(import.meta.dirname, '../../node_modules/.fleet-server-test-'));
    try {
      execFileSync(
        process.execPath,
        ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json', '--outDir', build],
        { stdio: 'ignore' },
      );
    } catch {
      // Type errors are another check's business; the program is emitted all the same.
    }
    const module = JSON.stringify(join(build, 'commands/fleet.js'));
    execFileSync('sh', ['-c', `cat > ${build}/run.js`], {
      input: `import { fleetCommand } from ${module};\nawait fleetCommand().parseAsync(process.argv.slice(2), { from: 'user' });\n`,
    });
  }, 60_000);
  afterAll(() => rmSync(build, { recursive: true, force: true }));

  test('SIGKILL amid enrollments and acks forgets none that was answered', { timeout: 60_000 }, async () => {
    const [policiesDir, stateDir] = [await temporaryDirectory(), await temporaryDirectory()];
    await writeFile(join(policiesDir, 'web.yml'), '{}');
    const enrolled: string[] = [];
    const acked: string[] = [];
    for (let round = 0; round < 4; round += 1) {
      const { url, kill } = await startProcess(build, policiesDir, stateDir);
      const workers = Array.from({ length: 8 }, async () => {
        for (;;) {
          const agent = await enroll(url);
          enrolled.push(agent.id);
          const { status } = await agent.ack({ action_id: 'policy:web:1' });
          if (status === 200) acked.push(agent.id);
        }
      });
      const settled = Promise.allSettled(workers);
      const wanted = enrolled.length + 10 + 7 * round;
      await expect.poll(() => enrolled.length, { timeout: 10_000, interval: 1 }).toBeGreaterThan(wanted);
      await kill();
      await settled;
    }
    const { server } = await startServer({}, { policiesDir, stateDir });
    const agents = new Map(server.agents().map((agent) => [agent.id, agent]));
    expect(enrolled.filter((id) => !agents.has(id))).toEqual([]);
    expect(acked.filter((id) => agents.get(id)?.policy.acked?.revision !== 1)).toEqual([]);
    expect(acked.length).toBeGreaterThan(20);
  });
});

async function startProcess(build: string, policiesDir: string, stateDir: string) {
  const args = ['--policies', policiesDir, '--state', stateDir, '--listen', '127.0.0.1:0', '--token', 'T'];
  const child = spawn(process.execPath, [join(build, 'run.js'), ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  const url = await new Promise<string>((resolve, reject) => {
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
      const found = /Fleet server on (\S+),/.exec(output)?.[1];
      if (found) resolve(found);
    });
    child.once('exit', (code) => reject(new Error(`the server ended with ${code}: ${output}`)));
  });
  return {
    url,
    kill: async () => {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

function emptyState(): ServerState {
  return { enrollmentSecret: 's', adminSecret: 'a', nextSeq: 0, policies: new Map(), agents: new Map(), actions: [] };
}

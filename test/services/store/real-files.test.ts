/** The same store on a real disk with real links, fifos and sparse files, and the lock between real processes. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { homePaths } from '../../../src/services/home.ts';
import { nodeFiles } from '../../../src/services/store/files.ts';
import { readIdentity, writeIdentity } from '../../../src/services/store/identity.ts';
import { lockHome } from '../../../src/services/store/lock.ts';
import { SLOT_BYTES } from '../../../src/services/store/record.ts';
import { openStore } from '../../../src/services/store/store.ts';
import { AGENT, factsAt, policiesAt, policyHash, policyText } from '../../support/facts.ts';

let home: string;
beforeEach(async () => {
  home = join(await fs.mkdtemp(join(tmpdir(), 'holdfast-store-')), 'home');
});
afterEach(() => fs.rm(join(home, '..'), { recursive: true, force: true }));

const open = () => openStore({ files: nodeFiles, home, agentId: AGENT, now: Date.now });

async function commitSteps(from: number, to: number) {
  const { store } = await open();
  for (let step = from; step <= to; step += 1) await store.commit({ facts: factsAt(step), policies: policiesAt(step) });
  return store;
}

describe('the store', () => {
  test('commits and finds again; nobody else can read any of it', async () => {
    const store = await commitSteps(1, 6);
    expect(await store.verifyHeld(policyHash(3))).toBeNull();
    const reopened = await open();
    expect(reopened.facts).toEqual(factsAt(6));
    expect(reopened.findings).toEqual([]);
    expect(await reopened.store.readPolicy(policyHash(3))).toEqual({ text: policyText(3) });
    const paths = homePaths(home);
    for (const path of [home, paths.state, paths.objects]) expect((await fs.stat(path)).mode & 0o777, path).toBe(0o700);
    for (const path of [...paths.slots, join(paths.objects, policyHash(3))]) {
      expect((await fs.stat(path)).mode & 0o777, path).toBe(0o600);
    }
    expect((await fs.stat(paths.slots[0])).size).toBe(SLOT_BYTES);
  });

  const strange: readonly (readonly [string, (path: string) => unknown])[] = [
    ['a fifo', (path) => execFileSync('mkfifo', [path])],
    ['a link to a device that never ends', (path) => fs.symlink('/dev/zero', path)],
    ['a link to a file', (path) => fs.writeFile(`${path}.real`, 'x').then(() => fs.symlink(`${path}.real`, path))],
    ['a directory', (path) => fs.mkdir(path)],
    ['nothing in a file', (path) => fs.writeFile(path, '')],
    ['a sparse gigabyte', (path) => fs.writeFile(path, 'HFROOT\r\n').then(() => fs.truncate(path, 2 ** 30))],
    ['a socket’s name in a link loop', (path) => fs.symlink(path, path)],
  ];
  test.each(strange)(
    '%s in every place of the state directory: the start goes on and the next commits heal',
    async (_what, put) => {
      await commitSteps(1, 4);
      const paths = homePaths(home);
      const places = [...paths.slots, join(paths.objects, policyHash(2)), paths.quarantine, paths.policy];
      for (const place of places) {
        await fs.rm(place, { recursive: true, force: true });
        await put(place);
      }
      const { facts, store } = await open();
      expect(facts).toBeNull();
      await store.commit({ facts: factsAt(2), policies: { [policyHash(1)]: policyText(1) }, policyYml: 'id: web\n' });
      await store.commit({ facts: factsAt(4), policies: { [policyHash(2)]: policyText(2) } });
      expect(await store.verifyHeld(policyHash(2))).toBeNull();
      expect((await open()).facts).toEqual(factsAt(4));
    },
  );

  test('a state directory that is emptied under a running store is whole after the next commit', async () => {
    const store = await commitSteps(1, 4);
    await fs.rm(homePaths(home).state, { recursive: true });
    expect(await store.verifyHeld(policyHash(2))).toMatchObject({ code: 'STORE_UNREADABLE' });
    await store.commit({ facts: factsAt(4), policies: {} });
    expect(await store.verifyHeld(policyHash(2))).toBeNull();
    expect((await open()).facts).toEqual(factsAt(4));
  });
});

test('the identity file is written for its owner only and read again', async () => {
  await fs.mkdir(home, { mode: 0o700 });
  const pending = {
    enrollmentId: 'e',
    url: 'http://127.0.0.1:1',
    since: 1,
    insecure: false,
    certificateAuthorities: [],
  };
  await writeIdentity(nodeFiles, home, { identity: null, pending });
  expect((await readIdentity(nodeFiles, home, '')).pending).toEqual(pending);
  expect((await fs.stat(homePaths(home).identity)).mode & 0o777).toBe(0o600);
});

describe('the lock', () => {
  // The other process runs the built module; it stands below node_modules so that it finds its imports.
  const built = fileURLToPath(new URL(`../../../node_modules/.cache/holdfast-lock-${process.pid}`, import.meta.url));
  const LOCK = join(built, 'services/store/lock.js');
  beforeAll(() => {
    const root = fileURLToPath(new URL('../../../', import.meta.url));
    const emit = ['--ignoreConfig', '--rootDir', 'src', '--outDir', built, '--rewriteRelativeImportExtensions'];
    const language = ['--module', 'nodenext', '--target', 'es2023', '--types', 'node', '--skipLibCheck'];
    execFileSync(
      process.execPath,
      ['node_modules/typescript/bin/tsc', ...emit, ...language, 'src/services/store/lock.ts'],
      { cwd: root },
    );
  }, 60_000);
  afterAll(() => fs.rm(built, { recursive: true, force: true }));
  const children: ChildProcess[] = [];
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
  });

  /** Another process that takes the lock, keeps no reference to it, has its garbage collected, and says so; or why not. */
  async function other(options: object): Promise<{ child: ChildProcess; said: string }> {
    const program = `
      import { setImmediate as nextTurn } from 'node:timers/promises';
      import { lockHome } from ${JSON.stringify(LOCK)};
      lockHome(${JSON.stringify(home)}, ${JSON.stringify(options)}).then(({ kind }) => kind, (error) => error.code + ' ' + error.message)
        .then(async (said) => { for (let turn = 0; turn < 3; turn += 1) { await nextTurn(); gc(); } await nextTurn(); console.log(said); });
      setInterval(() => {}, 1000);`;
    const args = ['--expose-gc', '--input-type=module', '-e', program];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    const [said] = await once(child.stdout!, 'data');
    return { child, said: String(said).trim() };
  }

  describe.each([
    ['flock', {}],
    ['file', { flock: 'no-such-program' }],
  ] as const)('by %s', (kind, options) => {
    test('is one process’s at a time, names the holder, and is free when the holder was killed', async () => {
      const { child, said } = await other(options);
      expect(said).toBe(kind);
      await expect(lockHome(home, options)).rejects.toMatchObject({
        code: 'HOME_LOCKED',
        message: expect.stringContaining(`pid ${child.pid}`),
      });
      child.kill('SIGKILL');
      await once(child, 'exit');
      const lock = await lockHome(home, options);
      expect(lock.kind).toBe(kind);
      expect((await other(options)).said).toMatch(new RegExp(`HOME_LOCKED .*pid ${process.pid}`));
      await lock.release();
      expect((await other(options)).said).toBe(kind);
    });
  });

  test('is not inherited by a program that is started while it is held', async () => {
    const lock = await lockHome(home);
    const component = spawn('sleep', ['60']);
    await once(component, 'spawn');
    await lock.release();
    const again = await lockHome(home);
    component.kill('SIGKILL');
    await again.release();
  });

  test('of another boot or a reused pid is stale', async () => {
    await fs.mkdir(home);
    await fs.writeFile(homePaths(home).lock, JSON.stringify({ pid: process.pid, started: 'another boot 1' }));
    const lock = await lockHome(home, { flock: 'no-such-program' });
    await lock.release();
    await expect(fs.stat(homePaths(home).lock)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('on a home that is a file is refused in words', async () => {
    await fs.writeFile(home, '');
    await expect(lockHome(home)).rejects.toMatchObject({ code: 'HOME_UNUSABLE' });
  });
});

/** The control socket: found wherever it is, answered to its own user and root only, and never taken from one who lives. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { controlClient } from '../../../src/services/control/client.ts';
import { type Controlled, type ControlServer, startControlServer } from '../../../src/services/control/server.ts';
import { SOCKET_PATH_MAX_BYTES, socketPlaces } from '../../../src/services/control/socket-path.ts';
import { SILENT } from '../../../src/services/log/logger.ts';
import { aStatus, INSPECTION } from '../../commands/fakes.ts';

let base: string;
const servers: ControlServer[] = [];
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'hf-control-'));
});
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
  rmSync(base, { recursive: true, force: true });
});

function controlled() {
  const listeners = new Set<() => void>();
  let uptime = 1;
  const asked: string[] = [];
  const port: Controlled = {
    status: () => aStatus({ uptime_s: uptime }),
    inspect: () => INSPECTION,
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    retry: () => {
      asked.push('retry');
      return 'trying web:4 again';
    },
    restart: (reason) => asked.push(reason),
    unenroll: () => {
      throw new Error('it is on fire');
    },
    identityChanged: () => asked.push('identityChanged'),
  };
  return {
    port,
    asked,
    listeners,
    change: () => {
      uptime++;
      for (const listener of listeners) listener();
    },
  };
}

async function serve(home: string, daemon = controlled(), env: Record<string, string> = {}): Promise<ControlServer> {
  const server = await startControlServer({ home, env, controlled: daemon.port, log: SILENT });
  servers.push(server);
  return server;
}

describe('the socket', () => {
  test('has mode 0600, and is gone after the end', async () => {
    const server = await serve(base);
    expect(server.path).toBe(join(base, 'holdfast.sock'));
    expect(statSync(server.path).mode & 0o777).toBe(0o600);
    await server.close();
    expect(existsSync(server.path)).toBe(false);
  });

  test('of a dead daemon is replaced', async () => {
    // A socket that is bound and never unlinked, as SIGKILL leaves it.
    const script = `require('node:net').createServer().listen(${JSON.stringify(join(base, 'holdfast.sock'))},()=>process.kill(process.pid,'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', script]);
    expect(lstatSync(join(base, 'holdfast.sock')).isSocket()).toBe(true);
    await expect(controlClient(base, {}).status()).rejects.toMatchObject({ code: 'NOT_RUNNING' });
    await serve(base);
    expect((await controlClient(base, {}).status()).pid).toBe(4711);
  });

  test('that somebody answers on is not taken away', async () => {
    await serve(base);
    await expect(serve(base)).rejects.toMatchObject({ code: 'CONTROL_FAILED' });
    expect((await controlClient(base, {}).status()).pid).toBe(4711);
  });

  test('something else under its name is set aside, not deleted', async () => {
    mkdirSync(join(base, 'holdfast.sock'));
    writeFileSync(join(base, 'holdfast.sock', 'precious'), 'x');
    await serve(base);
    expect((await controlClient(base, {}).status()).pid).toBe(4711);
  });
});

describe('a home with a long path', () => {
  const deep = () => {
    const home = join(base, 'a'.repeat(60), 'b'.repeat(60));
    mkdirSync(home, { recursive: true });
    const runtime = join(base, 'run');
    mkdirSync(runtime, { recursive: true });
    return { home, env: { XDG_RUNTIME_DIR: runtime } };
  };

  test('has its socket in the runtime directory, inside a directory of its own, and the client follows', async () => {
    const { home, env } = deep();
    const server = await serve(home, controlled(), env);
    expect(server.path.startsWith(env.XDG_RUNTIME_DIR)).toBe(true);
    expect(Buffer.byteLength(server.path)).toBeLessThanOrEqual(SOCKET_PATH_MAX_BYTES);
    expect(statSync(join(server.path, '..')).mode & 0o777).toBe(0o700);
    expect(readlinkSync(join(home, 'holdfast.sock'))).toBe(server.path);
    // Also a client whose environment says nothing about the runtime directory.
    expect((await controlClient(home, {}).status()).pid).toBe(4711);
    await server.close();
    await expect(controlClient(home, env).status()).rejects.toMatchObject({ code: 'NOT_RUNNING' });
  });

  /** A server that another user has put where ours would be; counts who comes. */
  async function impostor(path: string): Promise<{ asked: number }> {
    const seen = { asked: 0 };
    const server = createHttpServer((_request, response) => {
      seen.asked += 1;
      response.writeHead(200, { connection: 'close' }).end('{}');
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    servers.push({ path, close: () => new Promise((resolve) => server.close(() => resolve())) });
    return seen;
  }
  const NOBODY = 65_534;
  const asRoot = test.runIf(process.getuid?.() === 0);

  asRoot('is not asked for in a directory of its name that another user has made where others write, too', async () => {
    const { home, env } = deep();
    const [place] = socketPlaces(home, env, 0);
    mkdirSync(place?.ownDirectory ?? '', { recursive: true });
    chownSync(place?.ownDirectory ?? '', NOBODY, NOBODY);
    const other = await impostor(place?.path ?? '');
    await expect(controlClient(home, env).status()).rejects.toMatchObject({ code: 'NOT_RUNNING' });
    expect(other.asked).toBe(0);
    chownSync(place?.ownDirectory ?? '', 0, 0);
    await expect(controlClient(home, env).status()).rejects.toMatchObject({ code: 'CONTROL_FAILED' });
    expect(other.asked).toBe(1);
  });

  asRoot('is not asked for where a link leads into the directory of another user', async () => {
    const { home } = deep();
    const elsewhere = join(base, 'elsewhere');
    mkdirSync(elsewhere);
    chownSync(elsewhere, NOBODY, NOBODY);
    const other = await impostor(join(elsewhere, 'x.sock'));
    symlinkSync(join(elsewhere, 'x.sock'), join(home, 'holdfast.sock'));
    await expect(controlClient(home, {}).status()).rejects.toMatchObject({ code: 'NOT_RUNNING' });
    expect(other.asked).toBe(0);
    chownSync(elsewhere, 0, 0);
    await expect(controlClient(home, {}).status()).rejects.toMatchObject({ code: 'CONTROL_FAILED' });
    expect(other.asked).toBe(1);
  });

  test('two of them never share a socket', () => {
    const places = (home: string) => socketPlaces(home, { XDG_RUNTIME_DIR: '/run/user/7' }, 7).map(({ path }) => path);
    const one = places(`/${'x'.repeat(120)}1`);
    const two = places(`/${'x'.repeat(120)}2`);
    expect(one.filter((path) => two.includes(path))).toEqual([]);
    expect(one.length).toBeGreaterThan(0);
  });

  test('does not use a directory that others can enter', async () => {
    const { home, env } = deep();
    const uid = process.getuid?.() ?? 0;
    const open = join(env.XDG_RUNTIME_DIR, `holdfast-${uid}`);
    mkdirSync(open, { mode: 0o777 });
    chmodSync(open, 0o777);
    const server = await serve(home, controlled(), { ...env, TMPDIR: base });
    expect(server.path.startsWith(open)).toBe(false);
  });

  test.each([
    [99, true],
    [101, false],
  ])('a path of %d bytes is in the home: %s', (bytes, inHome) => {
    const home = `/${'h'.repeat(bytes - 1 - '/holdfast.sock'.length)}`;
    expect(socketPlaces(home, {}, 0)[0]?.path === join(home, 'holdfast.sock')).toBe(inHome);
  });
});

describe('who is admitted', () => {
  const root = process.getuid?.() === 0;
  test.skipIf(!root)(
    `another user is refused${root ? '' : ' (not seen: this needs root to become somebody else)'}`,
    async () => {
      chmodSync(base, 0o755);
      const { path } = await serve(base);
      // Started as root and become somebody else afterwards: this Node may lie where nobody else can execute it.
      const script = (uid: number) => `process.setgroups([]);process.setgid(${uid});process.setuid(${uid});
      require('node:net').connect(${JSON.stringify(path)})
      .on('connect',()=>{console.log('admitted');process.exit()}).on('error',(e)=>{console.log(e.code);process.exit()})`;
      const as = (uid: number) => spawnSync(process.execPath, ['-e', script(uid)], { encoding: 'utf8', env: {} });
      expect(as(65_534).stdout.trim()).toBe('EACCES');
      expect(as(0).stdout.trim()).toBe('admitted');
    },
  );
});

describe('the client', () => {
  test('nobody listens: NOT_RUNNING with exit code 4', async () => {
    await expect(controlClient(base, {}).status()).rejects.toMatchObject({ code: 'NOT_RUNNING', exitCode: 4 });
  });

  test('something that is no daemon: CONTROL_FAILED, not a hang', async () => {
    const stranger = createServer((socket) => socket.end('SSH-2.0\r\n')).listen(join(base, 'holdfast.sock'));
    await expect(controlClient(base, {}).status()).rejects.toMatchObject({ code: 'CONTROL_FAILED' });
    stranger.close();
  });

  test('carries the reason of a restart', async () => {
    const daemon = controlled();
    await serve(base, daemon);
    expect(await controlClient(base, {}).restart('because')).toMatchObject({ accepted: true });
    expect(daemon.asked).toEqual(['because']);
  });

  test('a fault in the daemon after the request was taken does not end it', async () => {
    await serve(base);
    await controlClient(base, {}).unenroll('x');
    expect((await controlClient(base, {}).status()).pid).toBe(4711);
  });

  test('watches: one status at once, one after each change, and the end when the daemon ends', async () => {
    const daemon = controlled();
    const server = await serve(base, daemon);
    const watched = controlClient(base, {}).watch(new AbortController().signal);
    const next = async () => (await watched.next()).value?.uptime_s;
    expect(await next()).toBe(1);
    daemon.change();
    expect(await next()).toBe(2);
    daemon.change();
    expect(await next()).toBe(3);
    await server.close();
    expect((await watched.next()).done).toBe(true);
    expect(daemon.listeners.size).toBe(0);
  });

  test('a watcher that goes is forgotten', async () => {
    const daemon = controlled();
    await serve(base, daemon);
    const stop = new AbortController();
    const watched = controlClient(base, {}).watch(stop.signal);
    await watched.next();
    stop.abort();
    expect((await watched.next()).done).toBe(true);
    await expect.poll(() => daemon.listeners.size).toBe(0);
  });
});

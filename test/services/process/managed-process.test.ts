/** The process service on real programs: nothing is mocked but the boot id. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { appendFile, mkdir, mkdtemp, readdir, readFile, readlink, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Daemon } from '../../../src/policy/component.ts';
import { parseSpec } from '../../../src/policy/spec.ts';
import { runCheck } from '../../../src/services/process/check.ts';
import { realClock } from '../../../src/services/process/clock.ts';
import { readEnvironment } from '../../../src/services/process/proc.ts';
import { type Bench, BOOT, bench, eventually, isAlive, never, PROGRAMS, running } from './support.ts';

const RUNS = ['current/program.conf'];
const forever = (hash = 'hash-1', content = `revision ${hash}\n`) =>
  running('forever.sh', RUNS, hash, { files: [{ path: 'program.conf', content }] });

describe('starting', () => {
  it('runs the program in a session of its own, on record, with its name in its environment and its configuration current', async () => {
    const { home, paths, process: managed, record, outputHolds } = await bench();
    const { pid, outputFrom } = await managed.launch(running('forever.sh', ['program.conf']), never);
    await outputHolds('ready');
    expect(outputFrom).toBe(0);
    expect(await record()).toMatchObject({ pid, type: 'web', bootId: BOOT, confirmed: null, changing: 'hash-1' });
    const environment = await readEnvironment(pid);
    expect(environment.get('HOLDFAST_HOME')).toBe(home);
    expect(environment.get('HOLDFAST_COMPONENT')).toBe('web-default');
    expect(await readlink(paths.current)).toBe('configurations/hash-1');
    expect(await readFile(join(paths.current, 'program.conf'), 'utf8')).toBe('revision hash-1\n');
    expect((await stat(join(paths.current, 'program.conf'))).mode & 0o777).toBe(0o600);
    const [, , group, session] = (await readFile(`/proc/${pid}/stat`, 'utf8'))
      .replace(/^.*\) /, 'x ')
      .split(' ')
      .slice(1);
    expect([Number(group), Number(session)]).toContain(pid);
  });

  it('gives the program nothing of its own environment that could be a secret', async () => {
    process.env.FLEET_ENROLLMENT_TOKEN = 'secret';
    const { process: managed } = await bench();
    const { pid } = await managed.launch(forever(), never);
    delete process.env.FLEET_ENROLLMENT_TOKEN;
    const environment = await readEnvironment(pid);
    expect(environment.get('FLEET_ENROLLMENT_TOKEN')).toBeUndefined();
    expect(environment.get('PATH')).toBe(process.env.PATH);
  });

  it('says in one sentence why a program cannot be started', async () => {
    const { process: managed } = await bench();
    const missing = running('forever.sh', [], 'hash-1', {
      run: { command: 'no-such-program', args: [], env: {}, cwd: null, user: null },
    });
    await expect(managed.launch(missing, never)).rejects.toThrow(/exited with code 127.*no-such-program.*not found/);
  });

  it.runIf(process.getuid?.() === 0)(
    'runs it as another user when it is root, and lets that user read its own files only',
    async () => {
      const { paths, process: managed, outputHolds } = await bench();
      const script = 'id -un; cat "$1/program.conf"; echo kept >"$2/data"; ls "$2/.." 2>&1; exec sleep 1000';
      const run = {
        command: 'sh',
        args: ['-c', script, 'sh', paths.current, paths.data],
        env: {},
        cwd: null,
        user: 'nobody',
      };
      await managed.launch(running('x', [], 'hash-1', { run }), never);
      await outputHolds('Permission denied');
      await outputHolds('nobody\nrevision hash-1\n');
      expect(await readFile(join(paths.data, 'data'), 'utf8')).toBe('kept\n');
    },
  );

  it.runIf(process.getuid?.() === 0)('lets that user read what it is to check, before it ever ran', async () => {
    const { home, paths } = await bench();
    const check = (word: string): Partial<Daemon> => ({
      check: {
        run: {
          command: 'sh',
          args: ['-c', `grep ${word} program.conf && id -un >${paths.data}/judge`],
          env: {},
          cwd: null,
          user: 'nobody',
        },
        files: [{ path: 'program.conf', content: 'revision hash-1\n' }],
        timeoutMs: 10_000,
      },
    });
    expect(await runCheck(home, running('x', [], 'hash-1', check('revision')))).toBeNull();
    expect(await readFile(join(paths.data, 'judge'), 'utf8')).toBe('nobody\n');
    expect(await runCheck(home, running('x', [], 'hash-1', check('nothing')))).toBe('sh exited with code 1');
  });

  it('refuses a user that does not exist', async () => {
    const { process: managed } = await bench();
    const run = { command: 'sh', args: [], env: {}, cwd: null, user: 'no-such-user' };
    await expect(managed.launch(running('x', [], 'h', { run }), never)).rejects.toThrow(
      'there is no user no-such-user',
    );
  });

  it('refuses a limit it does not know', async () => {
    const { process: managed } = await bench();
    await expect(managed.launch(running('forever.sh', RUNS, 'h', { limits: { wishes: 3 } }), never)).rejects.toThrow(
      'no such limit: wishes: 3',
    );
  });

  it('sets every limit that a spec may have, in the units of ulimit', async () => {
    const { process: managed } = await bench();
    const limits = {
      as: 4_000_001,
      core: 10,
      cpu: 78,
      data: 3_000_001,
      fsize: 100_000,
      memlock: 65,
      nofile: 77,
      nproc: 5_001,
      stack: 4_097,
    };
    const spec = parseSpec(
      JSON.stringify({ version: 2, inputs: [{ name: 'x', daemon: { command: 'x', limits } }] }),
      'x',
      {},
    );
    expect(spec.spec.inputs[0]?.runtime).toMatchObject({ daemon: { limits } });
    const { pid } = await managed.launch(running('forever.sh', RUNS, 'h', { limits }), never);
    const table = await readFile(`/proc/${pid}/limits`, 'utf8');
    const set = (name: string) => Number(new RegExp(`^Max ${name} +(\\d+)`, 'm').exec(table)?.[1]);
    const KiB = 1024;
    expect(set('address space')).toBe(limits.as * KiB);
    expect(set('core file size')).toBe(limits.core * 512);
    expect(set('cpu time')).toBe(limits.cpu);
    expect(set('data size')).toBe(limits.data * KiB);
    expect(set('file size')).toBe(limits.fsize * 512);
    expect(set('locked memory')).toBe(limits.memlock * KiB);
    expect(set('open files')).toBe(limits.nofile);
    expect(set('processes')).toBe(limits.nproc);
    expect(set('stack size')).toBe(limits.stack * KiB);
  });

  it('tells how the program ended and the last it said', async () => {
    const { process: managed } = await bench();
    await managed.launch(running('crashes.sh', ['0.1']), never);
    expect(await managed.watch(never)).toBe('exited with code 7: out of luck');
  });
});

describe('the output of a program that is watched', () => {
  const MiB = 1024 * 1024;

  it('never holds more than three files of 10 MiB and what one interval brings, and is looked at sooner while it grows fast', async () => {
    const waits: number[] = [];
    let pass = () => {};
    let looked = () => {};
    // Each look ends in a wait, which the test ends.
    const look = () => {
      const next = new Promise<void>((resolve) => {
        looked = resolve;
      });
      pass();
      return next;
    };
    const done = new AbortController();
    const sleep = (ms: number, abort?: AbortSignal) => {
      if (done.signal.aborted) return realClock.sleep(ms, abort);
      return new Promise<void>((resolve, reject) => {
        waits.push(ms);
        pass = resolve;
        abort?.addEventListener('abort', () => reject(abort.reason));
        looked();
      });
    };
    const { paths, process: managed } = await bench({ sleep });
    await managed.launch(forever(), never);
    const held = async () => {
      const sizes = [paths.output, `${paths.output}.1`, `${paths.output}.2`].map(async (path) =>
        stat(path).then(
          ({ size }) => size,
          () => 0,
        ),
      );
      return Promise.all(sizes);
    };
    // A start that was away: what was written meanwhile is bounded by the first look.
    await appendFile(paths.output, Buffer.alloc(40 * MiB, 'before\n'));
    const first = look();
    const watched = managed.watch(done.signal).catch(() => {});
    await first;
    const [output, copy, older] = await held();
    expect([output, older]).toEqual([0, 0]);
    // It begins with a whole line.
    expect(copy).toBeGreaterThan(10 * MiB - 'before\n'.length);
    expect(copy).toBeLessThanOrEqual(10 * MiB);

    for (let interval = 0; interval < 6; interval++) {
      await appendFile(paths.output, Buffer.alloc(15 * MiB, `interval ${interval}\n`));
      await look();
      const sizes = await held();
      expect(Math.max(...sizes)).toBeLessThanOrEqual(10 * MiB);
    }
    expect(waits.at(-1)).toBe(50);
    for (let interval = 0; interval < 6; interval++) await look();
    expect(waits.slice(-6)).toEqual([100, 200, 400, 800, 1_000, 1_000]);
    done.abort();
    await watched;
  });
});

describe('stopping', () => {
  it('waits until a program that listens is gone, and takes it off the record', async () => {
    const { paths, process: managed, outputHolds } = await bench();
    const { pid } = await managed.launch(forever(), never);
    await outputHolds('ready');
    await managed.terminate('SIGTERM', never);
    expect(await isAlive(pid)).toBe(false);
    await expect(stat(paths.process)).rejects.toThrow('ENOENT');
  });

  it('kills a program that ignores its signal, with its group, and has marked it as changing before', async () => {
    const { process: managed, record, outputHolds } = await bench();
    const { pid } = await managed.launch(running('ignores-sigterm.sh'), never);
    await outputHolds('ready');
    await managed.confirm('hash-1');
    const patience = new AbortController();
    const polite = managed.terminate('SIGTERM', patience.signal);
    await eventually(async () => (await record()).changing === 'hash-1');
    patience.abort();
    await expect(polite).rejects.toThrow();
    expect(await isAlive(pid)).toBe(true);
    const children = childrenOf(pid);
    expect(children.length).toBeGreaterThan(0);
    await managed.kill(never);
    for (const each of [pid, ...children]) expect(await isAlive(each)).toBe(false);
  });

  it('leaves no stray of a program that forks and ends: neither a nameless one in its group nor one that left its session', async () => {
    const { home, process: managed } = await bench();
    const children = join(home, 'children');
    await managed.launch(running('forks.sh', [children]), never);
    expect(await managed.watch(never)).toMatch(/^exited with code 0/);
    const pids = (await readFile(children, 'utf8')).trim().split('\n').map(Number);
    expect(await Promise.all(pids.map(isAlive))).toEqual([true, true]);
    await managed.kill(never);
    expect(await Promise.all(pids.map(isAlive))).toEqual([false, false]);
  });

  it('never touches a process that only has the pid on record', async () => {
    const { paths, process: managed, next, record } = await bench();
    const { pid } = await managed.launch(forever(), never);
    await managed.confirm('hash-1');
    const ours = await record();
    const bystander = spawn('sleep', ['1000'], { detached: true, stdio: 'ignore' });
    await writeFile(paths.process, JSON.stringify({ ...ours, pid: bystander.pid, startTime: '1' }));
    const after = await next();
    expect(await after.claim(forever(), never)).toEqual({ pid: null });
    expect(await isAlive(bystander.pid ?? 0)).toBe(true);
    // The real one is found by its name all the same, so that there are never two.
    expect(await isAlive(pid)).toBe(false);
    bystander.kill('SIGKILL');
  });
});

describe('whose a process is', () => {
  const nameless = () =>
    running('x', [], 'hash-1', {
      run: { command: 'sh', args: ['-c', 'exec env -i sleep 1000'], env: {}, cwd: null, user: null },
    });

  it('does not depend on its environment, which programs write their title over', async () => {
    const { process: managed, next } = await bench();
    const { pid } = await managed.launch(nameless(), never);
    await eventually(async () => (await readEnvironment(pid)).size === 0);
    await managed.confirm('hash-1');
    expect(await (await next()).claim(nameless(), never)).toEqual({ pid });
  });

  it('is not changed by a copy of the home: the copy neither adopts nor ends it', async () => {
    const original = await bench();
    const { pid } = await original.process.launch(forever(), never);
    await original.process.confirm('hash-1');
    const copy = await bench();
    await mkdir(copy.paths.directory, { recursive: true });
    await writeFile(copy.paths.process, await readFile(original.paths.process));
    expect(await (await copy.next()).claim(forever(), never)).toEqual({ pid: null });
    expect(await isAlive(pid)).toBe(true);
  });

  it('lets a command beside a component live while its own start lives, and ends it after that', async () => {
    const { home, process: managed } = await bench();
    const side = (start: number) =>
      spawn('sleep', ['1000'], {
        env: {
          ...process.env,
          HOLDFAST_HOME: home,
          HOLDFAST_COMPONENT: 'web-default',
          HOLDFAST_SIDE_OF: String(start),
        },
        detached: true,
        stdio: 'ignore',
      });
    const [ours, stray] = [side(process.pid), side(1)];
    await managed.kill(never);
    await eventually(() => stray.signalCode === 'SIGKILL');
    expect(await isAlive(ours.pid ?? 0)).toBe(true);
    ours.kill('SIGKILL');
  });
});

const mayUnshare = spawnSync('unshare', ['-pfm', '--mount-proc', 'true']).status === 0;

describe('a home that was moved while its programs ran', () => {
  async function moved(original: Bench): Promise<Bench> {
    const there = await bench();
    await rm(there.home, { recursive: true });
    await rename(original.home, there.home);
    return there;
  }

  it('takes its program over: the record has come along', async () => {
    const original = await bench();
    const { pid } = await original.process.launch(forever(), never);
    await original.process.confirm('hash-1');
    const there = await moved(original);
    expect(await (await there.next()).claim(forever(), never)).toEqual({ pid });
  });

  it('leaves no second one when the record is torn: the program writes to a file that has come along', async () => {
    const original = await bench();
    const { pid } = await original.process.launch(forever(), never);
    const there = await moved(original);
    await writeFile(there.paths.process, '{"pid":');
    expect(await (await there.next()).claim(forever(), never)).toEqual({ pid: null });
    expect(await isAlive(pid)).toBe(false);
  });

  it('is not thought of when another home is gone: its programs are not ours', async () => {
    const other = await bench();
    const { pid } = await other.process.launch(forever(), never);
    await rm(other.home, { recursive: true });
    const { process: managed } = await bench();
    await managed.kill(never);
    expect(await isAlive(pid)).toBe(true);
    process.kill(pid, 'SIGKILL');
  });

  it('is not thought of when it is only removed: the agent still stops what it started there', async () => {
    const { home, process: managed, next } = await bench();
    const { pid } = await managed.launch(forever(), never);
    await rm(home, { recursive: true });
    await (await next()).kill(never);
    expect(await isAlive(pid)).toBe(false);
  });
});

describe('a process in a container', () => {
  it.runIf(mayUnshare)('is not ours though it carries our name: its own agent looks after it', async () => {
    const { home, process: managed, next } = await bench();
    // The name is given inside only, as a container's is: what made the namespace is no part of it.
    const inside = ['env', `HOLDFAST_HOME=${home}`, 'HOLDFAST_COMPONENT=web-default', 'sh', '-c'];
    const args = ['-pfm', '--mount-proc', ...inside, 'echo up; exec sleep 1000'];
    const container = spawn('unshare', args, { stdio: ['ignore', 'pipe', 'ignore'] });
    await new Promise((resolve) => container.stdout.once('data', resolve));
    const [pid = 0] = childrenOf(container.pid ?? 0);
    expect((await readEnvironment(pid)).get('HOLDFAST_HOME')).toBe(home);
    try {
      await managed.kill(never);
      expect(await (await next()).claim(forever(), never)).toEqual({ pid: null });
      expect(await isAlive(pid)).toBe(true);
    } finally {
      process.kill(pid, 'SIGKILL');
    }
  });

  it.runIf(mayUnshare)('is not ours when only its home has the path that ours has', async () => {
    const { home, process: managed } = await bench();
    const script = `mount -t tmpfs none ${home} && echo up && exec env HOLDFAST_HOME=${home} HOLDFAST_COMPONENT=web-default sleep 1000`;
    const container = spawn('unshare', ['-m', 'sh', '-c', script], { stdio: ['ignore', 'pipe', 'ignore'] });
    await new Promise((resolve) => container.stdout.once('data', resolve));
    const pid = container.pid ?? 0;
    await eventually(async () => (await readEnvironment(pid)).has('HOLDFAST_HOME'));
    await managed.kill(never);
    expect(await isAlive(pid)).toBe(true);
    process.kill(pid, 'SIGKILL');
  });

  it.runIf(mayUnshare)('is ours when our own component has made that', async () => {
    const { process: managed, outputHolds } = await bench();
    const run = {
      command: 'unshare',
      args: ['-pfm', '--mount-proc', 'sh', '-c', 'echo up; exec sleep 1000'],
      env: {},
      cwd: null,
      user: null,
    };
    const { pid } = await managed.launch(running('x', [], 'hash-1', { run }), never);
    await outputHolds('up');
    const [inside = 0] = childrenOf(pid);
    expect(await isAlive(inside)).toBe(true);
    await managed.terminate('SIGKILL', never);
    expect(await isAlive(inside)).toBe(false);
  });
});

describe('reloading', () => {
  it('marks the process as changing before it is told, and as confirmed when it took the new configuration', async () => {
    const { paths, process: managed, record, outputHolds } = await bench();
    await managed.launch(running('forever.sh', [join(paths.current, 'program.conf')]), never);
    await outputHolds('ready');
    await managed.confirm('hash-1');
    const { outputFrom } = await managed.reload(forever('hash-2'), never);
    expect(await record()).toMatchObject({ confirmed: 'hash-1', changing: 'hash-2' });
    await outputHolds('reconfigured');
    expect(outputFrom).toBe('ready\n'.length);
    await managed.confirm('hash-2');
    expect(await record()).toMatchObject({ confirmed: 'hash-2', changing: null });
    expect((await readdir(paths.configurations)).sort()).toEqual(['hash-1', 'hash-2']);
  });

  it('looks for its confirmation only in what was written since, and shows what was written instead', async () => {
    const { paths, process: managed, outputHolds } = await bench();
    const { pid } = await managed.launch(running('forever.sh', [join(paths.current, 'program.conf')]), never);
    await outputHolds('ready');
    await managed.reload(forever('hash-2'), never);
    await outputHolds('reconfigured');
    const { outputFrom } = await managed.reload(forever('hash-3', 'bad\n'), never);
    const probe = {
      id: 'web-default',
      pid,
      probe: { kind: 'output', pattern: 'reconfigured' },
      outputFrom,
      timeoutMs: 1,
    } as const;
    await outputHolds('error: bad line');
    await expect(managed.probe(probe, never)).rejects.toThrow('its last output is "error: bad line');
    await expect(managed.probe({ ...probe, outputFrom: 0 }, never)).resolves.toBeUndefined();
  });
});

describe('configurations', () => {
  it('are reused when they are whole and written again when a byte differs', async () => {
    const { paths, process: managed } = await bench();
    await managed.write(forever());
    const file = join(paths.configurations, 'hash-1', 'program.conf');
    const { ino } = await stat(file);
    await managed.write(forever());
    expect((await stat(file)).ino).toBe(ino);
    await writeFile(file, 'torn');
    await managed.write(forever());
    expect(await readFile(file, 'utf8')).toBe('revision hash-1\n');
  });

  it('never leave their directory', async () => {
    const { process: managed } = await bench();
    const files = [{ path: '../../../escape', content: 'x' }];
    await expect(managed.write(running('forever.sh', [], 'h', { files }))).rejects.toThrow('would leave');
  });

  it('are collected but for the current and the previous one', async () => {
    const { paths, process: managed } = await bench();
    for (const hash of ['a', 'b', 'c', 'd']) await managed.write(forever(hash));
    await managed.launch(forever('d'), never);
    await managed.confirm('d');
    expect((await readdir(paths.configurations)).length).toBe(2);
  });
});

describe('adoption, after the start before was killed', () => {
  const cache = join(process.cwd(), 'node_modules', '.cache');
  let built = '';

  beforeAll(async () => {
    await mkdir(cache, { recursive: true });
    built = await mkdtemp(join(cache, 'process-service-'));
    const config = {
      extends: join(process.cwd(), 'tsconfig.json'),
      compilerOptions: {
        noEmit: false,
        noCheck: true,
        outDir: built,
        rootDir: join(process.cwd(), 'src'),
        typeRoots: [join(process.cwd(), 'node_modules/@types')],
      },
      files: [join(process.cwd(), 'src/services/process/managed-process.ts')],
      include: [],
    };
    await writeFile(join(built, 'tsconfig.json'), JSON.stringify(config));
    execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', built], { stdio: 'pipe' });
  }, 60_000);
  afterAll(() => rm(built, { recursive: true, force: true }));

  /** Starts a component from a process of its own and kills that with SIGKILL; the pid of the component. */
  async function startedAndKilled(home: string, ...components: object[]): Promise<number> {
    const script = join(PROGRAMS, 'start-component.mjs');
    const args = [
      script,
      join(built, 'services/process'),
      home,
      BOOT,
      ...components.map((each) => JSON.stringify(each)),
    ];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const pid = await new Promise<number>((resolve, reject) => {
      child.stdout.once('data', (data) => resolve(Number(data)));
      child.once('exit', (code) => reject(new Error(`the start ended with ${code}`)));
    });
    child.removeAllListeners('exit');
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
    return pid;
  }

  it('takes over exactly the process that is wanted, and goes on watching it', async () => {
    const { home, next } = await bench();
    const pid = await startedAndKilled(home, forever());
    const after = await next();
    expect(await after.claim(forever(), never)).toEqual({ pid });
    const end = after.watch(never);
    process.kill(pid, 'SIGKILL');
    expect(await end).toMatch(/^has ended/);
  });

  it.each(['hash-1', 'hash-2'])(
    'does not adopt one that was being reloaded, whichever it may run (%s): it is stopped first',
    async (hash) => {
      const { home, next } = await bench();
      const pid = await startedAndKilled(home, forever(), forever('hash-2', 'mute'));
      expect(await isAlive(pid)).toBe(true);
      expect(await (await next()).claim(forever(hash, 'mute'), never)).toEqual({ pid: null });
      expect(await isAlive(pid)).toBe(false);
    },
  );

  it.each([
    ['another configuration is wanted', forever('hash-2'), {}],
    ['it was never confirmed', forever(), { confirmed: null }],
    ['the record is of another start of that pid', forever(), { startTime: '1' }],
  ])('does not adopt when %s, and leaves no second one', async (_why, wants, changes) => {
    const { home, paths, next, record } = await bench();
    const pid = await startedAndKilled(home, forever());
    await writeFile(paths.process, JSON.stringify({ ...(await record()), ...changes }));
    expect(await (await next()).claim(wants, never)).toEqual({ pid: null });
    expect(await isAlive(pid)).toBe(false);
  });

  it('does not adopt what another boot has on record', async () => {
    const { home, next } = await bench();
    await startedAndKilled(home, forever());
    expect(await (await next('another boot')).claim(forever(), never)).toEqual({ pid: null });
  });

  it('finds a process by its name when its record is torn', async () => {
    const { home, paths, next } = await bench();
    const pid = await startedAndKilled(home, forever());
    await writeFile(paths.process, '{"pid":');
    expect(await (await next()).claim(forever(), never)).toEqual({ pid: null });
    expect(await isAlive(pid)).toBe(false);
  });

  it('stops what is left of a group whose leader has died', async () => {
    const { home, next } = await bench();
    const pid = await startedAndKilled(
      home,
      running('ignores-sigterm.sh', [], 'hash-1', { stop: { signal: 'SIGTERM', graceMs: 100 } }),
    );
    const children = childrenOf(pid);
    process.kill(pid, 'SIGKILL');
    await eventually(async () => !(await isAlive(pid)));
    expect(await isAlive(children[0] ?? 0)).toBe(true);
    const wants = running('ignores-sigterm.sh', [], 'hash-1', { stop: { signal: 'SIGTERM', graceMs: 100 } });
    expect(await (await next()).claim(wants, never)).toEqual({ pid: null });
    for (const child of children) expect(await isAlive(child)).toBe(false);
  });
});

describe('a zombie', () => {
  it('counts as ended', async () => {
    const parent = spawn('sh', ['-c', 'sleep 0.05 & echo $!; exec sleep 1000'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const zombie = await new Promise<number>((resolve) => parent.stdout.once('data', (data) => resolve(Number(data))));
    await eventually(async () => (await readFile(`/proc/${zombie}/stat`, 'utf8')).includes(') Z '));
    expect(await isAlive(zombie)).toBe(false);
    parent.kill('SIGKILL');
  });
});

function childrenOf(pid: number): number[] {
  const lines = execFileSync('ps', ['-eo', 'pid=,ppid='], { encoding: 'utf8' }).trim().split('\n');
  return lines
    .map((line) => line.trim().split(/\s+/).map(Number))
    .filter(([, parent]) => parent === pid)
    .map(([child]) => child ?? 0);
}

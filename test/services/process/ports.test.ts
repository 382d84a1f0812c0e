/** Both machines on real processes: each way a program can behave ends in a named state, and nothing is left behind. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { createActor, createMachine, type EventObject, fromPromise, fromTransition } from 'xstate';
import { componentMachine } from '../../../src/machines/component.ts';
import { COMPONENT_TIMING } from '../../../src/machines/component-setup.ts';
import { componentsMachine } from '../../../src/machines/components.ts';
import type { AgentEvent, ComponentsEvent } from '../../../src/machines/system.ts';
import type { Rendering, WantedComponent } from '../../../src/policy/component.ts';
import { processPorts } from '../../../src/services/process/ports.ts';
import { rendering } from '../../support/wanted.ts';
import { BOOT, bench, eventually, isAlive, PROGRAMS, running } from './support.ts';

const stops: (() => void)[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
});

/** A start of Holdfast reduced to its components: both machines, the real service, and what the agent was told. */
async function start(home: string) {
  const told: AgentEvent[] = [];
  const ports = processPorts({ home, bootId: BOOT, log: { debug: () => {}, warning: () => {} } });
  let wants: Rendering = rendering();
  const components = componentsMachine.provide({
    actors: {
      ...ports.components,
      component: componentMachine.provide({ actors: ports.component }),
      prepare: fromPromise(async () => wants),
    },
  });
  const agent = fromTransition((state: null, event: EventObject) => {
    told.push(event as AgentEvent);
    return state;
  }, null);
  const root = createMachine({
    invoke: [
      { src: agent, id: 'agent', systemId: 'agent' },
      {
        src: components,
        id: 'components',
        systemId: 'components',
        input: {
          stableForMs: 200,
          timeoutMs: 10_000,
          onFailure: 'reject',
          lookEveryMs: 50,
          component: { ...COMPONENT_TIMING, probeEveryMs: 20, stayUpMs: 100 },
        },
      },
    ],
  });
  const actor = createActor(root).start();
  const stop = () => void actor.stop();
  stops.push(stop);
  let plans = 0;
  const heard = <T extends AgentEvent['type']>(type: T) =>
    told.filter((event): event is AgentEvent & { type: T } => event.type === type);
  return {
    heard,
    stop,
    tell: (event: ComponentsEvent) => actor.system.get('components').send(event),
    /** Asks for a plan and does not wait for its verdict. */
    begin(mode: 'fresh' | 'replay' | 'revert', ...wanted: WantedComponent[]): string {
      wants = rendering(...wanted);
      const plan = `plan ${++plans}`;
      const policy = { id: 'p', revision: plans, hash: plan, actionId: plan, text: plan };
      const lastGood = mode === 'fresh' ? (heard('components.confirmed').at(-1)?.plan ?? null) : policy.hash;
      actor.system.get('components').send({ type: 'components.apply', plan, mode, policy, lastGood });
      return plan;
    },
    /** Asks for a plan and gives its verdict. */
    async apply(mode: 'fresh' | 'replay' | 'revert', ...wanted: WantedComponent[]) {
      const plan = this.begin(mode, ...wanted);
      const answers = () => [...heard('components.confirmed'), ...heard('components.refused')];
      await eventually(() => answers().some((answer) => answer.plan === plan));
      return answers().find((answer) => answer.plan === plan);
    },
    shown: (id = 'web-default') =>
      heard('components.changed')
        .at(-1)
        ?.components.find((each) => each.id === id),
  };
}

const ready = { probe: { kind: 'output', pattern: '^ready$' }, timeoutMs: 9_000 } as const;
const reload = {
  action: { kind: 'signal', signal: 'SIGHUP' },
  confirm: { kind: 'output', pattern: 'reconfigured' },
  timeoutMs: 1_500,
} as const;

function forever(home: string, hash: string, content = `revision ${hash}\n`): WantedComponent {
  const conf = join(home, 'components/web-default/current/program.conf');
  const dir = join(home, 'components/web-default', hash);
  return running('forever.sh', [conf], hash, {
    ready,
    reload,
    health: null,
    files: [{ path: 'program.conf', content }],
    check: {
      run: { command: join(PROGRAMS, 'refuses.sh'), args: [`${dir}/program.conf`], env: {}, cwd: null, user: null },
      files: [{ path: 'program.conf', content: content.replace('late-', '') }],
      timeoutMs: 9_000,
    },
  });
}

describe('a plan on real processes', () => {
  it('starts, reloads without a new process, refuses by check without touching it, and reverts a refused reload', async () => {
    const { home, paths } = await bench();
    const holdfast = await start(home);
    expect(await holdfast.apply('fresh', forever(home, 'one'))).toMatchObject({
      type: 'components.confirmed',
      degraded: [],
    });
    const pid = holdfast.shown()?.pid ?? 0;
    expect(await isAlive(pid)).toBe(true);

    expect(await holdfast.apply('fresh', forever(home, 'two'))).toMatchObject({ type: 'components.confirmed' });
    expect(holdfast.shown()).toMatchObject({ pid, state: 'healthy', hash: 'two', restarts: 0 });

    expect(await holdfast.apply('fresh', forever(home, 'three', 'bad\n'))).toEqual({
      type: 'components.refused',
      plan: 'plan 3',
      kind: 'check',
      reason: 'web-default: [emerg] unknown directive "bad" in line 1',
    });
    expect(holdfast.shown()).toMatchObject({ pid, hash: 'two' });
    expect(await readFile(join(paths.current, 'program.conf'), 'utf8')).toBe('revision two\n');

    // The check lets it pass, the program itself does not.
    const sly = forever(home, 'four', 'mute\n');
    expect(await holdfast.apply('fresh', sly)).toMatchObject({ type: 'components.refused', kind: 'health' });
    expect(await holdfast.apply('revert', forever(home, 'two'))).toMatchObject({
      type: 'components.confirmed',
      degraded: [],
    });
    expect(holdfast.shown()).toMatchObject({ pid, state: 'healthy', hash: 'two' });
    expect(await readFile(join(paths.current, 'program.conf'), 'utf8')).toBe('revision two\n');

    // One that dies of its reload is refused at once, and last good comes up again.
    expect(await holdfast.apply('fresh', forever(home, 'five', 'fatal\n'))).toMatchObject({
      kind: 'health',
      reason: expect.stringContaining('exited with code 3: fatal: cannot go on'),
    });
    expect(await holdfast.apply('revert', forever(home, 'two'))).toMatchObject({
      type: 'components.confirmed',
      degraded: [],
    });

    holdfast.tell({ type: 'components.stop', keep: false, hurry: false });
    await eventually(() => holdfast.heard('components.stopped').length === 1);
    expect(await isAlive(pid)).toBe(false);
  });

  it('keeps the process over a start that let go of it, and adopts it', async () => {
    const { home } = await bench();
    const first = await start(home);
    await first.apply('fresh', forever(home, 'one'));
    const pid = first.shown()?.pid ?? 0;
    first.tell({ type: 'components.stop', keep: true, hurry: false });
    await eventually(() => first.heard('components.stopped').length === 1);
    first.stop();
    expect(await isAlive(pid)).toBe(true);

    const second = await start(home);
    expect(await second.apply('replay', forever(home, 'one'))).toMatchObject({ degraded: [] });
    expect(second.shown()).toMatchObject({ pid, message: 'running since an earlier start' });
    process.kill(pid, 'SIGKILL');
    await eventually(() => second.shown()?.restarts === 1 && second.shown()?.state === 'healthy');
    expect(second.shown()?.pid).not.toBe(pid);
  });

  it('stops what an earlier start left and no policy wants', async () => {
    const { home, paths } = await bench();
    const first = await start(home);
    await first.apply('fresh', forever(home, 'one'));
    const pid = first.shown()?.pid ?? 0;
    first.stop();
    const second = await start(home);
    await second.apply('replay');
    expect(await isAlive(pid)).toBe(false);
    await expect(readFile(paths.process)).rejects.toThrow('ENOENT');
  });

  it('leaves it alone in safe mode, and shows it', async () => {
    const { home } = await bench();
    const first = await start(home);
    await first.apply('fresh', forever(home, 'one'));
    const pid = first.shown()?.pid ?? 0;
    first.stop();
    const second = await start(home);
    second.tell({ type: 'components.leave' });
    await eventually(() => second.shown()?.pid === pid);
    expect(await isAlive(pid)).toBe(true);
  });

  it('runs last good on a home that takes no writes for its configuration', async () => {
    const { home, paths } = await bench();
    const first = await start(home);
    await first.apply('fresh', forever(home, 'one'));
    first.tell({ type: 'components.stop', keep: false, hurry: false });
    await eventually(() => first.heard('components.stopped').length === 1);
    first.stop();
    // A directory in the place of the temporary name: neither the symlink nor the record can be written.
    await mkdir(`${paths.current}.tmp/x`, { recursive: true });
    await mkdir(`${paths.process}.tmp/x`, { recursive: true });
    const second = await start(home);
    expect(await second.apply('replay', forever(home, 'one'))).toMatchObject({ degraded: [] });
    const pid = second.shown()?.pid ?? 0;
    second.stop();
    // Unrecorded as it is, the next start finds it by its name.
    const third = await start(home);
    await third.apply('replay');
    expect(await isAlive(pid)).toBe(false);
  });
});

describe('a program that', () => {
  const giveUp = { restart: { initialMs: 10, maxMs: 20, giveUpAfter: 2 }, health: null };

  it.each([
    [
      'crashes again and again has failed',
      running('crashes.sh', ['0.02'], 'h', giveUp),
      'failed',
      /^gave up after 2 restarts: exited with code 7: out of luck/,
    ],
    ['forks and ends has failed', running('forks.sh', ['escaped'], 'h', giveUp), 'failed', /exited with code 0/],
    [
      'does not exist has failed',
      running('x', [], 'h', {
        ...giveUp,
        run: { command: '/no/such/program', args: [], env: {}, cwd: null, user: null },
      }),
      'failed',
      /no.such.program/,
    ],
    [
      'never becomes ready is degraded',
      running('forever.sh', ['x'], 'h', {
        ...giveUp,
        ready: { probe: { kind: 'output', pattern: 'never' }, timeoutMs: 200 },
      }),
      'degraded',
      /^not ready after 0.2 s: its last output is "ready"/,
    ],
  ])('%s', async (_title, wants, state, message) => {
    const { home } = await bench();
    const holdfast = await start(home);
    holdfast.begin('fresh', wants);
    await eventually(() => holdfast.shown()?.state === state);
    expect(holdfast.shown()?.message).toMatch(message);
  });

  it('ignores its stop signal is killed when its grace is over', async () => {
    const { home } = await bench();
    const holdfast = await start(home);
    await holdfast.apply(
      'fresh',
      running('ignores-sigterm.sh', [], 'h', { ready, stop: { signal: 'SIGTERM', graceMs: 150 }, health: null }),
    );
    const pid = holdfast.shown()?.pid ?? 0;
    holdfast.tell({ type: 'components.stop', keep: false, hurry: false });
    await eventually(() => holdfast.heard('components.stopped').length === 1);
    expect(await isAlive(pid)).toBe(false);
  });

  it('listens on its port is ready when it does', async () => {
    const { home } = await bench();
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as { port: number };
    await new Promise((resolve) => server.close(resolve));
    const holdfast = await start(home);
    const program = join(home, 'listens.mjs');
    await writeFile(
      program,
      `import net from 'node:net'; setTimeout(() => net.createServer().listen(${port}, '127.0.0.1'), 100);`,
    );
    const run = { command: process.execPath, args: [program], env: {}, cwd: null, user: null };
    const probe = { kind: 'tcp', host: '127.0.0.1', port } as const;
    const wants = running('x', [], 'h', {
      run,
      ready: { probe, timeoutMs: 2_000 },
      health: { probe, everyMs: 50, failAfter: 2 },
    });
    expect(await holdfast.apply('fresh', wants)).toMatchObject({ type: 'components.confirmed', degraded: [] });
  });
});

/** The component machine, for what paths cannot express: delays, signals and what is said. */
import { describe, expect, it } from 'vitest';
import { componentMachine } from '../../src/machines/component.ts';
import { COMPONENT_TIMING, type ComponentEvent, type ComponentReported } from '../../src/machines/component-setup.ts';
import { growingDelay } from '../../src/machines/deadline.ts';
import type { Daemon } from '../../src/policy/component.ts';
import { startControlled } from '../support/paths.ts';
import { wanted } from '../support/wanted.ts';

function start(daemon: Partial<Daemon> = {}) {
  const run = startControlled(componentMachine, {
    input: { wanted: wanted('web', 'web-1', daemon), timing: COMPONENT_TIMING },
  });
  const reports = () => run.told.filter(({ to }) => to === 'components').map(({ event }) => event as ComponentReported);
  const desk = {
    ...run,
    reports,
    tell: (event: ComponentEvent) => run.send(event),
    last: () => reports().at(-1),
    up() {
      run.port('claim').resolve({ pid: null });
      run.port('launch').resolve({ pid: 8, outputFrom: 0 });
    },
    healthy() {
      desk.up();
      run.port('probe').resolve();
      run.port('confirm').resolve();
    },
    ends(how = 'exited with code 1') {
      run.port('watch').resolve(how);
      run.port('kill').resolve();
    },
  };
  return desk;
}

describe('a component', () => {
  it('claims, launches, waits until it is ready, records that, and says each step', () => {
    const desk = start();
    desk.healthy();
    expect(desk.reports().map(({ state, message }) => `${state}: ${message}`)).toEqual([
      'starting: looking for a process of an earlier start',
      'starting: being started',
      'starting: waiting for tcp 127.0.0.1:8080',
      'healthy: running',
    ]);
  });

  it('is not started when it was adopted, and its readiness is asked', () => {
    const desk = start();
    desk.port('claim').resolve({ pid: 5 });
    expect(desk.port('launch').calls).toEqual([]);
    desk.port('probe').resolve();
    desk.port('confirm').resolve();
    expect(desk.last()).toMatchObject({ state: 'healthy', pid: 5, message: 'running since an earlier start' });
  });

  it('is healthy at once when it was adopted and its readiness shows only at a start', () => {
    const desk = start({ ready: { probe: { kind: 'output', pattern: 'ready' }, timeoutMs: 1_000 } });
    desk.port('claim').resolve({ pid: 5 });
    expect(desk.last()).toMatchObject({ state: 'healthy', pid: 5 });
  });

  it('that never becomes ready is degraded, and healthy when it becomes ready after all', () => {
    const desk = start();
    desk.up();
    desk.port('probe').reject(new Error('connection refused'));
    desk.clock.advance(20_000);
    expect(desk.last()).toMatchObject({ state: 'degraded', message: 'not ready after 20 s: connection refused' });
    desk.clock.advance(COMPONENT_TIMING.probeEveryMs);
    desk.port('probe').resolve();
    desk.port('confirm').resolve();
    expect(desk.last()?.state).toBe('healthy');
  });

  it('is degraded after as many failed health probes as the spec says, and healthy after one that succeeds', () => {
    const desk = start();
    desk.healthy();
    for (const expected of ['healthy', 'degraded']) {
      desk.clock.advance(10_000);
      desk.port('probe').reject(new Error('connection refused'));
      expect(desk.last()?.state).toBe(expected);
    }
    expect(desk.last()?.message).toBe('2 health probes in a row failed: connection refused');
    desk.clock.advance(10_000);
    desk.port('probe').resolve();
    expect(desk.last()?.state).toBe('healthy');
  });

  it('starts again after a delay that doubles, and gives up when its attempts are used up', () => {
    const desk = start({ restart: { initialMs: 1_000, maxMs: 60_000, giveUpAfter: 3 } });
    for (const delayMs of [1_000, 2_000, 4_000]) {
      desk.up();
      desk.ends();
      expect(desk.snapshot().value).toBe('backingOff');
      desk.clock.advance(delayMs - 1);
      expect(desk.snapshot().value).toBe('backingOff');
      desk.clock.advance(1);
      expect(desk.snapshot().value).toBe('claiming');
    }
    desk.up();
    desk.ends();
    expect(desk.last()).toMatchObject({
      state: 'failed',
      restarts: 3,
      pid: null,
      message: 'gave up after 3 restarts: exited with code 1',
    });
  });

  it('forgets its ends when it was healthy for a while', () => {
    const desk = start({ restart: { initialMs: 1_000, maxMs: 60_000, giveUpAfter: 1 }, health: null });
    for (let ends = 0; ends < 5; ends++) {
      desk.healthy();
      desk.clock.advance(COMPONENT_TIMING.steadyMs);
      desk.ends();
      desk.clock.advance(1_000);
    }
    expect(desk.last()).toMatchObject({ state: 'starting', restarts: 5 });
  });

  it('that cannot be started says so as a refusal, and is tried again', () => {
    const desk = start();
    desk.port('claim').resolve({ pid: null });
    desk.port('launch').reject(new Error('exited with code 127: nginx: not found'));
    desk.port('kill').resolve();
    expect(desk.last()).toMatchObject({
      state: 'backingOff',
      refusal: { step: 'start', reason: 'exited with code 127: nginx: not found' },
    });
    desk.clock.advance(1_000);
    expect(desk.snapshot().value).toBe('claiming');
  });

  it('grows its delay up to the maximum, however often it ended', () => {
    expect([1, 2, 3, 7, 8, 1_000].map((n) => growingDelay({ initialMs: 1_000, maxMs: 60_000 }, n))).toEqual([
      1_000, 2_000, 4_000, 60_000, 60_000, 60_000,
    ]);
  });
});

describe('a reload', () => {
  const changed: ComponentEvent = { type: 'component.reload', wanted: wanted('web', 'web-2') };

  it('is awaited until the program confirms it, from what it wrote since', () => {
    const desk = start();
    desk.healthy();
    desk.tell(changed);
    expect(desk.last()).toMatchObject({
      state: 'reloading',
      message: 'waiting for its output "reconfigured"',
      hash: 'web-2',
    });
    desk.port('reload').resolve({ outputFrom: 99 });
    expect(desk.port('probe').call.input).toMatchObject({ probe: { kind: 'output' }, outputFrom: 99 });
    desk.port('probe').reject(new Error('nothing yet'));
    desk.clock.advance(COMPONENT_TIMING.probeEveryMs);
    desk.port('probe').resolve();
    expect(desk.port('probe').call.input).toMatchObject({ probe: { kind: 'tcp' } });
    desk.port('probe').resolve();
    expect(desk.port('confirm').call.input).toEqual({ id: 'web', hash: 'web-2' });
    desk.port('confirm').resolve();
    expect(desk.last()).toMatchObject({ state: 'healthy', pid: 8, message: 'running' });
  });

  it('that is not confirmed in time is refused, with what was seen instead', () => {
    const desk = start();
    desk.healthy();
    desk.tell(changed);
    desk.port('reload').resolve({ outputFrom: 99 });
    desk.port('probe').reject(new Error('its last output is "bad line"'));
    desk.clock.advance(10_000);
    expect(desk.last()).toMatchObject({
      state: 'degraded',
      refusal: { step: 'reload', reason: 'waited 10 s for its output "reconfigured": its last output is "bad line"' },
    });
  });

  it('that ends the program is refused', () => {
    const desk = start();
    desk.healthy();
    desk.tell(changed);
    desk.port('reload').resolve({ outputFrom: 99 });
    desk.ends('exited with code 3: fatal');
    expect(desk.last()).toMatchObject({
      state: 'backingOff',
      refusal: { step: 'reload', reason: 'exited with code 3: fatal' },
    });
  });

  it('is not refused when the program ends before it is signalled, and it is started with the new configuration', () => {
    const desk = start();
    desk.healthy();
    desk.tell(changed);
    desk.ends('was killed by SIGSEGV');
    expect(desk.last()).toMatchObject({ state: 'backingOff', endsInARow: 1, hash: 'web-2', refusal: null });
  });

  it('is refused when the program ends while the command that tells it runs', () => {
    const desk = start();
    desk.healthy();
    const told = wanted('web', 'web-2', {
      reload: {
        action: { kind: 'command', run: { command: 'reload', args: [], env: {}, cwd: null, user: null } },
        confirm: null,
        timeoutMs: 10_000,
      },
    });
    desk.tell({ type: 'component.reload', wanted: told });
    desk.ends('exited with code 3: fatal');
    expect(desk.last()).toMatchObject({ refusal: { step: 'reload', reason: 'exited with code 3: fatal' } });
  });

  it('without a confirmation counts when the program stays up, and says so', () => {
    const desk = start({ health: null });
    desk.healthy();
    const silent = wanted('web', 'web-2', {
      health: null,
      reload: { action: { kind: 'signal', signal: 'SIGHUP' }, confirm: null, timeoutMs: 10_000 },
    });
    desk.tell({ type: 'component.reload', wanted: silent });
    desk.port('reload').resolve({ outputFrom: 0 });
    desk.clock.advance(COMPONENT_TIMING.stayUpMs);
    desk.port('probe').resolve();
    desk.port('confirm').resolve();
    expect(desk.last()?.message).toBe('running; its last reload is unconfirmed, it only stayed up');
  });

  it('of a program that is not healthy yet is a restart', () => {
    const desk = start();
    desk.up();
    desk.tell(changed);
    expect(desk.snapshot().value).toEqual({ stopping: 'asking' });
    desk.port('terminate').resolve();
    expect(desk.port('claim').call.input).toMatchObject({ component: { hash: 'web-2' } });
  });
});

describe('stopping', () => {
  it('asks, waits for the grace, and kills the group', () => {
    const desk = start();
    desk.healthy();
    desk.tell({ type: 'component.stop', keep: false, hurry: false });
    expect(desk.port('terminate').call.input).toEqual({ id: 'web', signal: 'SIGTERM' });
    desk.clock.advance(9_999);
    expect(desk.port('kill').calls).toEqual([]);
    desk.clock.advance(1);
    desk.port('kill').resolve();
    expect(desk.snapshot().status).toBe('done');
    expect(desk.last()).toMatchObject({ state: 'stopped', pid: null });
  });

  it('kills at once in a hurry', () => {
    const desk = start();
    desk.healthy();
    desk.tell({ type: 'component.stop', keep: false, hurry: true });
    expect(desk.port('terminate').calls).toEqual([]);
    desk.port('kill').resolve();
    expect(desk.snapshot().status).toBe('done');
  });

  it('is tried again for ever when something survives SIGKILL', () => {
    const desk = start();
    desk.healthy();
    desk.tell({ type: 'component.stop', keep: false, hurry: true });
    for (let tries = 0; tries < 3; tries++) {
      desk.port('kill').reject(new Error('processes survived SIGKILL: 8 (D)'));
      expect(desk.last()).toMatchObject({ state: 'stopping', message: expect.stringContaining('8 (D)') });
      desk.clock.advance(COMPONENT_TIMING.killAgainMs);
    }
    desk.port('kill').resolve();
    expect(desk.snapshot().status).toBe('done');
  });

  it('lets go of what is to run on without touching it', () => {
    const desk = start();
    desk.healthy();
    const watch = desk.port('watch').call;
    desk.tell({ type: 'component.stop', keep: true, hurry: false });
    expect(watch.stopped()).toBe(true);
    expect([...desk.port('terminate').calls, ...desk.port('kill').calls]).toEqual([]);
    expect(desk.last()).toMatchObject({ state: 'stopped', message: 'left to run on' });
  });
});

/** Every transition of the component machine, walked from the machine itself. */
import { expect } from 'vitest';
import { componentMachine } from '../../src/machines/component.ts';
import { COMPONENT_TIMING, type ComponentReported } from '../../src/machines/component-setup.ts';
import type { Daemon } from '../../src/policy/component.ts';
import { describePaths } from '../support/paths.ts';
import { wanted } from '../support/wanted.ts';

const silent: Partial<Daemon> = {
  restart: { initialMs: 1, maxMs: 4, giveUpAfter: 1 },
  ready: { probe: { kind: 'after', ms: 500 }, timeoutMs: 1_000 },
  reload: { action: { kind: 'signal', signal: 'SIGHUP' }, confirm: null, timeoutMs: 5_000 },
  health: null,
};
const failing = new Error('it said no');

describePaths('component', componentMachine, {
  input: { wanted: wanted('web'), timing: COMPONENT_TIMING },
  systemId: 'component:web',
  cases: [
    { type: 'component.reload', wanted: wanted('web', 'web-2', silent) },
    { type: 'component.restart', wanted: wanted('web') },
    { type: 'component.keep', wanted: wanted('web') },
    { type: 'component.stop', keep: false, hurry: false },
    { type: 'component.stop', keep: false, hurry: true },
    { type: 'component.stop', keep: true, hurry: false },
    { type: 'xstate.done.actor.claim', output: { pid: null } },
    { type: 'xstate.done.actor.claim', output: { pid: 7 } },
    { type: 'xstate.done.actor.launch', output: { pid: 8, outputFrom: 100 } },
    { type: 'xstate.done.actor.reload', output: { outputFrom: 200 } },
    { type: 'xstate.done.actor.watch', output: 'exited with code 1' },
    { type: 'xstate.error.actor.*', error: failing },
  ],
  project: ({ context, value }) => [
    context.failures > 1,
    Math.min(context.misses, 2),
    typeof value === 'object' && 'stopping' in value && context.goal,
    context.wanted.daemon.ready.probe.kind,
  ],
  invariants: (snapshot, { told }) => {
    const { context } = snapshot;
    const reports = told.filter(({ to }) => to === 'components').map(({ event }) => event as ComponentReported);
    for (const report of reports) {
      expect(report.message).not.toBe('');
      expect(report.message).not.toContain('undefined');
    }
    // A final state is always told: the parent counts on it to know that nothing is left.
    if (snapshot.status === 'done') expect(reports.at(-1)?.state).toBe('stopped');
    // What does not run has no pid to signal, and what runs has one.
    if (snapshot.matches('backingOff') || snapshot.matches('failed')) expect(context.pid).toBeNull();
    if (snapshot.matches('up')) expect(context.pid).not.toBeNull();
  },
});

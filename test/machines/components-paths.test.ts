/** Every transition of the components machine, walked from the machine itself. */
import { expect } from 'vitest';
import { COMPONENT_TIMING, type ComponentReported } from '../../src/machines/component-setup.ts';
import { componentsMachine } from '../../src/machines/components.ts';
import { COMPONENTS_DEFAULTS } from '../../src/machines/components-setup.ts';
import type { ComponentsEvent } from '../../src/machines/system.ts';
import type { ComponentProblem, ComponentState } from '../../src/policy/component.ts';
import { describePaths } from '../support/paths.ts';
import { rendering, wanted } from '../support/wanted.ts';

const apply = (mode: 'fresh' | 'replay' | 'revert'): ComponentsEvent => ({
  type: 'components.apply',
  plan: `plan ${mode}`,
  mode,
  lastGood: 'h',
  policy: { id: 'web', revision: 1, hash: 'h', actionId: 'policy:web:1', text: '{}' },
});

const reported = (state: ComponentState): ComponentReported => ({
  type: 'component.reported',
  id: 'web',
  state,
  message: 'as it says',
  pid: 7,
  restarts: 0,
  endsInARow: 0,
  hash: 'web-1',
  processHash: 'web-process',
  refusal: null,
});

const unrenderable: ComponentProblem = {
  code: 'POLICY_RENDER_FAILED',
  component: 'web',
  type: 'web',
  message: 'no such variable',
  units: [],
  degradesOnly: false,
};

describePaths('components', componentsMachine, {
  input: { ...COMPONENTS_DEFAULTS, component: COMPONENT_TIMING },
  systemId: 'components',
  cases: [
    apply('fresh'),
    apply('revert'),
    { type: 'components.stop', keep: false, hurry: false },
    { type: 'components.stop', keep: true, hurry: false },
    { type: 'xstate.done.actor.prepare', output: rendering(wanted('web')) },
    { type: 'xstate.done.actor.prepare', output: rendering() },
    { type: 'xstate.done.actor.prepare', output: { components: [], problems: [unrenderable], notes: [] } },
    { type: 'xstate.done.actor.recorded', output: [] },
    {
      type: 'xstate.done.actor.recorded',
      output: [{ id: 'old', type: 'old', pid: 5, hash: null, alive: true }],
    },
    { type: 'xstate.done.actor.look', output: [{ id: 'old', type: 'old', pid: 5, hash: null, alive: true }] },
    { type: 'xstate.done.actor.check', output: [] },
    { type: 'xstate.done.actor.check', output: [{ component: 'web', reason: 'line 4' }] },
    reported('healthy'),
    reported('failed'),
    reported('stopped'),
    { type: 'xstate.error.actor.web', error: new Error('it threw') },
    { type: 'xstate.error.actor.*', error: new Error('it said no') },
  ],
  project: (snapshot) => [
    snapshot.context.mode,
    snapshot.matches('confirming') || snapshot.matches('reverting')
      ? [Object.values(snapshot.context.running).map(({ report }) => report.state), snapshot.context.touched.length > 0]
      : Object.keys(snapshot.context.running).length,
    snapshot.matches('planning') || snapshot.matches('changing') ? snapshot.context.rendering.components.length : null,
    snapshot.matches('changing') ? snapshot.context.recorded.length : null,
    snapshot.matches('confirming') ? snapshot.context.baseline.length : null,
  ],
  invariants: (snapshot, { told }) => {
    const events = told.filter(({ to }) => to === 'agent').map(({ event }) => event);
    const answers = events.filter(({ type }) => /^components\.(confirmed|refused)$/.test(type));
    // One answer a plan, and only for the plan that is in flight.
    expect(answers.length).toBeLessThanOrEqual(1);
    for (const answer of answers) expect(answer).toMatchObject({ plan: snapshot.context.plan });
    // A way back and a replay are never refused for a component.
    if (snapshot.context.mode !== 'fresh') {
      expect(snapshot.context.refusal?.kind ?? 'unrendered').not.toMatch(/health|check/);
    }
    if (snapshot.matches('refused')) expect(snapshot.context.refusal?.reason).not.toBe('');
  },
});

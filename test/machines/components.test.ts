/** P2 and P3 rule by rule: one components machine, its children and ports in the test's hands, time moved by the test. */
import { describe, expect, it } from 'vitest';
import { HoldfastError } from '../../src/errors.ts';
import { COMPONENT_TIMING, type ComponentReported } from '../../src/machines/component-setup.ts';
import { componentsMachine } from '../../src/machines/components.ts';
import { COMPONENTS_DEFAULTS, type ComponentsInput } from '../../src/machines/components-setup.ts';
import { stepsShown } from '../../src/machines/verdict.ts';
import type { ComponentProblem, Rendering, WantedComponent } from '../../src/policy/component.ts';
import { startControlled } from '../support/paths.ts';
import { rendering, wanted } from '../support/wanted.ts';

const STABLE = COMPONENTS_DEFAULTS.stableForMs;
const TIMEOUT = COMPONENTS_DEFAULTS.timeoutMs;

function start(input: Partial<ComponentsInput> = {}) {
  const run = startControlled(componentsMachine, {
    input: { ...COMPONENTS_DEFAULTS, component: COMPONENT_TIMING, ...input },
    systemId: 'components',
  });
  let plans = 0;
  let lastGood: string | null = null;
  const child = (id: string) => run.calls.findLast((call) => call.id === id && call.port === 'component');
  const desk = {
    ...run,
    /** Asks for a policy and gives the plan's name. */
    apply(mode: 'fresh' | 'replay' | 'revert'): string {
      const plan = `plan ${++plans}`;
      const policy = { id: 'web', revision: plans, hash: `h${plans}`, actionId: `policy:web:${plans}`, text: plan };
      if (mode !== 'fresh') lastGood = policy.hash;
      run.send({ type: 'components.apply', plan, mode, policy, lastGood } as never);
      return plan;
    },
    /** As `apply`, and sees it through to the last issued step. */
    issue(mode: 'fresh' | 'replay' | 'revert', what: Rendering): string {
      const plan = desk.apply(mode);
      run.port('prepare').resolve(what);
      run.port('recorded').resolve([]);
      if (mode === 'fresh') {
        run.port('check').resolve([]);
        run.port('write').resolve();
      }
      return plan;
    },
    child,
    /** What the children were told, oldest first. */
    told: (id: string) => child(id)?.received.map(({ type }) => type) ?? [],
    says(component: WantedComponent, state: ComponentReported['state'], more: Partial<ComponentReported> = {}) {
      const { id, hash, processHash } = component;
      const report = { message: `is ${state}`, pid: 7, restarts: 0, endsInARow: 0, refusal: null, ...more };
      run.send({ type: 'component.reported', id, state, hash, processHash, ...report } as never);
    },
    /** Events of this kind that the agent was told. */
    heard: (type: string) =>
      run.told.filter(({ to, event }) => to === 'agent' && event.type === type).map(({ event }) => event),
    /** What was applied last has become last good. */
    promoted() {
      lastGood = `h${plans}`;
    },
    /** `components` are last good and healthy. */
    settled(...components: WantedComponent[]) {
      desk.issue('fresh', rendering(...components));
      for (const each of components) desk.says(each, 'healthy');
      run.clock.advance(STABLE);
      expect(run.snapshot().matches('settled')).toBe(true);
      desk.promoted();
      run.flush();
    },
  };
  return desk;
}

const web = wanted('web');
const web2 = wanted('web', 'web-2');
const db = wanted('db');

describe('a plan', () => {
  it('is checked before anything that runs is touched', () => {
    const desk = start();
    desk.settled(web);
    desk.apply('fresh');
    desk.port('prepare').resolve(rendering(web2));
    desk.port('recorded').resolve([]);
    expect(desk.port('check').call.input).toEqual({ components: [web2] });
    desk.port('check').resolve([{ component: 'web', reason: 'unknown directive "lisen"' }]);
    expect(desk.told('web')).toEqual([]);
    expect(desk.heard('components.refused')).toEqual([
      { type: 'components.refused', plan: 'plan 2', kind: 'check', reason: 'web: unknown directive "lisen"' },
    ]);
    expect(desk.snapshot().value).toBe('refused');
  });

  it('stops what is not wanted first, and starts the rest when that is gone', () => {
    const desk = start();
    desk.settled(web);
    desk.issue('fresh', rendering(db));
    expect(desk.told('web')).toEqual(['component.stop']);
    expect(desk.child('db')).toBeUndefined();
    desk.says(web, 'stopped');
    expect(desk.child('db')?.open()).toBe(true);
    expect(desk.heard('components.issued')).toEqual([{ type: 'components.issued', plan: 'plan 2' }]);
  });

  it('goes on when what must stop does not', () => {
    const desk = start();
    desk.settled(web);
    desk.issue('fresh', rendering(db));
    desk.clock.advance(60_000);
    expect(desk.child('db')?.open()).toBe(true);
  });

  it('does not touch what has not changed, reloads what can be reloaded and restarts the rest', () => {
    const [a, b, c] = [wanted('a'), wanted('b'), wanted('c')];
    const desk = start();
    desk.settled(a, b, c);
    desk.issue('fresh', rendering(a, wanted('b', 'b-2'), { ...wanted('c', 'c-2'), processHash: 'other' }));
    expect([desk.told('a'), desk.told('b'), desk.told('c')]).toEqual([
      ['component.keep'],
      ['component.reload'],
      ['component.restart'],
    ]);
  });

  it('is shown as what its steps do: a reload as reloading, a start over what an earlier start left as taking over', () => {
    const desk = start();
    desk.settled(web);
    desk.issue('fresh', rendering(web2));
    expect(desk.heard('components.changed').at(-1)).toMatchObject({ components: [{ id: 'web', state: 'reloading' }] });
    const next = start();
    next.apply('replay');
    next.port('prepare').resolve(rendering(web, db));
    next.port('recorded').resolve([
      { id: 'web', type: 'web', pid: 5, hash: web.hash, alive: true },
      { id: 'db', type: 'db', pid: 6, hash: 'another', alive: true },
    ]);
    expect(next.heard('components.changed').at(-1)).toMatchObject({
      components: [
        { id: 'db', state: 'starting', pid: null, message: 'its step was issued' },
        { id: 'web', state: 'starting', pid: 5, message: 'taking over pid 5 of an earlier start' },
      ],
    });
  });

  it('sweeps what is on record and wanted by nobody, before it issues anything', () => {
    const desk = start();
    desk.apply('replay');
    desk.port('prepare').resolve(rendering(web));
    desk.port('recorded').resolve([
      { id: 'old', type: 'old', pid: 5, hash: 'x', alive: true },
      { id: 'web', type: 'web', pid: 6, hash: 'web-1', alive: true },
    ]);
    expect(desk.port('sweep').call.input).toEqual({ ids: ['old'] });
    expect(desk.heard('components.issued')).toEqual([]);
    desk.port('sweep').resolve();
    expect(desk.heard('components.issued')).toHaveLength(1);
  });

  it('is superseded by a newer one and never answered', () => {
    const desk = start();
    desk.settled(web);
    desk.issue('fresh', rendering(web2));
    desk.issue('fresh', rendering(wanted('web', 'web-3')));
    desk.says(wanted('web', 'web-3'), 'healthy');
    desk.clock.advance(STABLE);
    expect(desk.heard('components.confirmed')).toEqual([
      { type: 'components.confirmed', plan: 'plan 3', degraded: [] },
    ]);
    desk.clock.advance(TIMEOUT);
    expect(desk.heard('components.refused')).toEqual([]);
  });

  it('that changes nothing is confirmed at once', () => {
    const desk = start();
    desk.settled(web);
    desk.issue('fresh', rendering(web));
    expect(desk.heard('components.confirmed')).toHaveLength(1);
  });
});

describe('a fresh policy', () => {
  it('is confirmed when everything changed was healthy for stable_for, counted anew after each stumble', () => {
    const desk = start();
    desk.settled(web);
    desk.issue('fresh', rendering(web2));
    desk.says(web2, 'healthy');
    desk.clock.advance(STABLE - 1);
    desk.says(web2, 'backingOff');
    desk.says(web2, 'healthy', { restarts: 1 });
    desk.clock.advance(STABLE - 1);
    expect(desk.heard('components.confirmed')).toEqual([]);
    desk.clock.advance(1);
    expect(desk.heard('components.confirmed')).toHaveLength(1);
  });

  it.each([
    [new HoldfastError('POLICY_UNPARSABLE', 'inputs[0]: no id'), 'unparsable'],
    [new HoldfastError('POLICY_RENDER_FAILED', 'output "x": no host'), 'unrendered'],
  ])('is refused when it cannot be prepared: %s', (error, kind) => {
    const desk = start();
    desk.apply('fresh');
    desk.port('prepare').reject(error);
    expect(desk.heard('components.refused')).toMatchObject([{ kind, reason: error.message }]);
  });

  it('is refused when a component of it cannot be rendered, and only degrades when one has no spec', () => {
    const problem = (degradesOnly: boolean): ComponentProblem => ({
      code: 'POLICY_RENDER_FAILED',
      component: 'mail',
      type: 'mail',
      message: 'no such template',
      units: ['mail-1'],
      degradesOnly,
    });
    const desk = start();
    desk.apply('fresh');
    desk.port('prepare').resolve({ components: [web], problems: [problem(false)], notes: [] });
    expect(desk.heard('components.refused')).toMatchObject([{ kind: 'unrendered', reason: 'mail: no such template' }]);

    desk.issue('fresh', { components: [web], problems: [problem(true)], notes: [] });
    desk.says(web, 'healthy');
    desk.clock.advance(STABLE);
    expect(desk.heard('components.confirmed')).toMatchObject([{ degraded: ['mail'] }]);
    expect(desk.heard('components.changed').at(-1)).toMatchObject({
      components: [
        { id: 'mail', state: 'degraded', message: 'no such template', units: [{ id: 'mail-1', state: 'degraded' }] },
        { id: 'web', state: 'healthy' },
      ],
    });
  });

  it('is refused at once when what worked gave up under it', () => {
    const desk = start();
    desk.settled(web, db);
    desk.issue('fresh', rendering(web2, db));
    desk.says(web2, 'failed', { message: 'gave up: exited with code 1' });
    expect(desk.heard('components.refused')).toEqual([
      { type: 'components.refused', plan: 'plan 2', kind: 'health', reason: 'web: gave up: exited with code 1' },
    ]);
  });

  it.each(['start', 'reload'] as const)('is refused at once when the %s of what worked is refused', (step) => {
    const desk = start();
    desk.settled(web);
    desk.issue('fresh', rendering(web2));
    desk.says(web2, 'degraded', { refusal: { step, reason: 'unknown directive' } });
    expect(desk.heard('components.refused')).toMatchObject([{ kind: 'health', reason: 'web: unknown directive' }]);
    expect(desk.told('web')).toEqual(['component.reload']);
  });

  it('is refused at the end of its time when what worked is not healthy, changed or not', () => {
    const desk = start();
    desk.settled(web, db);
    desk.issue('fresh', rendering(web2, db));
    desk.says(web2, 'healthy');
    desk.says(db, 'degraded', { message: '3 health probes in a row failed' });
    desk.clock.advance(TIMEOUT - 1);
    expect(desk.heard('components.refused')).toEqual([]);
    desk.clock.advance(1);
    expect(desk.heard('components.refused')).toMatchObject([
      { kind: 'health', reason: 'db: 3 health probes in a row failed' },
    ]);
  });

  it('is refused when what worked ends again and again, however healthy it looks in between', () => {
    const desk = start();
    desk.settled(web);
    desk.issue('fresh', rendering(web2));
    for (let restarts = 1; desk.heard('components.refused').length === 0 && restarts < 100; restarts++) {
      desk.says(web2, 'backingOff', { restarts: restarts - 1 });
      desk.clock.advance(1_000);
      desk.says(web2, 'healthy', { restarts });
      desk.clock.advance(STABLE - 500);
    }
    expect(desk.heard('components.refused')).toMatchObject([
      { reason: expect.stringMatching(/^web: it ended \d+ times/) },
    ]);
    expect(desk.heard('components.confirmed')).toEqual([]);
  });

  it('only degrades for a component that is new', () => {
    const desk = start();
    desk.settled(web);
    desk.issue('fresh', rendering(web, db));
    desk.says(db, 'failed');
    desk.clock.advance(STABLE);
    expect(desk.heard('components.confirmed')).toMatchObject([{ degraded: ['db'] }]);
  });

  it('only degrades for a component that was unhealthy before', () => {
    const desk = start();
    desk.settled(web, db);
    desk.says(db, 'degraded');
    desk.issue('fresh', rendering(web, wanted('db', 'db-2')));
    desk.says(wanted('db', 'db-2'), 'backingOff');
    desk.clock.advance(TIMEOUT);
    expect(desk.heard('components.refused')).toEqual([]);
    expect(desk.heard('components.confirmed')).toMatchObject([{ degraded: ['db'] }]);
  });

  it('only degrades for a component that was up between two crashes of many, changed or not', () => {
    const [cron, cron2] = [wanted('cron'), wanted('cron', 'cron-2')];
    const desk = start();
    desk.settled(web, db, cron);
    for (const each of [db, cron]) desk.says(each, 'healthy', { restarts: 2, endsInARow: 2 });
    desk.issue('fresh', rendering(web2, db, cron2));
    for (const each of [db, cron2]) desk.says(each, 'failed', { restarts: 3, endsInARow: 4 });
    desk.says(web2, 'healthy');
    desk.clock.advance(STABLE);
    expect(desk.heard('components.refused')).toEqual([]);
    expect(desk.heard('components.confirmed')).toMatchObject([{ degraded: ['cron', 'db'] }]);
  });

  it('is held against a component that fell once and is up again', () => {
    const desk = start();
    desk.settled(web);
    desk.says(web, 'healthy', { restarts: 1, endsInARow: 1 });
    desk.issue('fresh', rendering(web2));
    desk.says(web2, 'failed', { restarts: 4, endsInARow: 4 });
    expect(desk.heard('components.refused')).toMatchObject([{ kind: 'health' }]);
  });

  it('only degrades when it is the very first', () => {
    const desk = start();
    desk.issue('fresh', rendering(web));
    desk.says(web, 'failed');
    desk.clock.advance(STABLE);
    expect(desk.heard('components.confirmed')).toMatchObject([{ degraded: ['web'] }]);
  });

  it('only degrades when policy.apply.on_failure says so', () => {
    const desk = start({ onFailure: 'degrade' });
    desk.settled(web);
    desk.issue('fresh', rendering(web2));
    desk.says(web2, 'failed');
    desk.clock.advance(STABLE);
    expect(desk.heard('components.confirmed')).toMatchObject([{ degraded: ['web'] }]);
  });

  it('is held against last good, not against the candidate that it supersedes', () => {
    const desk = start();
    desk.settled(web);
    desk.issue('fresh', rendering(web2));
    desk.says(web2, 'backingOff');
    desk.issue('fresh', rendering(wanted('web', 'web-3')));
    desk.says(wanted('web', 'web-3'), 'failed');
    expect(desk.heard('components.refused')).toMatchObject([{ plan: 'plan 3', kind: 'health' }]);
  });

  it('is held against last good, not against one that was confirmed and overtaken before it became last good', () => {
    const desk = start();
    desk.settled(web, db);
    desk.says(db, 'failed');
    desk.issue('fresh', rendering(web, wanted('db', 'db-2')));
    desk.says(wanted('db', 'db-2'), 'healthy');
    desk.clock.advance(STABLE);
    expect(desk.heard('components.confirmed')).toHaveLength(1);
    desk.issue('fresh', rendering(web2, wanted('db', 'db-3')));
    desk.says(wanted('db', 'db-3'), 'failed');
    desk.says(web2, 'healthy');
    desk.clock.advance(STABLE);
    expect(desk.heard('components.refused')).toEqual([]);
    desk.promoted();
    desk.issue('fresh', rendering(wanted('web', 'web-3'), wanted('db', 'db-3')));
    desk.says(wanted('web', 'web-3'), 'failed');
    expect(desk.heard('components.refused')).toHaveLength(1);
  });

  it('is not held against what only a candidate before it had', () => {
    const desk = start();
    desk.settled(web);
    desk.issue('fresh', rendering(web, db));
    desk.says(db, 'healthy');
    desk.issue('fresh', rendering(web, wanted('db', 'db-2')));
    desk.says(wanted('db', 'db-2'), 'failed');
    desk.clock.advance(STABLE);
    expect(desk.heard('components.confirmed')).toMatchObject([{ plan: 'plan 3', degraded: ['db'] }]);
  });

  it('does not gain by arriving while last good is still starting', () => {
    const desk = start();
    desk.issue('replay', rendering(web));
    desk.issue('fresh', rendering(web2));
    desk.says(web2, 'failed');
    expect(desk.heard('components.refused')).toMatchObject([{ plan: 'plan 2', kind: 'health' }]);
  });

  it('does not gain by arriving while last good is on its way back', () => {
    const desk = start();
    desk.settled(web);
    desk.issue('fresh', rendering(web2));
    desk.says(web2, 'failed', { restarts: 10 });
    desk.issue('revert', rendering(web));
    desk.says(web, 'backingOff', { restarts: 11 });
    const worse = desk.issue('fresh', rendering(wanted('web', 'web-3')));
    desk.says(wanted('web', 'web-3'), 'failed', { restarts: 20 });
    expect(desk.heard('components.refused').at(-1)).toMatchObject({ plan: worse, kind: 'health' });
  });

  it('is refused when its configurations cannot be written, before anything is touched', () => {
    const desk = start();
    desk.settled(web);
    desk.apply('fresh');
    desk.port('prepare').resolve(rendering(web2));
    desk.port('recorded').resolve([]);
    desk.port('check').resolve([]);
    desk.port('write').reject(new Error('ENOSPC: no space left on device'));
    expect(desk.heard('components.refused')).toMatchObject([{ reason: 'ENOSPC: no space left on device' }]);
    expect(desk.told('web')).toEqual([]);
  });
});

describe('the way back', () => {
  it('waits for the agent, is issued without checks, and is never refused', () => {
    const desk = start();
    desk.settled(web);
    desk.issue('fresh', rendering(web2));
    desk.says(web2, 'failed');
    desk.clock.advance(TIMEOUT);
    expect(desk.told('web')).toEqual(['component.reload']);
    const back = desk.issue('revert', rendering(web));
    expect(desk.told('web')).toEqual(['component.reload', 'component.restart']);
    desk.says(web, 'failed');
    desk.clock.advance(STABLE);
    expect(desk.heard('components.confirmed')).toEqual([
      { type: 'components.confirmed', plan: back, degraded: ['web'] },
    ]);
  });

  it('makes a reload that is refused good by a restart', () => {
    const desk = start();
    desk.settled(web);
    desk.issue('fresh', rendering(web2));
    desk.says(web2, 'degraded', { refusal: { step: 'reload', reason: 'no' } });
    desk.issue('revert', rendering(web));
    expect(desk.told('web')).toEqual(['component.reload', 'component.reload']);
    desk.says(web, 'degraded', { refusal: { step: 'reload', reason: 'no' } });
    expect(desk.told('web')).toEqual(['component.reload', 'component.reload', 'component.restart']);
  });
});

describe('a replay', () => {
  it('is never refused for health: at the end of its time it is confirmed with the unhealthy ones named', () => {
    const desk = start();
    desk.issue('replay', rendering(web, db));
    expect(desk.heard('components.issued')).toHaveLength(1);
    desk.says(web, 'healthy');
    desk.says(db, 'backingOff');
    desk.clock.advance(TIMEOUT);
    expect(desk.heard('components.refused')).toEqual([]);
    expect(desk.heard('components.confirmed')).toMatchObject([{ degraded: ['db'] }]);
  });

  it('shows a component that cannot be rendered as failed, and starts the others', () => {
    const desk = start();
    const problem: ComponentProblem = {
      code: 'POLICY_RENDER_FAILED',
      component: 'mail',
      type: 'mail',
      message: 'no such template',
      units: [],
      degradesOnly: false,
    };
    desk.issue('replay', { components: [web], problems: [problem], notes: [] });
    expect(desk.child('web')?.open()).toBe(true);
    expect(desk.heard('components.changed').at(-1)).toMatchObject({
      components: [{ id: 'mail', state: 'failed' }, { id: 'web' }],
    });
  });

  describe('of what cannot be rendered here any more, since somebody has broken its spec,', () => {
    const LOOK = COMPONENTS_DEFAULTS.lookEveryMs;
    const why =
      'the spec that carries it out cannot be used: web.spec.yml:4:5: inputs[0].daemon.comand is not known here';
    const problem: ComponentProblem = {
      code: 'SPEC_INVALID',
      component: 'web-default',
      type: 'web',
      message: why,
      units: ['web-default-a'],
      mayBe: ['web-default-a'],
      degradesOnly: false,
    };
    const left = { id: 'web-default-a', type: 'web', pid: 5, hash: 'x', alive: true };
    const webA = wanted('web-default-a', 'x');
    const unrenderable: Rendering = { components: [db], problems: [problem], notes: [] };

    function replayed(...recorded: object[]) {
      const desk = start();
      desk.apply('replay');
      desk.port('prepare').resolve(unrenderable);
      desk.port('recorded').resolve(recorded);
      return desk;
    }

    it('leaves what runs and was confirmed, and names it', () => {
      const desk = replayed(left);
      expect(desk.calls.some(({ port }) => port === 'sweep')).toBe(false);
      expect(desk.child('db')?.open()).toBe(true);
      expect(desk.heard('components.changed').at(-1)).toMatchObject({
        components: [
          { id: 'db' },
          { id: 'web-default-a', state: 'degraded', pid: 5, message: `runs on as it was confirmed: ${why}` },
        ],
      });
    });

    it.each([
      ['was never confirmed', { ...left, hash: null }],
      ['is of another component', { ...left, id: 'web-default-b' }],
      ['does not live', { ...left, alive: false }],
    ])('sweeps what %s', (_what, recorded) => {
      const desk = replayed(recorded);
      expect(desk.port('sweep').call.input).toEqual({ ids: [recorded.id] });
    });

    it('takes it over when the spec is corrected, and says when it has ended', () => {
      const desk = replayed(left);
      desk.says(db, 'healthy');
      desk.clock.advance(STABLE);
      desk.clock.advance(LOOK);
      desk.port('recorded').resolve([{ ...left, alive: false }]);
      desk.port('prepare').resolve(unrenderable);
      expect(desk.heard('components.changed').at(-1)).toMatchObject({
        components: [{ id: 'db' }, { id: 'web-default', state: 'failed', message: why }],
      });
      desk.clock.advance(LOOK);
      desk.port('recorded').resolve([left]);
      desk.port('prepare').resolve(rendering(db, webA));
      expect(desk.child('web-default-a')?.open()).toBe(true);
      expect(desk.told('db')).toEqual(['component.keep']);
      expect(desk.calls.some(({ port }) => port === 'sweep')).toBe(false);
    });

    it('is not asked for again while everything can be carried out', () => {
      const desk = start();
      desk.settled(web);
      desk.clock.advance(10 * LOOK);
      expect(desk.calls.filter(({ port }) => port === 'prepare')).toHaveLength(1);
    });

    it('lets a policy be refused that breaks it: it worked', () => {
      const desk = replayed(left);
      desk.says(db, 'healthy');
      desk.clock.advance(STABLE);
      desk.apply('fresh');
      desk.port('prepare').resolve(rendering(db, webA));
      desk.port('recorded').resolve([left]);
      desk.port('check').resolve([]);
      desk.port('write').resolve();
      desk.says(webA, 'failed');
      expect(desk.heard('components.refused')).toMatchObject([{ reason: 'web-default-a: is failed' }]);
    });

    it('keeps what this start runs, also on the way back, as it was confirmed', () => {
      const desk = start();
      desk.settled(webA, db);
      desk.issue('fresh', rendering(wanted('web-default-a', 'y'), db));
      desk.says(wanted('web-default-a', 'y'), 'failed');
      desk.issue('revert', unrenderable);
      expect(desk.told('web-default-a')).toEqual(['component.reload', 'component.restart']);
      expect(desk.child('web-default-a')?.received.at(-1)).toMatchObject({ wanted: webA });
      desk.says(webA, 'healthy');
      expect(desk.heard('components.changed').at(-1)).toMatchObject({
        components: [{ id: 'db' }, { id: 'web-default-a', state: 'degraded', message: expect.stringContaining(why) }],
      });
      desk.clock.advance(STABLE);
      // And once more, from rest: it is still what was confirmed.
      desk.issue('revert', unrenderable);
      expect(desk.told('web-default-a').at(-1)).toBe('component.keep');
    });
  });

  it('is issued also when the records cannot be read', () => {
    const desk = start();
    desk.apply('replay');
    desk.port('prepare').resolve(rendering(web));
    desk.port('recorded').reject(new Error('EIO'));
    expect(desk.heard('components.issued')).toHaveLength(1);
  });
});

describe('safe mode', () => {
  it('starts, stops and changes nothing, and shows what runs', () => {
    const desk = start();
    desk.send({ type: 'components.leave' } as never);
    desk.port('recorded').resolve([{ id: 'web', type: 'web', pid: 6, hash: 'web-1', alive: true }]);
    expect(desk.heard('components.changed')).toMatchObject([
      { components: [{ id: 'web', pid: 6, message: 'left running as it is, not managed in safe mode' }] },
    ]);
    desk.clock.advance(COMPONENTS_DEFAULTS.lookEveryMs);
    desk.port('recorded').resolve([]);
    expect(desk.heard('components.changed').at(-1)).toMatchObject({ components: [] });
    expect(desk.calls.map(({ port }) => port)).toEqual(['recorded', 'recorded']);
  });

  it('is ended by a policy that is refused when it breaks what was left running', () => {
    const desk = start();
    desk.send({ type: 'components.leave' } as never);
    const recorded = [{ id: 'web', type: 'web', pid: 6, hash: 'web-1', alive: true }];
    desk.port('recorded').resolve(recorded);
    desk.apply('fresh');
    desk.port('prepare').resolve(rendering(web2));
    desk.port('recorded').resolve(recorded);
    desk.port('check').resolve([]);
    desk.port('write').resolve(undefined);
    expect(desk.heard('components.issued')).toHaveLength(1);
    desk.says(web2, 'failed', { message: 'it crashed' });
    expect(desk.heard('components.refused')).toMatchObject([{ kind: 'health', reason: 'web: it crashed' }]);
  });
});

describe('the end', () => {
  it('comes when every component has stopped', () => {
    const desk = start();
    desk.settled(web, db);
    desk.send({ type: 'components.stop', keep: false, hurry: true } as never);
    expect(desk.child('web')?.received).toEqual([{ type: 'component.stop', keep: false, hurry: true }]);
    desk.says(web, 'stopped');
    desk.port('recorded').resolve([]);
    expect(desk.heard('components.stopped')).toEqual([]);
    desk.says(db, 'stopped');
    expect(desk.heard('components.stopped')).toHaveLength(1);
  });

  it('takes along what an earlier start left and this one had not taken over yet', () => {
    const desk = start();
    desk.send({ type: 'components.stop', keep: false, hurry: false } as never);
    desk.port('recorded').resolve([{ id: 'old', type: 'old', pid: 5, hash: null, alive: true }]);
    expect(desk.port('sweep').call.input).toEqual({ ids: ['old'] });
    expect(desk.heard('components.stopped')).toEqual([]);
    desk.port('sweep').resolve();
    expect(desk.heard('components.stopped')).toHaveLength(1);
  });

  it('leaves that alone where components are to run on', () => {
    const desk = start();
    desk.send({ type: 'components.stop', keep: true, hurry: false } as never);
    expect(desk.calls).toEqual([]);
    expect(desk.heard('components.stopped')).toHaveLength(1);
  });

  it('comes also when one of them does not stop', () => {
    const desk = start();
    desk.settled(web);
    desk.send({ type: 'components.stop', keep: false, hurry: false } as never);
    desk.clock.advance(60_000);
    expect(desk.heard('components.stopped')).toHaveLength(1);
  });
});

describe('what is shown', () => {
  it('says which step is awaited and why, and is not told twice', () => {
    const desk = start();
    desk.settled(web);
    desk.issue('fresh', rendering(web2));
    desk.says(web2, 'reloading', { message: 'waiting for its output "reconfigured"' });
    expect(desk.heard('components.changed').at(-1)).toMatchObject({
      awaiting: 'reload web: waiting for its output "reconfigured"',
    });
    const before = desk.heard('components.changed').length;
    desk.says(web2, 'reloading', { message: 'waiting for its output "reconfigured"' });
    expect(desk.heard('components.changed')).toHaveLength(before);
    desk.says(web2, 'healthy');
    expect(desk.heard('components.changed').at(-1)).toMatchObject({
      awaiting: 'reload web: healthy, and has to stay so for 5 s (policy.apply.stable_for)',
    });
    desk.clock.advance(STABLE);
    expect(desk.heard('components.changed').at(-1)).toMatchObject({ awaiting: null });
  });

  it('awaits nothing of a component that is unwell later on: that is its health', () => {
    const desk = start();
    desk.settled(web);
    desk.says(web, 'degraded', { message: 'no answer' });
    expect(desk.heard('components.changed').at(-1)).toMatchObject({ awaiting: null });
  });

  it('shows the plan by step ids: what is kept, awaited and done', () => {
    const desk = start();
    desk.settled(web);
    const plan = (phase: string) => stepsShown(desk.snapshot().context, phase).map((it) => [it.id, it.state]);
    expect(plan('settled')).toEqual([['start web', 'done']]);
    desk.issue('fresh', rendering(web2));
    expect(plan('confirming')).toEqual([['reload web', 'awaited']]);
    expect(plan('planning')).toEqual([['reload web', 'ahead']]);
  });

  it('shows a unit that is not carried out in full as degraded, whatever the program does', () => {
    const lessened: WantedComponent = {
      ...web,
      units: [{ id: 'web-1', type: 'input', degraded: 'processors not carried out' }],
    };
    const desk = start();
    desk.issue('fresh', rendering(lessened));
    desk.says(lessened, 'healthy');
    desk.clock.advance(STABLE);
    expect(desk.heard('components.confirmed')).toMatchObject([{ degraded: ['web'] }]);
    expect(desk.heard('components.changed').at(-1)).toMatchObject({
      components: [
        { state: 'degraded', message: 'processors not carried out', units: [{ id: 'web-1', state: 'degraded' }] },
      ],
    });
  });
});

describe('supervision', () => {
  it('starts a component again that stopped while a newer plan wants it', () => {
    const desk = start();
    desk.settled(web);
    desk.issue('fresh', rendering());
    desk.issue('fresh', rendering(web));
    expect(desk.told('web')).toEqual(['component.stop', 'component.restart']);
    const first = desk.child('web');
    desk.says(web, 'stopped');
    expect(desk.child('web')).not.toBe(first);
    expect(desk.child('web')?.open()).toBe(true);
  });

  it('survives a child whose own logic threw, and shows it', () => {
    const desk = start();
    desk.settled(web);
    desk.child('web')?.reject(new Error('a fault'));
    expect(desk.snapshot().status).toBe('active');
    expect(desk.heard('components.changed').at(-1)).toMatchObject({
      components: [{ id: 'web', state: 'failed', message: 'its supervision failed: a fault' }],
    });
  });
});

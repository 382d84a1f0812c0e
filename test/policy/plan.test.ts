// The planner: its steps lead from what runs to what is wanted, and touch nothing else.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RunningComponent, Step, WantedComponent } from '../../src/policy/component.ts';
import { plan } from '../../src/policy/plan.ts';
import { OUTPUTS, renderPolicy } from './support.ts';

const template = renderPolicy({ outputs: OUTPUTS, inputs: [{ type: 'whole' }] }).components[0] as WantedComponent;
const RELOAD = { action: { kind: 'signal', signal: 'SIGHUP' }, confirm: null, timeoutMs: 1 } as const;

function want(id: string, files: number, process: number, reload: boolean): WantedComponent {
  return {
    ...template,
    id,
    hash: `${process}/${files}`,
    processHash: `${process}`,
    daemon: { ...template.daemon, reload: reload ? RELOAD : null },
  };
}

const ids = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f');
const version = fc.integer({ min: 0, max: 2 });
const wanted = fc.uniqueArray(
  fc.tuple(ids, version, version, fc.boolean()).map((one) => want(...one)),
  { selector: (one) => one.id },
);
const running = fc.uniqueArray(
  fc.tuple(ids, version, version, fc.boolean()).map(
    ([id, files, process, alive]): RunningComponent => ({
      id,
      hash: `${process}/${files}`,
      processHash: `${process}`,
      alive,
    }),
  ),
  { selector: (one) => one.id },
);

/** What the steps make of what runs. */
function apply(
  before: readonly RunningComponent[],
  steps: readonly Step[],
  goal: readonly WantedComponent[],
): RunningComponent[] {
  const after = new Map(before.map((one) => [one.id, one]));
  for (const step of steps) {
    const target = goal.find((one) => one.id === step.component);
    if (step.kind === 'stop') after.delete(step.component);
    else if (step.kind !== 'keep' && target) {
      // A reload changes the files of a process that lives; it can change nothing else.
      const processHash =
        step.kind === 'reload' ? (after.get(step.component)?.processHash ?? 'nothing to reload') : target.processHash;
      const alive = step.kind === 'reload' ? (after.get(step.component)?.alive ?? false) : true;
      after.set(target.id, { id: target.id, hash: target.hash, processHash, alive });
    }
  }
  return [...after.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
}

describe('a plan', () => {
  test('leads from what runs to what is wanted, alive, and nothing else', () => {
    fc.assert(
      fc.property(running, wanted, (before, goal) => {
        const after = apply(before, plan(before, goal), goal);
        expect(after).toEqual(
          goal
            .map(({ id, hash, processHash }) => ({ id, hash, processHash, alive: true }))
            .sort((a, b) => (a.id < b.id ? -1 : 1)),
        );
      }),
    );
  });

  test('keeps what is alive and unchanged, and only that', () => {
    fc.assert(
      fc.property(running, wanted, (before, goal) => {
        const kept = plan(before, goal)
          .filter((step) => step.kind === 'keep')
          .map((step) => step.component);
        const same = before.filter(
          (one) => one.alive && goal.some((other) => other.id === one.id && other.hash === one.hash),
        );
        expect(kept.sort()).toEqual(same.map((one) => one.id).sort());
      }),
    );
  });

  test('once carried out is followed by one that only keeps', () => {
    fc.assert(
      fc.property(running, wanted, (before, goal) => {
        const after = apply(before, plan(before, goal), goal);
        expect(plan(after, goal).every((step) => step.kind === 'keep')).toBe(true);
      }),
    );
  });

  test('has one step a component, its own id each, and does not depend on the order of its arguments', () => {
    fc.assert(
      fc.property(running, wanted, (before, goal) => {
        const steps = plan(before, goal);
        expect(new Set(steps.map((step) => step.component)).size).toBe(steps.length);
        expect(new Set(steps.map((step) => step.id)).size).toBe(steps.length);
        expect(plan([...before].reverse(), [...goal].reverse())).toEqual(steps);
      }),
    );
  });

  test('reloads when only files changed and the program can, and restarts otherwise', () => {
    const now: RunningComponent = { id: 'a', hash: '0/0', processHash: '0', alive: true };
    const kind = (goal: WantedComponent, from = now): string => plan([from], [goal])[0]?.kind ?? 'none';
    expect(kind(want('a', 1, 0, true))).toBe('reload');
    expect(kind(want('a', 1, 0, false))).toBe('restart');
    expect(kind(want('a', 0, 1, true))).toBe('restart');
    expect(kind(want('a', 0, 0, true), { ...now, alive: false })).toBe('restart');
  });

  test('stops before it changes and starts', () => {
    const now = ['gone', 'changed'].map((id) => ({ id, hash: '0/0', processHash: '0', alive: true }));
    const steps = plan(now, [want('a-new', 0, 0, true), want('changed', 1, 1, true)]);
    expect(steps.map((step) => step.id)).toEqual(['stop gone', 'restart changed', 'start a-new']);
  });

  test('refuses two components of one id', () => {
    expect(() => plan([], [want('a', 0, 0, true), want('a', 1, 1, true)])).toThrow(
      expect.objectContaining({ code: 'INTERNAL' }),
    );
  });
});

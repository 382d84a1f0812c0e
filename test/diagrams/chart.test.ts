/** The walker: what the pictures and texts are made of holds every state and every transition of every machine. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, test } from 'vitest';
import { type AnyStateNode, createMachine, StateMachine } from 'xstate';
import { chartOf } from '../../scripts/diagrams/chart.ts';
import { charts, machines } from '../../scripts/diagrams/machines.ts';
import { stateNodes } from '../support/machine-kit.ts';

const SOURCES = join(import.meta.dirname, '../../src/machines');

describe.each(Object.entries(machines))('the chart of %s', (name, machine) => {
  const chart = charts.find((one) => one.name === name)!;
  const nodes: readonly AnyStateNode[] = stateNodes(machine.root);

  it('holds every state with its description', () => {
    expect(chart.states.map(({ id, description }) => [id, description])).toEqual(
      nodes.map((node) => [node.id, node.description ?? '']),
    );
  });

  it('holds every transition of each state, those that are taken at once included, with its guard, targets and actions', () => {
    for (const node of nodes) {
      const real = [...(node.always ?? []), ...[...node.transitions.values()].flat()];
      const held = chart.transitions.filter(({ source }) => source === node.id);
      expect(held.map(({ targets, actions }) => [targets, actions.length])).toEqual(
        real.map(({ target, actions }) => [(target ?? []).map(({ id }) => id), actions.length]),
      );
      expect(held.map(({ guard }) => guard === null)).toEqual(real.map(({ guard }) => guard === undefined));
    }
  });

  it('finds each transition of the running machine by source, event and index', () => {
    for (const { source, event, index, targets } of chart.transitions) {
      const node = nodes.find(({ id }) => id === source)!;
      const candidates = event === '' ? node.always : node.transitions.get(event);
      expect((candidates?.[index]?.target ?? []).map(({ id }) => id)).toEqual(targets);
    }
  });

  it('gives no id twice', () => {
    const ids = [...chart.states, ...chart.transitions].map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
  });
});

it('is drawn for every machine there is', async () => {
  const files = readdirSync(SOURCES).filter((file) =>
    /\.createMachine\(/.test(readFileSync(join(SOURCES, file), 'utf8')),
  );
  const exported = await Promise.all(files.map((file) => import(join(SOURCES, file))));
  const there = exported.flatMap((module) => Object.values(module)).filter((one) => one instanceof StateMachine);
  expect(new Set(Object.values(machines))).toEqual(new Set(there));
});

describe('a transition is put in words', () => {
  const machine = createMachine({
    id: 'sample',
    initial: 'a',
    states: {
      a: {
        invoke: { src: 'port', id: 'port', onDone: 'b', onError: 'b' },
        after: { stableFor: 'b' },
        always: [{ guard: { type: 'the commit is', params: { id: 'start' } }, target: 'b' }, { target: 'b' }],
        on: { 'facts.changed': { actions: 'hold' } },
      },
      b: {},
    },
  });
  const words = chartOf('sample', machine).transitions.map(({ kind, label, guard, otherwise }) => [
    kind,
    label,
    guard ?? (otherwise ? 'otherwise' : null),
  ]);
  test.each([
    [['always', '', 'the commit is "start"']],
    [['always', '', 'otherwise']],
    [['event', 'facts.changed', null]],
    [['done', 'port done', null]],
    [['error', 'port failed', null]],
    [['delay', 'after stable for', null]],
  ])('%j', (expected) => {
    expect(words).toContainEqual(expected);
  });
});

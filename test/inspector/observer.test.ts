/** What the inspector records of real actors, and what it keeps to itself. */
import { describe, expect, test } from 'vitest';
import type { InspectionEvent } from 'xstate';
import { Observer } from '../../src/services/inspector/observer.ts';
import { Timeline } from '../../src/services/inspector/timeline.ts';
import type { EventRecord, TimelineRecord, TransitionRecord } from '../../src/wire/inspector.ts';
import { aHouse } from './machine.ts';

const NOW = 1_000;

function observed() {
  const observer = new Observer(() => NOW);
  const house = aHouse(observer.observe);
  return { observer, house };
}

const isEvent = (one: TimelineRecord): one is EventRecord => one.kind === 'event';
const isTransition = (one: TimelineRecord): one is TransitionRecord => one.kind === 'transition';

describe('the actors', () => {
  test('are told with their parents, machines and active states', () => {
    const { observer } = observed();
    expect(observer.actors().map(({ name, machine, states }) => ({ name, machine, states }))).toEqual([
      { name: 'house', machine: 'house', states: ['house.outside'] },
      { name: 'front', machine: 'door', states: ['door.shut'] },
    ]);
    const [root, child] = observer.actors();
    expect(child?.parent).toBe(root?.id);
  });

  test('come with a state that invokes them and go with it', () => {
    const { observer, house } = observed();
    house.send({ type: 'house.enter' });
    expect(observer.actors().map(({ name }) => name)).toEqual(['house', 'front', 'wait']);
    house.send({ type: 'house.leave' });
    expect(observer.actors().map(({ name }) => name)).toEqual(['house', 'front']);
  });

  test('of an agent before are forgotten when a new one begins in the same process', () => {
    const { observer, house } = observed();
    house.stop();
    aHouse(observer.observe);
    const ids = observer.actors().map(({ id }) => id);
    expect(ids).toHaveLength(2);
    expect(new Set(ids).size).toBe(2);
    expect(observer.records().filter(({ kind }) => kind === 'begin')).toHaveLength(2);
  });
});

test('an actor of one process is never taken for one of another, whose ids XState counts alike', () => {
  const ids = [observed(), observed()].map(({ observer }) => observer.actors().map(({ id }) => id));
  expect(new Set(ids.flat()).size).toBe(4);
});

describe('the timeline', () => {
  test('has each event with sender and receiver, and each transition with the event that caused it', () => {
    const { observer, house } = observed();
    house.send({ type: 'house.enter' });
    const events = observer.records().filter(isEvent);
    expect(events.map(({ from, to, type }) => ({ from, to, type }))).toEqual([
      { from: null, to: 'house', type: 'house.enter' },
      { from: 'house', to: 'front', type: 'door.push' },
    ]);
    const transitions = observer.records().filter(isTransition);
    expect(transitions.map(({ name, transitions: ids, cause, stays }) => ({ name, ids, cause, stays }))).toEqual([
      { name: 'house', ids: ['house.outside#0'], cause: events[0]?.seq, stays: false },
      { name: 'front', ids: ['door.shut#0'], cause: events[1]?.seq, stays: false },
      { name: 'front', ids: ['door.open#0'], cause: events[1]?.seq, stays: false },
    ]);
  });

  test('is bounded: the oldest records make room', () => {
    const timeline = new Timeline({ records: 10, characters: 1_000_000 });
    for (let seq = 1; seq <= 95; seq += 1) timeline.add({ kind: 'begin', seq, at: NOW });
    expect(timeline.all().map(({ seq }) => seq)).toEqual([86, 87, 88, 89, 90, 91, 92, 93, 94, 95]);
  });

  test('is bounded in size, too', () => {
    const timeline = new Timeline({ records: 100, characters: 100 });
    for (let seq = 1; seq <= 50; seq += 1) timeline.add({ ...EVENT, seq, payload: 'x'.repeat(30) });
    expect(timeline.length).toBe(3);
  });
});

const EVENT: EventRecord = { kind: 'event', seq: 1, at: NOW, from: null, to: 'a', actor: '1', type: 't', payload: '' };

describe('a payload', () => {
  const payloadOf = (more: Record<string, unknown>): string => {
    const { observer, house } = observed();
    house.send({ type: 'house.enter', ...more });
    return observer.records().find(isEvent)?.payload ?? '';
  };

  test('shows plain data', () => {
    expect(JSON.parse(payloadOf({ plan: 'p1', degraded: ['a'] }))).toEqual({ plan: 'p1', degraded: ['a'] });
  });

  test('never holds the body of a policy, only its name', () => {
    const text = JSON.stringify({ id: 'web', inputs: ['everything'] });
    const payload = payloadOf({ policy: { id: 'web', revision: 3, hash: 'abc', text } });
    expect(payload).toContain('"revision":3');
    expect(payload).not.toContain('everything');
  });

  test('never holds the data of an action, nor rendered files, arguments and environments', () => {
    const payload = payloadOf({
      actions: [{ id: 'a1', data: '{"level":"hidden-a"}' }],
      components: [{ id: 'c', daemon: { run: { args: ['hidden-b'], env: { A: 'hidden-c' } } } }],
    });
    expect(payload).toContain('a1');
    expect(payload).not.toContain('hidden');
  });

  test('hides a secret of a policy wherever it turns up, from the moment the policy is seen', () => {
    const { observer, house } = observed();
    const text = JSON.stringify({ outputs: { default: { api_key: 'id:s3cr3t-value' } } });
    house.send({ type: 'house.enter', policy: { id: 'web', revision: 1, hash: 'h1', text } });
    house.send({ type: 'house.enter', message: 'the program says: bad key id:s3cr3t-value' });
    const told = JSON.stringify(observer.records());
    expect(told).toContain('the program says');
    expect(told).not.toContain('s3cr3t-value');
  });

  test('hides a secret before it is cut: half of one would not be recognised', () => {
    const { observer, house } = observed();
    const text = JSON.stringify({ outputs: { default: { api_key: 'id:s3cr3t-value-of-many-characters' } } });
    house.send({ type: 'house.enter', policy: { id: 'web', revision: 1, hash: 'h1', text } });
    const said = `${'x'.repeat(285)} id:s3cr3t-value-of-many-characters`;
    house.send({ type: 'house.enter', message: said, error: new Error(said) });
    expect(JSON.stringify(observer.records())).not.toContain('s3cr3t');
  });

  test('is cut when it is long', () => {
    const items = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`key${index}`, 'x'.repeat(200)]));
    expect(payloadOf({ items }).length).toBeLessThanOrEqual(2_000);
  });

  test('that cannot be shown costs its own record and no other', () => {
    const { observer, house } = observed();
    const hostile = {
      get trap(): string {
        throw new Error('not for you');
      },
    };
    expect(() => house.send({ type: 'house.enter', hostile })).not.toThrow();
    house.send({ type: 'house.leave' });
    expect(observer.records().filter(isEvent).at(-1)?.type).toBe('house.leave');
  });
});

test('an observer is told nothing it does not know, and never throws', () => {
  const observer = new Observer(() => NOW);
  expect(() => observer.observe({ type: '@xstate.snapshot' } as unknown as InspectionEvent)).not.toThrow();
});

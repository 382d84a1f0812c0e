/** What the page knows and decides, without a browser. */
import { describe, expect, test } from 'vitest';
import { diffLines } from '../../src/inspector-page/diff.ts';
import { EVERYTHING, filtered } from '../../src/inspector-page/filter.ts';
import { ENTRIES_KEPT, Model } from '../../src/inspector-page/model.ts';
import { windowOf } from '../../src/inspector-page/window.ts';
import type { ActorView, EventRecord, Hello, TimelineRecord, TransitionRecord } from '../../src/wire/inspector.ts';

const actor = (id: string, parent: string | null = null, more: Partial<ActorView> = {}): ActorView => ({
  id,
  name: id,
  parent,
  machine: id,
  states: [`${id}.on`],
  status: 'active',
  ...more,
});
const event = (seq: number, more: Partial<EventRecord> = {}): EventRecord => ({
  kind: 'event',
  seq,
  at: seq,
  from: null,
  to: 'agent',
  actor: 'agent',
  type: 'facts.changed',
  payload: '',
  ...more,
});
const transition = (seq: number, cause: number): TransitionRecord => ({
  kind: 'transition',
  seq,
  at: seq,
  actor: 'agent',
  name: 'agent',
  machine: 'agent',
  cause,
  type: 'facts.changed',
  transitions: ['agent.on#0'],
  stays: false,
  states: ['agent.on'],
});
const hello = (life: number, records: readonly TimelineRecord[], actors: readonly ActorView[] = []): Hello => ({
  life: `life ${life}`,
  archive: null,
  version: '0',
  pid: 7,
  home: '/h',
  actors,
  records,
  standing: null,
});
const kinds = (model: Model) =>
  model.entries.map(({ record }) => (record.kind === 'gap' ? `gap:${record.died}` : record.seq));

describe('the timeline of the page', () => {
  test('goes on after a lost connection without saying anything twice', () => {
    const model = new Model();
    model.hello(hello(1, [event(1), event(2)]), 0);
    model.news({ records: [event(3)], actors: [], begun: false });
    model.hello(hello(1, [event(2), event(3), event(4)]), 0);
    expect(kinds(model)).toEqual([1, 2, 3, 4]);
  });

  test('says so when something was missed', () => {
    const model = new Model();
    model.hello(hello(1, [event(1)]), 0);
    model.hello(hello(1, [event(9)]), 0);
    expect(kinds(model)).toEqual([1, 'gap:false', 9]);
  });

  test('keeps what a process that died did last, before what the next one does', () => {
    const model = new Model();
    model.hello(hello(1, [event(1), event(2)]), 0);
    model.hello(hello(2, [event(1)]), 0);
    expect(kinds(model)).toEqual([1, 2, 'gap:true', 1]);
  });

  test('tells a death at its time, between what was told before and after', () => {
    const model = new Model();
    model.hello(hello(1, [event(10), event(20)]), 20);
    model.lost('lost', 25);
    model.lost('lost', 500);
    model.hello(hello(2, [event(40)]), 900);
    expect(model.entries.map(({ record }) => record.at)).toEqual([10, 20, 25, 40]);
    // A stream that ended after the next process had begun, by its clock.
    model.lost('lost', 95);
    model.hello(hello(3, [event(60)]), 900);
    expect(model.entries.map(({ record }) => record.at)).toEqual([10, 20, 25, 40, 60, 60]);
  });

  test('is bounded', () => {
    const model = new Model();
    model.hello(hello(1, []), 0);
    for (let seq = 1; seq <= ENTRIES_KEPT * 2; seq += 1)
      model.news({ records: [event(seq)], actors: [], begun: false });
    expect(model.entries.length).toBeLessThanOrEqual(ENTRIES_KEPT + 1_000);
    expect(model.entries.at(-1)?.record).toMatchObject({ seq: ENTRIES_KEPT * 2 });
  });

  test('leads from an event to the transition it caused, in its own life of the agent', () => {
    const model = new Model();
    model.hello(hello(1, [event(1), event(2), transition(3, 1)]), 0);
    model.hello(hello(2, [event(1), event(2), transition(3, 2)]), 0);
    const [one, two] = model.entries;
    expect(model.transitionOf(one as never)?.entry).toBe(model.entries[2]);
    expect(model.transitionOf(two as never)).toBeNull();
    expect(model.transitionOf(model.entries[5] as never)?.entry).toBe(model.entries[6]);
  });
});

describe('the actors of the page', () => {
  test('stand below the ones they belong to, machines before what they wait for', () => {
    const model = new Model();
    const promise = actor('a.wait', 'a', { machine: null });
    model.hello(hello(1, [], [actor('agent'), actor('a', 'agent'), promise, actor('a.child', 'a')]), 0);
    expect(model.tree().map(({ actor: { id }, depth }) => [id, depth])).toEqual([
      ['agent', 0],
      ['a', 1],
      ['a.child', 2],
      ['a.wait', 2],
    ]);
  });

  test('that end are gone, and the root is shown in the place of a chosen one', () => {
    const model = new Model();
    model.hello(hello(1, [], [actor('agent'), actor('a', 'agent')]), 0);
    model.chosen = 'a';
    model.news({ records: [], actors: [actor('a', 'agent', { status: 'stopped' })], begun: false });
    expect(model.shown?.id).toBe('agent');
  });
});

describe('the actor of a transition', () => {
  test('is itself while it lives, and whoever has its place in the next process', () => {
    const model = new Model();
    model.hello(hello(1, [], [actor('l1.a', null, { machine: 'component', name: 'component:a' })]), 0);
    const record = { ...transition(3, 1), actor: 'l1.b', name: 'component:b', machine: 'component' };
    const b = actor('l1.b', null, { machine: 'component', name: 'component:b' });
    model.news({ records: [], actors: [b], begun: false });
    expect(model.actorOf(record)?.id).toBe('l1.b');
    // The next process numbers its actors as the one before did, in another order.
    const next = [
      actor('l2.b', null, { machine: 'component', name: 'component:a' }),
      actor('l2.a', null, { machine: 'component', name: 'component:b' }),
    ];
    model.hello(hello(2, [], next), 0);
    expect(model.actorOf(record)?.id).toBe('l2.a');
    model.hello(hello(3, [], [actor('l3.x', null, { machine: 'other' })]), 0);
    expect(model.actorOf(record)).toBeNull();
  });
});

describe('the filter', () => {
  const entries = [
    event(1, { type: 'policy.due', payload: '{"plan":"P1"}' }),
    transition(2, 1),
    event(3, { actor: 'b' }),
  ].map((record, n) => ({ n, life: 1, record }));
  const found = (filter: Partial<typeof EVERYTHING>) =>
    filtered(entries, { ...EVERYTHING, ...filter }).map(({ n }) => n);

  test('lets everything through when it says nothing', () => {
    expect(filtered(entries, EVERYTHING)).toBe(entries);
  });

  test('wants every word, wherever it stands, in any case', () => {
    expect(found({ words: 'p1 POLICY' })).toEqual([0]);
    expect(found({ words: 'p1 nowhere' })).toEqual([]);
  });

  test('goes by kind and by actor', () => {
    expect(found({ events: false })).toEqual([1]);
    expect(found({ transitions: false })).toEqual([0, 2]);
    expect(found({ stays: false })).toEqual([0, 1, 2]);
    expect(found({ actor: 'b' })).toEqual([2]);
  });
});

describe('the window of a list', () => {
  test('draws what is in sight and a little more, however long the list is', () => {
    const { from, to, aboveHeight, belowHeight } = windowOf({
      rows: 10_000,
      rowHeight: 26,
      scrolled: 130_000,
      visible: 520,
    });
    expect([from, to]).toEqual([4_988, 5_032]);
    expect(aboveHeight + (to - from) * 26 + belowHeight).toBe(260_000);
  });

  test('stays in the list when it is scrolled too far, or empty', () => {
    expect(windowOf({ rows: 5, rowHeight: 26, scrolled: 9_999, visible: 520 })).toMatchObject({ from: 0, to: 5 });
    expect(windowOf({ rows: 0, rowHeight: 26, scrolled: 0, visible: 520 })).toMatchObject({ from: 0, to: 0 });
  });
});

describe('the difference of two texts', () => {
  const lines = (before: string, after: string) =>
    diffLines(before, after).map((line) =>
      line.kind === 'skipped' ? `…${line.lines}` : `${line.kind[0]} ${line.text}`,
    );

  test('is nothing when they are equal', () => {
    expect(diffLines('a\nb', 'a\nb')).toEqual([]);
  });

  test('is what was removed and added, with what is around it', () => {
    const before = Array.from({ length: 20 }, (_, index) => `line ${index}`);
    const after = before.with(10, 'other');
    expect(lines(before.join('\n'), after.join('\n'))).toEqual([
      '…7',
      's line 7',
      's line 8',
      's line 9',
      'r line 10',
      'a other',
      's line 11',
      's line 12',
      's line 13',
      '…6',
    ]);
  });

  test('keeps equal lines between changes together', () => {
    expect(lines('a\nb\nc', 'x\nb\ny')).toEqual(['r a', 'a x', 's b', 'r c', 'a y']);
  });
});

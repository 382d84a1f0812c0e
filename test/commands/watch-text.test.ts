/** What a watched status shows beside the status itself. */
import { expect, test } from 'vitest';
import { watchLine, watchText } from '../../src/commands/watch-text.ts';
import { aStatus, NOW, policy } from './fakes.ts';

const rowsOf = (text: string) =>
  new Map(
    text
      .split('\n')
      .flatMap((line) => (/^ {2}(\w+) +(.*)$/.exec(line) ?? []).slice(1, 3).join('\0') || [])
      .map((row) => row.split('\0') as [string, string]),
  );

test('says where the charts are, how far the policy has come, and whether that is where it should be', () => {
  const rows = rowsOf(watchText(aStatus(), [], NOW));
  expect(rows.get('chart')).toBe('running.checkin, link checkingIn');
  expect(rows.get('strip')).toBe('received web:3 › running web:3 › persisted web:3 › acked web:3');
  expect(rows.get('goal')).toBe('Converged: web:3 runs, is held, and Fleet knows.');
});

test('tells the stages of a policy on its way apart, and names the step that is awaited', () => {
  const status = aStatus({
    path: { policy: 'apply', link: 'idle' },
    awaiting: 'start nginx-default-web: waiting for its output',
    policy: { received: policy(4) },
  });
  const rows = rowsOf(watchText(status, [], NOW));
  expect(rows.get('chart')).toBe('running.apply, link idle, awaits start nginx-default-web: waiting for its output');
  expect(rows.get('strip')).toBe('received web:4 › running web:3 › persisted web:3 › acked web:3');
  expect(rows.get('goal')).toMatch(/^web:4 is being applied\. Awaited: step start nginx-default-web/);
});

test('names what was rejected, and what is not there yet', () => {
  const rejected = [
    { ...policy(4), kind: 'check', reason: 'no', rejected_at: new Date(NOW).toISOString(), next_try: null },
  ];
  const status = aStatus({ policy: { received: policy(4), acked: null, rejected } });
  expect(rowsOf(watchText(status, [], NOW)).get('strip')).toBe(
    'received web:4 › running web:3 › persisted web:3 › acked –; rejected web:4',
  );
});

test('ends with what happened last, the newest at the end, below the components', () => {
  const moments = [
    { at: NOW - 5_000, words: 'agent: apply.done: running.apply → running.persist' },
    { at: NOW, words: 'agent: store.committed: running.persist → running.ack' },
  ];
  const lines = watchText(aStatus(), moments, NOW).trimEnd().split('\n');
  expect(lines.slice(-3)).toEqual([
    '  last events',
    '    5 s ago    agent: apply.done: running.apply → running.persist',
    '    just now   agent: store.committed: running.persist → running.ack',
  ]);
  expect(lines.findIndex((line) => line.includes('nginx-default-web'))).toBeLessThan(lines.length - 3);
});

test('keeps an event to one row of the terminal', () => {
  const moments = [{ at: NOW, words: `agent: ${'x'.repeat(200)}` }];
  const last = watchText(aStatus(), moments, NOW, { columns: 60, rows: 100 }).trimEnd().split('\n').at(-1);
  expect(last).toHaveLength(60);
  expect(last).toMatch(/^ {4}just now {3}agent: x+…$/);
});

test('takes no more rows than the terminal has, and keeps the whole opening in sight', () => {
  const rejected = [
    {
      ...policy(4),
      kind: 'check',
      reason: 'a long story about a directive that nobody knows in a file that is long as well',
      rejected_at: new Date(NOW).toISOString(),
      next_try: null,
    },
  ];
  const components = Array.from({ length: 40 }, (_, number) => ({ ...aStatus().components[0], id: `c${number}` }));
  const status = aStatus({ policy: { received: policy(4), rejected }, components: components as never });
  const text = watchText(status, [], NOW, { columns: 40, rows: 20 });
  const lines = text.split('\n');
  expect(lines).toHaveLength(20); // the last one is where the cursor stands
  expect(Math.max(...lines.map(({ length }) => length))).toBeLessThanOrEqual(40);
  expect(lines.slice(0, 5).join(' ')).toContain('in a file that is long as well.');
  expect(lines.at(-2)).toMatch(/^ {2}… \d+ more lines/);
});

test('is a line for each change where there is no terminal', () => {
  const status = aStatus({ path: { policy: 'apply' }, policy: { received: policy(4) } });
  expect(watchLine(status, NOW)).toBe(
    '2026-11-23T12:00:00.000Z Applying web:4 (web:3 ran before). [running.apply, link checkingIn; received web:4 › running web:3 › persisted web:3 › acked web:3] web:4 is being applied.\n',
  );
});

/** What a watched status shows beside the status itself. */
import { expect, test } from 'vitest';
import { watchText } from '../../src/commands/watch-text.ts';
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
  const last = watchText(aStatus(), moments, NOW, 60).trimEnd().split('\n').at(-1);
  expect(last).toHaveLength(60);
  expect(last).toMatch(/^ {4}just now {3}agent: x+…$/);
});

/** What `holdfast status` opens with, for every situation worth a sentence. */
import { expect, test } from 'vitest';
import { ago, span, statusSentence, until } from '../../src/commands/status-sentence.ts';
import { statusText } from '../../src/commands/status-text.ts';
import { aStatus, NOW, policy } from './fakes.ts';

const rejected = (nextTryMs: number | null) => ({
  hash: 'hash4',
  id: 'web',
  revision: 4,
  kind: 'check',
  reason: 'nginx: unknown directive "lisen" in line 4',
  rejected_at: new Date(NOW - 120_000).toISOString(),
  next_try: nextTryMs === null ? null : new Date(NOW + nextTryMs).toISOString(),
});
const component = (state: string, message: string, id = 'nginx-default-web') => ({
  ...aStatus().components[0],
  id,
  state,
  message,
});

test.each([
  ['healthy', {}, 'Running web:3.'],
  [
    'rejected, with a next try',
    { policy: { received: policy(4), rejected: [rejected(58_000)] } },
    'Running web:3. web:4 rejected 2 min ago: nginx: unknown directive "lisen" in line 4. Next try in 58 s.',
  ],
  [
    'rejected for good',
    { policy: { received: policy(4), rejected: [rejected(null)] } },
    'Running web:3. web:4 rejected 2 min ago: nginx: unknown directive "lisen" in line 4.',
  ],
  ['an old rejection that was overcome', { policy: { rejected: [rejected(null)] } }, 'Running web:3.'],
  ['applying', { path: { policy: 'apply' }, policy: { received: policy(4) } }, 'Applying web:4 (web:3 ran before).'],
  [
    'applying the first one',
    { path: { policy: 'apply' }, policy: { received: policy(1), running: null, persisted: null, generations: [] } },
    'Applying web:1.',
  ],
  ['persisting', { path: { policy: 'persist' } }, 'Saving web:3, which works.'],
  [
    'rolling back before any has worked',
    { path: { policy: 'rollback' }, policy: { running: null, persisted: null, generations: [] } },
    'Giving up the policy; none has worked yet.',
  ],
  ['rolling back', { path: { policy: 'rollback' } }, 'Going back to web:3.'],
  [
    'no policy yet',
    { policy: { received: null, running: null, persisted: null, acked: null, generations: [] } },
    'Waiting for the first policy from Fleet.',
  ],
  [
    'holding nothing though Fleet believes otherwise',
    {
      policy: {
        running: null,
        persisted: null,
        generations: [],
        orphaned: { reason: 'the state directory is empty', since: new Date(NOW).toISOString() },
      },
    },
    'Holds no policy: the state directory is empty.',
  ],
  [
    'holding an older one',
    { policy: { orphaned: { reason: 'web:4 cannot be read', since: new Date(NOW).toISOString() } } },
    'Running web:3. Holds less than Fleet believes: web:4 cannot be read.',
  ],
  [
    'passed over',
    { policy: { running: policy(2), generations: [policy(3), policy(2)] } },
    'Running web:2, since web:3 was passed over.',
  ],
  [
    'one component unwell',
    { components: [component('failed', 'exit code 1')] },
    'Running web:3. nginx-default-web is failed: exit code 1.',
  ],
  [
    'several components unwell, the worst of them first',
    { components: [component('degraded', ''), component('failed', 'x', 'zoo'), component('backingOff', '', 'a')] },
    'Running web:3. zoo is failed and 2 more: x.',
  ],
  [
    'Fleet out of reach',
    { fleet: { state: 'backing-off', message: 'connection refused by f:8220' } },
    'Running web:3. Fleet cannot be reached: connection refused by f:8220.',
  ],
  [
    'not accepted by Fleet',
    { fleet: { state: 'unauthorised', message: 'the access key is not valid' } },
    'Running web:3. Fleet does not accept this agent: the access key is not valid.',
  ],
  [
    'a disk that takes nothing',
    { store: { failing: 'no space left on device' } },
    'Running web:3. The disk takes no writes: no space left on device.',
  ],
  [
    'after crashes',
    { start: { previous: 'crashed', crashes: 2 } },
    'Running web:3. Restarted after 2 crashes in a row.',
  ],
  ['replaying', { state: 'replay' }, 'Starting: bringing up web:3, which worked last.'],
  ['booting', { state: 'boot' }, 'Starting.'],
  [
    'naming the crash',
    { state: 'crashed', start: { crashes: 1, in_flight: 'applying web:4' } },
    'Starting after a crash during applying web:4.',
  ],
  [
    'safe mode',
    {
      state: 'safeMode',
      start: { crashes: 3 },
      message: 'safe mode: web:1 was started 3 times; nothing is started, stopped or changed: run `holdfast retry`',
    },
    'In safe mode after 3 crashes: web:1 was started 3 times; nothing is started, stopped or changed: run `holdfast retry`.',
  ],
  [
    'safe mode over a start that ended well',
    { state: 'safeMode', start: { crashes: 0 }, message: '' },
    'In safe mode: nothing is started, stopped or changed.',
  ],
  ['draining', { state: 'draining' }, 'Stopping.'],
  ['left Fleet', { state: 'unenrolled', agent: { enrolled: false } }, 'Left Fleet: it manages nothing any more.'],
  [
    'never enrolled',
    { state: 'unenrolled', agent: { id: null, enrolled: false } },
    'Not enrolled: run `holdfast enroll --url URL --enrollment-token TOKEN`.',
  ],
  ['not running', { pid: 0, state: 'stopped' }, 'Not running; read from disk: holds web:3.'],
  [
    'not running and not enrolled',
    { pid: 0, state: 'stopped', agent: { id: null, enrolled: false } },
    'Not running; read from disk: not enrolled.',
  ],
])('%s', (_, changes, sentence) => {
  expect(statusSentence(aStatus(changes as never), NOW)).toBe(sentence);
});

test.each([
  [0, '0 s'],
  [58_400, '58 s'],
  [119_000, '119 s'],
  [120_000, '2 min'],
  [3 * 3_600_000, '3 h'],
  [49 * 3_600_000, '2 days'],
])('%d ms is %s', (ms, text) => expect(span(ms)).toBe(text));

test('a time that is no time is said to be unknown', () => {
  expect(ago('yesterday', NOW)).toBe('at an unknown time');
  expect(until('', NOW)).toBe('at an unknown time');
  expect(until(new Date(NOW - 5000).toISOString(), NOW)).toBe('now');
});

test.each([
  ['held and acked', {}, 'web:3 hash3, held for 60 s, acked'],
  [
    'held for the second that is older',
    { policy: { generations: [policy(3), policy(2)] } },
    'web:3 hash3, held for 60 s, acked, 1 older kept',
  ],
  [
    'run in place of one that is passed over: durable and known to Fleet all the same',
    { policy: { running: policy(2), generations: [policy(3), policy(2), policy(1)] } },
    'web:2 hash2, held for 60 s, in place of web:3, which is held and acked, 1 older kept',
  ],
  ['not held yet', { policy: { running: policy(4) } }, 'web:4 hash4, not held yet, not acked yet'],
] as const)('the policy line of one that is %s', (_name, changes, line) => {
  expect(statusText(aStatus(changes), NOW)).toContain(`\n  policy     ${line}\n`);
});

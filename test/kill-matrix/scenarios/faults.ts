/** The disk or the link to Fleet fails, and then works again. */
import {
  BASIC,
  CHANGE,
  DRAIN,
  FIRST_RUNS,
  ON_FIRST,
  ON_SECOND,
  policy,
  REPLAY,
  ROLLBACK,
  rejected,
  type Scenario,
  SECOND,
  settledOn,
  UNTOUCHED,
  waysAfter,
  whenSettledOn,
} from '../scenario.ts';

const WAITS = { policy: { apply: { timeout: '40s', stable_for: '300ms' } } };

const BECOMES_SECOND = {
  base: 'first',
  settled: settledOn(3),
  from: 0,
  outcome: { ...ON_SECOND, uninterrupted: [UNTOUCHED] },
  undisturbed: ['running.checkin', ...CHANGE],
} as const satisfies Partial<Scenario>;

export const FAULTS: readonly Scenario[] = [
  {
    ...BECOMES_SECOND,
    name: 'full disk while a policy comes',
    steps: [
      whenSettledOn(2, async (stage) => {
        stage.failDisk('ENOSPC');
        await stage.policy(SECOND);
      }),
      {
        waitsFor: 'a disk that fails',
        when: ({ store }) => store.failing !== null,
        act: (stage) => stage.mendDisk(),
      },
    ],
  },
  {
    ...BECOMES_SECOND,
    name: 'disk that turns read-only while a policy is on trial',
    settings: WAITS,
    steps: [
      whenSettledOn(2, (stage) => stage.policy(SECOND)),
      {
        waitsFor: 'a policy on trial',
        when: (status) => status.path.policy === 'apply' || settledOn(3)(status),
        act: (stage) => stage.failDisk('EROFS'),
      },
      {
        waitsFor: 'a disk that fails',
        when: (status) => status.store.failing !== null || settledOn(3)(status),
        act: (stage) => stage.mendDisk(),
      },
    ],
  },
  {
    name: 'disk that turns read-only before the verdict on a bad policy',
    base: 'first',
    // Ten times what the program lives: on a busy machine too it ends before it counts as stable.
    settings: { policy: { apply: { timeout: '40s', stable_for: '4s' }, retry: { initial: '1h', max: '1h' } } },
    steps: [
      whenSettledOn(2, (stage) => stage.policy(policy('late', 'one'))),
      {
        waitsFor: 'a policy on trial',
        when: (status) => status.path.policy === 'apply' || rejected(3)(status),
        act: (stage) => stage.failDisk('EROFS'),
      },
      {
        waitsFor: 'a disk that fails',
        when: (status) => status.store.failing !== null || rejected(3)(status),
        act: (stage) => stage.mendDisk(),
      },
    ],
    from: 0,
    settled: rejected(3),
    outcome: {
      generations: [2],
      rejected: [3],
      acked: ['policy:web:2'],
      runs: FIRST_RUNS,
      uninterrupted: BASIC.slice(1),
    },
    undisturbed: ['running.checkin', ...ROLLBACK],
  },
  {
    ...BECOMES_SECOND,
    name: 'acks that Fleet does not take at first',
    steps: [
      whenSettledOn(2, (stage) => {
        stage.refuse('acks', 503);
        return stage.policy(SECOND);
      }),
      {
        waitsFor: 'acks that were refused',
        when: ({ policy: { persisted }, actions }, { fleet }) =>
          persisted?.revision === 3 &&
          actions.outbox > 0 &&
          fleet.requests.filter(({ kind, status }) => kind === 'acks' && status === 503).length > 1,
        act: (stage) => stage.accept(),
      },
    ],
  },
  {
    ...BECOMES_SECOND,
    name: 'Fleet that cannot be reached for a while',
    steps: [
      whenSettledOn(2, (stage) => stage.fleet.kill()),
      {
        waitsFor: 'a link that is down',
        when: ({ link }) => link === 'backing-off',
        act: async (stage) => {
          await stage.fleet.start();
          await stage.policy(SECOND);
        },
      },
    ],
  },
  {
    name: 'Fleet that does not know the agent for a while',
    base: 'first',
    steps: [
      whenSettledOn(2, async (stage) => {
        stage.refuse('checkin', 401);
        await stage.fleet.kill();
        await stage.fleet.start();
      }),
      {
        waitsFor: 'a link that is refused',
        when: ({ link }) => link === 'unauthorised',
        act: async (stage) => {
          stage.accept();
          await stage.restart();
        },
      },
    ],
    from: 0,
    settled: (status, stage) => stage.restarted && settledOn(2)(status),
    outcome: { ...ON_FIRST, uninterrupted: [] },
    undisturbed: ['running.checkin', ...DRAIN, ...REPLAY],
    // A kill before the end of that comes to a life that is refused, too, and asked to begin anew.
    ways: (disk, scenario) => {
      const [begin = []] = waysAfter(disk, scenario);
      return [[...begin, ...DRAIN, ...REPLAY], begin];
    },
  },
  {
    name: 'answers that say nothing, and one that cannot be read',
    base: 'first',
    before: async ({ fleet }) => {
      const texts = ['{"action": "checkin", "actions": []}', '{"action": "checkin", '];
      const isCheckin = ({ kind }: { kind: string }) => kind === 'checkin';
      fleet.answer(isCheckin, () => new Response(texts.shift()), texts.length);
    },
    steps: [],
    settled: (status, { fleet }) =>
      settledOn(2)(status) && fleet.requests.filter(({ kind }) => kind === 'checkin').length > 2,
    outcome: { ...ON_FIRST, uninterrupted: BASIC },
    undisturbed: REPLAY,
  },
];

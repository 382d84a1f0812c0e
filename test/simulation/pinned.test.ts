/** Worlds in which a promise was broken once, each with the schedule that shrinking left: they stay whole. */
import { expect, test } from 'vitest';
import type { Happening } from './schedule.ts';
import { runWorld } from './world.ts';

const good = { what: 'good', breaks: 'crashes', webs: ['a'], jobs: [], stubborn: false, contradicts: false } as const;

interface Pinned {
  readonly claim: string;
  readonly seed: number;
  readonly schedule: readonly Happening[];
}

const PINNED: readonly Pinned[] = [
  {
    claim: 'a rejected policy whose bytes have rotted does not keep the store from ever writing again (P11, P12)',
    seed: 42,
    schedule: [
      { ...good, atMs: 1_547, kind: 'publish', policy: 'web', what: 'unchecked', contradicts: true },
      { ...good, atMs: 38_298, kind: 'publish', policy: 'db', what: 'unchecked', jobs: ['c'] },
      { ...good, atMs: 40_712, kind: 'publish', policy: 'db', jobs: ['c'] },
      { atMs: 42_654, kind: 'stateEmptied', stopped: true },
      { ...good, atMs: 49_248, kind: 'publish', policy: 'web', what: 'poison', breaks: 'crashesLater' },
      { atMs: 53_561, kind: 'bitRot', where: 44, bit: 10_904, stopped: true },
    ],
  },
  {
    claim: 'state that is lost after the clock was set back is not taken for a new enrollment (P8)',
    seed: 37,
    schedule: [
      { ...good, atMs: 772, kind: 'publish', policy: 'web' },
      { atMs: 11_469, kind: 'clockJump', byMs: -3_600_000 },
      { atMs: 60_000, kind: 'stateEmptied', stopped: true },
    ],
  },
  {
    claim: 'a start while the disk cannot be read goes on with what is there as soon as it can (P11, P12)',
    seed: 8,
    schedule: [
      { ...good, atMs: 772, kind: 'publish', policy: 'web' },
      { atMs: 28_339, kind: 'diskUnreadable', forMs: 30_000 },
      { atMs: 31_101, kind: 'kill', points: 0 },
      { ...good, atMs: 90_000, kind: 'publish', policy: 'web' },
    ],
  },
  {
    claim: 'a rejected policy that ends the agent is not tried again before last good has proven itself (P10, P12)',
    seed: 20,
    schedule: [
      { ...good, atMs: 1_982, kind: 'publish', policy: 'web', contradicts: true },
      { atMs: 17_887, kind: 'powerCut', points: 27 },
      { atMs: 19_006, kind: 'reassign', policy: 'web' },
      { atMs: 21_238, kind: 'kill', points: 0 },
      { atMs: 164_572, kind: 'crashLoop', times: 7 },
      { ...good, atMs: 169_309, kind: 'publish', policy: 'web', what: 'poison', breaks: 'refuses', webs: ['a', 'b'] },
    ],
  },
  {
    claim:
      'a process that runs out of file descriptors loses no policy while it mends what it could not read (P8, P11)',
    seed: 5700,
    schedule: [
      { ...good, atMs: 454, kind: 'publish', policy: 'web', breaks: 'hangs', webs: ['a', 'b'], jobs: ['c'] },
      { atMs: 12_788, kind: 'powerCut', points: 49 },
      { ...good, atMs: 13_305, kind: 'publish', policy: 'web', breaks: 'crashesLater' },
      { atMs: 24_187, kind: 'actions', types: ['SETTINGS_BAD', 'POLICY_REASSIGN'] },
      { atMs: 25_870, kind: 'noFilesLeft', forMs: 147_768 },
      { atMs: 33_468, kind: 'kill', points: 0 },
    ],
  },
  {
    claim: 'an orphan goes on saying that it holds nothing when what it fell back on has proven itself (P8)',
    seed: 7011,
    schedule: [
      { ...good, atMs: 1_346, kind: 'publish', policy: 'web', webs: ['a', 'b'], jobs: ['c'] },
      { ...good, atMs: 355_718, kind: 'publish', policy: 'web', breaks: 'hangs', jobs: ['c'] },
      { atMs: 363_682, kind: 'partition', forMs: 284_968 },
      { atMs: 389_051, kind: 'bitRot', where: 24, bit: 22_099, stopped: true },
    ],
  },
  {
    claim:
      'an ack that a killed process left in the page cache alone is not sent while the disk takes no writes (P4, P6)',
    seed: 11_865,
    schedule: [
      { ...good, atMs: 1_639, kind: 'publish', policy: 'web', breaks: 'refuses' },
      { atMs: 16_864, kind: 'rekey' },
      { atMs: 211_258, kind: 'kill', points: 49 },
      { atMs: 345_265, kind: 'unenroll' },
      { atMs: 353_015, kind: 'diskFailing', forMs: 177_577 },
    ],
  },
  {
    claim:
      'a candidate that survived a crash is tried although a damage was mended before the replay was confirmed (P10, P12)',
    seed: 9531,
    schedule: [
      { ...good, atMs: 413, kind: 'publish', policy: 'web', breaks: 'hangs', jobs: ['c'], contradicts: true },
      { atMs: 1_259, kind: 'stateEmptied', stopped: false },
      { atMs: 77_887, kind: 'kill', points: 33 },
      { ...good, atMs: 103_821, kind: 'publish', policy: 'web', what: 'unsupported', breaks: 'refuses', jobs: ['c'] },
      { atMs: 108_529, kind: 'stateEmptied', stopped: false },
    ],
  },
  {
    claim:
      'what a disk does not let a start read is not replayed, also when an older copy was put there meanwhile (P2)',
    seed: 8_307,
    schedule: [
      { ...good, atMs: 1_452, kind: 'publish', policy: 'web', breaks: 'crashesLater', webs: ['a', 'b'] },
      { atMs: 10_024, kind: 'serverSnapshot' },
      { atMs: 107_296, kind: 'diskUnreadable', forMs: 61_891 },
      { atMs: 130_749, kind: 'stateOlder', stopped: true },
    ],
  },
  {
    claim: 'a trial goes on when the state is tampered with meanwhile, and stops what its policy does not want (P8)',
    seed: 8_853,
    schedule: [
      { ...good, atMs: 1_277, kind: 'publish', policy: 'web', webs: ['a', 'b'], jobs: ['c'] },
      { atMs: 62_620, kind: 'serverSnapshot' },
      { atMs: 457_406, kind: 'kill', points: 39 },
      { ...good, atMs: 557_403, kind: 'publish', policy: 'web', what: 'breaking', breaks: 'crashesLater' },
      { atMs: 558_670, kind: 'stateOlder', stopped: false },
      { atMs: 564_464, kind: 'bitRot', where: 65, bit: 5_769, stopped: false },
    ],
  },
  {
    claim: 'what falls under last good too and has just been started again does not refuse a rotated key (P3)',
    seed: 4479,
    schedule: [
      { ...good, atMs: 508, kind: 'publish', policy: 'web', what: 'breaking', breaks: 'crashesLater', jobs: ['c'] },
      { atMs: 10_922, kind: 'stateEmptied', stopped: true },
      { atMs: 15_382, kind: 'actions', types: ['REQUEST_DIAGNOSTICS', 'INPUT_ACTION', 'UPGRADE'] },
      { atMs: 185_720, kind: 'rekey' },
      { atMs: 186_625, kind: 'kill', points: 1 },
    ],
  },
  {
    claim:
      'what an agent that began anew in its process has just started is held against the policy that breaks it (P3)',
    seed: 10_493,
    schedule: [
      { ...good, atMs: 742, kind: 'publish', policy: 'web', what: 'breaking', breaks: 'hangs' },
      { atMs: 29_276, kind: 'asked', event: 'shutdown.requested' },
      { ...good, atMs: 153_854, kind: 'publish', policy: 'web', what: 'breaking' },
      { atMs: 217_123, kind: 'asked', event: 'restart.requested' },
    ],
  },
  {
    claim: 'a rejected policy that is on trial again when the agent dies is not rejected by the next start (P3)',
    seed: 20_875,
    schedule: [
      { ...good, atMs: 898, kind: 'publish', policy: 'web', what: 'breaking', breaks: 'hangs' },
      { atMs: 304_033, kind: 'rekey' },
      { atMs: 306_747, kind: 'kill', points: 0 },
      { atMs: 319_322, kind: 'kill', points: 24 },
    ],
  },
  {
    claim: 'what was started and never seen to be well before safe mode refuses no policy that comes in it (P3, P10)',
    seed: 16_427,
    schedule: [
      { ...good, atMs: 1_099, kind: 'publish', policy: 'web', breaks: 'crashesLater' },
      { atMs: 85_913, kind: 'powerCut', points: 39 },
      { atMs: 89_778, kind: 'actions', types: ['SETTINGS_BAD', 'INPUT_ACTION', 'INPUT_ACTION', 'SETTINGS_BAD'] },
      { atMs: 92_398, kind: 'crashLoop', times: 4 },
      {
        ...good,
        atMs: 95_048,
        kind: 'publish',
        policy: 'web',
        what: 'breaking',
        breaks: 'crashesLater',
        webs: ['a', 'b'],
        jobs: ['c'],
      },
      { atMs: 96_899, kind: 'actions', types: ['REQUEST_DIAGNOSTICS'] },
    ],
  },
  {
    claim: 'what ends again and again under last good refuses no policy, least of all the one that cures it (P3)',
    seed: 21_179,
    schedule: [
      { ...good, atMs: 440, kind: 'publish', policy: 'web', what: 'breaking', breaks: 'crashesLater' },
      { ...good, atMs: 28_954, kind: 'publish', policy: 'web', what: 'breaking', breaks: 'crashesLater', webs: [] },
      { atMs: 32_521, kind: 'powerCut', points: 20 },
      { atMs: 55_088, kind: 'kill', points: 6 },
      { ...good, atMs: 67_960, kind: 'publish', policy: 'web', breaks: 'crashesLater', webs: ['a', 'b'] },
    ],
  },
  {
    claim: 'the ack of a second UNENROLL is given up for the answer to the first: its key is gone (P6)',
    seed: 32_807,
    schedule: [
      { atMs: 24_174, kind: 'powerCut', points: 13 },
      {
        ...good,
        atMs: 31_436,
        kind: 'publish',
        policy: 'web',
        what: 'poison',
        breaks: 'hangs',
        webs: ['a', 'b'],
        jobs: ['c'],
      },
      { atMs: 34_489, kind: 'unenroll' },
      { atMs: 39_120, kind: 'unenroll' },
    ],
  },
  {
    claim:
      'an action that is sent again is remembered, also where the clock was set forward by more than its time (P4)',
    seed: 46_646,
    schedule: [
      { atMs: 20_789, kind: 'actions', types: ['UPGRADE', 'UPGRADE', 'CANCEL', 'SETTINGS'] },
      { atMs: 289_968, kind: 'clockJump', byMs: 3_456_000_000 },
      { atMs: 325_918, kind: 'repeatAction' },
    ],
  },
  {
    claim: 'a policy does not count as one that its agent died of, when that died in the commit of its goodbye (P10)',
    seed: 36_656,
    schedule: [
      { ...good, atMs: 989, kind: 'publish', policy: 'web', breaks: 'refuses', stubborn: true },
      { atMs: 33_825, kind: 'actions', types: ['SETTINGS_BAD', 'SETTINGS_BAD'] },
      { atMs: 248_699, kind: 'kill', points: 22 },
      { ...good, atMs: 256_423, kind: 'publish', policy: 'web', what: 'breaking', breaks: 'hangs', jobs: ['c'] },
      { atMs: 256_484, kind: 'asked', event: 'restart.requested' },
    ],
  },
  {
    claim:
      'what an unenrolled agent has asked to end is not kept for a state directory that is replaced meanwhile (P8)',
    seed: 15_054,
    schedule: [
      { ...good, atMs: 5_302, kind: 'publish', policy: 'web', webs: [], stubborn: true, contradicts: true },
      { atMs: 269_447, kind: 'serverSnapshot' },
      { atMs: 340_693, kind: 'unenroll' },
      { atMs: 341_301, kind: 'stateOlder', stopped: false },
    ],
  },
  {
    claim:
      'an ack that a restored server takes for one of another policy of that revision is not the agent’s fault (P1)',
    seed: 31_397,
    schedule: [
      { ...good, atMs: 1_569, kind: 'publish', policy: 'web', jobs: ['c'] },
      { atMs: 1_881, kind: 'serverSnapshot' },
      { ...good, atMs: 21_899, kind: 'publish', policy: 'web', webs: ['a', 'b'] },
      { atMs: 57_794, kind: 'kill', points: 13 },
      { atMs: 60_699, kind: 'serverRestore' },
      { atMs: 70_324, kind: 'message', mishaps: ['delayed', 'delayed'] },
      { atMs: 71_449, kind: 'kill', points: 46 },
      { ...good, atMs: 74_306, kind: 'publish', policy: 'web' },
    ],
  },
  {
    claim: 'a goodbye whose commit failed may be found by the next start all the same (P9)',
    seed: 61_182,
    schedule: [
      { ...good, atMs: 118, kind: 'publish', policy: 'web', what: 'unparsable' },
      { atMs: 93_943, kind: 'diskError', what: 'EROFS', inOperations: 7 },
      { atMs: 99_827, kind: 'asked', event: 'restart.requested' },
    ],
  },
  {
    claim: 'a policy is held against last good, not against one that was overtaken before it was durable (P3)',
    seed: 68_202,
    schedule: [
      {
        ...good,
        atMs: 1_944,
        kind: 'publish',
        policy: 'web',
        what: 'breaking',
        webs: ['a', 'b'],
        jobs: ['c'],
        stubborn: true,
      },
      { ...good, atMs: 8_824, kind: 'publish', policy: 'web' },
      { ...good, atMs: 11_512, kind: 'publish', policy: 'web', jobs: ['c'] },
      { ...good, atMs: 15_104, kind: 'publish', policy: 'web', what: 'breaking', breaks: 'hangs', jobs: ['c'] },
    ],
  },
  {
    claim: 'a slot that reads as blank is blanked for good before anything is committed beside it (P4)',
    seed: 77_769,
    schedule: [
      { ...good, atMs: 313, kind: 'publish', policy: 'web', what: 'breaking', breaks: 'hangs', webs: [], jobs: ['c'] },
      { atMs: 3_918, kind: 'diskFailing', forMs: 152_771 },
      { atMs: 10_639, kind: 'bitRot', where: 34, bit: 38_574, stopped: true },
      { atMs: 23_153, kind: 'crashLoop', times: 6 },
    ],
  },
  {
    claim: 'a try that a person asks for waits for the disk, and is one that was asked for then (P3)',
    seed: 86_769,
    schedule: [
      { ...good, atMs: 294_679, kind: 'publish', policy: 'web', what: 'unchecked' },
      { atMs: 442_233, kind: 'diskFailing', forMs: 117_641 },
      { atMs: 446_849, kind: 'asked', event: 'retry.requested' },
    ],
  },
  {
    claim:
      'a start without file descriptors, however long they lack, loses neither last good nor who it is (P8, P11, P12)',
    seed: 194,
    schedule: [
      { ...good, atMs: 1_046, kind: 'publish', policy: 'web', breaks: 'hangs', jobs: ['c'] },
      { atMs: 31_276, kind: 'noFilesLeft', forMs: 179_553 },
      { atMs: 39_754, kind: 'kill', points: 0 },
    ],
  },
  {
    claim: 'nor does what was given up meanwhile outlive the commit that was to be made without it (P4)',
    seed: 229,
    schedule: [
      { ...good, atMs: 1_256, kind: 'publish', policy: 'web', jobs: ['c'] },
      { ...good, atMs: 89_708, kind: 'publish', policy: 'web', what: 'poison', breaks: 'crashesLater' },
      { atMs: 105_372, kind: 'noFilesLeft', forMs: 185_431 },
      { atMs: 218_433, kind: 'diskShort', forMs: 196_454 },
    ],
  },
];

test.each(PINNED)('$claim', { timeout: 60_000 }, async ({ seed, schedule }) => {
  const { violations } = await runWorld({ seed, schedule });
  expect(violations).toEqual([]);
});

/** What happens in a world, drawn from its seed: what users of the fleet do, and every fault. A list, so that shrinking can leave things out. */

import type { Behaviour, Kind } from './policies.ts';
import { Random } from './random.ts';
import { GARBAGE, type Mishap } from './sim-network.ts';

/** What one thing does; its `kind` names it in the table of what was covered. */
export type Happening = { readonly atMs: number } & (
  | {
      readonly kind: 'publish';
      readonly policy: string;
      readonly what: Kind;
      readonly breaks: Behaviour;
      readonly webs: readonly string[];
      readonly jobs: readonly string[];
      readonly stubborn: boolean;
      readonly contradicts: boolean;
    }
  | { readonly kind: 'rekey' }
  | { readonly kind: 'reassign'; readonly policy: string }
  | { readonly kind: 'actions'; readonly types: readonly string[] }
  | { readonly kind: 'repeatAction' }
  | { readonly kind: 'unenroll' }
  | { readonly kind: 'message'; readonly mishaps: readonly Mishap[] }
  | { readonly kind: 'partition'; readonly forMs: number }
  | { readonly kind: 'serverRestart'; readonly silently: boolean }
  | { readonly kind: 'serverSnapshot' }
  | { readonly kind: 'serverRestore' }
  /** The server's index of actions is made anew: it knows neither how far the agent has come nor the token. */
  | { readonly kind: 'cursorReset' }
  | {
      readonly kind: 'diskError';
      readonly what: 'EIO' | 'ENOSPC' | 'EROFS' | 'EMFILE' | 'short';
      readonly inOperations: number;
    }
  | { readonly kind: 'diskFull'; readonly forMs: number }
  | { readonly kind: 'diskReadOnly'; readonly forMs: number }
  | { readonly kind: 'diskFailing'; readonly forMs: number }
  /** Every write takes half of what it is given. */
  | { readonly kind: 'diskShort'; readonly forMs: number }
  /** No file can be opened: the process has too many open. */
  | { readonly kind: 'noFilesLeft'; readonly forMs: number }
  /** As `diskFailing`, and reading fails too. */
  | { readonly kind: 'diskUnreadable'; readonly forMs: number }
  | { readonly kind: 'bitRot'; readonly where: number; readonly bit: number; readonly stopped: boolean }
  | { readonly kind: 'stateEmptied'; readonly stopped: boolean }
  | { readonly kind: 'stateOlder'; readonly stopped: boolean }
  | { readonly kind: 'stateForeign'; readonly stopped: boolean }
  | { readonly kind: 'kill'; readonly points: number }
  | { readonly kind: 'crashLoop'; readonly times: number }
  | { readonly kind: 'powerCut'; readonly points: number }
  | { readonly kind: 'clockJump'; readonly byMs: number }
  | { readonly kind: 'sleep'; readonly forMs: number }
  | { readonly kind: 'programEnds' }
  | { readonly kind: 'flaky'; readonly forMs: number }
  /** What runs stays up and is not well. */
  | { readonly kind: 'sick'; readonly forMs: number }
  | { readonly kind: 'asked'; readonly event: 'retry.requested' | 'restart.requested' | 'shutdown.requested' }
);

export type HappeningKind = Happening['kind'];

/** Things that users and servers do in a world without any fault. */
export const ORDINARY: ReadonlySet<HappeningKind> = new Set<HappeningKind>([
  'publish',
  'rekey',
  'reassign',
  'actions',
  'repeatAction',
  'unenroll',
  'serverSnapshot',
  'asked',
]);

/** Each stresses something; `mixed` draws from everything. */
export const SCENARIOS = [
  'mixed',
  'quiet',
  'crashes',
  'disk',
  'network',
  'server',
  'tampering',
  'programs',
  'clocks',
] as const;
export type Scenario = (typeof SCENARIOS)[number];

const FAULTS = {
  message: 6,
  partition: 2,
  serverRestart: 1.5,
  serverRestore: 1,
  cursorReset: 0.7,
  diskError: 4,
  diskFull: 1.5,
  diskReadOnly: 1.5,
  diskFailing: 1,
  diskUnreadable: 1,
  diskShort: 0.5,
  noFilesLeft: 0.7,
  bitRot: 1,
  stateEmptied: 1,
  stateOlder: 1,
  stateForeign: 0.7,
  kill: 7,
  crashLoop: 1,
  powerCut: 4,
  clockJump: 1.5,
  sleep: 1,
  programEnds: 1.5,
  flaky: 1.5,
  sick: 0.7,
  asked: 1.5,
} as const satisfies Partial<Record<HappeningKind, number>>;

const ONLY: Readonly<Record<Scenario, readonly (keyof typeof FAULTS)[] | null>> = {
  mixed: null,
  quiet: [],
  crashes: ['kill', 'powerCut', 'crashLoop'],
  disk: [
    'diskError',
    'diskFull',
    'diskReadOnly',
    'diskFailing',
    'diskUnreadable',
    'diskShort',
    'noFilesLeft',
    'kill',
    'powerCut',
  ],
  network: ['message', 'partition', 'serverRestart', 'kill'],
  server: ['serverRestart', 'serverRestore', 'cursorReset', 'message', 'kill'],
  tampering: ['bitRot', 'stateEmptied', 'stateOlder', 'stateForeign', 'kill'],
  programs: ['programEnds', 'flaky', 'sick', 'kill', 'asked'],
  clocks: ['clockJump', 'sleep', 'kill', 'asked'],
};

const POLICIES = ['web', 'db'] as const;
const STATUSES = [400, 401, 403, 404, 405, 408, 409, 413, 416, 429, 499, 500, 501, 502, 503, 504, 204, 302];
/** What a server says of one ack among others. */
const ITEM_STATUSES = [429, 500, 503];
const ACTIONS = [
  'SETTINGS',
  'CANCEL',
  'UPGRADE',
  'REQUEST_DIAGNOSTICS',
  'INPUT_ACTION',
  'POLICY_REASSIGN',
  'SETTINGS_BAD',
];

/** How long faults may happen, in ms of the world. */
export const ACTIVE_MS = 20 * 60_000;

export function scheduleOf(seed: number, scenario: Scenario): readonly Happening[] {
  const random = new Random(seed ^ 0x5eed);
  const happenings: Happening[] = [{ atMs: random.whole(0, 2_000), ...publish(random, 'web', true) }];
  // Things come in bursts: a fault matters most when something else has just begun.
  let atMs = random.whole(500, 30_000);
  const ordinary = random.whole(2, 6);
  const faults = scenario === 'quiet' ? 0 : random.whole(1, 7);
  const kinds = [...Array<'ordinary'>(ordinary).fill('ordinary'), ...Array<'fault'>(faults).fill('fault')];
  while (kinds.length > 0) {
    const [kind] = kinds.splice(random.whole(0, kinds.length - 1), 1);
    happenings.push({ atMs, ...(kind === 'ordinary' ? ordinaryOne(random) : faultOne(random, scenario)) } as Happening);
    atMs += random.chance(0.6) ? random.whole(0, 8_000) : random.whole(0, ACTIVE_MS / 6);
  }
  return withBackups(
    happenings.filter((one) => one.atMs < ACTIVE_MS),
    random,
  );
}

/** What is restored was saved before. */
function withBackups(happenings: readonly Happening[], random: Random): readonly Happening[] {
  const restored = happenings.find(({ kind }) => kind === 'serverRestore' || kind === 'stateOlder');
  if (restored === undefined) return happenings;
  const backup: Happening = { atMs: random.whole(0, restored.atMs), kind: 'serverSnapshot' };
  return [...happenings, backup].toSorted((a, b) => a.atMs - b.atMs);
}

type Without<T> = T extends unknown ? Omit<T, 'atMs'> : never;

function ordinaryOne(random: Random): Without<Happening> {
  const kind = random.weighted({
    publish: 10,
    rekey: 2,
    reassign: 2,
    actions: 4,
    repeatAction: 0.7,
    serverSnapshot: 1,
    unenroll: 0.3,
  });
  switch (kind) {
    case 'publish':
      return publish(random, random.pick(POLICIES), false);
    case 'reassign':
      return { kind, policy: random.pick(POLICIES) };
    case 'actions': {
      const count = random.chance(0.04) ? random.whole(90, 130) : random.whole(1, 4);
      return { kind, types: Array.from({ length: count }, () => random.pick(ACTIONS)) };
    }
    default:
      return { kind };
  }
}

function publish(random: Random, policy: string, first: boolean): Without<Happening & { kind: 'publish' }> {
  const what: Kind =
    first && random.chance(0.8)
      ? 'good'
      : random.weighted({
          good: 8,
          unparsable: 1,
          unrendered: 1,
          unchecked: 1.5,
          breaking: 3,
          poison: 1,
          unsupported: 0.7,
        });
  return {
    kind: 'publish',
    policy,
    what,
    breaks: random.pick(['refuses', 'crashes', 'crashesLater', 'hangs'] as const),
    webs: random.chance(0.85) ? (random.chance(0.3) ? ['a', 'b'] : ['a']) : [],
    jobs: random.chance(0.4) ? ['c'] : [],
    stubborn: random.chance(0.1),
    contradicts: random.chance(0.1),
  };
}

function faultOne(random: Random, scenario: Scenario): Without<Happening> {
  const allowed = ONLY[scenario];
  const weights = Object.fromEntries(
    Object.entries(FAULTS).filter(([kind]) => allowed === null || allowed.includes(kind as keyof typeof FAULTS)),
  ) as Record<keyof typeof FAULTS, number>;
  const kind = random.weighted(weights);
  switch (kind) {
    case 'message':
      return { kind, mishaps: Array.from({ length: random.whole(1, 4) }, () => mishap(random)) };
    case 'partition':
      return { kind, forMs: random.whole(1_000, 300_000) };
    case 'serverRestart':
      return { kind, silently: random.chance(0.3) };
    case 'diskError':
      return {
        kind,
        what: random.pick(['EIO', 'ENOSPC', 'EROFS', 'EMFILE', 'short'] as const),
        inOperations: random.whole(0, 30),
      };
    case 'diskFull':
    case 'diskReadOnly':
    case 'diskFailing':
    case 'diskUnreadable':
    case 'diskShort':
    case 'noFilesLeft':
      return { kind, forMs: random.chance(0.5) ? random.whole(100, 5_000) : random.whole(5_000, 200_000) };
    case 'bitRot':
      return { kind, where: random.whole(0, 99), bit: random.whole(0, 40_000), stopped: random.chance(0.5) };
    case 'stateEmptied':
    case 'stateOlder':
    case 'stateForeign':
      return { kind, stopped: random.chance(0.6) };
    case 'kill':
    case 'powerCut':
      return { kind, points: random.chance(0.2) ? 0 : random.whole(1, 60) };
    case 'crashLoop':
      return { kind, times: random.whole(2, 7) };
    case 'sick':
      return { kind, forMs: random.whole(30_000, 300_000) };
    case 'clockJump':
      return { kind, byMs: random.pick([-1, 1]) * random.pick([5_000, 3_600_000, 40 * 24 * 3_600_000]) };
    case 'sleep':
    case 'flaky':
      return { kind, forMs: random.whole(1_000, 120_000) };
    case 'asked':
      return { kind, event: random.pick(['retry.requested', 'restart.requested', 'shutdown.requested'] as const) };
    default:
      return { kind };
  }
}

function mishap(random: Random): Mishap {
  const kind = random.weighted({
    requestLost: 2,
    answerLost: 3,
    delayed: 2,
    repeated: 2,
    reset: 1,
    oversized: 0.3,
    truncated: 1,
    garbage: 1.5,
    status: 3,
    items: 1,
  });
  if (kind === 'garbage') return `garbage ${random.whole(0, GARBAGE.length - 1)}`;
  if (kind === 'items') return `items ${random.pick(ITEM_STATUSES)}`;
  if (kind === 'status') return `status ${random.pick(STATUSES)}`;
  return kind;
}

/** Agents that are broken on purpose, at least one a promise: an oracle that does not notice them proves nothing. */

import { afterEach, describe, expect, test, vi } from 'vitest';
import { type ActorSystem, type AnyActorRef, fromPromise } from 'xstate';
import type * as Agent from '../../src/machines/agent.ts';
import type { AgentContext } from '../../src/machines/agent-context.ts';
import type { Claimed } from '../../src/machines/component-setup.ts';
import type { Facts } from '../../src/machines/facts.ts';
import type * as Decisions from '../../src/machines/gateway-decisions.ts';
import type * as ReportModule from '../../src/machines/report.ts';
import type * as RulesModule from '../../src/machines/rules.ts';
import type * as VerdictModule from '../../src/machines/verdict.ts';
import type { WantedComponent } from '../../src/policy/component.ts';
import type * as StoreModule from '../../src/services/store/store.ts';
import type { World } from '../../src/world.ts';
import { owesAtReceipt } from '../support/premature-ack.ts';
import { PROMISES, type PromiseName } from './oracle.ts';
import { type Happening, type Scenario, scheduleOf } from './schedule.ts';
import { runWorld } from './world.ts';

type Advance = typeof RulesModule.advance;
type Changes = Parameters<Advance>[1];

/** What is broken at the moment; everything else is the product's own. */
const broken = vi.hoisted(
  (): {
    advance?: (real: Advance, ...args: Parameters<Advance>) => ReturnType<Advance>;
    decideWhatToSay?: typeof Decisions.decideWhatToSay;
    chooseBackoff?: typeof Decisions.chooseBackoff;
    buildReport?: (
      real: typeof ReportModule.buildReport,
      context: AgentContext,
    ) => ReturnType<typeof ReportModule.buildReport>;
    chart?:
      | 'network before replay'
      | 'way back before verdict'
      | 'safe mode stops everything'
      | 'a loss stops everything';
    refusesGarbage?: boolean;
    saysNothing?: boolean;
    refusesForNews?: boolean;
  } => ({}),
);

vi.mock('../../src/machines/rules.ts', async (original) => {
  const real = await original<typeof RulesModule>();
  const advance: Advance = (...args) => broken.advance?.(real.advance, ...args) ?? real.advance(...args);
  return { ...real, advance };
});

vi.mock('../../src/machines/gateway-decisions.ts', async (original) => {
  const real = await original<typeof Decisions>();
  return {
    ...real,
    decideWhatToSay: (args: Decisions.Args) => (broken.decideWhatToSay ?? real.decideWhatToSay)(args),
    chooseBackoff: (args: Decisions.Args) => (broken.chooseBackoff ?? real.chooseBackoff)(args),
  };
});

vi.mock('../../src/machines/report.ts', async (original) => {
  const real = await original<typeof ReportModule>();
  return {
    ...real,
    buildReport: (context: AgentContext) =>
      broken.buildReport?.(real.buildReport, context) ?? real.buildReport(context),
  };
});

vi.mock('../../src/services/store/store.ts', async (original) => {
  const real = await original<typeof StoreModule>();
  return {
    ...real,
    openStore: async (options: StoreModule.StoreOptions) => {
      const opened = await real.openStore(options);
      const [finding] = opened.findings;
      if (broken.refusesGarbage && !options.lookOnly && finding) throw new Error(finding.message);
      return broken.saysNothing && !options.lookOnly ? { ...opened, findings: [] } : opened;
    },
  };
});

vi.mock('../../src/machines/verdict.ts', async (original) => {
  const real = await original<typeof VerdictModule>();
  const everything = (trial: VerdictModule.Trial) =>
    broken.refusesForNews ? { ...trial, baseline: trial.wanted.map(({ id }) => id) } : trial;
  return {
    ...real,
    refusalOf: (trial: VerdictModule.Trial) => real.refusalOf(everything(trial)),
    verdictAtTheEnd: (trial: VerdictModule.Trial) => real.verdictAtTheEnd(everything(trial)),
    confirmable: (trial: VerdictModule.Trial) => real.confirmable(everything(trial)),
  };
});

vi.mock('../../src/machines/agent.ts', async (original) => {
  const real = await original<typeof Agent>();
  const { agentSetup } = await import('../../src/machines/agent-setup.ts');
  type Config = Parameters<typeof agentSetup.createMachine>[0];
  const chartWith = (change: (config: { states: Record<string, unknown> }) => void) => {
    const config = structuredCloneOf(real.agentMachine.config) as { states: Record<string, unknown> };
    change(config);
    return agentSetup.createMachine(config as unknown as Config) as unknown as typeof real.agentMachine;
  };
  const stopAll =
    (hurry: boolean) =>
    ({ system }: { system: ActorSystem<{ actors: Record<string, AnyActorRef> }> }) =>
      system.get('components')?.send({ type: 'components.stop', keep: false, hurry });
  const charts = {
    'network before replay': chartWith(({ states }) => {
      Object.assign(states.replay as object, { always: { target: 'running' } });
    }),
    'way back before verdict': chartWith(({ states }) => {
      const running = states.running as { states: { rollback: { states: { judging: object } } } };
      Object.assign(running.states.rollback.states.judging, { always: 'restoring' });
    }),
    'safe mode stops everything': chartWith(({ states }) => {
      Object.assign(states.safeMode as object, { entry: [stopAll(true), 'open the dispatcher'] });
    }),
    'a loss stops everything': chartWith(({ states }) => {
      const { orphaned } = (states.running as { states: { orphaned: object } }).states;
      Object.assign(orphaned, { entry: stopAll(false) });
    }),
  };
  return {
    ...real,
    get agentMachine() {
      return broken.chart === undefined ? real.agentMachine : charts[broken.chart];
    },
  };
});

/** A chart's config holds functions (input and params mappers), which are shared. */
function structuredCloneOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(structuredCloneOf);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, structuredCloneOf(inner)]));
}

/** Changes what the rules made of the facts. */
const withFacts = (change: (after: Facts, before: Facts, changes: Changes, now: number) => Facts) => ({
  advance: (real: Advance, ...args: Parameters<Advance>): ReturnType<Advance> => {
    const after = real(...args);
    return { ...after, facts: change(after.facts, args[0], args[1], args[2]) };
  },
});

const has = (changes: Changes, type: Changes[number]['type']) => changes.some((one) => one.type === type);

/** Files on a disk whose errors of writing and syncing nobody hears of. */
const withoutErrors = (world: World): World => ({
  ...world,
  files: {
    ...world.files,
    open: async (path: string, how: 'read' | 'write' | 'create') => {
      const file = await world.files.open(path, how);
      const quietly = (work: () => Promise<void>) => () => work().catch(() => {});
      return {
        ...file,
        write: (bytes: Uint8Array, position: number) => file.write(bytes, position).catch(() => bytes.length),
        sync: quietly(() => file.sync()),
        datasync: quietly(() => file.datasync()),
      };
    },
  },
});

/** Files whose syncs below a path do nothing. */
const withoutSyncs = (matches: (path: string) => boolean) => (world: World) => ({
  ...world,
  files: {
    ...world.files,
    open: async (path: string, how: 'read' | 'write' | 'create') => {
      const file = await world.files.open(path, how);
      return matches(path) ? { ...file, sync: async () => {}, datasync: async () => {} } : file;
    },
  },
});

interface Mutant {
  readonly name: string;
  /** Any of these may be what notices. */
  readonly breaks: readonly PromiseName[];
  readonly scenario: Scenario | readonly Happening[];
  /** The first seed, near one that catches it. */
  readonly from: number;
  readonly broken?: () => typeof broken;
  readonly patch?: (world: World) => World;
}

/** A good policy, and then more crashes in a row than any policy has attempts. */
const A_CRASH_LOOP: readonly Happening[] = [
  {
    atMs: 500,
    kind: 'publish',
    policy: 'web',
    what: 'good',
    breaks: 'crashes',
    webs: ['a'],
    jobs: [],
    stubborn: false,
    contradicts: false,
  },
  { atMs: 60_000, kind: 'crashLoop', times: 8 },
];

/** A program that forks ends by itself. */
const A_FALL: readonly Happening[] = [
  { ...(A_CRASH_LOOP[0] as Happening & { readonly kind: 'publish' }), webs: [], jobs: ['c'] },
  { atMs: 60_000, kind: 'programEnds' },
];

/** All is lost, heals, and is whole again for long when the next policy comes. */
const A_LOSS: readonly Happening[] = [
  A_CRASH_LOOP[0] as Happening,
  { atMs: 60_000, kind: 'stateEmptied', stopped: true },
  { ...(A_CRASH_LOOP[0] as Happening), atMs: 180_000 },
];

const acksAtReceipt = (from: number) =>
  withFacts((after, _before, changes, now) => owesAtReceipt(after, changes, now, from));

/** Programs are started without a look at what is left of the ones before. */
const withoutClearing = (world: World): World => ({
  ...world,
  processes: (options) => {
    const { component, components } = world.processes(options);
    return {
      components,
      component: {
        ...component,
        claim: fromPromise<Claimed, { readonly component: WantedComponent }>(async () => ({ pid: null })),
        kill: fromPromise<void, { readonly id: string }>(async () => {}),
      },
    };
  },
});

const MUTANTS: readonly Mutant[] = [
  {
    name: 'starts a program beside what it has forked',
    breaks: ['P3'],
    scenario: A_FALL,
    from: 0,
    patch: withoutClearing,
  },
  {
    name: 'acks a policy when it is received',
    breaks: ['P1'],
    scenario: 'quiet',
    from: 0,
    broken: () => acksAtReceipt(1),
  },
  {
    name: 'does so only after its state was lost and has come again',
    breaks: ['P1'],
    scenario: A_LOSS,
    from: 0,
    broken: () => acksAtReceipt(2),
  },
  {
    name: 'does not sync objects',
    breaks: ['P1', 'P4', 'P7', 'P10'],
    scenario: 'quiet',
    from: 0,
    patch: withoutSyncs((path) => path.includes('/objects/')),
  },
  {
    name: 'does not sync the root record',
    breaks: ['P1', 'P4', 'P6'],
    scenario: 'quiet',
    from: 0,
    patch: withoutSyncs((path) => path.includes('/root.')),
  },
  {
    name: 'opens the network before the replay',
    breaks: ['P2'],
    scenario: 'crashes',
    from: 0,
    broken: () => ({ chart: 'network before replay' }),
  },
  {
    name: 'makes a refused policy last good',
    breaks: ['P3'],
    scenario: 'quiet',
    from: 0,
    broken: () => ({
      advance: (real, facts, changes, ...more) =>
        real(
          facts,
          changes.map((one) => (one.type === 'policy.rejected' ? { type: 'policy.promoted', hash: one.hash } : one)),
          ...more,
        ),
    }),
  },
  {
    name: 'steps back before the verdict is durable',
    breaks: ['P3'],
    scenario: 'quiet',
    from: 0,
    broken: () => ({ chart: 'way back before verdict' }),
  },
  {
    name: 'makes the token durable before the actions',
    breaks: ['P4'],
    scenario: 'quiet',
    from: 0,
    broken: () => {
      let late: Changes[number] | null = null;
      return {
        advance: (real, facts, changes, ...more) => {
          const owed = late === null ? [] : [late];
          late = null;
          const now = changes.map((one) => {
            if (one.type !== 'delivery.received' || one.actions.length === 0) return one;
            late = { ...one, token: null, policy: null };
            return { ...one, actions: [] };
          });
          return real(facts, [...owed, ...now], ...more);
        },
      };
    },
  },
  {
    name: 'carries out again what it has done',
    breaks: ['P5'],
    scenario: 'quiet',
    from: 20,
    broken: () => ({
      advance: (real, facts, changes, ...more) => {
        const again = changes.flatMap((one) =>
          one.type === 'delivery.received' ? one.actions.map(({ id }) => id) : [],
        );
        return real({ ...facts, journal: facts.journal.filter(({ id }) => !again.includes(id)) }, changes, ...more);
      },
    }),
  },
  {
    name: 'forgets the acks it owes at a restart',
    breaks: ['P6'],
    scenario: 'crashes',
    from: 0,
    broken: () =>
      withFacts((after, _before, changes) => (has(changes, 'start.opened') ? { ...after, outbox: [] } : after)),
  },
  {
    name: 'owes no ack for a result',
    breaks: ['P6'],
    scenario: 'quiet',
    from: 0,
    broken: () =>
      withFacts((after, before, changes) =>
        has(changes, 'action.done') ? { ...after, outbox: before.outbox } : after,
      ),
  },
  {
    name: 'reports what it has received',
    breaks: ['P7'],
    scenario: 'quiet',
    from: 0,
    broken: () => ({
      decideWhatToSay: ({ context }) => {
        const { received } = context.facts;
        return {
          says: received === null ? null : { policyId: received.id, revision: received.revision, hash: received.hash },
          cutAsked: false,
        };
      },
    }),
  },
  {
    name: 'does not say that it holds nothing',
    breaks: ['P8'],
    scenario: 'tampering',
    from: 0,
    broken: () => ({
      buildReport: (real, context) => real({ ...context, orphaned: null }),
    }),
  },
  {
    name: 'stops what runs when its record is damaged',
    breaks: ['P8'],
    scenario: 'tampering',
    from: 0,
    broken: () => ({ chart: 'a loss stops everything' }),
  },
  {
    name: 'calls every start the first after a goodbye',
    breaks: ['P9'],
    scenario: 'crashes',
    from: 0,
    broken: () =>
      withFacts((after, _before, changes) => {
        const [start, ...older] = after.starts;
        if (!has(changes, 'start.opened') || start === undefined) return after;
        return { ...after, starts: [{ ...start, previous: 'goodbye', crashes: 0 }, ...older] };
      }),
  },
  {
    name: 'makes attempts it has not spent',
    breaks: ['P10'],
    scenario: 'crashes',
    from: 0,
    broken: () =>
      withFacts((after, before, changes) => {
        if (!has(changes, 'start.opened') && !has(changes, 'candidate.spent')) return after;
        const generations = after.generations.map((one) => ({ ...one, attempts: Math.min(1, one.attempts) }));
        const candidate =
          after.candidate === null ? null : { ...after.candidate, attempts: before.candidate?.attempts ?? 1 };
        return { ...after, generations, candidate };
      }),
  },
  {
    name: 'does not hear of errors of the disk',
    breaks: ['P1', 'P4', 'P6'],
    scenario: 'disk',
    from: 0,
    patch: withoutErrors,
  },
  {
    name: 'refuses a policy for a component that never worked',
    breaks: ['P3'],
    scenario: 'quiet',
    from: 36,
    broken: () => ({ refusesForNews: true }),
  },
  {
    name: 'reports a generation that was overtaken',
    breaks: ['P7'],
    scenario: 'quiet',
    from: 0,
    broken: () => ({
      decideWhatToSay: ({ context }) => {
        const held = context.facts.generations.at(-1) ?? null;
        return {
          says: held === null ? null : { policyId: held.id, revision: held.revision, hash: held.hash },
          cutAsked: false,
        };
      },
    }),
  },
  {
    name: 'forgets what was in flight',
    breaks: ['P9'],
    scenario: 'crashes',
    from: 0,
    broken: () =>
      withFacts((after, _before, changes) => {
        const [start, ...older] = after.starts;
        if (!has(changes, 'start.opened') || start === undefined) return after;
        return { ...after, starts: [{ ...start, inFlight: null }, ...older] };
      }),
  },
  {
    name: 'tells of the start before while its own is not on record',
    breaks: ['P9'],
    scenario: 'disk',
    from: 0,
    broken: () => ({ buildReport: (real, context) => real({ ...context, factsProven: true }) }),
  },
  {
    name: 'goes on with a last good that it does not survive',
    breaks: ['P10'],
    scenario: A_CRASH_LOOP,
    from: 65,
    broken: () =>
      withFacts((after, before, changes) => {
        if (!has(changes, 'start.opened')) return after;
        const [good, ...older] = before.generations;
        if (good === undefined || (after.runs === 0 && after.safeMode === null)) return after;
        const generations = [{ ...good, attempts: good.attempts + 1 }, ...older];
        return { ...after, generations, runs: 0, passedOver: null, safeMode: null, safeModeTimes: 0 };
      }),
  },
  {
    name: 'stops everything in safe mode',
    breaks: ['P10'],
    scenario: A_CRASH_LOOP,
    from: 24,
    broken: () => ({ chart: 'safe mode stops everything' }),
  },
  {
    name: 'says nothing of what it found',
    breaks: ['P11'],
    scenario: 'tampering',
    from: 0,
    broken: () => ({ saysNothing: true }),
  },
  {
    name: 'does not start on what it cannot read',
    breaks: ['P11'],
    scenario: 'tampering',
    from: 0,
    broken: () => ({ refusesGarbage: true }),
  },
  {
    name: 'waits for days after an error of the link',
    breaks: ['P12'],
    scenario: 'network',
    from: 0,
    broken: () => ({ chooseBackoff: () => ({ delayMs: 5 * 24 * 3_600_000 }) }),
  },
  {
    name: 'never promotes what is healthy',
    breaks: ['P12'],
    scenario: 'quiet',
    from: 0,
    broken: () => ({
      advance: (real, facts, changes, ...more) =>
        real(
          facts,
          changes.filter(({ type }) => type !== 'policy.promoted'),
          ...more,
        ),
    }),
  },
];

/** Worlds that a mutant may live in before it must have been caught. */
const SEEDS_MOST = 120;

afterEach(() => {
  for (const key of Object.keys(broken)) delete (broken as Record<string, unknown>)[key];
});

describe('an agent that', () => {
  test.each(MUTANTS)(
    '$name is caught',
    { timeout: 300_000 },
    async ({ name, breaks, scenario, from, broken: breakIt, patch }) => {
      Object.assign(broken, breakIt?.() ?? {});
      for (let seed = from; seed < from + SEEDS_MOST; seed += 1) {
        const { violations } = await runWorld({
          seed,
          schedule: typeof scenario === 'string' ? scheduleOf(seed, scenario) : scenario,
          ...(patch ? { patch } : {}),
        });
        const [first] = violations;
        if (first === undefined) continue;
        if (process.env.SHOW_MUTANTS) console.log(`${name}: seed ${seed}: ${first.promise}: ${first.message}`);
        expect(breaks, first.message).toContain(first.promise);
        return;
      }
      expect.fail(`lived through ${SEEDS_MOST} worlds`);
    },
  );

  test('breaks each of the promises is among them', () => {
    expect(new Set(MUTANTS.flatMap(({ breaks }) => breaks))).toEqual(new Set(PROMISES));
  });
});

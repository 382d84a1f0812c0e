/** Broken agents, some of which only a crash at the right point shows, one of them only a second crash: an exploration that does not find them proves nothing. */
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { Facts } from '../../src/machines/facts.ts';
import type * as RulesModule from '../../src/machines/rules.ts';
import type { OpenFile } from '../../src/services/store/files.ts';
import type { World } from '../../src/world.ts';
import type { PromiseName } from '../simulation/oracle.ts';
import { owesAtReceipt } from '../support/premature-ack.ts';
import { explore, replay } from './explore.ts';
import { scenarioNamed } from './scenarios.ts';

type Advance = typeof RulesModule.advance;
type Changes = Parameters<Advance>[1];

/** What is broken at the moment; everything else is the product's own. */
const broken = vi.hoisted((): { facts?: (after: Facts, changes: Changes, now: number) => Facts } => ({}));

vi.mock('../../src/machines/rules.ts', async (original) => {
  const real = await original<typeof RulesModule>();
  const advance: Advance = (...args) => {
    const step = real.advance(...args);
    return broken.facts === undefined ? step : { ...step, facts: broken.facts(step.facts, args[1], args[2]) };
  };
  return { ...real, advance };
});

const has = (changes: Changes, type: Changes[number]['type']) => changes.some((one) => one.type === type);

/** Changes what opening a file gives. */
const withOpened = (change: (path: string, file: OpenFile, world: World) => OpenFile) => (world: World) => ({
  ...world,
  files: {
    ...world.files,
    open: async (path: string, how: 'read' | 'write' | 'create') =>
      change(path, await world.files.open(path, how), world),
  },
});

const unsynced = (file: OpenFile): OpenFile => ({ ...file, sync: async () => {}, datasync: async () => {} });

/** The first write of each slot in a life changes no byte when it repeats what a predecessor left: here it is left out, with its sync. */
const withoutSamePlaceRewrite = (world: World): World => {
  const skipped = new Set<string>();
  return withOpened((path, file) => {
    if (!/\/root\.[01]$/.test(path)) return file;
    let skipsSync = false;
    return {
      ...file,
      write: async (bytes, position) => {
        if (skipped.has(path) || bytes.length === 0) return file.write(bytes, position);
        const there = Buffer.alloc(bytes.length);
        const { size } = await file.stat();
        const isSame = size >= bytes.length && (await file.read(there, position)) > 0 && there.equals(bytes);
        skipped.add(path);
        if (!isSame) return file.write(bytes, position);
        skipsSync = true;
        return bytes.length;
      },
      sync: async () => (skipsSync ? undefined : file.sync()),
      datasync: async () => (skipsSync ? undefined : file.datasync()),
    };
  })(world);
};

interface Mutant {
  readonly name: string;
  readonly scenario: string;
  readonly depth: 1 | 2;
  /** Any of these may be what notices. */
  readonly breaks: readonly PromiseName[];
  readonly facts?: NonNullable<typeof broken.facts>;
  readonly patch?: (world: World) => World;
}

const MUTANTS: readonly Mutant[] = [
  {
    name: 'does not sync objects',
    scenario: 'good',
    depth: 1,
    breaks: ['P1', 'P4', 'P7', 'P8', 'P10'],
    patch: withOpened((path, file) => (path.includes('/objects/') ? unsynced(file) : file)),
  },
  {
    name: 'does not sync the root record',
    scenario: 'good',
    depth: 1,
    breaks: ['P1', 'P4', 'P6'],
    patch: withOpened((path, file) => (path.includes('/root.') ? unsynced(file) : file)),
  },
  {
    name: 'does not sync the names of objects',
    scenario: 'good',
    depth: 1,
    breaks: ['P1', 'P4', 'P7', 'P8', 'P10'],
    patch: (world) => ({
      ...world,
      files: {
        ...world.files,
        syncDirectory: async (path) => (path.endsWith('/objects') ? undefined : world.files.syncDirectory(path)),
      },
    }),
  },
  {
    name: 'owes the ack before the promotion',
    scenario: 'good',
    depth: 1,
    breaks: ['P1'],
    facts: owesAtReceipt,
  },
  {
    name: 'forgets at a restart what acks it owes',
    scenario: 'action',
    depth: 1,
    breaks: ['P6', 'P12'],
    facts: (after, changes) => (has(changes, 'start.opened') ? { ...after, outbox: [] } : after),
  },
  {
    name: 'forgets at a restart what it was about to do',
    scenario: 'action',
    depth: 1,
    breaks: ['P4', 'P5', 'P6', 'P12'],
    facts: (after, changes) =>
      has(changes, 'start.opened')
        ? { ...after, journal: after.journal.filter(({ state }) => state !== 'received') }
        : after,
  },
  {
    name: 'builds on a record that only the page cache holds (found by the second crash)',
    scenario: 'good',
    depth: 2,
    breaks: ['P1', 'P4'],
    patch: withoutSamePlaceRewrite,
  },
];

afterEach(() => {
  delete broken.facts;
});

describe('an agent that', () => {
  test.each(MUTANTS)('$name is caught', { timeout: 180_000 }, async ({ scenario, depth, breaks, facts, patch }) => {
    if (facts !== undefined) broken.facts = facts;
    const explored = await explore(scenarioNamed(scenario), { depth, brokenMost: 1, ...(patch ? { patch } : {}) });
    const [first] = explored.broken;
    expect(first?.message, `it lived through ${explored.distinct} and ${explored.secondDistinct} worlds`).toBeDefined();
    expect(breaks, first?.message).toContain(first?.promise);
    const { violations } = await replay(scenarioNamed(scenario), first?.path ?? [], patch);
    expect(violations[0]?.message, 'the path that is printed leads there again').toBe(first?.message);
    if (process.env.SHOW_MUTANTS) console.log(`${first?.path.join(' then ')}: ${first?.promise}: ${first?.message}`);
  });
});

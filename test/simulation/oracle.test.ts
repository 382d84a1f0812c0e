/** What the oracle calls a stop for no reason but that the state directory was tampered with (P8), and what it makes of keys that are retired (P1). */
import { describe, expect, test } from 'vitest';
import { type AgentContext, initialContext } from '../../src/machines/agent-context.ts';
import { emptyFacts, type Facts } from '../../src/machines/facts.ts';
import type { Incarnation } from './incarnation.ts';
import { Oracle } from './oracle.ts';
import { policyOf, renderHere, type SimPolicy } from './policies.ts';

const wish = { id: 'web', kind: 'good', breaks: 'crashes', key: 'key', stubborn: false, contradicts: false } as const;
const GOOD = policyOf({ ...wish, revision: 1, webs: ['a', 'b'], jobs: ['c'] });
/** Changes a and c, and wants no b. */
const CHANGED = policyOf({ ...wish, revision: 2, webs: ['a'], jobs: ['c'] });
/** Other bytes, of which no program reads anything. */
const REKEYED = policyOf({ ...wish, revision: 1, webs: ['a', 'b'], jobs: ['c'], key: 'rotated' });
const UNCHECKED = policyOf({ ...wish, kind: 'unchecked', revision: 3, webs: ['a'], jobs: [] });

const LIFE = { number: 1, startedAtMs: 0 } as Incarnation;

const runsOf = ({ body }: SimPolicy) =>
  new Map(renderHere(JSON.stringify(body)).components.map(({ id, hash }) => [id, hash]));

const holding = (...policies: readonly SimPolicy[]): Facts => ({
  ...emptyFacts('agent'),
  generations: policies.map(({ id, revision, hash }) => ({
    id,
    revision,
    hash,
    actionId: `policy:${id}:${revision}`,
    promotedAt: 0,
    attempts: 0,
  })),
});

/** An oracle that has seen last good replayed. */
function watching(held: Facts | null = null): Oracle {
  const oracle = new Oracle({
    nowMs: 1_000,
    wallMs: 1_000,
    bootId: 'boot',
    durable: async () => {
      if (held === null) throw new Error('not looked at here');
      return { facts: held, sequence: 1, readable: new Set(), findings: [] };
    },
    readyComponents: () => new Map([...runsOf(GOOD)].map(([id, hash]) => [id, { hash, confirmed: true }])),
    attemptLimit: 3,
  });
  for (const policy of [GOOD, CHANGED, REKEYED, UNCHECKED]) oracle.knows(policy);
  oracle.began(LIFE, { facts: holding(GOOD), sequence: 1, readable: new Set([GOOD.hash]), findings: [] });
  oracle.sees(LIFE, { ...initialContext({ agentId: 'agent' } as AgentContext['settings']), facts: holding(GOOD) });
  oracle.applies(LIFE, 'replay', GOOD.hash);
  return oracle;
}

function brokenBy(oracle: Oracle, component: string, runs: string | null | undefined): boolean {
  const before = oracle.violations.length;
  oracle.stops(component, runs ?? null);
  return oracle.violations.length > before;
}

describe('after the state was tampered with', () => {
  test('nothing that last good wants may be stopped', () => {
    const oracle = watching();
    oracle.tampered(true);
    for (const [component, hash] of runsOf(GOOD)) expect(brokenBy(oracle, component, hash)).toBe(true);
  });

  test('what a trial begun before it takes away or changes may be, either way', () => {
    const oracle = watching();
    oracle.applies(LIFE, 'fresh', CHANGED.hash);
    oracle.tampered(true);
    expect(brokenBy(oracle, 'web-default-b', runsOf(GOOD).get('web-default-b'))).toBe(false);
    expect(brokenBy(oracle, 'web-default-a', runsOf(GOOD).get('web-default-a'))).toBe(false);
    expect(brokenBy(oracle, 'web-default-a', runsOf(CHANGED).get('web-default-a'))).toBe(false);
  });

  test('what a trial begun before it leaves as it is may not be', () => {
    const oracle = watching();
    oracle.applies(LIFE, 'fresh', REKEYED.hash);
    oracle.tampered(true);
    for (const [component, hash] of runsOf(GOOD)) expect(brokenBy(oracle, component, hash)).toBe(true);
  });

  test('a policy that is refused before it touches anything is no reason', () => {
    const oracle = watching();
    oracle.applies(LIFE, 'fresh', UNCHECKED.hash);
    oracle.tampered(true);
    expect(brokenBy(oracle, 'web-default-b', runsOf(GOOD).get('web-default-b'))).toBe(true);
  });

  test('nothing leads back from a trial that was made good meanwhile', () => {
    const oracle = watching();
    oracle.applies(LIFE, 'fresh', CHANGED.hash);
    oracle.tampered(true);
    oracle.committed(LIFE, holding(CHANGED, GOOD));
    expect(brokenBy(oracle, 'web-default-a', runsOf(CHANGED).get('web-default-a'))).toBe(true);
  });

  test('a way back begun before it ends what the refused policy left', () => {
    const oracle = watching();
    oracle.applies(LIFE, 'fresh', CHANGED.hash);
    oracle.applies(LIFE, 'revert', GOOD.hash);
    oracle.tampered(true);
    expect(brokenBy(oracle, 'job-default-c', runsOf(CHANGED).get('job-default-c'))).toBe(false);
    expect(brokenBy(oracle, 'job-default-c', runsOf(GOOD).get('job-default-c'))).toBe(true);
  });

  test('going back further is no reason', () => {
    const oracle = watching();
    oracle.tampered(true);
    oracle.applies(LIFE, 'revert', CHANGED.hash);
    expect(brokenBy(oracle, 'web-default-b', runsOf(GOOD).get('web-default-b'))).toBe(true);
  });
});

describe('when Fleet retires output keys', () => {
  const NEWER = policyOf({ ...wish, revision: 2, webs: ['a'], jobs: [], key: 'newer' });

  async function isBroken(held: SimPolicy, keys: readonly string[], believed: SimPolicy): Promise<boolean> {
    const oracle = watching(holding(held));
    oracle.knows(NEWER);
    oracle.retired(keys, believed);
    await oracle.look();
    return oracle.violations.some(({ promise }) => promise === 'P1');
  }

  test('that of what is held is gone where Fleet believes that a newer policy is held', async () => {
    expect(await isBroken(GOOD, ['key'], NEWER)).toBe(true);
  });

  test('nothing is lost where that policy is held, or another key is retired', async () => {
    expect(await isBroken(NEWER, ['key'], NEWER)).toBe(false);
    expect(await isBroken(NEWER, ['newer'], GOOD)).toBe(false);
    expect(await isBroken(GOOD, ['another'], NEWER)).toBe(false);
  });
});

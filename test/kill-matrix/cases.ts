/** Every case of the matrix: each state of each chart, and each operation on the store's files in each combination of states, that the scenarios lead to. */
import type { Kill, Operation } from './life.ts';
import type { Scenario } from './scenarios.ts';

export interface Case {
  readonly scenario: Scenario;
  readonly kills: readonly Kill[];
  readonly title: string;
}

export interface Recorded {
  readonly scenario: Scenario;
  readonly operations: readonly Operation[];
  readonly states: readonly string[];
}

/** An operation that only looks leaves nothing behind that could be half done: it is killed before, not after. */
const ONLY_LOOKS = /^(read|list|open for read|open for write) /;

/**
 * Places that differ in nothing but the number of the operation are one case: same operation, same state of every chart. Of a scenario's states each is
 * killed at its first entering, before and after its actions, once in all scenarios; states of the root chart in each scenario.
 */
export function enumerate(recorded: readonly Recorded[]): Case[] {
  const cases: Case[] = [];
  const seen = new Set<string>();
  const isNew = (key: string): boolean => {
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  };
  for (const { scenario, operations, states } of recorded) {
    const add = (title: string, kill: Kill) =>
      cases.push({ scenario, kills: [kill], title: `${scenario.name}: ${title}` });
    for (const state of states) {
      if (isNew(/ agent\./.test(state) ? `${scenario.name} ${state}` : state)) add(state, { state });
    }
    for (const { number, label, half, states: at } of operations) {
      if (!isNew(`${label} ${at.join()}`)) continue;
      const whens = ONLY_LOOKS.test(label) ? ['before'] : half ? ['before', 'middle', 'after'] : ['before', 'after'];
      for (const when of whens as ('before' | 'middle' | 'after')[]) {
        add(`operation ${number}, ${when} ${label}`, { operation: number, when });
      }
    }
  }
  return cases;
}

/** Two kills in a row for every `each`th case: the life that follows is killed too, at another place every time. */
export function twice(cases: readonly Case[], each: number): Case[] {
  const whens = ['before', 'middle', 'after'] as const;
  return cases
    .filter((_, at) => at % each === 0)
    .map((one, at) => {
      const operation = 1 + ((at * 7) % 60);
      const second: Kill = { operation, when: whens[at % 3] ?? 'before' };
      return {
        ...one,
        kills: [...one.kills, second],
        title: `${one.title}; then operation ${operation} of the next life`,
      };
    });
}

/** All of them, or so many, taken evenly. */
export function shareOf<T>(cases: readonly T[], share: string): readonly T[] {
  if (share === 'all') return cases;
  const each = Math.max(1, cases.length / Number(share));
  return cases.filter((_, at) => Math.floor(at / each) !== Math.floor((at - 1) / each));
}

export async function inParallel<T>(
  items: readonly T[],
  workers: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = [...items];
  const worker = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: workers }, worker));
}

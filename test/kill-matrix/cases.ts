/** Every case of the matrix: each state of each chart, and each operation on the store's files in each combination of states, that the scenarios lead to. */
import type { Kill, Operation } from './life.ts';
import type { Scenario } from './scenario.ts';

export interface Case {
  readonly scenario: Scenario;
  readonly kills: readonly Kill[];
  readonly title: string;
}

/** A life that was watched: what it came to, and the kills of the lives before it. */
export interface Recorded {
  readonly scenario: Scenario;
  readonly after: readonly Kill[];
  readonly operations: readonly Operation[];
  readonly states: readonly string[];
}

/** An operation that only looks leaves nothing behind that could be half done: it is killed before, not after. */
const ONLY_LOOKS = /^(read|list|open for read|open for write) /;

/**
 * Places that differ in nothing but the number of the operation are one case: same operation, same state of every chart. Of a scenario's states each is
 * killed at its first entering, before and after its actions, once in all scenarios; states of the root chart in each scenario.
 */
export class Enumeration {
  readonly #seen = new Set<string>();

  /** The places that these lives came to, and none before them. */
  cases(recorded: readonly Recorded[]): Case[] {
    return recorded.flatMap((one) => this.#casesOf(one));
  }

  #casesOf({ scenario, after, operations, states }: Recorded): Case[] {
    const cases: Case[] = [];
    const where = [scenario.name, ...after.map(inWords)].join(', ');
    const add = (title: string, kill: Kill) =>
      cases.push({ scenario, kills: [...after, kill], title: `${where}: ${title}` });
    for (const state of states) {
      if (this.#isNew(/ agent\./.test(state) ? `${scenario.name} ${state}` : state)) add(state, { state });
    }
    for (const { number, label, half, states: at } of operations) {
      if (!this.#isNew(`${scenario.apart ? scenario.name : ''} ${label} ${at.join()}`)) continue;
      const whens = ONLY_LOOKS.test(label) ? ['before'] : half ? ['before', 'middle', 'after'] : ['before', 'after'];
      for (const when of whens as ('before' | 'middle' | 'after')[]) {
        add(`operation ${number}, ${when} ${label}`, { operation: number, when });
      }
    }
    return cases;
  }

  #isNew(key: string): boolean {
    if (this.#seen.has(key)) return false;
    this.#seen.add(key);
    return true;
  }
}

function inWords(kill: Kill): string {
  return 'state' in kill ? `killed ${kill.state}` : `killed ${kill.when} operation ${kill.operation}`;
}

/** All of them, or so many, taken evenly. Shares with one offset after the other come to all of them. */
export function shareOf<T>(cases: readonly T[], share: string, offset = 0): readonly T[] {
  if (share === 'all') return cases;
  const each = Math.max(1, cases.length / Number(share));
  const isChosen = (at: number) => Math.floor(at / each) !== Math.floor((at - 1) / each);
  return cases.filter((_, at) => isChosen((at + offset) % cases.length));
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

/**
 * What a commit costs, readable and encrypted, on real files of this host, in turn so that both meet the same disk. `npm run bench:store`
 *
 * Exits with 1 where an encrypted commit takes more than 1.15 times as long as a readable one. What the host is too restless to tell is measured
 * on for as long as there is time, and said. BENCH_DIRECTORY names another disk, SECONDS how long all of it may take.
 */
import { mkdtemp, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { nodeFiles } from '../../src/services/store/files.ts';
import { type Keyring, NO_KEYS } from '../../src/services/store/keyring.ts';
import { type Commit, openStore, type Store } from '../../src/services/store/store.ts';
import { AGENT } from '../../test/support/facts.ts';
import { aKey, ringOf } from '../../test/support/keys.ts';
import { LOADS, type Load } from './loads.ts';
import { type Cost, type Interval, type Round, type Verdict, verdictOf } from './verdict.ts';

const LIMIT = 1.15;
const SECONDS = Number(process.env.SECONDS ?? 18);
/** How long a load is measured before the others get their turn again. */
const STRETCH_SECONDS = 2;
const WARM_UP = 6;
/** tmpfs and ramfs, as statfs(2) names them. */
const MEMORY: readonly number[] = [0x01021994, 0x858458f6];

async function opened(directory: string, keys: Keyring): Promise<Store> {
  const { store } = await openStore({ files: nodeFiles, home: directory, agentId: AGENT, now: Date.now, keys });
  return store;
}

async function costOf(store: Store, commit: Commit): Promise<Cost> {
  const computedBefore = process.cpuUsage();
  const start = performance.now();
  await store.commit(commit);
  const ms = performance.now() - start;
  const { user, system } = process.cpuUsage(computedBefore);
  return { ms, cpuMs: (user + system) / 1000 };
}

class Bench {
  readonly name: string;
  readonly #commit: Load['commit'];
  readonly #stores: { readonly readable: Store; readonly encrypted: Store };
  readonly #rounds: Round[] = [];
  #number = 0;

  static async of({ name, commit }: Load, home: string): Promise<Bench> {
    const readable = await opened(join(home, `readable ${name}`), NO_KEYS);
    const encrypted = await opened(join(home, `encrypted ${name}`), ringOf(aKey(1)));
    const bench = new Bench(name, commit, { readable, encrypted });
    for (let warmed = 0; warmed < WARM_UP; warmed += 1) await bench.#round();
    return bench;
  }

  private constructor(name: string, commit: Load['commit'], stores: Record<'readable' | 'encrypted', Store>) {
    this.name = name;
    this.#commit = commit;
    this.#stores = stores;
  }

  get rounds(): number {
    return this.#rounds.length;
  }

  async measure(): Promise<Verdict> {
    const end = performance.now() + STRETCH_SECONDS * 1000;
    do this.#rounds.push(await this.#round(), await this.#round());
    while (performance.now() < end);
    return verdictOf(this.#rounds, LIMIT);
  }

  /** Whichever goes second meets a warmer processor, so they take turns. */
  async #round(): Promise<Round> {
    this.#number += 1;
    const { readable, encrypted } = this.#stores;
    const asked = this.#commit(this.#number);
    const early = this.#number % 2 === 0 ? await costOf(readable, asked) : null;
    const secret = await costOf(encrypted, asked);
    return { readable: early ?? (await costOf(readable, asked)), encrypted: secret };
  }
}

async function verdicts(home: string): Promise<readonly [Bench, Verdict][]> {
  const end = performance.now() + SECONDS * 1000;
  const all = new Map<Bench, Verdict>();
  for (const load of LOADS) {
    const bench = await Bench.of(load, home);
    all.set(bench, await bench.measure());
  }
  for (;;) {
    const untold = [...all].filter(([, { found }]) => found === 'unknown');
    if (untold.length === 0) return [...all];
    for (const [bench] of untold) {
      if (performance.now() >= end) return [...all];
      all.set(bench, await bench.measure());
    }
  }
}

const WORDS = {
  within: 'ok',
  above: `ABOVE ${LIMIT}: an encrypted commit costs too much`,
  unknown: `cannot be told: other processes hold the commits up too much`,
} as const;

function said({ low, middle, high }: Interval): string {
  return `${middle.toFixed(3)} (${low.toFixed(3)} to ${high.toFixed(3)})`;
}

const place = process.env.BENCH_DIRECTORY ?? import.meta.dirname;
if (MEMORY.includes((await statfs(place)).type)) {
  console.log(
    `nothing is measured: ${place} is in memory, where no commit waits for a disk; name one with BENCH_DIRECTORY`,
  );
} else {
  const home = await mkdtemp(join(place, 'holdfast-bench-'));
  try {
    console.log('what an encrypted commit costs, a readable one being 1: the median and its bounds with 99 %');
    for (const [{ name, rounds }, { found, timed, computed }] of await verdicts(home)) {
      const figures = `by time ${said(timed)}, by what is computed ${said(computed)}, ${rounds} rounds`;
      console.log(`${name.padEnd(33)} ${figures}: ${WORDS[found]}`);
      if (found === 'above') process.exitCode = 1;
    }
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

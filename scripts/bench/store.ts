/**
 * What a commit costs, readable and encrypted: medians on the real files of this host, in turn so that both meet the same disk. `npm run bench:store`
 *
 * Prints the ratio; the aim is at most 1.15, since the syncs of a commit outweigh its bytes.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import type { Facts } from '../../src/machines/facts.ts';
import { nodeFiles } from '../../src/services/store/files.ts';
import { hashOf } from '../../src/services/store/frame.ts';
import { type Keyring, NO_KEYS } from '../../src/services/store/keyring.ts';
import { openStore, type Store } from '../../src/services/store/store.ts';
import { AGENT, factsAt, generation } from '../../test/support/facts.ts';
import { aKey, ringOf } from '../../test/support/keys.ts';

const ROUNDS = Number(process.env.ROUNDS ?? 400);

interface Load {
  readonly name: string;
  /** What the `round`th commit makes true. */
  readonly commit: (round: number) => { readonly facts: Facts; readonly policies: Readonly<Record<string, string>> };
}

const policyOf = (round: number) => JSON.stringify({ id: 'web', revision: round, inputs: 'x'.repeat(200_000) });

const LOADS: readonly Load[] = [
  {
    name: 'facts (an ack, a start)',
    commit: (round) => ({ facts: { ...factsAt(0), deliveryToken: `t${round}` }, policies: {} }),
  },
  {
    name: 'facts of 300 kB (a full journal)',
    commit: (round) => ({
      facts: { ...factsAt(0), deliveryToken: `t${round}`, outbox: Array.from({ length: 400 }, (_, at) => owed(at)) },
      policies: {},
    }),
  },
  {
    name: 'a policy of 200 kB',
    commit: (round) => {
      const text = policyOf(round);
      const newest = { ...generation(round), hash: hashOf(text) };
      return { facts: { ...factsAt(0), generations: [newest] }, policies: { [newest.hash]: text } };
    },
  },
];

function owed(at: number): Facts['outbox'][number] {
  return {
    actionId: `action-${at}`,
    actionType: 'X',
    message: 'm'.repeat(600),
    error: null,
    owedAt: at,
    notFound: 0,
    policy: null,
  };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

async function opened(directory: string, keys: Keyring): Promise<Store> {
  const { store } = await openStore({ files: nodeFiles, home: directory, agentId: AGENT, now: Date.now, keys });
  return store;
}

const directory = await mkdtemp(join(process.env.BENCH_DIRECTORY ?? tmpdir(), 'holdfast-bench-'));
try {
  for (const { name, commit } of LOADS) {
    const kinds = { readable: NO_KEYS, encrypted: ringOf(aKey(1)) };
    const stores = await Promise.all(
      Object.entries(kinds).map(([kind, keys]) => opened(join(directory, `${kind} ${name}`), keys)),
    );
    const times = stores.map((): number[] => []);
    for (let round = 1; round <= ROUNDS; round += 1) {
      // Whichever goes second meets a warmer processor, so they take turns.
      for (const index of round % 2 === 0 ? [0, 1] : [1, 0]) {
        const start = performance.now();
        await stores[index]?.commit(commit(round));
        times[index]?.push(performance.now() - start);
      }
    }
    const [readable = 0, encrypted = 0] = times.map(median);
    console.log(
      `${name.padEnd(34)} readable ${readable.toFixed(2)} ms, encrypted ${encrypted.toFixed(2)} ms, ratio ${(encrypted / readable).toFixed(3)}`,
    );
  }
} finally {
  await rm(directory, { recursive: true, force: true });
}

/** What a disk holds, as the product's own reader finds it. */
import type { Facts } from '../../src/machines/facts.ts';
import type { Files } from '../../src/services/store/files.ts';
import { READABLE, readKeyring } from '../../src/services/store/keyring.ts';
import { openStore } from '../../src/services/store/store.ts';
import { HOME } from './policies.ts';

export interface Reading {
  /** Null: no record of this agent. */
  readonly facts: Facts | null;
  readonly sequence: number;
  /** Hashes whose bytes can be read and are the right ones. */
  readonly readable: ReadonlySet<string>;
  /** What the reader found damaged, foreign or strange, in its words. */
  readonly findings: readonly string[];
}

export async function readDisk(files: Files, agentId: string): Promise<Reading> {
  const keys = await readKeyring({ files, home: HOME, settings: READABLE, generate: false });
  const opened = await openStore({ files, home: HOME, agentId, now: () => 0, keys, lookOnly: true });
  const { store, facts, findings } = opened;
  const readable = new Set<string>();
  for (const { hash } of [...(facts?.generations ?? []), ...(facts?.candidate ? [facts.candidate] : [])]) {
    // Opening has read and verified each object that the record names.
    if (store.remembered(hash) !== null) readable.add(hash);
  }
  const { sequence } = await store.status();
  return { facts, sequence, readable, findings: findings.map(({ message }) => message) };
}

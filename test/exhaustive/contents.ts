/** What the bytes of a file mean to the product's own reader: all that anything later can depend on. */
import { basename } from 'node:path';
import type { Facts } from '../../src/machines/facts.ts';
import type { Files } from '../../src/services/store/files.ts';
import { readFrame } from '../../src/services/store/frame.ts';
import { judgeSlot } from '../../src/services/store/slot.ts';
import type { SparseBytes } from '../support/sparse-bytes.ts';
import { type Shape, shapeOf } from './shape.ts';

export interface Content {
  readonly text: string;
  /** Of a root record that verifies. */
  readonly record: { readonly sequence: number; readonly facts: Shape } | null;
}

/** Equal sectors get equal numbers. */
const numberOf = new Map<string, number>();
const known = new WeakMap<Uint8Array, number>();
const read = new Map<string, Content>();

export async function contentOf(path: string, bytes: SparseBytes): Promise<Content> {
  // Derived, never read back: only whether it is there can matter.
  if (/\/policy\.yml(\.tmp)?$/.test(path)) return { text: 'derived', record: null };
  const kind = path.includes('/objects/') ? basename(path) : /\/root\.[01]$/.test(path) ? 'root' : 'other';
  const key = `${kind} ${digestOf(bytes)}`;
  const before = read.get(key);
  if (before !== undefined) return before;
  const content = await judged(path, kind, bytes, key);
  read.set(key, content);
  return content;
}

function digestOf(bytes: SparseBytes): string {
  const parts: string[] = [String(bytes.length)];
  for (const [place, sector] of [...bytes.written].toSorted(([a], [b]) => a - b))
    parts.push(`${place}:${idOf(sector)}`);
  return parts.join(' ');
}

function idOf(sector: Uint8Array): number {
  let id = known.get(sector);
  if (id !== undefined) return id;
  const text = Buffer.from(sector).toString('latin1');
  id = numberOf.get(text) ?? numberOf.size;
  numberOf.set(text, id);
  known.set(sector, id);
  return id;
}

async function judged(path: string, kind: string, bytes: SparseBytes, key: string): Promise<Content> {
  if (kind === 'other') return { text: key, record: null };
  const size = bytes.length;
  if (kind === 'root') {
    const { verdict } = await judgeSlot(holding(bytes), { path, identity: null, wipe: false }, []);
    // What lies beyond a record is never read, and which bytes of a damaged one are wrong tells nobody anything.
    if (verdict.state !== 'whole') return { text: `${verdict.state} ${sizeClass(size)}`, record: null };
    const facts: Facts = verdict.decoded.facts;
    const text = `whole ${verdict.agentId} ${verdict.writtenFor} ${sizeClass(size)}`;
    return { text, record: { sequence: verdict.sequence, facts: shapeOf(facts) } };
  }
  const file = await holding(bytes).open(path, 'read');
  const verdict = await readFrame('object', file, await file.stat(), { keys: [], places: [] });
  if (verdict.state !== 'whole') return { text: verdict.state, record: null };
  return { text: verdict.frame.payload.toString('utf8'), record: null };
}

/** A slot that is shorter than what it is preallocated with is made longer by the next write. */
function sizeClass(size: number): string {
  return size === 0 ? 'empty' : size < 512 * 1024 ? 'short' : 'long';
}

/** Files in which this is the only one. */
function holding(bytes: SparseBytes): Files {
  const stat = { dev: 1n, ino: 1n, size: bytes.length, mode: 0o600, kind: 'file' as const };
  const refuse = async (): Promise<never> => {
    throw new Error('to be read only');
  };
  return {
    open: async () => ({
      stat: async () => stat,
      read: async (into, position) => bytes.read(into, position),
      write: refuse,
      sync: refuse,
      datasync: refuse,
      close: async () => {},
    }),
    stat: async () => stat,
    readdir: refuse,
    mkdir: refuse,
    rename: refuse,
    unlink: refuse,
    removeTree: refuse,
    syncDirectory: refuse,
  };
}

/** Which entries of the timeline are shown. */
import type { Entry } from './model.ts';

export interface Filter {
  /** Every word of it must occur. */
  readonly words: string;
  readonly events: boolean;
  readonly transitions: boolean;
  /** Transitions that leave and enter nothing too. */
  readonly stays: boolean;
  /** Only what this actor was sent and did; null: everyone. */
  readonly actor: string | null;
}

export const EVERYTHING: Filter = { words: '', events: true, transitions: true, stays: true, actor: null };

/** The entries that fit, in their order. Where a process begins or ends is always shown. */
export function filtered(entries: readonly Entry[], filter: Filter): readonly Entry[] {
  const words = filter.words
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== '');
  if (words.length === 0 && filter.events && filter.transitions && filter.stays && filter.actor === null)
    return entries;
  return entries.filter((entry) => fits(entry, filter, words));
}

function fits(entry: Entry, filter: Filter, words: readonly string[]): boolean {
  const { record } = entry;
  if (record.kind === 'gap' || record.kind === 'begin') return true;
  if (record.kind === 'event' ? !filter.events : !filter.transitions) return false;
  if (record.kind === 'transition' && record.stays && !filter.stays) return false;
  if (filter.actor !== null && record.actor !== filter.actor) return false;
  return words.length === 0 || words.every((word) => textOf(entry).includes(word));
}

const texts = new WeakMap<Entry, string>();

function textOf(entry: Entry): string {
  const known = texts.get(entry);
  if (known !== undefined) return known;
  const { record } = entry;
  const parts =
    record.kind === 'event'
      ? [record.from ?? 'outside', record.to, record.type, record.payload]
      : record.kind === 'transition'
        ? [record.name, record.type, ...record.transitions, ...record.states]
        : [];
  const text = parts.join(' ').toLowerCase();
  texts.set(entry, text);
  return text;
}

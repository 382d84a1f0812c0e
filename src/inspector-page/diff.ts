/** The lines in which two texts differ, with a little of what is around them. */

export type DiffLine =
  | { readonly kind: 'same' | 'removed' | 'added'; readonly text: string }
  /** Equal lines that are left out. */
  | { readonly kind: 'skipped'; readonly lines: number };

const CONTEXT = 3;
/** Beyond this many differing lines a side, the middle is shown as all removed and all added: the table would not fit in memory. */
const TABLE_LINES = 2_000;

/** Empty when the texts are equal. */
export function diffLines(before: string, after: string): DiffLine[] {
  if (before === after) return [];
  const old = before.split('\n');
  const now = after.split('\n');
  let head = 0;
  while (head < old.length && head < now.length && old[head] === now[head]) head += 1;
  let tail = 0;
  while (tail < Math.min(old.length, now.length) - head && old.at(-1 - tail) === now.at(-1 - tail)) tail += 1;
  const same = (text: string) => ({ kind: 'same' as const, text });
  return withoutLongSames([
    ...old.slice(0, head).map(same),
    ...middle(old.slice(head, old.length - tail), now.slice(head, now.length - tail)),
    ...old.slice(old.length - tail).map(same),
  ]);
}

type Line = { readonly kind: 'same' | 'removed' | 'added'; readonly text: string };

/** By the longest common subsequence. */
function middle(old: readonly string[], now: readonly string[]): Line[] {
  const removed = (text: string): Line => ({ kind: 'removed', text });
  const added = (text: string): Line => ({ kind: 'added', text });
  if (old.length > TABLE_LINES || now.length > TABLE_LINES) return [...old.map(removed), ...now.map(added)];
  const width = now.length + 1;
  const lengths = new Uint16Array((old.length + 1) * width);
  const at = (i: number, j: number) => lengths[i * width + j] as number;
  for (let i = old.length - 1; i >= 0; i -= 1) {
    for (let j = now.length - 1; j >= 0; j -= 1) {
      lengths[i * width + j] = old[i] === now[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    }
  }
  const lines: Line[] = [];
  let i = 0;
  let j = 0;
  while (i < old.length || j < now.length) {
    if (i < old.length && j < now.length && old[i] === now[j]) {
      lines.push({ kind: 'same', text: old[i] as string });
      i += 1;
      j += 1;
    } else if (i < old.length && (j === now.length || at(i + 1, j) >= at(i, j + 1))) {
      lines.push(removed(old[i] as string));
      i += 1;
    } else {
      lines.push(added(now[j] as string));
      j += 1;
    }
  }
  return lines;
}

function withoutLongSames(lines: readonly Line[]): DiffLine[] {
  const shown: DiffLine[] = [];
  let index = 0;
  while (index < lines.length) {
    const line = lines[index] as Line;
    if (line.kind !== 'same') {
      shown.push(line);
      index += 1;
      continue;
    }
    let end = index;
    while (end < lines.length && lines[end]?.kind === 'same') end += 1;
    const keepHead = index === 0 ? 0 : CONTEXT;
    const keepTail = end === lines.length ? 0 : CONTEXT;
    const run = lines.slice(index, end);
    if (run.length <= keepHead + keepTail + 1) shown.push(...run);
    else {
      shown.push(...run.slice(0, keepHead), { kind: 'skipped', lines: run.length - keepHead - keepTail });
      if (keepTail > 0) shown.push(...run.slice(-keepTail));
    }
    index = end;
  }
  return shown;
}

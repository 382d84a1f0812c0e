/** Every loss of un-synced data that the disk's model allows, as far as they can be told apart and counted. */
import type { Disk, OpenThing } from '../support/disk.ts';

/** Up to this many open things every subset of them survives once: 2^6 worlds. */
export const SUBSETS_UP_TO = 6;

export interface Loss {
  /** One digit an open group of things: 1 survives. Empty: nothing was open. */
  readonly name: string;
  readonly survives: readonly boolean[];
}

/**
 * What can survive or not by itself. Each change of a directory and each sector is one, except sectors that read the same on the platter (the
 * blank end of a preallocated file): all that is open about them is how long their file is, so those of a file are one group; and the sectors of
 * `policy.yml` and its temporary file, which nothing reads back (design, section 5).
 */
export function groupsOf(disk: Disk): readonly (readonly number[])[] {
  const { cached, durable } = disk.anatomy();
  const derived = new Set<number>();
  for (const entries of [cached, durable]) {
    for (const [path, ino] of entries) if (/\/policy\.yml(\.tmp)?$/.test(path)) derived.add(ino);
  }
  const groups: number[][] = [];
  const shared = new Map<string, number[]>();
  for (const [at, thing] of disk.openThings().entries()) {
    const key = sharedKey(thing, derived);
    const group = key === null ? undefined : shared.get(key);
    if (group !== undefined) {
      group.push(at);
      continue;
    }
    const own = [at];
    groups.push(own);
    if (key !== null) shared.set(key, own);
  }
  return groups;
}

function sharedKey(thing: OpenThing, derived: ReadonlySet<number>): string | null {
  if ('change' in thing) return null;
  if (derived.has(thing.ino)) return `derived ${thing.ino}`;
  return thing.blank ? `blank ${thing.ino}` : null;
}

/** Every subset while there are few; else nothing, everything, every prefix, every single one, and everything but a single one. */
export function lossesOf(disk: Disk): readonly Loss[] {
  const groups = groupsOf(disk);
  const things = groups.reduce((sum, group) => sum + group.length, 0);
  return choices(groups.length).map((choice) => {
    const survives: boolean[] = Array(things).fill(false);
    for (const [at, group] of groups.entries()) for (const thing of group) survives[thing] = choice[at] ?? false;
    return { name: choice.map(Number).join(''), survives };
  });
}

function choices(groups: number): readonly (readonly boolean[])[] {
  const each = [...Array(groups).keys()];
  if (groups <= SUBSETS_UP_TO) {
    return [...Array(2 ** groups).keys()].map((bits) => each.map((at) => ((bits >> at) & 1) === 1));
  }
  const all = [
    ...each.map((end) => each.map((at) => at < end)),
    each.map(() => true),
    ...each.map((kept) => each.map((at) => at === kept)),
    ...each.map((lost) => each.map((at) => at !== lost)),
  ];
  return [...new Map(all.map((choice) => [choice.join(), choice])).values()];
}

/**
 * What tells one world in which no agent runs from another. Two that have the same fingerprint are explored once; why that is sound:
 *
 * The agent is deterministic given its ports, and is not there: nothing of its memory goes on. What its successors do, and how the oracle judges them,
 * depends on what those ports can return, and on what the oracle remembers. That is, all of it in here:
 *   - the disk as a process reads it, the disk as a power cut would leave it, and what is open between the two (each un-synced change of a
 *     directory in its order, each file with un-synced sectors), since a second crash may lose it. A file is what the product's reader makes of it:
 *     a torn record is as good as any other torn one, since it is only ever overwritten as a whole, and a record's facts are all that is read of it;
 *   - the server: what it believes, what it assigns, its actions and their order, how much is still to be delivered;
 *   - the processes that live, what they run and whether they are ready, and the records that were kept of them;
 *   - the oracle's memory: what was delivered, acked, judged, proven durable, and how many processes died of what.
 *
 * Left out, because nothing compares them but by difference and order, so that a world shifted by a constant behaves as the other, shifted:
 *   - instants: replaced by their order among all instants of the world, now included, and deadlines still to come by how far they are, in steps of
 *     {@link AHEAD_STEP_MS}. No rule of the agent depends on how long ago something was within an hour (`FRESH_MS`), and a scenario is shorter;
 *   - sequence numbers, start numbers and boot ids: replaced by how far they are behind the newest;
 *   - inode numbers and process ids: only whether two names are the same file, and whether a recorded process lives;
 *   - `policy.yml`, which nothing reads back, and what lies in a slot beyond its record.
 */
import { createHash } from 'node:crypto';
import type { Memory } from '../simulation/oracle.ts';
import type { FleetImage } from '../simulation/sim-fleet.ts';
import type { HostImage } from '../simulation/sim-host.ts';
import type { Disk } from '../support/disk.ts';
import { type Content, contentOf } from './contents.ts';
import { type Shape, shapeOf } from './shape.ts';

/** A deadline that is nearer or farther by less than this is the same. */
const AHEAD_STEP_MS = 10_000;

export interface Remains {
  readonly disk: Disk;
  readonly fleet: FleetImage;
  readonly host: HostImage;
  readonly hostSettled: boolean;
  readonly memory: Memory;
  readonly wallMs: number;
  readonly delivered: number;
}

export async function fingerprintOf(world: Remains): Promise<string> {
  const { memory, fleet } = world;
  const records: Record[] = [];
  const disk = await diskOf(world.disk, records);
  const { facts, proven } = memory;
  if (facts !== null) records.push({ sequence: null, facts: shapeOf(facts) });
  if (proven !== null && proven.facts !== facts) records.push({ sequence: null, facts: shapeOf(proven.facts) });
  if (proven !== null) records.push({ sequence: proven.sequence, facts: null });
  const parts = [
    disk,
    shifted(records, world),
    JSON.stringify([
      fleet.agent,
      [...fleet.policies.values()].map(({ id, revision, hash }) => `${id}:${revision} ${hash}`),
      fleet.actions.map(({ id, type, document }) => `${id} ${type} ${document}`),
      world.delivered,
    ]),
    hostOf(world.host, world.hostSettled),
    memoryOf(memory, world),
  ];
  return createHash('sha1').update(parts.join('\n')).digest('base64');
}

type Record = Omit<NonNullable<Content['record']>, 'sequence' | 'facts'> & {
  readonly sequence: number | null;
  readonly facts: Shape | null;
};

async function diskOf(disk: Disk, records: Record[]): Promise<string> {
  const { cached, durable, pending, inode } = disk.anatomy();
  const lines: string[] = [];
  // Inodes by their first name, so that their numbers do not matter.
  const names = new Map<number, string>();
  const nameOf = async (path: string, ino: number): Promise<string> => {
    const named = names.get(ino);
    if (named !== undefined) return named;
    const name = `#${names.size}`;
    names.set(ino, name);
    const { kind, cached: seen, durable: kept, dirty, limbo } = inode(ino);
    if (kind !== 'file') {
      lines.push(`${name} ${kind}`);
      return name;
    }
    const now = await contentOf(path, seen);
    const then = await contentOf(path, kept);
    for (const { record } of [now, then]) if (record !== null) records.push(record);
    const open = now.text === 'derived' ? 0 : new Set([...dirty, ...limbo]).size;
    lines.push(`${name} ${now.text} / ${then.text} / ${open}`);
    return name;
  };
  for (const [view, entries] of [
    ['cached', cached],
    ['durable', durable],
  ] as const) {
    for (const [path, ino] of [...entries].toSorted(([a], [b]) => (a < b ? -1 : 1)))
      lines.push(`${view} ${path} ${await nameOf(path, ino)}`);
  }
  for (const change of pending) {
    const each: string[] = [];
    for (const { path, ino } of change) each.push(`${path} ${ino === null ? 'removed' : await nameOf(path, ino)}`);
    lines.push(`pending ${each.join(', ')}`);
  }
  return lines.join('\n');
}

/** The records by shape, their numbers relative to the newest, their times by order. */
function shifted(records: readonly Record[], { wallMs, host }: Remains): string {
  const newest = Math.max(0, ...records.map(({ sequence }) => sequence ?? 0));
  const shapes = records.flatMap(({ facts }) => (facts === null ? [] : [facts]));
  const newestStart = Math.max(0, ...shapes.flatMap(({ starts }) => starts));
  const past = new Set(shapes.flatMap(({ times }) => times).filter((time) => time <= wallMs));
  const rank = new Map([...past].toSorted((a, b) => a - b).map((time, at) => [time, at]));
  const timeOf = (time: number) => rank.get(time) ?? `+${Math.ceil((time - wallMs) / AHEAD_STEP_MS)}`;
  return records
    .map(({ sequence, facts }) => {
      const age = sequence === null ? '' : newest - sequence;
      if (facts === null) return age;
      const starts = facts.starts.map((start) => newestStart - start);
      const boots = facts.boots.map((boot) => host.bootNumber - boot);
      return `${age} ${facts.text} ${facts.times.map(timeOf)} ${starts} ${boots}`;
    })
    .join('\n');
}

function hostOf(host: HostImage, settled: boolean): string {
  const boot = `boot-${host.bootNumber}`;
  const processes = host.processes
    .map((one) => {
      const { pid, component, hash, behaviour, readySince, reloaded, ending, forked } = one;
      const record = host.records.get(component);
      const recorded = record?.pid === pid && record.bootId === boot;
      return `${component} ${hash} ${behaviour} ${readySince !== null} ${reloaded} ${ending ?? false} ${forked} ${recorded}`;
    })
    .toSorted();
  const records = [...host.records]
    .map(([id, { type, bootId, confirmed, changing }]) => `${id} ${type} ${bootId === boot} ${confirmed} ${changing}`)
    .toSorted();
  return [settled ? 'settled' : 'at once', ...processes, ...records].join('\n');
}

function memoryOf(memory: Memory, { wallMs }: Remains): string {
  const last = memory.facts?.starts[0]?.number ?? 0;
  return JSON.stringify([
    // Only the first and the last time something was delivered are asked for.
    memory.deliveries.filter((one, at, all) => all.indexOf(one) === at || all.lastIndexOf(one) === at),
    memory.dispatched,
    memory.workedBefore.toSorted(),
    memory.acked,
    memory.ackedActions,
    memory.verdicts.map(([id, statuses]) => [
      id,
      [...new Set(statuses)].toSorted(),
      statuses.filter((one) => one === 404).length,
    ]),
    memory.deaths.map(([key, times]) => [key.replace(/\d{12,}/g, (time) => String(Number(time) <= wallMs)), times]),
    memory.ends.filter(([number]) => number >= last - 1).map(([number, end]) => [last - number, end]),
  ]);
}

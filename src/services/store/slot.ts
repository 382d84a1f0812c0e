/** One slot of the root record: what lies at its path, and how a record gets into it. */
import { basename } from 'node:path';
import { type FileStat, type Files, inWords, mayPass, openRegular, writeAll } from './files.ts';
import { FORMAT, FRAME_MAX_BYTES, type FrameVerdict, readFrame } from './frame.ts';
import { type Decoded, decodePayload } from './record.ts';
import type { SecretKey } from './secret-key.ts';

/** A read error may be a passing one; an older record is taken for the newest only when it stays. */
const READ_TRIES = 3;

/** What tells a file from another one under the same path. */
export interface FileIdentity {
  readonly dev: bigint;
  readonly ino: bigint;
}

export interface Slot {
  readonly path: string;
  /** The file this process has read or written under that path; null: none. */
  identity: FileIdentity | null;
  /** It may hold bytes that are not encrypted, or with another key, beyond the end of a shorter record: the next one is written over all of it. */
  wipe: boolean;
}

export interface WholeVerdict {
  readonly state: 'whole';
  readonly sequence: number;
  readonly agentId: string;
  readonly decoded: Decoded;
  /** As stored. */
  readonly bytes: Buffer;
  readonly keyId: string | null;
  /** The slot it was written for, by its name; another one than where it lies: files were mixed up. */
  readonly writtenFor: string;
}

/** Whole, and encrypted with a key that is not here. */
export interface LockedVerdict {
  readonly state: 'locked';
  readonly keyId: string;
  readonly sequence: number;
  readonly subject: string;
}

export type SlotVerdict =
  | WholeVerdict
  | { readonly state: 'missing' }
  | { readonly state: 'blank' }
  | { readonly state: 'newer'; readonly format: number }
  | LockedVerdict
  /** The bytes are wrong. */
  | { readonly state: 'damaged'; readonly why: string }
  /** The bytes cannot be had: an error of the disk, or something else than a file. */
  | { readonly state: 'unreadable'; readonly why: string; readonly mayPass: boolean };

export interface Judged {
  readonly slot: Slot;
  readonly verdict: SlotVerdict;
}

function slotVerdict(verdict: FrameVerdict): SlotVerdict {
  if (verdict.state !== 'whole') return verdict;
  const { frame, bytes, keyId, place } = verdict;
  const decoded = decodePayload(frame.payload);
  if ('why' in decoded) return { state: 'damaged', why: decoded.why };
  return { state: 'whole', sequence: frame.sequence, agentId: frame.subject, decoded, bytes, keyId, writtenFor: place };
}

/** Judges what lies at a slot's path, and remembers which file it was. Never throws, never waits, never loads more than a record can have. */
export async function judgeSlot(files: Files, slot: Slot, keys: readonly SecretKey[]): Promise<Judged> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return { slot, verdict: await readSlot(files, slot, keys) };
    } catch (error) {
      if (attempt < READ_TRIES) continue;
      return { slot, verdict: { state: 'unreadable', why: inWords(error), mayPass: mayPass(error) } };
    }
  }
}

async function readSlot(files: Files, slot: Slot, keys: readonly SecretKey[]): Promise<SlotVerdict> {
  const opened = await openRegular(files, slot.path, 'read');
  if (opened === null) return { state: 'missing' };
  const [file, stat] = opened;
  try {
    slot.identity = identityOf(stat);
    return slotVerdict(await readFrame('root', file, stat, { keys, places: placesOf(slot) }));
  } finally {
    await file.close();
  }
}

/** Where a record goes while what lies at `path` is not this version's or this key's to write over. */
export function besideSlot(path: string): string {
  return `${path}.v${FORMAT}`;
}

/** What a record in this slot is bound to; the other slots of the same pair are known too, so that files that were mixed up are not lost. */
export function placeOf(slot: Slot): string {
  return basename(slot.path);
}

function placesOf(slot: Slot): readonly string[] {
  const own = placeOf(slot);
  return [own, own.replace(/^root\.[01]/, (name) => (name === 'root.0' ? 'root.1' : 'root.0'))];
}

/** A slot of the usual size is wiped by the write of its record; of a longer one no more than this is in memory. */
const WIPED_AT_ONCE_BYTES = 1024 * 1024;

/** Writes a record at the beginning of a slot and syncs it. A slot that is too short is made long enough for this and the next ones. */
export async function writeSlot(files: Files, slot: Slot, record: Buffer, slotBytes: number): Promise<void> {
  const created = slot.identity === null;
  const file = await files.open(slot.path, created ? 'create' : 'write');
  try {
    const stat = await file.stat();
    if (created) slot.identity = identityOf(stat);
    else if (!isSame(slot.identity, stat))
      throw Object.assign(new Error('it was replaced meanwhile'), { code: 'ESTALE', path: slot.path });
    let wanted = slotBytes;
    while (wanted < record.length) wanted *= 2;
    const grows = stat.size < wanted;
    // What lies beyond the longest record was never one of ours: somebody's sparse gigabyte is not filled up.
    const end = slot.wipe ? Math.max(wanted, Math.min(stat.size, FRAME_MAX_BYTES)) : wanted;
    const padded = Math.min(end, Math.max(wanted, WIPED_AT_ONCE_BYTES));
    await writeAll(
      file,
      grows || slot.wipe ? Buffer.concat([record, Buffer.alloc(padded - record.length)]) : record,
      0,
    );
    for (let at = padded; at < end; at += WIPED_AT_ONCE_BYTES)
      await writeAll(file, Buffer.alloc(Math.min(WIPED_AT_ONCE_BYTES, end - at)), at);
    await (grows ? file.sync() : file.datasync());
    slot.wipe = false;
  } catch (error) {
    throw named(error, slot.path);
  } finally {
    await file.close();
  }
}

export function identityOf(stat: FileStat): FileIdentity {
  return { dev: stat.dev, ino: stat.ino };
}

export function isSame(identity: FileIdentity | null, stat: FileStat): boolean {
  return sameFile(identity, identityOf(stat));
}

export function sameFile(one: FileIdentity | null, other: FileIdentity | null): boolean {
  return one !== null && other !== null && one.dev === other.dev && one.ino === other.ino;
}

/** Adds the path to an error that does not carry one (those of an open descriptor). */
function named(error: unknown, path: string): unknown {
  if (error instanceof Error && !('path' in error)) return Object.assign(error, { path });
  return error;
}

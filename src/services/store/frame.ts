/**
 * The frame around everything the store writes: it says what the bytes are, how they are encrypted and whether they are whole.
 *
 * ```
 *  0  8  magic: root record or object
 *  8  2  format            up to here and to byte 48 the layout is frozen for ever, so that a newer format is recognised as whole
 * 10  2  header length
 * 12  4  payload length
 * 16 32  SHA-256 of header (these bytes zero) and payload as stored
 * 48  1  algorithm: 0 none, 1 AES-256-GCM
 * 49  1  zero
 * 50  2  minor format: additions an older reader may ignore
 * 52  4  zero
 * 56  8  sequence (root records)
 * 64 16  key id
 * 80 12  nonce
 * 92 16  authentication tag
 * 108 20 zero
 * 128 …  subject: the agent id of a root record, the hash an object is named by (UTF-8)
 * ```
 * Numbers are big-endian. An encrypted payload is authenticated together with the whole header (checksum and tag zero) and the place it was written
 * for: the slot's name for a root record, the agent id for an object. The checksum is over what is stored, so that damage is told from a key that does not fit.
 */
import { createHash, randomBytes } from 'node:crypto';
import { type FileStat, type OpenFile, readUpTo } from './files.ts';
import { NONCE_BYTES, type SecretKey, seal, shortId, TAG_BYTES, unseal } from './secret-key.ts';

export const FORMAT = 1;
const MINOR_FORMAT = 0;
const FIXED_HEADER_BYTES = 128;
const FROZEN_BYTES = 48;
const AES_256_GCM = 1;
const KEY_ID_AT = 64;
const NONCE_AT = 80;
const TAG_AT = 92;
/** Far above any agent id or hash; a header stays small. */
const SUBJECT_MAX_BYTES = 1024;
/** Nothing larger is written, and nothing larger is ever loaded: a Fleet answer is smaller by far. */
export const FRAME_MAX_BYTES = 64 * 1024 * 1024;

const MAGIC = {
  root: Buffer.from('HFROOT\r\n', 'latin1'),
  object: Buffer.from('HFOBJT\r\n', 'latin1'),
} as const;
export type FrameKind = keyof typeof MAGIC;

export interface Frame {
  readonly sequence: number;
  readonly subject: string;
  readonly payload: Buffer;
}

/** How a frame is sealed: with this key, for this place. */
export interface Sealing {
  readonly key: SecretKey;
  readonly place: string;
}

/** How sealed frames may be opened. */
export interface Opening {
  readonly keys: readonly SecretKey[];
  /** The place that is read, then others whose records may have got there. */
  readonly places: readonly string[];
}

export type FrameVerdict =
  | {
      readonly state: 'whole';
      readonly frame: Frame;
      /** As stored. */
      readonly bytes: Buffer;
      /** The key it is encrypted with; null: it is readable. */
      readonly keyId: string | null;
      /** The place it was sealed for. */
      readonly place: string;
    }
  /** Whole, and encrypted with a key that is not here. What the header says cannot be relied on. */
  | { readonly state: 'locked'; readonly keyId: string; readonly sequence: number; readonly subject: string }
  /** Preallocated, never written. */
  | { readonly state: 'blank' }
  /** Whole, and written by a newer Holdfast. */
  | { readonly state: 'newer'; readonly format: number }
  | { readonly state: 'damaged'; readonly why: string };

/** The bytes of a frame, encrypted where `sealing` says how. Null when it would be larger than {@link FRAME_MAX_BYTES}. */
export function encodeFrame(kind: FrameKind, frame: Frame, sealing: Sealing | null = null): Buffer | null {
  const subject = Buffer.from(frame.subject, 'utf8');
  if (subject.length > SUBJECT_MAX_BYTES) return null;
  const headerBytes = FIXED_HEADER_BYTES + subject.length;
  if (headerBytes + frame.payload.length > FRAME_MAX_BYTES) return null;
  const bytes = Buffer.alloc(headerBytes + frame.payload.length);
  MAGIC[kind].copy(bytes, 0);
  bytes.writeUInt16BE(FORMAT, 8);
  bytes.writeUInt16BE(headerBytes, 10);
  bytes.writeUInt32BE(frame.payload.length, 12);
  bytes.writeUInt16BE(MINOR_FORMAT, 50);
  bytes.writeBigUInt64BE(BigInt(frame.sequence), 56);
  subject.copy(bytes, FIXED_HEADER_BYTES);
  if (sealing === null) frame.payload.copy(bytes, headerBytes);
  else sealInto(bytes, headerBytes, frame.payload, sealing);
  sha256(bytes).copy(bytes, 16);
  return bytes;
}

function sealInto(bytes: Buffer, headerBytes: number, payload: Buffer, { key, place }: Sealing): void {
  const nonce = randomBytes(NONCE_BYTES);
  bytes.writeUInt8(AES_256_GCM, 48);
  bytes.write(key.id, KEY_ID_AT, 'hex');
  nonce.copy(bytes, NONCE_AT);
  const tag = seal(key, nonce, boundTo(bytes.subarray(0, headerBytes), place), payload, bytes.subarray(headerBytes));
  tag.copy(bytes, TAG_AT);
}

/** What an encrypted payload is authenticated with; `header` has zeros where checksum and tag stand. */
function boundTo(header: Buffer, place: string): readonly Buffer[] {
  return [header, Buffer.from(place, 'utf8')];
}

/** Judges what an open file holds. Loads no more than the frame says it has, and never more than {@link FRAME_MAX_BYTES}. */
export async function readFrame(
  kind: FrameKind,
  file: OpenFile,
  stat: FileStat,
  opening: Opening,
): Promise<FrameVerdict> {
  if (stat.size === 0) return { state: 'damaged', why: 'it is empty' };
  const start = await readUpTo(file, FROZEN_BYTES, 0);
  if (start.every((byte) => byte === 0)) return { state: 'blank' };
  if (start.length < FROZEN_BYTES) return { state: 'damaged', why: `it ends after ${start.length} bytes` };
  if (!start.subarray(0, 8).equals(MAGIC[kind])) return { state: 'damaged', why: 'it does not begin as one of ours' };
  const headerBytes = start.readUInt16BE(10);
  const length = headerBytes + start.readUInt32BE(12);
  if (headerBytes < FROZEN_BYTES || length > FRAME_MAX_BYTES)
    return { state: 'damaged', why: 'its header makes no sense' };
  if (length > stat.size) return { state: 'damaged', why: `it ends after ${stat.size} of ${length} bytes` };
  return decodeFrame(kind, await readUpTo(file, length, 0), length, opening);
}

function decodeFrame(kind: FrameKind, bytes: Buffer, length: number, opening: Opening): FrameVerdict {
  if (bytes.length < length || !bytes.subarray(0, 8).equals(MAGIC[kind]))
    return { state: 'damaged', why: 'it changed while it was read' };
  const checked = Buffer.from(bytes);
  checked.fill(0, 16, 48);
  if (!sha256(checked).equals(bytes.subarray(16, 48))) return { state: 'damaged', why: 'its checksum does not match' };
  const format = bytes.readUInt16BE(8);
  if (format > FORMAT) return { state: 'newer', format };
  const headerBytes = bytes.readUInt16BE(10);
  if (format < FORMAT || headerBytes < FIXED_HEADER_BYTES)
    return { state: 'damaged', why: `format ${format} is not known` };
  const sequence = Number(bytes.readBigUInt64BE(56));
  const subject = bytes.toString('utf8', FIXED_HEADER_BYTES, headerBytes);
  const stored = bytes.subarray(headerBytes);
  if (bytes[48] === 0) {
    const frame = { sequence, subject, payload: stored };
    return { state: 'whole', bytes, frame, keyId: null, place: opening.places[0] ?? '' };
  }
  if (bytes[48] !== AES_256_GCM)
    return { state: 'damaged', why: `it is encrypted in a way that is not known (${bytes[48]})` };
  const keyId = bytes.toString('hex', KEY_ID_AT, NONCE_AT);
  const key = opening.keys.find(({ id }) => id === keyId);
  if (key === undefined) return { state: 'locked', keyId, sequence, subject };
  const nonce = bytes.subarray(NONCE_AT, TAG_AT);
  const tag = bytes.subarray(TAG_AT, TAG_AT + TAG_BYTES);
  const header = checked.subarray(0, headerBytes);
  header.fill(0, TAG_AT, TAG_AT + TAG_BYTES);
  for (const place of opening.places) {
    const payload = unseal(key, nonce, boundTo(header, place), stored, tag);
    if (payload !== null) return { state: 'whole', bytes, frame: { sequence, subject, payload }, keyId, place };
  }
  return { state: 'damaged', why: `it was encrypted (with key ${shortId(keyId)}) for another agent or another place` };
}

function sha256(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest();
}

/** SHA-256 (hex) of a text: what an object is named by. */
export function hashOf(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex');
}

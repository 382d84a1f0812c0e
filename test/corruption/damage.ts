/** The classes of damage that a file of a home can suffer, each as something done to one path. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

export interface Damage {
  readonly name: string;
  /** `other`: a whole file of the same kind that belongs elsewhere. */
  readonly inflict: (path: string, other: string) => void;
}

const GIBIBYTE = 2 ** 30;
/** Within the record of a slot, which is much shorter than the slot. */
const TRUNCATED_BYTES = 600;

/** Replaces whatever lies at `path`. */
const instead = (make: (path: string, other: string) => void) => (path: string, other: string) => {
  rmSync(path, { recursive: true, force: true });
  make(path, other);
};

const rewritten = (change: (bytes: Buffer) => Buffer) => (path: string) => {
  // A link to a directory has no bytes of its own.
  if (!lstatSync(path, { throwIfNoEntry: false })?.isFile())
    return instead((each) => writeFileSync(each, 'not what it was'))(path, '');
  writeFileSync(path, change(readFileSync(path)));
};

export const DAMAGES: readonly Damage[] = [
  { name: 'missing', inflict: instead(() => undefined) },
  { name: 'empty', inflict: instead((path) => writeFileSync(path, '')) },
  { name: 'truncated', inflict: rewritten((bytes) => bytes.subarray(0, Math.min(bytes.length >> 1, TRUNCATED_BYTES))) },
  { name: 'zeroed', inflict: rewritten((bytes) => Buffer.alloc(bytes.length)) },
  {
    name: 'bit-flipped',
    inflict: rewritten((bytes) => {
      const at = Math.max(
        0,
        bytes.findIndex((byte, index) => index > 40 && byte !== 0),
      );
      bytes.writeUInt8(bytes.readUInt8(at) ^ 0x10, at);
      return bytes;
    }),
  },
  { name: 'garbage', inflict: instead((path) => writeFileSync(path, Buffer.from('\u0000{[\uffff"'.repeat(2_000)))) },
  {
    name: 'foreign',
    inflict: instead((path, other) => writeFileSync(path, readFileSync(other))),
  },
  {
    name: 'of a newer format',
    // Identity and specs say a version in words; records have it behind their magic.
    inflict: rewritten((bytes) => {
      const text = bytes.toString('latin1');
      if (/"?(version|format)"?: ?\d/.test(text)) {
        return Buffer.from(text.replace(/("?(?:version|format)"?: ?)\d+/, '$199'), 'latin1');
      }
      bytes.writeUInt8(99, 8);
      return bytes;
    }),
  },
  {
    name: 'a directory',
    inflict: instead((path) => {
      mkdirSync(path);
      writeFileSync(join(path, 'something'), '');
    }),
  },
  { name: 'a dangling link', inflict: instead((path) => symlinkSync('/nowhere/at/all', path)) },
  { name: 'a link to another file', inflict: instead((path) => symlinkSync(stranger(path), path)) },
  { name: 'a link to itself', inflict: instead((path) => symlinkSync(path, path)) },
  { name: 'a fifo', inflict: instead((path) => execFileSync('mkfifo', [path])) },
  { name: 'an endless device', inflict: instead((path) => execFileSync('mknod', [path, 'c', '1', '5'])) },
  {
    name: 'of another owner, closed to all',
    inflict: (path) => {
      const there = lstatSync(path, { throwIfNoEntry: false });
      if (there === undefined || there.isSymbolicLink()) return;
      chmodSync(path, 0);
      if (process.getuid?.() === 0) chownSync(path, 65_534, 65_534);
    },
  },
  {
    name: 'a sparse GiB',
    inflict: instead((path) => {
      writeFileSync(path, '');
      truncateSync(path, GIBIBYTE);
    }),
  },
];

/** A file beside that is none of the agent's, and small. */
function stranger(path: string): string {
  const target = `${path}.stranger`;
  writeFileSync(target, "somebody else's\n");
  return target;
}

/** Two files, each in the place of the other. */
export function swap(one: string, other: string): void {
  renameSync(one, `${one}.swapped`);
  renameSync(other, one);
  renameSync(`${one}.swapped`, other);
}

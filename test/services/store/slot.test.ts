/** What is written over what lies in the place of a slot. */
import { expect, test } from 'vitest';
import type { Files, OpenFile } from '../../../src/services/store/files.ts';
import { FRAME_MAX_BYTES } from '../../../src/services/store/frame.ts';
import { SLOT_BYTES } from '../../../src/services/store/record.ts';
import { writeSlot } from '../../../src/services/store/slot.ts';

const MEBIBYTE = 1024 * 1024;

/** Writes a record over a file of this size that is to be wiped; every write, as `[from, to]`. */
async function writesOver(size: number): Promise<readonly (readonly [number, number])[]> {
  const writes: [number, number][] = [];
  const file: Partial<OpenFile> = {
    stat: async () => ({ kind: 'file', size, dev: 1n, ino: 2n, mode: 0o600 }) as never,
    write: async (bytes, position) => {
      writes.push([position, position + bytes.length]);
      return bytes.length;
    },
    sync: async () => {},
    datasync: async () => {},
    close: async () => {},
  };
  const files: Partial<Files> = { open: async () => file as OpenFile };
  const slot = { path: '/home/state/root.0', identity: { dev: 1n, ino: 2n }, wipe: true };
  await writeSlot(files as Files, slot, Buffer.alloc(600, 1), SLOT_BYTES);
  return writes;
}

test.each([SLOT_BYTES, MEBIBYTE])('a slot of %i bytes is wiped by one write', async (size) => {
  expect(await writesOver(size)).toEqual([[0, size]]);
});

test.each([5 * MEBIBYTE + 7, 2 ** 30, 2 ** 40])(
  'of one of %i bytes all is wiped that a record of ours may have had, and never much of it is in memory',
  async (size) => {
    const writes = await writesOver(size);
    expect(Math.max(...writes.map(([from, to]) => to - from))).toBeLessThanOrEqual(MEBIBYTE);
    expect(writes.at(-1)?.[1]).toBe(Math.min(size, FRAME_MAX_BYTES));
    expect(writes.every(([from], at) => from === (at === 0 ? 0 : writes[at - 1]?.[1]))).toBe(true);
  },
);

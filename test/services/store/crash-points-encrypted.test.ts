/** Every crash point of an encrypted store, with nonces that count, so that equal histories make equal disks. */
import { vi } from 'vitest';
import { aKey, ringOf } from '../../support/keys.ts';
import { proveEveryCrashPoint } from './crash-points.ts';

const nonces = vi.hoisted(() => ({ used: 0 }));

vi.mock('node:crypto', async (original) => ({
  ...(await original<typeof import('node:crypto')>()),
  randomBytes: (size: number) => {
    const bytes = Buffer.alloc(size);
    nonces.used += 1;
    bytes.writeUInt32BE(nonces.used, 0);
    return bytes;
  },
}));

proveEveryCrashPoint(ringOf(aKey(1)), () => {
  nonces.used = 0;
});

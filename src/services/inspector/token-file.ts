/**
 * Keeps the inspector's token from one start to the next, so that a page that is open goes on after a crash: a file that only this
 * user can read, taken away by an orderly end.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readRegularSync } from '../durable-file.ts';
import { newToken } from './admission.ts';

const NAME = 'inspect-token';
const FILE_BYTES = 256;

/** The token a crashed start left, or a new one. A home that takes no writes has a new one each time. */
export function takeToken(home: string): string {
  const path = join(home, NAME);
  try {
    const left = readRegularSync(path, FILE_BYTES).toString('utf8').trim();
    if (/^[\w-]{32}$/.test(left)) return left;
  } catch {
    // there is none
  }
  const token = newToken();
  try {
    rmSync(path, { force: true });
    writeFileSync(path, `${token}\n`, { mode: 0o600, flag: 'wx' });
  } catch {
    // see above
  }
  return token;
}

/** Lets in by this token whoever starts next here, also after an orderly end. Never throws. */
export function leaveToken(home: string, token: string): void {
  try {
    dropToken(home);
    writeFileSync(join(home, NAME), `${token}\n`, { mode: 0o600, flag: 'wx' });
  } catch {
    // see above
  }
}

export function dropToken(home: string): void {
  try {
    rmSync(join(home, NAME), { force: true });
  } catch {
    // a file system that takes no writes
  }
}

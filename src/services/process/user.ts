/** The account a program is to run as: only root can choose one. */
import { chmod, chown, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { HoldfastError } from '../../errors.ts';
import type { ComponentPaths } from '../home.ts';

export interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** The account named `user`; null when none is asked for or it is this process's own. */
export async function accountOf(user: string | null): Promise<Account | null> {
  if (user === null) return null;
  const lines = (await readFile('/etc/passwd', 'utf8').catch(() => '')).split('\n');
  const fields = lines.map((line) => line.split(':')).find(([name, , uid]) => name === user || uid === user);
  const [, , uid, gid] = fields ?? [];
  if (uid === undefined || gid === undefined) {
    throw new HoldfastError('COMPONENT_START_FAILED', `there is no user ${user} on this host`);
  }
  if (Number(uid) === process.getuid?.()) return null;
  if (process.getuid?.() !== 0) {
    throw new HoldfastError('COMPONENT_START_FAILED', `only root can run a program as user ${user}`);
  }
  return { uid: Number(uid), gid: Number(gid) };
}

/**
 * A program of another user must be able to reach its own files, its check's as well: the way there can be passed by all then, and listed by
 * none. `data` becomes its own.
 */
export async function letThrough(owner: Account, { data, configurations, directory }: ComponentPaths, home: string) {
  await chown(data, owner.uid, owner.gid);
  for (const path of [configurations, directory, dirname(directory), home]) await chmod(path, 0o711);
}

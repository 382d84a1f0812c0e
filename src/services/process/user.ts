/** The account a program is to run as: only root can choose one. */
import { readFile } from 'node:fs/promises';
import { HoldfastError } from '../../errors.ts';

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

/** Where the control socket is: in the home when its path is short enough, else under a hashed name in the runtime directory. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';

/** Longest socket path, in bytes. The kernel takes 107; Node cuts longer ones silently, so that two homes would share one socket. */
export const SOCKET_PATH_MAX_BYTES = 100;

export const SOCKET_NAME = 'holdfast.sock';

export interface SocketPlace {
  readonly path: string;
  /** The directory of ours (0700) inside a directory that others write to as well; null: the socket is in the home. */
  readonly ownDirectory: string | null;
}

/** Every place the socket may be, best first. `uid` is the daemon's: of a client the owner of the home. */
export function socketPlaces(
  home: string,
  env: Readonly<Record<string, string | undefined>>,
  uid: number,
): readonly SocketPlace[] {
  const name = `${createHash('sha256').update(home).digest('hex').slice(0, 32)}.sock`;
  const runtimeDirectories = [env.XDG_RUNTIME_DIR, uid === 0 ? '/run' : `/run/user/${uid}`, env.TMPDIR, '/tmp'].filter(
    (directory) => directory?.startsWith('/'),
  );
  const places = [...new Set(runtimeDirectories)].map((directory) => {
    const ownDirectory = join(String(directory), `holdfast-${uid}`);
    return { path: join(ownDirectory, name), ownDirectory };
  });
  return [{ path: join(home, SOCKET_NAME), ownDirectory: null }, ...places].filter(({ path }) => fits(path));
}

function fits(path: string): boolean {
  return Buffer.byteLength(path) <= SOCKET_PATH_MAX_BYTES;
}

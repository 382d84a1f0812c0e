/** Where everything of one Holdfast lives: the paths inside its home directory (design, section 5). Paths only; nothing is touched. */
import { join } from 'node:path';

export interface HomePaths {
  readonly home: string;
  /** The user's settings (optional). */
  readonly settings: string;
  readonly identity: string;
  /** The encryption key, when it lives in a file here. */
  readonly key: string;
  readonly specs: string;
  /** Last good for people to read: masked, derived, never read back. */
  readonly policy: string;
  readonly state: string;
  /** The two slots of the root record. */
  readonly slots: readonly [string, string];
  readonly objects: string;
  readonly quarantine: string;
  readonly components: string;
  readonly socket: string;
  readonly logs: string;
  /** Names the process that holds the home; the lock itself where flock(1) is missing. */
  readonly lock: string;
}

export interface ComponentPaths {
  readonly directory: string;
  /** Symlink to the configuration directory in use. */
  readonly current: string;
  /** Immutable configurations, one directory a hash. */
  readonly configurations: string;
  /** The record of the running process. */
  readonly process: string;
  /** Outlives every change of configuration. */
  readonly data: string;
  readonly output: string;
}

/** The paths of the home directory `home`. */
export function homePaths(home: string): HomePaths {
  const state = join(home, 'state');
  return {
    home,
    settings: join(home, 'holdfast.yml'),
    identity: join(home, 'identity'),
    key: join(home, 'key'),
    specs: join(home, 'specs'),
    policy: join(home, 'policy.yml'),
    state,
    slots: [join(state, 'root.0'), join(state, 'root.1')],
    objects: join(state, 'objects'),
    quarantine: join(state, 'quarantine'),
    components: join(home, 'components'),
    socket: join(home, 'holdfast.sock'),
    logs: join(home, 'logs'),
    lock: join(home, 'lock'),
  };
}

/** The paths of one component; `id` is safe as a directory name (policy/component.ts). */
export function componentPaths(home: string, id: string): ComponentPaths {
  const directory = join(homePaths(home).components, id);
  return {
    directory,
    current: join(directory, 'current'),
    configurations: join(directory, 'configurations'),
    process: join(directory, 'process'),
    data: join(directory, 'data'),
    output: join(directory, 'output.log'),
  };
}

/** The programs of the matrix, as specs: one service in every way of being started, watched, changed and stopped that a spec can ask for. */
import { join } from 'node:path';

const SERVICE = join(import.meta.dirname, 'service.sh');

const DAEMON = {
  command: 'sh',
  args: [SERVICE, '${component.dir}/service.conf', '${data.dir}'],
  files: [{ path: 'service.conf', from: 'config' }],
  ready: { output: 'ready', timeout: '20s' },
  stop: { signal: 'SIGTERM', grace: '20s' },
  restart: { initial: '20ms', max: '40ms', give_up_after: 2 },
};

const RELOAD = { signal: 'SIGHUP', confirm: { output: 'reconfigured' }, timeout: '20s' };

const DAEMONS = {
  /** Takes a change by SIGHUP. */
  reloads: { ...DAEMON, reload: RELOAD },
  /** Takes a change by being started anew. */
  restarts: DAEMON,
  /** Told by SIGHUP, and says nothing. */
  silent: { ...DAEMON, reload: { signal: 'SIGHUP' } },
  /** With a configuration that says `deaf` it hears neither SIGHUP nor SIGTERM. */
  deaf: { ...DAEMON, reload: { ...RELOAD, timeout: '300ms' }, stop: { signal: 'SIGTERM', grace: '200ms' } },
  /** With a configuration that says `slow` it is ready after its time. */
  slow: { ...DAEMON, ready: { output: 'ready', timeout: '200ms' } },
  /** Sick while there is a file of this name in its data. */
  probed: {
    ...DAEMON,
    health: { command: 'sh', args: ['-c', 'test ! -e "$0"', '${data.dir}/sick'], every: '50ms', fail_after: 2 },
  },
  /** Refuses a configuration that says `refuse` before it is run. */
  checked: { ...DAEMON, check: { command: 'sh', args: ['-c', '! grep refuse "$0"', '${component.dir}/service.conf'] } },
};

/** Text of each `<name>.spec.yml`. */
export const SPECS: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries(DAEMONS).map(([name, daemon]) => [
    name,
    JSON.stringify({ version: 2, inputs: [{ name, description: 'a service', outputs: ['*'], daemon }] }),
  ]),
);

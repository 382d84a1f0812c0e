/** Components as a policy might want them, for tests: valid, small, and overridable part by part. */
import type { Daemon, Rendering, WantedComponent } from '../../src/policy/component.ts';

const DAEMON: Daemon = {
  run: { command: 'program', args: [], env: {}, cwd: null, user: null },
  limits: {},
  files: [],
  check: null,
  reload: {
    action: { kind: 'signal', signal: 'SIGHUP' },
    confirm: { kind: 'output', pattern: 'reconfigured' },
    timeoutMs: 10_000,
  },
  ready: { probe: { kind: 'tcp', host: '127.0.0.1', port: 8080 }, timeoutMs: 20_000 },
  health: { probe: { kind: 'tcp', host: '127.0.0.1', port: 8080 }, everyMs: 10_000, failAfter: 2 },
  stop: { signal: 'SIGTERM', graceMs: 10_000 },
  restart: { initialMs: 1_000, maxMs: 60_000, giveUpAfter: 1 },
};

/** A wanted component; `hash` also distinguishes revisions of its configuration. */
export function wanted(id: string, hash = `${id}-1`, daemon: Partial<Daemon> = {}): WantedComponent {
  return {
    id,
    type: id.split('-')[0] ?? id,
    hash,
    processHash: `${id}-process`,
    units: [{ id: `${id}-input`, type: 'input', degraded: null }],
    daemon: { ...DAEMON, ...daemon },
  };
}

export function rendering(...components: WantedComponent[]): Rendering {
  return { components, problems: [], notes: [] };
}

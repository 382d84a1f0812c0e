/** `status` and `inspect` while no daemon runs: what the state directory says, looked at and left as it is. */
import { readdir } from 'node:fs/promises';
import { HoldfastError } from '../errors.ts';
import { maskedPolicy } from '../services/control/agent-inspection.ts';
import { actionFacts, inspectionFacts, instant, policyFacts, startFacts } from '../services/control/facts-status.ts';
import { homePaths } from '../services/home.ts';
import { type LoadOptions, tryLoadSettings } from '../services/settings/load.ts';
import { nodeFiles } from '../services/store/files.ts';
import { readKeyring } from '../services/store/keyring.ts';
import { openStore } from '../services/store/store.ts';
import type { Inspection, Status } from '../wire/control.ts';
import type { Surroundings } from './surroundings.ts';

/** The status of a home that no daemon runs on: `pid` is 0. */
export async function statusFromDisk(sources: LoadOptions, surroundings: Surroundings): Promise<Status> {
  const { facts, findings, store, identity } = await look(sources, surroundings);
  const known = facts ? policyFacts(facts) : NO_POLICY;
  const newest = facts?.generations[0];
  const held = newest ? await store.readPolicy(newest.hash) : null;
  const unknown = identity.kind === 'unreadable' ? identity.problem.message : null;
  const lost = held && 'problem' in held ? held.problem.message : unknown;
  const lastStart = facts?.starts[0];
  const agentId = identity.kind === 'enrolled' ? identity.agentId : null;
  const { sequence, encrypted, quarantined } = await store.status();
  return {
    version: surroundings.version,
    pid: 0,
    uptime_s: 0,
    state: 'stopped',
    path: {},
    health: 'stopped',
    message: ['not running; read from disk', ...findings].join('; '),
    start: lastStart ? startFacts(lastStart) : { number: 0, previous: 'first', crashes: 0, in_flight: null },
    agent: { id: agentId, enrolled: agentId !== null && !facts?.unenrolled },
    fleet: { state: 'never', message: 'not running', host: null, last_checkin: null },
    policy: {
      ...known,
      running: null,
      orphaned: lost === null ? null : { reason: lost, since: instant(surroundings.nowMs()) },
    },
    actions: facts ? actionFacts(facts) : { journal: 0, outbox: 0, scheduled: 0, refused_acks: [] },
    components: [],
    store: { sequence, encrypted, failing: null, quarantined },
  };
}

const NO_POLICY = { received: null, persisted: null, acked: null, generations: [], rejected: [] };

/** The inspection of a home that no daemon runs on: nothing runs by its account, and variables are not known. */
export async function inspectFromDisk(sources: LoadOptions, surroundings: Surroundings): Promise<Inspection> {
  const { home } = sources;
  const { facts, store } = await look(sources, surroundings);
  const newest = facts?.generations[0];
  const held = newest ? await store.readPolicy(newest.hash) : null;
  const kept = facts ? inspectionFacts(facts) : { journal: [], outbox: [], starts: [] };
  const directories = await readdir(homePaths(home).components, { withFileTypes: true }).catch(() => []);
  return {
    policy: held && 'text' in held ? maskedPolicy(held.text) : null,
    components: directories
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => ({ id: name, state: 'not looked after: no daemon runs' })),
    variables: {},
    ...kept,
  };
}

async function look(sources: LoadOptions, surroundings: Surroundings) {
  const { home } = sources;
  const identity = await surroundings.identity(home);
  try {
    // Wrong settings are said by those who act on them; what can be read of them is enough to look.
    const { encryption } = tryLoadSettings(sources).settings;
    const keys = await readKeyring({ files: nodeFiles, home, settings: encryption, generate: false });
    const opened = await openStore({
      keys,
      files: nodeFiles,
      home,
      agentId: identity.kind === 'enrolled' ? identity.agentId : identity.kind === 'none' ? '' : null,
      now: () => surroundings.nowMs(),
      lookOnly: true,
    });
    return { ...opened, identity, findings: opened.findings.map(({ message }) => message) };
  } catch (thrown) {
    throw new HoldfastError('HOME_UNUSABLE', `${home} cannot be read: ${(thrown as Error).message}`, { cause: thrown });
  }
}

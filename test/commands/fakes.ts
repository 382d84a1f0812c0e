/** Stand-ins for what a command is given from outside: a terminal that remembers, and a status to show. */
import type { RunningAgent, Surroundings, Terminal } from '../../src/commands/surroundings.ts';
import type { AgentEvent } from '../../src/machines/system.ts';
import type { Inspection, Status } from '../../src/wire/control.ts';

export interface FakeTerminal extends Terminal {
  readonly said: { out: string; err: string };
}

export function fakeTerminal(outIsTerminal = false): FakeTerminal {
  const said = { out: '', err: '' };
  return {
    said,
    out: (text) => {
      said.out += text;
    },
    err: (text) => {
      said.err += text;
    },
    outIsTerminal,
    columns: 80,
    rows: 24,
  };
}

export const NOW = Date.parse('2026-11-23T12:00:00Z');

export function policy(revision: number, hash = `hash${revision}`, at = NOW - 60_000) {
  return { id: 'web', revision, hash, at: new Date(at).toISOString() };
}

type Deep<T> = { [K in keyof T]?: T[K] extends object ? Deep<T[K]> : T[K] };

/** A healthy status, changed as said. */
export function aStatus(changes: Deep<Status> = {}): Status {
  const healthy: Status = {
    version: '0.1.0',
    pid: 4711,
    uptime_s: 90,
    state: 'running',
    path: { policy: 'checkin', link: 'checkingIn' },
    health: 'healthy',
    message: 'running web:3',
    start: { number: 7, previous: 'goodbye', crashes: 0, in_flight: null },
    agent: { id: 'agent-1', enrolled: true },
    fleet: {
      state: 'connected',
      message: '',
      host: 'https://f:8220',
      last_checkin: new Date(NOW - 5_000).toISOString(),
    },
    policy: {
      received: policy(3),
      running: policy(3),
      persisted: policy(3),
      acked: policy(3),
      generations: [policy(3)],
      rejected: [],
      orphaned: null,
    },
    actions: { journal: 0, outbox: 0, scheduled: 0, refused_acks: [] },
    components: [
      {
        id: 'nginx-default-web',
        type: 'nginx',
        state: 'healthy',
        message: 'ready',
        pid: 99,
        restarts: 0,
        hash: 'c1',
        units: [],
      },
    ],
    store: { sequence: 12, encrypted: false, failing: null, quarantined: 0 },
  };
  return merge(healthy, changes) as Status;
}

function merge(base: unknown, changes: unknown): unknown {
  if (typeof changes !== 'object' || changes === null || Array.isArray(changes)) return changes;
  if (typeof base !== 'object' || base === null || Array.isArray(base)) return changes;
  const merged: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(changes)) merged[key] = merge(merged[key], value);
  return merged;
}

export const INSPECTION: Inspection = {
  policy: { id: 'web', outputs: { default: { api_key: '<REDACTED>' } } },
  components: [{ id: 'nginx-default-web' }],
  variables: { host: { name: 'h' } },
  journal: [{ id: 'a1', state: 'done' }],
  outbox: [],
  starts: [{ number: 7 }],
};

/** An agent that does nothing but remember what it was told, and ends when `end` is called. */
export function fakeAgent(status: Status = aStatus()) {
  const sent: AgentEvent[] = [];
  const listeners = new Set<() => void>();
  const waiting: ((event: AgentEvent) => void)[] = [];
  let end: (how: Awaited<RunningAgent['ended']>) => void = () => {};
  const ended = new Promise<Awaited<RunningAgent['ended']>>((resolve) => {
    end = resolve;
  });
  const send = (event: AgentEvent) => {
    sent.push(event);
    for (const resolve of waiting.splice(0)) resolve(event);
  };
  const agent: RunningAgent = {
    ended,
    send,
    status: () => status,
    inspect: () => INSPECTION,
    retry: () => {
      send({ type: 'retry.requested' });
      return 'trying web:4 again';
    },
    heldPolicy: () => Promise.resolve(null),
    secrets: () => Promise.resolve([]),
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  return {
    agent,
    sent,
    end,
    /** The next event that the agent is sent. */
    told: () => new Promise<AgentEvent>((resolve) => waiting.push(resolve)),
    change: () => {
      for (const listener of listeners) listener();
    },
  };
}

export interface FakeSurroundings extends Surroundings {
  readonly terminal: FakeTerminal;
  /** Delivers a signal to who listens for it. */
  signal(name: NodeJS.Signals): void;
}

export function fakeSurroundings(changes: Partial<Surroundings> = {}, terminal = fakeTerminal()): FakeSurroundings {
  const listeners = new Set<{ signals: readonly string[]; listener: (signal: NodeJS.Signals) => void }>();
  return {
    env: {},
    uid: process.getuid?.(),
    version: '0.1.0',
    nowMs: () => NOW,
    onSignal: (signals, listener) => {
      const entry = { signals, listener };
      listeners.add(entry);
      return () => listeners.delete(entry);
    },
    startAgent: () => Promise.reject(new Error('no agent in this test')),
    enroll: () => Promise.reject(new Error('no enrollment in this test')),
    identity: () => Promise.resolve({ kind: 'enrolled', agentId: 'agent-1' }),
    ...changes,
    terminal,
    signal: (name) => {
      for (const { signals, listener } of [...listeners]) if (signals.includes(name)) listener(name);
    },
  };
}

/** A Fleet server on a temporary directory, and an agent that speaks to it as a stock one would. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { createFleetServer, type FleetServer, type FleetServerOptions } from '../../src/fleet-server/server.ts';
import { authorization, PATH, userAgent } from '../../src/wire/fleet.ts';

/** Idle polls of tests end after this. */
export const SHORT_POLL_MS = 150;

export const shortPoll = { defaultMs: SHORT_POLL_MS, jitterMs: 0, marginMs: 0, minMs: 1, maxMs: 60_000 };
export const longPoll = { ...shortPoll, defaultMs: 20_000 };

export async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'fleet-server-'));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

export interface World {
  readonly server: FleetServer;
  readonly policiesDir: string;
  readonly stateDir: string;
  readonly logged: string[];
  /** Saves a policy file and has the server read it. */
  save(id: string, yaml: string): Promise<void>;
  /** Ends the server as SIGKILL would and starts another one on the same directories. */
  killAndRestart(): Promise<World>;
}

/** Starts a server whose policies are `policies` (id → YAML). */
export async function startServer(
  policies: Readonly<Record<string, string>> = { web: 'inputs: []' },
  options: Partial<FleetServerOptions> = {},
): Promise<World> {
  const policiesDir = options.policiesDir ?? (await temporaryDirectory());
  const stateDir = options.stateDir ?? (await temporaryDirectory());
  for (const [id, yaml] of Object.entries(policies)) await writeFile(join(policiesDir, `${id}.yml`), yaml);
  const logged: string[] = [];
  const server = await createFleetServer({
    listen: '127.0.0.1:0',
    token: 'T',
    poll: shortPoll,
    folder: { debounceMs: 20, rescanMs: 60_000 },
    log: (level, message) => logged.push(`${level}: ${message}`),
    ...options,
    policiesDir,
    stateDir,
  });
  let ended = false;
  onTestFinished(async () => {
    if (!ended) await server.close();
  });
  return {
    server,
    policiesDir,
    stateDir,
    logged,
    save: async (id, yaml) => {
      await writeFile(join(policiesDir, `${id}.yml`), yaml);
      await server.rescan();
    },
    killAndRestart: async () => {
      ended = true;
      await server.kill();
      return startServer({}, { ...options, policiesDir, stateDir });
    },
  };
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: answers are looked into by the assertions of tests.
  readonly json: any;
}

export async function request(url: string, init: RequestInit = {}): Promise<Answer> {
  const response = await fetch(url, init);
  const text = await response.text();
  let json: unknown = null;
  try {
    json = JSON.parse(text);
  } catch {
    // Not every answer is JSON.
  }
  return { status: response.status, headers: response.headers, text, json };
}

export function post(
  url: string,
  key: string | null,
  body: unknown,
  headers: Record<string, string> = {},
  signal?: AbortSignal,
): Promise<Answer> {
  return request(url, {
    method: 'POST',
    headers: {
      'user-agent': userAgent('9.2.0'),
      'content-type': 'application/json',
      ...(key === null ? {} : { authorization: authorization(key) }),
      ...headers,
    },
    body: typeof body === 'string' || body instanceof Uint8Array ? (body as string) : JSON.stringify(body),
    ...(signal ? { signal } : {}),
  });
}

/** An enrolled agent: just the requests, no behaviour of its own. */
export interface TestAgent {
  readonly id: string;
  readonly key: string;
  checkin(body?: Record<string, unknown>, headers?: Record<string, string>, signal?: AbortSignal): Promise<Answer>;
  ack(...events: Record<string, unknown>[]): Promise<Answer>;
  /** The same agent at another server (after a restart the port is another). */
  at(url: string): TestAgent;
}

export async function enroll(url: string, token = 'T', body: Record<string, unknown> = {}): Promise<TestAgent> {
  const answer = await post(`${url}${PATH.enroll}`, token, { type: 'PERMANENT', metadata: { local: {} }, ...body });
  if (answer.status !== 200) throw new Error(`not enrolled: ${answer.status} ${answer.text}`);
  return agentAt(url, answer.json.item.id, answer.json.item.access_api_key);
}

export function agentAt(url: string, id: string, key: string): TestAgent {
  return {
    id,
    key,
    checkin: (body = {}, headers = {}, signal = undefined) =>
      post(`${url}${PATH.checkin(id)}`, key, { status: 'online', message: 'm', ...body }, headers, signal),
    ack: (...events) => post(`${url}${PATH.acks(id)}`, key, { events }),
    at: (other) => agentAt(other, id, key),
  };
}

/** What a check-in says that holds `revision` of `id`. */
export const holds = (id: string, revision: number): Record<string, unknown> => ({
  agent_policy_id: id,
  policy_revision_idx: revision,
});

/** Action ids of an answer. */
export const ids = (answer: Answer): readonly string[] =>
  (answer.json.actions ?? []).map((action: { id: string }) => action.id);

/** The embedded Fleet server: a Fleet Server for one machine and for tests, with policies from a folder of YAML files. */
import { randomUUID } from 'node:crypto';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createAdaptorServer } from '@hono/node-server';
import { Hono } from 'hono';
import { HoldfastError } from '../errors.ts';
import { readFileIfThere, replaceFile } from '../services/durable-file.ts';
import { HEADER, LIMIT, POLL } from '../wire/fleet.ts';
import { type SendOptions, type Sent, sendAction } from './actions.ts';
import { ADMIN_PATH, type AdminFile, adminApi, adminFileSchema, listing } from './admin.ts';
import { fleetApi } from './api.ts';
import { type Clock, systemClock } from './clock.ts';
import type { Core } from './core.ts';
import { enrollmentTokens } from './enrollment.ts';
import type { HttpEnv } from './http.ts';
import { interception, type TestHooks } from './interception.ts';
import { newSecret, newToken } from './keys.ts';
import { Ledger } from './ledger.ts';
import { type Log, silent } from './log.ts';
import { Policies } from './policies.ts';
import { PolicyFolder, type PolicyFolderTimes } from './policy-folder.ts';
import { Polls, type PollTimes } from './polls.ts';
import type { AgentView, PolicyView } from './views.ts';

const KEEP_ALIVE_MS = 35_000;
/** How long answers in flight may take at close before their connections are cut. */
const CLOSE_GRACE_MS = 2000;

export interface FleetServerOptions {
  /** One `<policy id>.yml` a policy. */
  readonly policiesDir: string;
  /** Created when it is not there; one server a directory. */
  readonly stateDir: string;
  /** `host:port`; port 0 takes a free one. Default `127.0.0.1:8220`. */
  readonly listen?: string;
  /** The enrollment secret; without it the stored one, which is made at the first start. */
  readonly token?: string;
  readonly clock?: Clock;
  readonly random?: () => number;
  readonly log?: Log;
  readonly poll?: Partial<PollTimes>;
  readonly folder?: Partial<PolicyFolderTimes>;
  readonly hooks?: TestHooks;
}

export interface FleetServer {
  /** What agents are given, without a slash at the end. */
  readonly url: string;
  /** What agents enroll with into `policyId`; without it into the standard policy. */
  token(policyId?: string): string;
  tokens(): readonly { readonly policyId: string; readonly token: string }[];
  agents(): readonly AgentView[];
  policies(): readonly PolicyView[];
  /** Sends an action; resolves when it is durable. `agent`: id, beginning of it, or host name. */
  send(agent: string, type: string, options?: SendOptions): Promise<Sent>;
  /** From now on every request of the agent is answered 401. */
  forceUnenroll(agent: string): Promise<void>;
  /** Reads the policy folder now instead of when it tells of a change. */
  rescan(): Promise<void>;
  /** Ends the polls with an empty answer, writes what is left, stops listening. */
  close(): Promise<void>;
  /** As SIGKILL would end it: connections are cut and nothing more is written. For tests. */
  kill(): Promise<void>;
}

export async function createFleetServer(options: FleetServerOptions): Promise<FleetServer> {
  const { clock = systemClock, log = silent, random = Math.random } = options;
  const { host, port } = parseListen(options.listen ?? '127.0.0.1:8220');
  checkToken(options.token);
  await refuseSecondServer(options.stateDir);
  const ledger = await Ledger.open(options.stateDir, emptyState, clock, log);
  if (options.token !== undefined && options.token !== ledger.state.enrollmentSecret) {
    ledger.state.enrollmentSecret = options.token;
    ledger.changed();
  }
  const pollTimes = {
    defaultMs: POLL.defaultMs,
    jitterMs: POLL.jitterMs,
    marginMs: POLL.marginMs,
    minMs: POLL.minMs,
    maxMs: POLL.maxMs,
    ...options.poll,
  };
  const core: Core = { ledger, polls: new Polls(clock), clock, log, random, pollTimes };
  const policies = new Policies(core);
  const folder = new PolicyFolder({
    directory: options.policiesDir,
    debounceMs: 100,
    rescanMs: 5000,
    ...options.folder,
    seen: (files) => policies.take(files),
    failed: (problem) => log('warn', `${options.policiesDir}: ${problem}; all policies stay as they are`),
  });

  const http = listener(core, policies, options.hooks);
  try {
    await folder.open();
    await listen(http, host, port);
  } catch (error) {
    await folder.close();
    await ledger.abandon();
    throw error;
  }
  const url = urlOf(http, host);
  await writeAdminFile(options.stateDir, { url, secret: ledger.state.adminSecret, pid: process.pid });

  return {
    url,
    token: (policyId) =>
      policyId === undefined ? ledger.state.enrollmentSecret : `${ledger.state.enrollmentSecret}:${policyId}`,
    tokens: () => enrollmentTokens(ledger.state),
    agents: () => listing(core, policies).agents,
    policies: () => policies.views(),
    send: (agent, type, sendOptions) => sendAction(core, agent, type, sendOptions),
    forceUnenroll: async (agent) => {
      await sendAction(core, agent, 'FORCE_UNENROLL');
    },
    rescan: () => folder.look(),
    close: async () => {
      await folder.close();
      core.polls.close();
      await stopListening(http, CLOSE_GRACE_MS);
      await ledger.close();
    },
    kill: async () => {
      await ledger.abandon();
      await stopListening(http, 0);
      core.polls.close();
      await folder.close();
    },
  };
}

function listener(core: Core, policies: Policies, hooks: TestHooks | undefined): Server {
  const app = new Hono<HttpEnv>();
  app.use('*', async (c, next) => {
    c.set('requestId', c.req.header(HEADER.requestId) || randomUUID());
    await next();
    if (!c.get('cut')) c.res.headers.set(HEADER.requestId, c.get('requestId'));
  });
  if (hooks)
    app.use(
      '*',
      interception(hooks, () => core.clock.now()),
    );
  app.route(ADMIN_PATH, adminApi(core, policies));
  app.route('/', fleetApi(core));
  app.notFound((c) => c.text('404 page not found\n', 404));
  return createAdaptorServer({
    fetch: app.fetch,
    overrideGlobalObjects: false,
    serverOptions: { maxHeaderSize: LIMIT.headersBytes, keepAliveTimeout: KEEP_ALIVE_MS },
  }) as Server;
}

function emptyState() {
  return {
    enrollmentSecret: newToken(),
    adminSecret: newSecret(24),
    nextSeq: 0,
    policies: new Map(),
    agents: new Map(),
    actions: [],
  };
}

function checkToken(token: string | undefined): void {
  if (token === undefined || /^[\w.~+/=-]+$/.test(token)) return;
  throw new HoldfastError(
    'USAGE',
    'an enrollment token has no colon, space or quote: the policy is named behind a colon',
  );
}

/** Host and port of `host:port` or `[v6]:port`. */
export function parseListen(listenAt: string): { readonly host: string; readonly port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(listenAt);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (!host || port > 65_535) throw new HoldfastError('USAGE', `${listenAt} is not host:port`);
  return { host, port };
}

function listen(http: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    http.once('error', (error) => {
      reject(
        new HoldfastError('SERVER_LISTEN', `cannot listen on ${host}:${port}: ${error.message}`, { cause: error }),
      );
    });
    http.listen(port, host, resolve);
  });
}

function urlOf(http: Server, host: string): string {
  const { port } = http.address() as AddressInfo;
  // A wildcard address is where it listens, not where it is reached.
  const reachable = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`;
}

async function stopListening(http: Server, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => http.close(() => resolve()));
  if (graceMs === 0) http.closeAllConnections();
  // A connection is idle a moment after its last answer, not with it.
  const sweep = setInterval(() => http.closeIdleConnections(), 20);
  const cut = setTimeout(() => http.closeAllConnections(), graceMs);
  await closed;
  clearInterval(sweep);
  clearTimeout(cut);
}

function adminFilePath(stateDir: string): string {
  return join(stateDir, 'admin.json');
}

/** Where the server of a state directory is, or was; null when there has never been one. */
export async function readAdminFile(stateDir: string): Promise<AdminFile | null> {
  const content = await readFileIfThere(adminFilePath(stateDir));
  if (content === null) return null;
  try {
    return adminFileSchema.parse(JSON.parse(content.toString('utf8')));
  } catch {
    return null;
  }
}

async function writeAdminFile(stateDir: string, file: AdminFile): Promise<void> {
  await replaceFile(adminFilePath(stateDir), `${JSON.stringify(file)}\n`);
}

/** Two servers would each replace the other's state: the running one answers for its directory. */
async function refuseSecondServer(stateDir: string): Promise<void> {
  const admin = await readAdminFile(stateDir);
  if (!admin) return;
  const answer = await fetch(`${admin.url}${ADMIN_PATH}/agents`, {
    headers: { [HEADER.authorization]: `Bearer ${admin.secret}` },
    signal: AbortSignal.timeout(2000),
  }).catch(() => null);
  await answer?.body?.cancel();
  if (answer?.ok) throw new HoldfastError('SERVER_STATE', `${stateDir} is in use by the server on ${admin.url}`);
}

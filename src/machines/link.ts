/** What every conversation with Fleet shares: the closed set of ways a request can fail, which host is tried next, and growing, jittered delays. Pure. */
import type { ErrorCode, Problem } from '../errors.ts';
import { type Growing, growingDelay } from './deadline.ts';

/** What came of a request instead of a usable answer. */
export type FailureKind =
  /** Name not found, connection refused or reset before the request was out. */
  | 'unreachable'
  /** The proxy could not be reached, or refused the tunnel. */
  | 'proxy'
  /** The certificate or the handshake was refused by one side. */
  | 'tls'
  /** No answer, or no end of it, within the client's own limit. */
  | 'timeout'
  /** Ended by this agent: a new report, a wake-up, a shutdown. */
  | 'cut'
  /** The connection ended within the answer, or after the request and before it. */
  | 'truncated'
  /** The answer is larger than the named limit. */
  | 'oversized'
  /** Not a Fleet Server's answer. */
  | 'garbage'
  /** 400 `UnsupportedVersion`. */
  | 'unsupportedVersion'
  /** Any other 400. */
  | 'badRequest'
  /** 413. */
  | 'tooLarge'
  | 'unauthorised'
  | 'forbidden'
  | 'notFound'
  /** 408. */
  | 'requestTimeout'
  /** 429. */
  | 'tooMany'
  /** 5xx. */
  | 'serverError'
  /** Any other status. */
  | 'unexpected';

export interface LinkFailure {
  readonly kind: FailureKind;
  /** A sentence for people: what happened, where, and what to do when that is known. */
  readonly message: string;
  readonly status: number | null;
  /** The wait the server asked for. */
  readonly retryAfterMs: number | null;
  /** True: the request was out and its answer was lost; it may have carried the only copy of a rotated key. */
  readonly answerLost: boolean;
  /** True: a Fleet Server said it, by the form of the body; else something in between may have answered in its place. */
  readonly byFleet?: boolean;
  /** Epoch ms. */
  readonly at: number;
}

/** Whether another host may do better with the same request. One line a kind, so that a new kind forces the decision. */
const ANOTHER_HOST_MAY_HELP: Readonly<Record<FailureKind, boolean>> = {
  unreachable: true,
  proxy: true,
  tls: true,
  timeout: true,
  cut: false,
  truncated: true,
  oversized: false,
  garbage: true,
  unsupportedVersion: false,
  badRequest: false,
  tooLarge: false,
  unauthorised: false,
  forbidden: false,
  notFound: true,
  requestTimeout: true,
  tooMany: false,
  serverError: true,
  unexpected: true,
};

export function anotherHostMayHelp(failure: LinkFailure): boolean {
  return ANOTHER_HOST_MAY_HELP[failure.kind] || (isRefusal(failure.kind) && failure.byFleet !== true);
}

/** What Fleet says is final only when Fleet says it. */
function isRefusal(kind: FailureKind): boolean {
  return kind === 'badRequest' || kind === 'forbidden' || kind === 'tooLarge';
}

/** Which error of the registry each kind is, for those who end with it or show it. */
const CODE_OF: Readonly<Record<FailureKind, ErrorCode>> = {
  unreachable: 'FLEET_UNREACHABLE',
  proxy: 'FLEET_UNREACHABLE',
  tls: 'FLEET_TLS',
  timeout: 'FLEET_UNREACHABLE',
  cut: 'FLEET_UNREACHABLE',
  truncated: 'FLEET_UNREACHABLE',
  oversized: 'FLEET_GARBAGE',
  garbage: 'FLEET_GARBAGE',
  unsupportedVersion: 'FLEET_UNSUPPORTED_VERSION',
  badRequest: 'FLEET_REFUSED',
  tooLarge: 'FLEET_REFUSED',
  unauthorised: 'FLEET_UNAUTHORISED',
  forbidden: 'FLEET_UNAUTHORISED',
  notFound: 'FLEET_REFUSED',
  requestTimeout: 'FLEET_REFUSED',
  tooMany: 'FLEET_REFUSED',
  serverError: 'FLEET_REFUSED',
  unexpected: 'FLEET_REFUSED',
};

export function problemOfFailure({ kind, message }: LinkFailure): Problem {
  return { code: CODE_OF[kind], message };
}

/** A port failed in a way it promised not to: shown and retried like a server's fault. */
export function faultOf(thrown: unknown, at: number): LinkFailure {
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return { kind: 'unexpected', message, status: null, retryAfterMs: null, answerLost: true, at };
}

// ---- hosts --------------------------------------------------------------------------------------------------------------------

/** An error is held against a host for this long (as the reference agent does). */
const HOST_ERROR_FORGOTTEN_MS = 5 * 60_000;

/** What is known about one Fleet host. Times are epoch ms. */
export interface HostRecord {
  readonly url: string;
  readonly usedAt: number | null;
  readonly failedAt: number | null;
}

export function newHosts(urls: readonly string[]): readonly HostRecord[] {
  return [...new Set(urls)].map((url) => ({ url, usedAt: null, failedAt: null }));
}

/**
 * The host to try next: never used first, then error-free ones (least recently used first), then errored ones (oldest error first).
 * `except`: hosts that had their turn in this round. Null: none is left.
 */
export function nextHost(hosts: readonly HostRecord[], now: number, except: readonly string[] = []): string | null {
  const rank = ({ usedAt, failedAt }: HostRecord): number => {
    if (usedAt === null) return 0;
    const errored = failedAt !== null && failedAt <= now && now - failedAt < HOST_ERROR_FORGOTTEN_MS;
    return errored ? 2 : 1;
  };
  const since = (host: HostRecord): number => (rank(host) === 2 ? (host.failedAt ?? 0) : (host.usedAt ?? 0));
  const ordered = hosts
    .filter(({ url }) => !except.includes(url))
    .sort((a, b) => rank(a) - rank(b) || since(a) - since(b));
  return ordered[0]?.url ?? null;
}

/** Remembers that a host was used at `at`, and how that went. */
export function markHost(
  hosts: readonly HostRecord[],
  url: string,
  at: number,
  failed: boolean,
): readonly HostRecord[] {
  return hosts.map((host) => (host.url === url ? { url, usedAt: at, failedAt: failed ? at : null } : host));
}

// ---- delays -------------------------------------------------------------------------------------------------------------------

/** One draw: a number in [0, 1) and the seed of the next (mulberry32). Machines draw from here, so that a seed replays a run. */
export function draw(seed: number): { readonly value: number; readonly seed: number } {
  const next = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(next ^ (next >>> 15), next | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return { value: ((t ^ (t >>> 14)) >>> 0) / 2 ** 32, seed: next };
}

/** The wait after the `times`-th error in a row, with equal jitter: half of the window for certain, half by chance; the first window is twice `initialMs`, so no wait is below it. */
function equalJitter(growing: Growing, times: number, random: number): number {
  const window = growingDelay(growing, times + 1);
  return Math.round(window / 2 + (window / 2) * random);
}

/**
 * The wait before a request is sent again. What the server asked for (`askedMs`, 0: nothing) is kept within the longest wait, and spread so that a
 * fleet does not come back as one; else {@link equalJitter}.
 */
export function retryDelay(growing: Growing, times: number, askedMs: number, random: number): number {
  if (askedMs > 0) return Math.round(Math.min(askedMs, growing.maxMs) * (1 + random / 5));
  return equalJitter(growing, times, random);
}

/** `ms` ± 20 %. */
export function spread(ms: number, random: number): number {
  return Math.round(ms * (0.8 + 0.4 * random));
}

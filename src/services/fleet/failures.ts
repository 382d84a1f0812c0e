/** Names what went wrong with a request, once, at the edge: a kind for the machines and a sentence for people. */
import type { FailureKind, LinkFailure } from '../../machines/link.ts';
import { parseErrorBody } from '../../wire/fleet.ts';
import { UnusablePem } from './pem.ts';
import { UnusableProxy } from './proxy.ts';
import type { Answer } from './transport.ts';

/** Raised while an answer is read. */
export class OversizedAnswer extends Error {
  readonly limitBytes: number;

  constructor(limitBytes: number) {
    super(`the answer is larger than ${limitBytes} bytes`);
    this.limitBytes = limitBytes;
  }
}

export function failure(
  kind: FailureKind,
  message: string,
  at: number,
  more: Partial<Pick<LinkFailure, 'status' | 'retryAfterMs' | 'answerLost' | 'byFleet'>> = {},
): LinkFailure {
  return { kind, message, status: null, retryAfterMs: null, answerLost: false, at, ...more };
}

/** Seconds or an HTTP date, as milliseconds from `now`; null when there is none or it cannot be read. */
export function retryAfterMs(header: string | null, now: number): number | null {
  if (header === null) return null;
  if (/^\s*\d{1,9}\s*$/.test(header)) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? null : Math.max(0, date - now);
}

const NOT_FOUND = new Set(['ENOTFOUND', 'EAI_AGAIN', 'EAI_FAIL', 'EAI_NODATA', 'EAI_NONAME']);
const NO_CONNECTION = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EHOSTDOWN',
  'ENETDOWN',
  'EADDRNOTAVAIL',
  'ETIMEDOUT',
  'UND_ERR_CONNECT_TIMEOUT',
]);
/** The connection ended after the request was on its way: its answer may have been the only one of its kind. */
const BROKEN_OFF = new Set([
  'ECONNRESET',
  'EPIPE',
  'ECONNABORTED',
  'UND_ERR_SOCKET',
  'UND_ERR_RES_CONTENT_LENGTH_MISMATCH',
  'Z_BUF_ERROR',
]);
/** Of a connection that stands; the same codes mean something else when one is being made. */
const ON_A_CONNECTION = new Set(['read', 'write', 'writev', 'shutdown']);
const TLS =
  /^(ERR_TLS_|ERR_SSL_|CERT_|EPROTO$|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|HOSTNAME_MISMATCH|INVALID_CA|ERR_OSSL_|CRL_)/;
/** Alerts by which a server says that it wants another certificate of this side, or one at all. */
const CLIENT_CERTIFICATE =
  /ALERT_CERTIFICATE_REQUIRED|ALERT_BAD_CERTIFICATE|ALERT_UNSUPPORTED_CERTIFICATE|ALERT_CERTIFICATE_|ALERT_UNKNOWN_CA|ALERT_HANDSHAKE_FAILURE/;

/** Between which two ends something was thrown, and how far the request had come. */
export interface Way {
  /** As it is shown. */
  readonly host: string;
  /** As it is shown; null: there is none. */
  readonly proxy: string | null;
  /** Whether the request had begun to be written. */
  readonly sent: boolean;
  /** Whether this side has a client certificate to show. */
  readonly ownCertificate?: boolean;
}

/** No connection came about in time. */
export function notConnected(host: string, proxy: string | null, limitMs: number, at: number): LinkFailure {
  const seconds = Math.round(limitMs / 1000);
  return proxy === null
    ? failure('unreachable', `${host} cannot be reached: no connection within ${seconds} s`, at)
    : failure('proxy', `the proxy ${proxy} opened no way to ${host} within ${seconds} s`, at);
}

/** Finds the kind of anything undici, the TLS stack, zlib or the reader of the answer throws. */
export function failureOfThrown(thrown: unknown, way: Way, at: number): LinkFailure {
  const { host, proxy, sent } = way;
  const { code, text, syscall } = deepest(thrown);
  if (host === '') {
    const advice = 'enroll again with `holdfast enroll --force`';
    return failure('unreachable', `no Fleet Server is known, since the identity cannot be read; ${advice}`, at);
  }
  if (thrown instanceof UnusableProxy) {
    return failure('proxy', `${host} cannot be reached: ${thrown.message}; correct it, or name another proxy`, at);
  }
  if (thrown instanceof OversizedAnswer) {
    return failure('oversized', `${host} sent an answer larger than ${thrown.limitBytes} bytes; it was not read`, at);
  }
  if (thrown instanceof UnusablePem) return failure('tls', thrown.message, at);
  if (/wrong version number|packet length too long|http request/.test(text)) {
    return failure('tls', `what listens at ${host} does not speak TLS: is the URL to begin with http://?`, at);
  }
  if (CLIENT_CERTIFICATE.test(code)) {
    const advice = 'name one that it trusts with fleet.ssl.certificate and fleet.ssl.key';
    return failure('tls', `${host} wants a client certificate, and does not take what it got: ${text}; ${advice}`, at);
  }
  if (code === 'ERR_OSSL_X509_KEY_VALUES_MISMATCH') {
    return failure('tls', 'fleet.ssl.certificate and fleet.ssl.key do not belong together: name a matching pair', at);
  }
  if (TLS.test(code)) {
    const advice = 'name its CA with fleet.ssl.certificate_authorities (or --ca), or correct its certificate';
    return failure('tls', `no trusted connection to ${host}: ${text}; ${advice}`, at);
  }
  if (sent && (syscall === null ? NO_CONNECTION.has(code) : ON_A_CONNECTION.has(syscall))) {
    return brokenOff(way, thrown, at);
  }
  if (!sent && proxy !== null) {
    // On the way to a proxy nothing but the proxy has answered, whatever it was that failed.
    return syscall === null && !NOT_FOUND.has(code) && !NO_CONNECTION.has(code)
      ? failure('proxy', `the proxy ${proxy} refused the connection to ${host}: ${text}`, at)
      : failure('proxy', `${host} cannot be reached by the proxy ${proxy}: ${text}`, at);
  }
  if (NOT_FOUND.has(code)) return failure('unreachable', `${host} cannot be reached: its name cannot be resolved`, at);
  if (syscall === 'connect' && (code === 'EACCES' || code === 'EPERM')) {
    return failure('unreachable', `${host} cannot be reached: a firewall on this host forbids it (${text})`, at);
  }
  if (NO_CONNECTION.has(code)) return failure('unreachable', `${host} cannot be reached: ${text}`, at);
  if (BROKEN_OFF.has(code) || /terminated|other side closed|unexpected end of file/.test(text)) {
    return brokenOff(way, thrown, at);
  }
  if (
    code.startsWith('HPE_') ||
    code.startsWith('Z_') ||
    code === 'UND_ERR_HEADERS_OVERFLOW' ||
    code === 'ERR_ENCODING_INVALID_ENCODED_DATA' ||
    code === 'ERR_INVALID_CHAR' ||
    thrown instanceof TypeError ||
    (thrown instanceof Error && thrown.name === 'HTTPParserError')
  ) {
    return failure('garbage', `${host} answers, but not as a Fleet Server does: ${text}`, at);
  }
  return failure('unreachable', `${host} cannot be reached: ${text}`, at, { answerLost: true });
}

function brokenOff({ host, ownCertificate }: Way, thrown: unknown, at: number): LinkFailure {
  // With TLS 1.3 a client learns that its certificate was missed by nothing but the end of the connection.
  const unread = (thrown as { socket?: { bytesRead?: unknown } }).socket?.bytesRead === 0;
  const advice =
    unread && ownCertificate === false && host.startsWith('https:')
      ? '; if it wants a client certificate, name one with fleet.ssl.certificate and fleet.ssl.key'
      : '';
  const message = `${host} ended the connection before its answer was whole: ${deepest(thrown).text}${advice}`;
  return failure('truncated', message, at, { answerLost: true });
}

function deepest(thrown: unknown): { code: string; text: string; syscall: string | null } {
  let error = thrown;
  for (let depth = 0; depth < 5 && error instanceof Error; depth++) {
    const code = (error as { code?: unknown }).code;
    const generic = error instanceof AggregateError ? error.errors[0] : error.cause;
    if (typeof code === 'string' && (code !== 'UND_ERR_ABORTED' || generic === undefined)) {
      const { syscall } = error as { syscall?: unknown };
      return { code, text: error.message || code, syscall: typeof syscall === 'string' ? syscall : null };
    }
    if (generic === undefined) break;
    error = generic;
  }
  return { code: '', text: error instanceof Error ? error.message || error.name : String(error), syscall: null };
}

/** The failure an answer of another status than 200 stands for. `asked`: with whose key; of an enrollment the machine says what to do. */
export function failureOfAnswer(answer: Answer, host: string, asked: 'agent' | 'enrollment' = 'agent'): LinkFailure {
  const { status, text, retryAfterMs: wait, at } = answer;
  const body = parseErrorBody(parsedOrNull(text));
  const said = body === null ? '' : `: ${[body.error, body.message].filter(Boolean).join(': ')}`;
  const kind = kindOf(status, body?.error ?? null);
  const lost = kind === 'serverError' || kind === 'requestTimeout';
  const message = `${host} answered ${status}${said}${adviceFor(kind, body !== null, answer, asked)}`;
  return failure(kind, message, at, { status, retryAfterMs: wait, answerLost: lost, byFleet: body !== null });
}

function adviceFor(kind: FailureKind, byFleet: boolean, { status, location }: Answer, asked: string): string {
  if (status >= 300 && status < 400) {
    return location ? ` and points to ${location}: is that where Fleet is?` : '; is this the URL of a Fleet Server?';
  }
  if (!byFleet && ['badRequest', 'forbidden', 'tooLarge'].includes(kind)) {
    return '; that is not how a Fleet Server says it: does a proxy or a firewall answer in its place?';
  }
  return (asked === 'agent' ? AGENT_ADVICE[kind] : undefined) ?? ADVICE[kind] ?? '';
}

const AGENT_ADVICE: Partial<Record<FailureKind, string>> = {
  unauthorised: '; Fleet does not know this agent or its key',
  forbidden: '; the key belongs to another agent, or may not do this',
};

const ADVICE: Partial<Record<FailureKind, string>> = {
  unsupportedVersion: '; set `fleet.agent_version` to a version that this Fleet Server accepts',
  notFound: '; is this the URL of a Fleet Server?',
  tooMany: '; Fleet is busy',
  requestTimeout: '; something on the way has a limit shorter than the poll',
};

function kindOf(status: number, error: string | null): FailureKind {
  if (status === 400) return error === 'UnsupportedVersion' ? 'unsupportedVersion' : 'badRequest';
  if (status === 401) return 'unauthorised';
  if (status === 403) return 'forbidden';
  if (status === 404) return 'notFound';
  if (status === 407) return 'proxy';
  if (status === 408) return 'requestTimeout';
  if (status === 413) return 'tooLarge';
  if (status === 429) return 'tooMany';
  if (status >= 500) return 'serverError';
  if (status >= 200 && status < 400) return 'garbage';
  return 'unexpected';
}

export function parsedOrNull(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Who may look: a browser that was given the printed URL, asking for this very host, from this very page. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

export interface Refusal {
  readonly status: 401 | 403 | 405 | 421;
  readonly why: string;
}

export class Admission {
  readonly #token: string;
  readonly #cookie: string;
  readonly #hosts: ReadonlySet<string>;

  /** `token`: what the printed URL carries. Cookies know no ports, so this one has the port in its name. */
  constructor(token: string, port: number) {
    this.#token = token;
    this.#cookie = `holdfast-inspector-${port}`;
    this.#hosts = new Set([`127.0.0.1:${port}`, `localhost:${port}`, `[::1]:${port}`]);
  }

  /** Null: let in. */
  refusal(request: IncomingMessage, query: URLSearchParams): Refusal | null {
    const { host, origin } = request.headers;
    if (host === undefined || !this.#hosts.has(host)) {
      return { status: 421, why: 'This is not the address the inspector was started for.' };
    }
    if (request.method !== 'GET') return { status: 405, why: 'The inspector only shows.' };
    const site = request.headers['sec-fetch-site'];
    if ((origin !== undefined && origin !== `http://${host}`) || site === 'cross-site') {
      return { status: 403, why: 'Other sites may not look into the inspector.' };
    }
    const shown = query.get('token') ?? this.#cookieOf(request) ?? bearerOf(request);
    if (shown !== null && same(shown, this.#token)) return null;
    return {
      status: 401,
      why: 'Open the URL that was printed when the inspector was started: it carries the token that lets you in.',
    };
  }

  /** Sent with the page, so that nothing after it has to carry the token where it can be read. */
  get setCookie(): string {
    return `${this.#cookie}=${this.#token}; HttpOnly; SameSite=Strict; Path=/`;
  }

  #cookieOf(request: IncomingMessage): string | null {
    for (const pair of (request.headers.cookie ?? '').split(';')) {
      const [name, value] = pair.trim().split('=');
      if (name === this.#cookie && value !== undefined) return value;
    }
    return null;
  }
}

export function newToken(): string {
  return randomBytes(24).toString('base64url');
}

function bearerOf(request: IncomingMessage): string | null {
  return /^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1] ?? null;
}

/** Takes the same time wherever the two differ. */
function same(one: string, other: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(one), digest(other));
}

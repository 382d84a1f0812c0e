import { createServer } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { PollOutcome } from '../../../src/machines/gateway-context.ts';
import { IDLE_CHECKIN_BODY } from '../../../src/wire/fleet.ts';
import { report } from '../../machines/link-fixtures.ts';
import { type FakeServer, type Handler, json, startFakeServer } from './fake-server.ts';
import { poll, ports, settings } from './local.ts';
import { runPort } from './run-port.ts';

let server: FakeServer;
let fleet: ReturnType<typeof ports>;

beforeEach(async () => {
  server = await startFakeServer((response) => json(response, 200, IDLE_CHECKIN_BODY));
  fleet = ports();
});
afterEach(async () => {
  await fleet.close();
  await server.close();
});

const checkin = (changed = {}): Promise<PollOutcome> => runPort(fleet.gateway.checkin, poll(server.url, changed));
const error = (status: number, name: string, message = 'why') => ({ statusCode: status, error: name, message });

describe('what a check-in sends', () => {
  it('carries the headers a Fleet Server wants', async () => {
    await checkin();
    const { headers, path } = server.asked[0]!;
    expect(path).toBe('/api/fleet/agents/agent-1/checkin');
    expect(headers).toMatchObject({
      authorization: 'ApiKey a2V5OnNlY3JldA==',
      'user-agent': 'Elastic Agent v9.2.0-holdfast',
      'elastic-api-version': '2023-06-01',
      'accept-encoding': 'gzip',
      'content-encoding': 'gzip',
      'content-type': 'application/json',
      accept: 'application/json',
      'kbn-xsrf': '1',
    });
    expect(headers['x-request-id']).toMatch(/^[0-9a-f-]{36}$/);
  });

  it('always says both policy fields, and how long the answer may take', async () => {
    await checkin();
    await checkin({ policyId: 'web', revision: 7, token: 'token-1' });
    expect(server.asked[0]!.body).toMatchObject({
      agent_policy_id: '',
      policy_revision_idx: 0,
      ack_token: '',
      poll_timeout: '420000ms',
      status: 'online',
      message: 'running web:1',
    });
    expect(server.asked[1]!.body).toMatchObject({
      agent_policy_id: 'web',
      policy_revision_idx: 7,
      ack_token: 'token-1',
    });
  });
});

describe('a usable answer', () => {
  it('is idle when it says nothing, byte for byte, and content when it says anything else', async () => {
    expect(await checkin()).toMatchObject({ kind: 'answered', idle: true, warning: null });
    server.handle((response) => json(response, 200, { action: 'checkin', ack_token: '', actions: [] }));
    expect(await checkin()).toMatchObject({ kind: 'answered', idle: false });
  });

  it('may be compressed and may carry a warning', async () => {
    const text = JSON.stringify({ action: 'checkin', ack_token: 't', actions: [], padding: 'x'.repeat(5000) });
    server.handle((response) => {
      response.writeHead(200, { 'content-encoding': 'gzip', warning: '299 - "maintenance at noon"' });
      response.end(gzipSync(text));
    });
    expect(await checkin()).toMatchObject({ kind: 'answered', text, warning: '299 - "maintenance at noon"' });
  });
});

describe('a server that cannot inflate', () => {
  beforeEach(() =>
    server.handle((response, { headers }) =>
      headers['content-encoding'] === 'gzip'
        ? json(response, 400, error(400, 'BadRequest', "Bad request: invalid character '\\x1f'"))
        : json(response, 200, IDLE_CHECKIN_BODY),
    ),
  );

  it('is asked again in plain text, and from then on only so', async () => {
    expect(await checkin()).toMatchObject({ kind: 'answered' });
    expect(await checkin()).toMatchObject({ kind: 'answered' });
    expect(server.asked.map(({ headers }) => headers['content-encoding'] ?? 'plain')).toEqual([
      'gzip',
      'plain',
      'plain',
    ]);
  });

  it('is sent no more components than it takes: left out they mean no change', async () => {
    const unit = { id: 'u', type: 'input', state: 'healthy', message: 'x'.repeat(1000) } as const;
    const component = { id: 'c', type: 't', state: 'healthy', message: '', pid: 1, restarts: 0, hash: 'h' } as const;
    const components = Array.from({ length: 2000 }, () => ({ ...component, units: [unit] }));
    expect(await checkin({ report: { ...report, components } })).toMatchObject({ kind: 'answered' });
    const [zipped, plain] = server.asked.map(({ body }) => (body as { components: unknown[] | null }).components);
    expect(zipped).toHaveLength(2000);
    expect(plain).toBeNull();
  });

  it('is not suspected when the request itself is refused', async () => {
    server.handle((response) => json(response, 400, error(400, 'BadRequest', 'checkin status missing')));
    expect(await checkin()).toMatchObject({ kind: 'badRequest' });
    server.handle((response) => json(response, 200, IDLE_CHECKIN_BODY));
    await checkin();
    expect(server.asked.at(-1)!.headers['content-encoding']).toBe('gzip');
  });

  it('is not believed in when the plain body fared no better', async () => {
    server.handle((response, { headers }) =>
      headers['content-encoding'] === 'gzip' ? json(response, 400, '<html>') : json(response, 503, 'down'),
    );
    expect(await checkin()).toMatchObject({ kind: 'serverError' });
    server.handle((response) => json(response, 200, IDLE_CHECKIN_BODY));
    await checkin();
    expect(server.asked.at(-1)!.headers['content-encoding']).toBe('gzip');
  });
});

const long = 'x'.repeat(2000);
const BAD: readonly [string, Handler, Partial<Extract<PollOutcome, { message: string }>>, RegExp][] = [
  [
    '400',
    (r) => json(r, 400, error(400, 'ErrMalformedToken')),
    { kind: 'badRequest', status: 400 },
    /ErrMalformedToken: why/,
  ],
  [
    '400 UnsupportedVersion',
    (r) => json(r, 400, error(400, 'UnsupportedVersion')),
    { kind: 'unsupportedVersion' },
    /fleet\.agent_version/,
  ],
  [
    '401',
    (r) => json(r, 401, error(401, 'ErrUnauthorized')),
    { kind: 'unauthorised', status: 401 },
    /does not know this agent/,
  ],
  ['403', (r) => json(r, 403, error(403, 'ErrAgentIdentity')), { kind: 'forbidden' }, /another agent/],
  [
    '404 in plain text',
    (r) => json(r, 404, '404 page not found'),
    { kind: 'notFound' },
    /answered 404; is this the URL/,
  ],
  [
    '408',
    (r) => json(r, 408, error(408, 'RequestTimeout')),
    { kind: 'requestTimeout', answerLost: true },
    /limit shorter than the poll/,
  ],
  ['429', (r) => json(r, 429, error(429, 'RateLimit')), { kind: 'tooMany', retryAfterMs: null }, /busy/],
  [
    '429 with Retry-After',
    (r) => json(r, 429, 'no', { 'retry-after': '17' }),
    { kind: 'tooMany', retryAfterMs: 17_000 },
    /429/,
  ],
  ['500', (r) => json(r, 500, error(500, 'BadRequest')), { kind: 'serverError', answerLost: true }, /answered 500/],
  ['502 of a proxy', (r) => json(r, 502, '<html>Bad Gateway</html>'), { kind: 'serverError' }, /answered 502/],
  [
    'a redirect',
    (r) => json(r, 302, '', { location: 'https://login.example' }),
    { kind: 'garbage' },
    /answered 302 and points to https:\/\/login\.example/,
  ],
  ['a login page', (r) => json(r, 200, '<html>Please log in</html>'), { kind: 'garbage' }, /not as a Fleet Server/],
  [
    'bytes that are not UTF-8',
    (r) => void r.end(Buffer.from([0x7b, 0xff, 0xfe])),
    { kind: 'garbage' },
    /not as a Fleet Server/,
  ],
  [
    'an encoding nobody asked for',
    (r) => json(r, 200, 'x', { 'content-encoding': 'br' }),
    { kind: 'garbage' },
    /encoded as br/,
  ],
  [
    'a body that is no gzip',
    (r) => json(r, 200, long, { 'content-encoding': 'gzip' }),
    { kind: 'garbage' },
    /not as a Fleet Server/,
  ],
  [
    'a body shorter than its length',
    (r) => {
      r.writeHead(200, { 'content-length': '5000' });
      r.write('{"action":', () => r.destroy());
    },
    { kind: 'truncated', answerLost: true },
    /before its answer was whole/,
  ],
  [
    'a chunked body without its end',
    (r) => {
      r.writeHead(200);
      r.write('{"action":', () => r.destroy());
    },
    { kind: 'truncated', answerLost: true },
    /before its answer was whole/,
  ],
  [
    'a gzip body without its end',
    (r) => {
      const bytes = gzipSync(long);
      r.writeHead(200, { 'content-encoding': 'gzip', 'content-length': String(bytes.length - 8) });
      r.end(bytes.subarray(0, -8));
    },
    { kind: 'truncated', answerLost: true },
    /before its answer was whole/,
  ],
  [
    'no answer, and the connection closed',
    (r) => void r.destroy(),
    { kind: 'truncated', answerLost: true },
    /before its answer was whole/,
  ],
];

describe('an answer that cannot be used', () => {
  it.each(BAD)('is named: %s', async (_name, handler, expected, sentence) => {
    server.handle(handler);
    const outcome = await checkin();
    expect(outcome).toMatchObject(expected);
    expect((outcome as { message: string }).message).toMatch(sentence);
  });

  it.each([
    ['plain', (bytes: Buffer) => bytes, {}],
    ['inflated', gzipSync, { 'content-encoding': 'gzip' }],
  ] as const)('is not read beyond the limit, %s', async (_name, encode, headers) => {
    fleet = ports({ answerLimitBytes: 10_000 });
    server.handle((response) => {
      response.writeHead(200, headers);
      response.end(encode(Buffer.from(JSON.stringify({ padding: 'x'.repeat(1_000_000) }))));
    });
    expect(await checkin()).toMatchObject({ kind: 'oversized', answerLost: false });
  });

  it('is given up after the limit of the client, and may have been lost', async () => {
    fleet = ports({ pollLimitMs: 100 });
    server.handle(() => {});
    expect(await checkin()).toMatchObject({ kind: 'timeout', answerLost: true });
  });

  it('is given up when its body never ends', async () => {
    fleet = ports({ pollLimitMs: 200 });
    server.handle((response) => {
      response.writeHead(200);
      response.write('{"action"');
    });
    expect(await checkin()).toMatchObject({ kind: 'timeout', answerLost: true });
  });
});

describe('a server that cannot be reached', () => {
  const at = (host: string) => runPort(fleet.gateway.checkin, poll(host));

  it('refuses the connection: nothing was lost', async () => {
    const { url } = server;
    await server.close();
    expect(await at(url)).toMatchObject({ kind: 'unreachable', answerLost: false });
  });

  it('has a name that cannot be resolved', async () => {
    const outcome = await at('http://no-such-host.invalid:8220');
    expect(outcome).toMatchObject({ kind: 'unreachable', answerLost: false });
    expect((outcome as { message: string }).message).toContain('its name cannot be resolved');
  });

  it('speaks something else than HTTP', async () => {
    const odd = createServer((socket) => socket.end('SSH-2.0-OpenSSH_9.6\r\n'));
    await new Promise<void>((resolve) => odd.listen(0, '127.0.0.1', resolve));
    const { port } = odd.address() as { port: number };
    expect(await at(`http://127.0.0.1:${port}`)).toMatchObject({ kind: 'garbage' });
    odd.close();
  });

  it('is plain HTTP where TLS was expected', async () => {
    expect(await at(server.url.replace('http:', 'https:'))).toMatchObject({ kind: 'tls', answerLost: false });
  });

  it('lies behind a proxy that is not there, or that refuses the tunnel', async () => {
    fleet = ports({ settings: { ...settings, proxyUrl: 'http://127.0.0.1:1' } });
    expect(await at('https://fleet.invalid:8220')).toMatchObject({ kind: 'proxy', answerLost: false });
    const proxy = await import('node:http').then(({ createServer: http }) => http());
    proxy.on('connect', (_request, socket) => socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n'));
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    const { port } = proxy.address() as { port: number };
    fleet = ports({
      settings: { ...settings, environmentProxy: { https: `http://127.0.0.1:${port}`, http: null, no: null } },
    });
    expect(await at('https://fleet.invalid:8220')).toMatchObject({ kind: 'proxy', answerLost: false });
    proxy.closeAllConnections();
    proxy.close();
  });

  it('has certificate settings that cannot be read, and is asked again when they can', async () => {
    fleet = ports({ settings: { ...settings, ssl: { ...settings.ssl, certificateAuthorities: ['/nowhere/ca.pem'] } } });
    const outcome = await checkin();
    expect(outcome).toMatchObject({ kind: 'tls' });
    expect((outcome as { message: string }).message).toContain('/nowhere/ca.pem');
  });
});

describe('ending a poll', () => {
  it('resolves when the old connection has closed, and says that an answer may be lost', async () => {
    let arrived = () => {};
    const asked = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    server.handle(() => arrived());
    const open = checkin();
    await asked;
    expect(server.connections()).toBe(1);
    server.handle((response) => json(response, 200, IDLE_CHECKIN_BODY));
    await runPort(fleet.gateway.endPoll, null);
    expect(await open).toMatchObject({ kind: 'cut', answerLost: true });
    expect(await checkin()).toMatchObject({ kind: 'answered' });
    expect(server.connections()).toBe(1);
  });

  it('is nothing when no poll is open', async () => {
    expect(await runPort(fleet.gateway.endPoll, null)).toBeNull();
  });
});

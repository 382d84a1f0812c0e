/** Who the inspector lets in, and what it gives them. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { secretsIn } from '../../src/policy/mask.ts';
import { componentPaths } from '../../src/services/home.ts';
import { inspectAddress } from '../../src/services/inspector/address.ts';
import { type Inspector, startInspector } from '../../src/services/inspector/server.ts';
import { createLogger } from '../../src/services/log/logger.ts';
import type { Hello, Standing } from '../../src/wire/inspector.ts';
import { aStatus } from '../commands/fakes.ts';
import { aHouse } from './machine.ts';

let home: string;
let inspector: Inspector;
let standing: Standing;

const HASH = 'a'.repeat(64);
const STANDING: Standing = {
  status: aStatus(),
  sentence: 'Running web:3.',
  convergence: { converged: true, sentence: 'Converged.', step: null },
  held: { journal: [], outbox: [], starts: [] },
  at: 0,
};

beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'hf-inspector-'));
  standing = STANDING;
  inspector = await start();
});
afterEach(async () => {
  await inspector.close();
  rmSync(home, { recursive: true, force: true });
});

function start(): Promise<Inspector> {
  return startInspector({
    address: { host: '127.0.0.1', port: 0, exact: true },
    home,
    version: '0.0.0',
    inspected: {
      standing: () => standing,
      onChange: () => () => {},
      secrets: () => Promise.resolve(secretsIn({ password: 'held-by-the-disk\n' })),
      heldPolicy: (hash) => Promise.resolve(hash === HASH ? 'id: web\n' : null),
    },
    log: createLogger({ level: 'error', format: 'ecs', screen: null, file: null, version: '0' }),
  });
}

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

/** As a browser would not let a page do it: any header can be set. `until`: enough was read. */
function ask(
  path: string,
  headers: Record<string, string> = {},
  { method = 'GET', until = () => false }: { method?: string; until?: (body: string) => boolean } = {},
): Promise<Answer> {
  const { hostname, port } = new URL(inspector.url);
  return new Promise((resolve, reject) => {
    const asked = request({ hostname, port, path, method, headers }, (response) => {
      let body = '';
      const done = () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body });
        asked.destroy();
      };
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        body += chunk;
        if (until(body)) done();
      });
      response.on('end', done);
      response.on('error', () => {});
    });
    asked.on('error', reject);
    asked.end();
  });
}

const token = () => new URL(inspector.url).searchParams.get('token') ?? '';
const bearer = () => ({ authorization: `Bearer ${token()}` });

describe('the inspector', () => {
  test('lets in who has the printed URL, and from then on its cookie', async () => {
    const first = await ask(`/?token=${token()}`);
    expect(first.status).toBe(200);
    expect(first.body).toContain('<title>Holdfast inspector</title>');
    const [cookie = ''] = first.headers['set-cookie'] ?? [];
    expect(cookie).toMatch(/; HttpOnly; SameSite=Strict; Path=\/$/);
    expect((await ask('/', { cookie: cookie.split(';')[0] ?? '' })).status).toBe(200);
  });

  test.each([
    ['no token', {}],
    ['a wrong token', { authorization: 'Bearer AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA' }],
    ['a wrong cookie', { cookie: 'holdfast-inspector-1=x' }],
  ])('refuses %s, on every path', async (_, headers) => {
    for (const path of [
      '/',
      '/stream',
      '/charts.json',
      '/recordings.json',
      `/policies/${HASH}`,
      '/output/nginx-default-web',
    ]) {
      expect((await ask(path, headers)).status, path).toBe(401);
    }
  });

  test('refuses a name that only resolves to this host', async () => {
    const answer = await ask('/', { ...bearer(), host: `inspector.example:${new URL(inspector.url).port}` });
    expect(answer.status).toBe(421);
  });

  test('refuses pages of other sites, token or not', async () => {
    expect((await ask('/stream', { ...bearer(), origin: 'http://elsewhere.example' })).status).toBe(403);
    expect((await ask('/stream', { ...bearer(), 'sec-fetch-site': 'cross-site' })).status).toBe(403);
  });

  test('only shows: there is nothing to post to', async () => {
    expect((await ask('/', bearer(), { method: 'POST' })).status).toBe(405);
  });

  test('allows its page nothing from elsewhere and nothing inline', async () => {
    const { headers, body } = await ask('/', bearer());
    const policy = String(headers['content-security-policy']);
    expect(policy).toMatch(/^default-src 'none'; script-src 'self';/);
    expect(policy).not.toContain('unsafe');
    expect(policy).toContain("frame-ancestors 'none'");
    expect(body).not.toMatch(/<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=|https?:/);
    expect(headers['referrer-policy']).toBe('no-referrer');
  });

  test('gives out its own files and no others', async () => {
    expect((await ask('/assets/page.css', bearer())).status).toBe(200);
    for (const path of [
      '/assets/../server.js',
      '/assets/%2e%2e%2fserver.js',
      '/assets/.hidden.js',
      '/charts/..%2f..%2fpackage.svg',
      '/output/..%2f..%2fidentity',
    ]) {
      expect((await ask(path, bearer())).status, path).toBe(404);
    }
  });

  test('streams everything first, then what is new', async () => {
    const house = aHouse(inspector.observe);
    const told = ask('/stream', bearer(), { until: (body) => body.includes('event: news') });
    await new Promise((done) => setTimeout(done, 100));
    house.send({ type: 'house.enter' });
    const { body } = await told;
    const hello = JSON.parse(/event: hello\ndata: (.*)\n/.exec(body)?.[1] ?? '') as Hello;
    expect(hello.actors.map(({ name }) => name)).toEqual(['house', 'front']);
    expect(hello.standing?.sentence).toBe('Running web:3.');
    expect(body.slice(body.indexOf('event: news'))).toContain('house.enter');
  });

  test('counts down what is waited for, though nothing happens', async () => {
    const told = ask('/stream', bearer(), {
      until: (body) => {
        const convergence = { converged: false, sentence: 'Next try in 56 s.', step: null };
        if (body.includes('event: hello')) standing = { ...STANDING, convergence };
        return body.includes('event: standing');
      },
    });
    expect((await told).body).toMatch(/event: standing\ndata: .*Next try in 56 s\./);
  });

  test('has a chart and its words for every machine, without styles that its policy would refuse', async () => {
    const index = JSON.parse((await ask('/charts.json', bearer())).body);
    expect(index.views.map(({ machine }: { machine: string }) => machine)).toEqual(
      expect.arrayContaining(['agent', 'store', 'gateway', 'acker', 'dispatcher', 'components', 'component']),
    );
    const { body } = await ask('/charts/policy.svg', bearer());
    expect(body).toContain('data-state="agent.running.checkin"');
    expect(body).not.toMatch(/<style|\bstyle=/);
  });

  test('shows a held policy, and the output of a component that there is', async () => {
    expect((await ask(`/policies/${HASH}`, bearer())).body).toBe('id: web\n');
    expect((await ask(`/policies/${'b'.repeat(64)}`, bearer())).status).toBe(404);
    const { output } = componentPaths(home, 'nginx-default-web');
    mkdirSync(dirname(output), { recursive: true });
    writeFileSync(output, 'one\ntwo\nAuthorization: Bearer abcdefghijkl\n');
    const { body } = await ask('/output/nginx-default-web', bearer());
    expect(body).toContain('one\ntwo');
    expect(body).not.toContain('abcdefghijkl');
    // At the very end of what is shown, where a line break of the secret is not.
    writeFileSync(output, 'one\nheld-by-the-disk\n');
    expect((await ask('/output/nginx-default-web', bearer())).body).toBe('one\n<REDACTED>');
    expect((await ask('/output/other', bearer())).status).toBe(404);
  });
});

describe('the token', () => {
  test('outlives a death, so that an open page goes on, and is the user’s alone', async () => {
    const path = join(home, 'inspect-token');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const before = token();
    const after = await start(); // the one before did not say goodbye
    expect(new URL(after.url).searchParams.get('token')).toBe(before);
    await after.close();
  });

  test('has a new one when something else lies in its place', async () => {
    await inspector.close();
    execFileSync('mkfifo', [join(home, 'inspect-token')]);
    inspector = await start();
    expect(token()).toHaveLength(32);
    expect(statSync(join(home, 'inspect-token')).isFile()).toBe(true);
  });

  test('ends with an orderly end', async () => {
    const before = token();
    await inspector.close();
    inspector = await start();
    expect(token()).not.toBe(before);
    expect(token()).toHaveLength(32);
  });
});

describe('--inspect', () => {
  test.each([
    [true, { host: '127.0.0.1', port: 8229, exact: false }],
    ['127.0.0.1:9000', { host: '127.0.0.1', port: 9000, exact: true }],
    ['localhost:9000', { host: '127.0.0.1', port: 9000, exact: true }],
    ['[::1]:9000', { host: '::1', port: 9000, exact: true }],
    ['9000', { host: '127.0.0.1', port: 9000, exact: true }],
  ] as const)('%s is this host', (value, address) => {
    expect(inspectAddress(value)).toEqual(address);
  });

  test.each([
    '0.0.0.0:9000',
    '[::]:9000',
    '192.168.1.1:9000',
    'example.com:9000',
    'constructor:9000',
    '127.0.0.1',
    '127.0.0.1:99999',
    'x',
  ])('%s is refused', (value) => {
    expect(() => inspectAddress(value)).toThrow(expect.objectContaining({ code: 'USAGE' }));
  });
});

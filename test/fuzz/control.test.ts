/** Requests of any kind on the control socket: answered or dropped, and the daemon is there for the next one. */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { controlClient } from '../../src/services/control/client.ts';
import { type ControlServer, startControlServer } from '../../src/services/control/server.ts';
import { SILENT } from '../../src/services/log/logger.ts';
import { CONTROL_PATH } from '../../src/wire/control.ts';
import { aStatus, INSPECTION } from '../commands/fakes.ts';
import { expectNothingPolluted, hostileJson, hostileText, RUNS } from './support.ts';

let home: string;
let server: ControlServer;
const asked: string[] = [];

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'hf-fuzz-'));
  const controlled = {
    status: () => aStatus({}),
    inspect: () => INSPECTION,
    onChange: () => () => undefined,
    retry: () => {
      asked.push('retry');
      return null;
    },
    restart: (reason: string) => void asked.push(reason),
    unenroll: (reason: string) => void asked.push(reason),
    identityChanged: () => void asked.push('identity'),
  };
  server = await startControlServer({ home, env: {}, controlled, log: SILENT });
});
afterAll(async () => {
  await server.close();
  rmSync(home, { recursive: true, force: true });
});

/** Sends raw bytes and resolves with what came back, when the other end is done or says no more. */
function send(bytes: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(server.path);
    let answer = '';
    socket.on('data', (chunk) => {
      answer += chunk.toString('latin1');
      socket.end();
    });
    socket.on('error', () => resolve(answer));
    socket.on('close', () => resolve(answer));
    socket.end(bytes);
  });
}

const UNPOSTED = ['GET', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'TRACE', 'x'] as const;
const method = fc.constantFrom('POST', ...UNPOSTED);
const path = fc.oneof(
  fc.constantFrom(
    '/status',
    '/inspect',
    '/retry',
    '/restart',
    '/unenroll',
    '/identity-changed',
    '/../status',
    '/status?x=1',
    '//',
    '/__proto__',
    '/constructor',
    '*',
    'http://x/status',
  ),
  hostileText.map((text) => `/${encodeURIComponent(text.replace(/[\ud800-\udfff]/g, ''))}`.slice(0, 2_000)),
);
const body = fc.oneof(
  hostileJson,
  hostileText,
  hostileJson.map((text) => `{"reason":${text}}`),
);

test('whatever is asked, it answers with JSON, and the next one is served', { timeout: 120_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(method, path, body, async (verb, where, text) => {
      const bytes = Buffer.byteLength(text);
      const answer = await send(
        `${verb} ${where} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: ${bytes}\r\n\r\n${text}`,
      );
      expect(answer).toMatch(/^HTTP\/1\.1 (200|202|400|404|405|408|409|413|431|501)/);
      const said = answer.slice(answer.indexOf('\r\n\r\n') + 4);
      if (said !== '') JSON.parse(said);
      expectNothingPolluted();
    }),
    RUNS,
  );
  expect(await controlClient(home, {}).status()).toMatchObject({ state: expect.any(String) });
});

test.each(Object.values(CONTROL_PATH))(
  'only what is posted may act: %s by any other method does nothing',
  async (where) => {
    asked.length = 0;
    for (const verb of UNPOSTED) {
      if (verb === 'GET' && where === CONTROL_PATH.watch) continue; // it goes on until its reader leaves
      await send(`${verb} ${where} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
    }
    expect(asked).toEqual([]);
  },
);

test('only text is taken for a reason, and it is bounded', async () => {
  asked.length = 0;
  const post = (text: string) =>
    send(
      `POST /restart HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
    );
  for (const wrong of [
    '{"reason":{"__proto__":{}}}',
    '[]',
    '"x"',
    '{"reason":1}',
    '{',
    `{"reason":"${'x'.repeat(100_000)}"}`,
  ]) {
    expect(await post(wrong)).toMatch(/^HTTP\/1\.1 400/);
  }
  expect(asked).toEqual([]);
  expect(await post('{"reason":"because"}')).toMatch(/^HTTP\/1\.1 202/);
  expect(asked).toEqual(['because']);
});

test('bytes that are no HTTP cost nothing but their own connection', async () => {
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: 'binary', maxLength: 200 }), async (bytes) => {
      await send(`${bytes}\r\n\r\n`);
    }),
    RUNS,
  );
  expect(await controlClient(home, {}).status()).toMatchObject({ state: expect.any(String) });
});

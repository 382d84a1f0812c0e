import { createServer, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { IDLE_CHECKIN_BODY } from '../../../src/wire/fleet.ts';
import { type FakeServer, startFakeServer } from './fake-server.ts';
import { poll, ports, settings } from './local.ts';
import { runPort } from './run-port.ts';

// Before the HTTP library sets its first timer, which it keeps and refreshes.
vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });

let server: FakeServer;
let fleet: ReturnType<typeof ports>;

beforeEach(async () => {
  server = await startFakeServer();
  fleet = ports();
});
afterEach(async () => {
  await fleet.close();
  await server.close();
});

const checkin = () => runPort(fleet.gateway.checkin, poll(server.url));

describe('a long poll', () => {
  it('may take as long as a long poll does: the limits of the HTTP library are off', async () => {
    const asked = new Promise<ServerResponse>((resolve) => server.handle((response) => resolve(response)));
    const open = checkin();
    const response = await asked;
    await vi.advanceTimersByTimeAsync(6 * 60_000);
    response.writeHead(200);
    response.write(IDLE_CHECKIN_BODY.slice(0, 5));
    await vi.advanceTimersByTimeAsync(3.5 * 60_000);
    response.end(IDLE_CHECKIN_BODY.slice(5));
    expect(await open).toMatchObject({ kind: 'answered', idle: true });
  });

  it('is given up ten minutes after the question', async () => {
    const asked = new Promise<void>((resolve) => server.handle(() => resolve()));
    const open = checkin();
    await asked;
    await vi.advanceTimersByTimeAsync(10 * 60_000);
    expect(await open).toMatchObject({ kind: 'timeout', message: expect.stringContaining('within 600 s') });
  });
});

describe('a long poll through a proxy', () => {
  /** What is listened to at `url`; `connected` resolves when a CONNECT has arrived. */
  async function startProxy(answer: (socket: Socket) => void) {
    const sockets = new Set<Socket>();
    let arrived = () => {};
    const connected = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const proxy = createServer();
    proxy.on('connect', (_request, socket: Socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      answer(socket);
      arrived();
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => {
      for (const one of sockets) one.destroy();
      proxy.close();
    });
    return { url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`, connected, sockets };
  }

  it('is given up when the proxy takes the connection and never answers CONNECT: nothing can have been lost', async () => {
    const proxy = await startProxy(() => {});
    const silent = ports({ settings: { ...settings, proxyUrl: proxy.url } });
    onTestFinished(() => silent.close());
    const open = runPort(silent.gateway.checkin, poll('https://fleet.invalid:8220'));
    await proxy.connected;
    // Before the gateway shows a link as up: 11 s.
    await vi.advanceTimersByTimeAsync(10_000);
    expect(await open).toMatchObject({
      kind: 'proxy',
      message: `the proxy ${proxy.url} opened no way to https://fleet.invalid:8220 within 10 s`,
      answerLost: false,
    });
  });

  it('can be ended while such a proxy is waited for, and its connection with it', async () => {
    const proxy = await startProxy(() => {});
    const silent = ports({ settings: { ...settings, proxyUrl: proxy.url } });
    const open = runPort(silent.gateway.checkin, poll('https://fleet.invalid:8220'));
    await proxy.connected;
    const closed = new Promise((resolve) => [...proxy.sockets][0]?.on('end', resolve).resume());
    await runPort(silent.gateway.endPoll, null);
    expect(await open).toMatchObject({ kind: 'cut', answerLost: false });
    await closed;
    await silent.close();
  });

  it('may take as long as a straight one', async () => {
    const proxy = await startProxy((socket) => {
      const onward = connect(server.port, '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
        onward.pipe(socket).pipe(onward);
      });
      onward.on('error', () => {});
    });
    const proxied = ports({ settings: { ...settings, proxyUrl: proxy.url } });
    onTestFinished(() => proxied.close());
    const asked = new Promise<ServerResponse>((resolve) => server.handle((response) => resolve(response)));
    const open = runPort(proxied.gateway.checkin, poll(server.url));
    const response = await asked;
    await vi.advanceTimersByTimeAsync(6 * 60_000);
    response.writeHead(200);
    response.write(IDLE_CHECKIN_BODY.slice(0, 5));
    await vi.advanceTimersByTimeAsync(3.5 * 60_000);
    response.end(IDLE_CHECKIN_BODY.slice(5));
    expect(await open).toMatchObject({ kind: 'answered', idle: true });
  });
});

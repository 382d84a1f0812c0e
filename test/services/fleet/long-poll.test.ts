import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { IDLE_CHECKIN_BODY } from '../../../src/wire/fleet.ts';
import { type FakeServer, startFakeServer } from './fake-server.ts';
import { poll, ports } from './local.ts';
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

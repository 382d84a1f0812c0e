import { expect, it, onTestFinished, vi } from 'vitest';
import { IDLE_CHECKIN_BODY } from '../../../src/wire/fleet.ts';
import { startFakeServer } from './fake-server.ts';
import { poll, ports } from './local.ts';
import { runPort } from './run-port.ts';

const seen = vi.hoisted(() => ({ loaded: 0 }));
vi.mock('undici', async (original) => {
  seen.loaded += 1;
  return await original();
});

it('the HTTP client is loaded by the first exchange, and by nothing before it (P2)', async () => {
  const server = await startFakeServer((response) => response.end(IDLE_CHECKIN_BODY));
  const fleet = ports();
  onTestFinished(async () => {
    await fleet.close();
    await server.close();
  });
  await runPort(fleet.gateway.verifyHeld, { generation: null });
  await runPort(fleet.gateway.decode, { text: IDLE_CHECKIN_BODY });
  expect(seen.loaded).toBe(0);
  await runPort(fleet.gateway.checkin, poll(server.url));
  expect(seen.loaded).toBe(1);
});

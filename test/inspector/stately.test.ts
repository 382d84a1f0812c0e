/** Stately's inspector is told of the same actors, through the library's own receiver, and of none of their secrets. */
import { once } from 'node:events';
import { createRequire } from 'node:module';
import type { AddressInfo, Server } from 'node:net';
import { createWebSocketReceiver, type StatelyInspectionEvent } from '@statelyai/inspect';
import { expect, onTestFinished, test } from 'vitest';
import { createActor, setup } from 'xstate';
import { inspectTarget } from '../../src/services/inspector/address.ts';
import { startStately } from '../../src/services/inspector/stately.ts';

interface Socket {
  send(text: string): void;
  on(event: 'message', listener: (data: Buffer) => void): void;
}
interface Sockets {
  readonly clients: Set<Socket>;
  readonly _server: Server;
  on(event: 'connection', listener: (socket: Socket) => void): void;
  close(): void;
}
// The library's own; it comes without types.
const { WebSocketServer } = createRequire(import.meta.url)('ws') as {
  WebSocketServer: new (options: { host: string; port: number }) => Sockets & NodeJS.EventEmitter;
};

/** Passes on to everyone else what anyone sends, as the library's relay does, on this host alone. */
async function relay(): Promise<string> {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  server.on('connection', (socket) => {
    socket.on('message', (data) => {
      for (const other of server.clients) if (other !== socket) other.send(String(data));
    });
  });
  await once(server, 'listening');
  onTestFinished(() => server.close());
  return `ws://127.0.0.1:${(server._server.address() as AddressInfo).port}`;
}

test('actors, events and states arrive; contexts, policy bodies and secrets do not', async () => {
  const url = await relay();
  const received: StatelyInspectionEvent[] = [];
  const all = new Promise<void>((done) => {
    createWebSocketReceiver({ server: url }).subscribe((event) => {
      received.push(event);
      if (event.type === '@xstate.snapshot' && event.snapshot.status === 'done') done();
    });
  });
  await new Promise((done) => setTimeout(done, 200)); // the receiver does not say when it listens
  const sender = await startStately(url);
  onTestFinished(() => sender.close());

  const machine = setup({
    types: { events: {} as { type: 'policy.arrived'; policy: object } | { type: 'all.said' } },
  }).createMachine({
    id: 'keeper',
    context: { password: 'hidden-initial', policy: 'hidden-too' },
    initial: 'waiting',
    states: {
      waiting: { on: { 'policy.arrived': 'holding' } },
      holding: { on: { 'all.said': 'over' } },
      over: { type: 'final' },
    },
  });
  const actor = createActor(machine, { inspect: sender.observe }).start();
  const text = JSON.stringify({ outputs: { default: { api_key: 'hidden-key' } }, inputs: ['hidden-body'] });
  actor.send({ type: 'policy.arrived', policy: { id: 'web', revision: 3, hash: 'h', text, note: 'hidden-key' } });
  actor.send({ type: 'all.said' });
  await all;

  const told = JSON.stringify(received);
  expect(new Set(received.map(({ type }) => type))).toEqual(
    new Set(['@xstate.actor', '@xstate.event', '@xstate.snapshot']),
  );
  const [first] = received.filter((event) => event.type === '@xstate.actor');
  expect(JSON.parse(first?.definition ?? '')).toMatchObject({ id: 'keeper', states: { holding: {} } });
  expect(told).toContain('"revision":3');
  expect(told).toContain('"value":"holding"');
  expect(told).not.toContain('hidden');
});

test.each([
  ['stately', 'ws://127.0.0.1:8080'],
  ['stately:ws://127.0.0.1:9999', 'ws://127.0.0.1:9999'],
  ['stately:wss://inspector.example', 'wss://inspector.example'],
])('--inspect=%s sends to %s', (value, url) => {
  expect(inspectTarget(value)).toEqual({ kind: 'stately', url });
});

test.each(['stately:http://127.0.0.1:8080', 'stately:ws://elsewhere.example', 'stately:', 'stately:x'])(
  '--inspect=%s is refused',
  (value) => {
    expect(() => inspectTarget(value)).toThrow(expect.objectContaining({ code: 'USAGE' }));
  },
);

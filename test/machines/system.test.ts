import { describe, expect, it } from 'vitest';
import { createActor, SimulatedClock, setup } from 'xstate';
import { type GatewayEvent, tell } from '../../src/machines/system.ts';

const listener = setup({ types: { context: {} as { got: string[] }, events: {} as GatewayEvent } }).createMachine({
  context: { got: [] },
  on: { '*': { actions: ({ context, event }) => void context.got.push(event.type) } },
});

describe('the address book', () => {
  it('delivers an event to the actor registered under a name, and drops one for an actor that does not live', () => {
    const sender = setup({
      types: { context: {} as { n: number }, events: {} as { type: 'go' } },
      actors: { listener },
      actions: {
        wake: tell('gateway', { type: 'host.woke' }),
        wakeAcker: tell('acker', { type: 'host.woke' }),
      },
    }).createMachine({
      context: { n: 1 },
      invoke: { src: 'listener', id: 'gateway', systemId: 'gateway' },
      on: { go: { actions: ['wake', 'wakeAcker'] } },
    });
    const actor = createActor(sender, { clock: new SimulatedClock() }).start();
    actor.send({ type: 'go' });
    expect(actor.system.get('gateway').getSnapshot().context.got).toEqual(['host.woke']);
    expect(actor.getSnapshot().status).toBe('active');
  });

  it('does not compile with an event the actor does not know', () => {
    // @ts-expect-error gateway has no such event
    tell('gateway', { type: 'store.close' });
  });
});

/**
 * Sends the actor system to Stately's inspector, over a WebSocket, through `@statelyai/inspect`: loaded only when it is asked for, and
 * told nothing that our own page would not show. The context of no actor leaves the process.
 */
import type { StatelyInspectionEvent } from '@statelyai/inspect';
import type { InspectionEvent } from 'xstate';
import { HoldfastError } from '../../errors.ts';
import { payloadOf } from './payload.ts';
import { Secrets } from './secrets.ts';

export interface StatelySender {
  /** For `createActor`; never throws. */
  readonly observe: (event: InspectionEvent) => void;
  close(): Promise<void>;
}

/** Events that wait while nobody listens at `url`. */
const WAITING = 2_000;

/** Rejects with CONTROL_FAILED when the library is not installed. Nobody has to listen at `url` (ws:// or wss://) yet. */
export async function startStately(url: string): Promise<StatelySender> {
  const { createWebSocketInspector } = await import('@statelyai/inspect').catch((cause: unknown) => {
    throw new HoldfastError(
      'CONTROL_FAILED',
      '--inspect=stately needs the optional package @statelyai/inspect, which is not installed',
      { cause },
    );
  });
  const secrets = new Secrets();
  const inspector = createWebSocketInspector({
    url,
    maxDeferredEvents: WAITING,
    serialize: (event) => sanitised(event, secrets),
  });
  return {
    observe: (event) => {
      try {
        if (event.type === '@xstate.event') secrets.learn(event.event);
        inspector.inspect.next?.(event);
      } catch {
        // What cannot be sent is not sent.
      }
    },
    close: () => {
      inspector.stop();
      return Promise.resolve();
    },
  };
}

/** May be given what it gave: the library does so with events that had to wait. */
function sanitised(event: StatelyInspectionEvent, secrets: Secrets): StatelyInspectionEvent {
  switch (event.type) {
    case '@xstate.actor':
      return { ...event, definition: chartOnly(event.definition), snapshot: stateOnly(event.snapshot) };
    case '@xstate.event':
      return { ...event, event: plainEvent(event.event, secrets) };
    case '@xstate.snapshot':
      return { ...event, event: plainEvent(event.event, secrets), snapshot: stateOnly(event.snapshot) as never };
  }
}

/** The library passes the context a machine begins with inside its definition, whatever is asked of it. */
function chartOnly(definition: string | undefined): string | undefined {
  if (definition === undefined) return undefined;
  const { context: _, ...chart } = JSON.parse(definition) as Record<string, unknown>;
  return JSON.stringify(chart);
}

function stateOnly(snapshot: object): {
  readonly status: 'active' | 'done' | 'error' | 'stopped';
  readonly value: unknown;
} {
  const { status, value } = snapshot as {
    readonly status?: 'active' | 'done' | 'error' | 'stopped';
    readonly value?: unknown;
  };
  return { status: status ?? 'active', value };
}

function plainEvent(event: { readonly type: string }, secrets: Secrets): { type: string } {
  const payload = payloadOf(event, secrets);
  try {
    return { ...(payload === '' ? {} : (JSON.parse(payload) as object)), type: event.type };
  } catch {
    return { type: event.type, payload } as { type: string }; // it was cut
  }
}

/** What lies between agent and Fleet: latency, loss, repetition, strange answers, and the end of whoever waits. */

import type { LinkFailure } from '../../src/machines/link.ts';
import { failure } from '../../src/services/fleet/failures.ts';
import type { Answer, Exchange, Transport } from '../../src/services/fleet/transport.ts';
import { type Incarnation, never } from './incarnation.ts';
import type { Random } from './random.ts';
import { errorReply, type Reply, type SimFleet } from './sim-fleet.ts';
import type { Timeline } from './timeline.ts';

/** What befalls one exchange. */
export type Mishap =
  | 'requestLost'
  | 'answerLost'
  | 'delayed'
  | 'repeated'
  | 'reset'
  | 'oversized'
  | 'truncated'
  | `garbage ${number}`
  | `status ${number}`
  /** Some of the acks of a request get this status, whether they took effect or not. */
  | `items ${number}`;

/** Bodies that are no Fleet Server's, with status 200. */
export const GARBAGE: readonly string[] = [
  '',
  'null',
  '[]',
  '<html>captive portal</html>',
  '{',
  '{"action":"checkin","actions":5}',
  '{"action":"checkin","ack_token":"document-of-nobody","actions":[{"id":5}]}',
  '{"action":"checkin","ack_token":"","actions":[{"id":"policy:web:99","type":"POLICY_CHANGE","data":null}]}',
  `{"ack_token":"","action":"checkin","actions":[${'{"a":'.repeat(300)}1${'}'.repeat(300)}]}`,
  '{"action":"acks","items":"many"}',
  '{"action":"acks","items":[{"status":"x"}]}',
];

interface Open {
  breakOff(): void;
}

export class SimNetwork {
  /** The next exchanges, in order, meet these. */
  readonly mishaps: Mishap[] = [];
  /** Nothing gets through until this time. */
  downUntilMs = 0;
  readonly #open = new Set<Open>();
  readonly #timeline: Timeline;
  readonly #random: Random;
  readonly #fleet: SimFleet;
  readonly #onSend: (exchange: Exchange, by: Incarnation) => void;
  readonly #onMishap: (what: string) => void;
  readonly #onRefused: (exchange: Exchange, status: number) => void;

  constructor(options: {
    readonly timeline: Timeline;
    readonly random: Random;
    readonly fleet: SimFleet;
    readonly onSend: (exchange: Exchange, by: Incarnation) => void;
    readonly onMishap: (what: string) => void;
    /** It was answered as a whole with this status. */
    readonly onRefused: (exchange: Exchange, status: number) => void;
  }) {
    this.#timeline = options.timeline;
    this.#random = options.random;
    this.#fleet = options.fleet;
    this.#onSend = options.onSend;
    this.#onMishap = options.onMishap;
    this.#onRefused = options.onRefused;
  }

  /** Every connection that is open ends. */
  breakAll(): void {
    for (const one of [...this.#open]) one.breakOff();
  }

  transport(by: Incarnation): Transport {
    return {
      exchange: (exchange, signal) => this.#exchange(exchange, signal, by),
      close: async () => {},
    };
  }

  #exchange(exchange: Exchange, signal: AbortSignal, by: Incarnation): Promise<Answer | LinkFailure> {
    if (!by.passes('message', `${exchange.path} (before it is sent)`)) return never();
    this.#onSend(exchange, by);
    const sentAt = this.#timeline.monotonicMs();
    const mishap = this.#timeline.nowMs < this.downUntilMs ? 'requestLost' : this.mishaps.shift();
    if (mishap !== undefined) this.#onMishap(mishap.split(' ')[0] as string);

    return new Promise((resolve) => {
      let gone = () => {};
      let over = false;
      const end = (outcome: Answer | LinkFailure) => {
        if (over) return;
        over = true;
        limit.cancel();
        this.#open.delete(open);
        if (by.passes('message', `${exchange.path} (answered)`)) resolve(outcome);
      };
      const fail = (kind: LinkFailure['kind'], answerLost: boolean) =>
        end(failure(kind, `Fleet: ${kind}`, this.#timeline.wallMs(), { answerLost }));
      const limit = this.#timeline.in(exchange.timeoutMs, () => {
        fail('timeout', true);
        gone();
      });
      const open: Open = {
        breakOff: () => {
          this.#timeline.in(1, () => fail('truncated', true));
          gone();
        },
      };
      this.#open.add(open);
      const cut = () => {
        // The other side learns of it a little later.
        this.#timeline.in(this.#random.whole(1, 200), () => gone());
        fail('cut', true);
      };
      if (signal.aborted) cut();
      else signal.addEventListener('abort', cut, { once: true });

      const answered = (reply: Reply, first: boolean) => {
        const slow = mishap === 'delayed' ? this.#random.whole(1_000, 200_000) : this.#random.whole(1, 40);
        if (!first) return;
        if (mishap === 'answerLost') {
          if (this.#random.chance(0.5)) this.#timeline.in(slow, () => fail('truncated', true));
          return;
        }
        this.#timeline.in(slow, () => {
          if (mishap === 'oversized') fail('oversized', false);
          else end(this.#asAnswer(mishap === 'truncated' ? cutShort(reply) : reply, sentAt));
        });
      };

      const arrive = (first: boolean) => {
        if (over && first && mishap !== 'delayed') return;
        if (!by.alive && first && this.#random.chance(0.5)) return;
        const respond = (reply: Reply) => answered(reply, first);
        const itemStatus = mishap?.startsWith('items ') ? Number(mishap.slice(6)) : null;
        const handled = this.#fleet.handle(exchange.path, exchange.key, exchange.body, respond, itemStatus);
        if (first) gone = handled.gone;
        else this.#timeline.in(500, handled.gone);
      };

      if (mishap === 'requestLost') {
        if (this.#random.chance(0.8)) this.#timeline.in(this.#random.whole(1, 3_000), () => fail('unreachable', false));
        return;
      }
      if (mishap === 'reset') {
        this.#timeline.in(5, () => fail('truncated', true));
        return;
      }
      if (mishap?.startsWith('status ')) {
        const status = Number(mishap.slice(7));
        this.#onRefused(exchange, status);
        this.#timeline.in(5, () => end(this.#asAnswer(errorReply(status, 'Injected'), sentAt)));
        return;
      }
      if (mishap?.startsWith('garbage ')) {
        const text = GARBAGE[Number(mishap.slice(8)) % GARBAGE.length] as string;
        this.#timeline.in(5, () => end(this.#asAnswer({ status: 200, text }, sentAt)));
        return;
      }
      this.#timeline.in(this.#random.whole(1, 40), () => arrive(true));
      if (mishap === 'repeated') this.#timeline.in(this.#random.whole(41, 20_000), () => arrive(false));
    });
  }

  #asAnswer({ status, text }: Reply, sentAt: number): Answer {
    return {
      kind: 'answer',
      status,
      text,
      retryAfterMs: status === 429 ? 3_000 : null,
      warning: null,
      tookMs: this.#timeline.monotonicMs() - sentAt,
      at: this.#timeline.wallMs(),
    };
  }
}

/** A body that ends too early and was taken for whole. */
function cutShort({ status, text }: Reply): Reply {
  return { status, text: text.slice(0, Math.floor(text.length / 2)) };
}

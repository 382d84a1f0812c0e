/**
 * The long polls that are waiting. An agent may have several at once (an old one the network has not given up, a cloned machine): each is
 * its own entry, so the end of one never takes another with it, and whatever one of them is waiting for reaches all.
 */
import type { Clock } from './clock.ts';

interface Poll {
  /** Looks whether there is something to answer now. */
  readonly look: () => string | null;
  readonly finish: (answer: string | null) => void;
}

export class Polls {
  readonly #clock: Clock;
  readonly #waiting = new Map<string, Set<Poll>>();
  #closed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Waits until `look` gives an answer after a {@link wake}, `waitMs` are over, or `gone` is aborted; null: nothing came. */
  wait(agentId: string, look: () => string | null, waitMs: number, gone: AbortSignal): Promise<string | null> {
    if (this.#closed || gone.aborted) return Promise.resolve(null);
    return new Promise((resolve) => {
      const finish = (answer: string | null): void => {
        this.#clock.clearTimeout(timer);
        gone.removeEventListener('abort', leave);
        this.#remove(agentId, poll);
        resolve(answer);
      };
      const leave = (): void => finish(null);
      const poll: Poll = { look, finish };
      const timer = this.#clock.setTimeout(leave, waitMs);
      gone.addEventListener('abort', leave);
      const polls = this.#waiting.get(agentId) ?? new Set();
      this.#waiting.set(agentId, polls.add(poll));
    });
  }

  /** Has every poll of the agent look again. */
  wake(agentId: string): void {
    for (const poll of [...(this.#waiting.get(agentId) ?? [])]) {
      const answer = poll.look();
      if (answer !== null) poll.finish(answer);
    }
  }

  /** Ends the polls of one agent with nothing. */
  end(agentId: string): void {
    for (const poll of [...(this.#waiting.get(agentId) ?? [])]) poll.finish(null);
  }

  /** Ends all polls with nothing; later ones end at once. */
  close(): void {
    this.#closed = true;
    for (const agentId of [...this.#waiting.keys()]) this.end(agentId);
  }

  count(agentId: string): number {
    return this.#waiting.get(agentId)?.size ?? 0;
  }

  #remove(agentId: string, poll: Poll): void {
    const polls = this.#waiting.get(agentId);
    polls?.delete(poll);
    if (polls?.size === 0) this.#waiting.delete(agentId);
  }
}

/** Long-poll times in milliseconds; the defaults are Fleet Server's ({@link POLL} of the wire). */
export interface PollTimes {
  readonly defaultMs: number;
  readonly jitterMs: number;
  readonly marginMs: number;
  readonly minMs: number;
  readonly maxMs: number;
}

/** How long an idle poll is held: what the agent asked for within bounds, less the time spent so far and a random part so that agents spread. */
export function pollWaitMs(requestedMs: number | null, setupMs: number, random: number, times: PollTimes): number {
  const wanted = requestedMs
    ? Math.max(Math.min(requestedMs - times.marginMs, times.maxMs), times.minMs)
    : times.defaultMs;
  const left = setupMs >= wanted ? 1 : wanted - setupMs;
  const jitterMs = random * times.jitterMs;
  return jitterMs < left ? left - jitterMs : left;
}

/** One browser's stream of server-sent events: everything once, then what is new, gathered for a moment so that a burst is one message. */
import type { ServerResponse } from 'node:http';
import type { ActorView, News, Standing, TimelineRecord } from '../../wire/inspector.ts';
import type { Source } from './source.ts';

/** Short enough to see things happen, long enough that a burst of hundreds of events is a handful of messages. */
const GATHER_MS = 40;
/** How the agent stands is gathered longer: it is looked up as a whole. */
const STANDING_MS = 150;
const COUNT_EVERY_MS = 1_000;
/** So that a connection that broke without a word is noticed. */
const ALIVE_EVERY_MS = 15_000;
/** A browser that is this far behind is cut off; it comes back by itself and begins anew. */
const BEHIND_BYTES = 16 * 1024 * 1024;

export interface StreamOptions {
  readonly response: ServerResponse;
  readonly source: Source;
  /** How each open stream is ended. */
  readonly streams: Set<() => void>;
}

/** Writes until the browser goes, or the set's function is called. */
export function stream({ response, source, streams }: StreamOptions): void {
  let records: TimelineRecord[] = [];
  let actors = new Map<string, ActorView>();
  let begun = false;
  let timer: NodeJS.Timeout | null = null;
  let standingTimer: NodeJS.Timeout | null = null;

  const hello = source.hello();
  let said = spoken(hello.standing);
  write('hello', hello);

  const unlisten = [
    source.onChange((change) => {
      if ('record' in change) records.push(change.record);
      else if ('actor' in change) actors.set(change.actor.id, change.actor);
      else {
        begun = true;
        actors = new Map();
      }
      timer ??= setTimeout(flush, GATHER_MS);
    }),
    source.onStanding(() => {
      standingTimer ??= setTimeout(flushStanding, STANDING_MS);
    }),
  ];
  // What is said of a time that is waited for counts down, though nothing happens.
  const clock = setInterval(() => {
    if (spoken(source.standing()) !== said) flushStanding();
  }, COUNT_EVERY_MS);
  const alive = setInterval(() => response.write(': alive\n\n'), ALIVE_EVERY_MS);
  const end = () => {
    for (const stop of unlisten) stop();
    clearInterval(alive);
    clearInterval(clock);
    if (timer !== null) clearTimeout(timer);
    if (standingTimer !== null) clearTimeout(standingTimer);
    streams.delete(end);
    response.end();
  };
  streams.add(end);
  response.on('close', end);

  function flush(): void {
    timer = null;
    if (records.length > 0 || actors.size > 0 || begun) {
      write('news', { records, actors: [...actors.values()], begun } satisfies News);
      records = [];
      actors = new Map();
      begun = false;
    }
    if (response.writableLength > BEHIND_BYTES) response.destroy();
  }

  function flushStanding(): void {
    standingTimer = null;
    const now = source.standing();
    said = spoken(now);
    if (now !== null) write('standing', now);
  }

  function write(event: string, data: unknown): void {
    response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  }
}

function spoken(standing: Standing | null): string {
  return standing === null ? '' : `${standing.sentence} ${standing.convergence.sentence}`;
}

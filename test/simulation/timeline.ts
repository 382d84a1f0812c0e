/** Virtual time: one queue of events drives every clock, timer, disk, message and process of a world. */

interface Entry {
  readonly atMs: number;
  readonly order: number;
  act: (() => void) | null;
}

/** A planned event, to be called off. */
export type Planned = { cancel(): void };

/** What `createActor` takes as its clock. */
export interface Timers {
  setTimeout(act: (...args: unknown[]) => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
}

/** Where the wall clock of every world begins: an instant far from any epoch. */
const WALL_START_MS = Date.UTC(2026, 0, 1);

export class Timeline {
  #heap: Entry[] = [];
  #order = 0;
  #nowMs = 0;
  /** How far the wall clock is off by jumps. */
  #jumpedMs = 0;
  /** Events that happened. */
  happened = 0;

  /** A world that branches off another begins when that one stood still. */
  constructor(startMs = 0) {
    this.#nowMs = startMs;
  }

  /** In ms since the world began, without the time in which the host slept: nothing happens then. */
  get nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return WALL_START_MS + this.#nowMs + this.#jumpedMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  jumpWall(byMs: number): void {
    this.#jumpedMs += byMs;
  }

  in(ms: number, act: () => void): Planned {
    const entry: Entry = { atMs: this.#nowMs + Math.max(0, ms), order: this.#order++, act };
    this.#push(entry);
    return {
      cancel: () => {
        entry.act = null;
      },
    };
  }

  /** Resolves after `ms`. */
  pass(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.in(ms, resolve);
    });
  }

  /** Until when nothing happens; null: nothing is planned. */
  nextAtMs(): number | null {
    while (this.#heap.length > 0 && this.#heap[0]?.act === null) this.#pop();
    return this.#heap[0]?.atMs ?? null;
  }

  /** Lets the next event happen. */
  step(): void {
    const at = this.nextAtMs();
    if (at === null) return;
    const entry = this.#pop() as Entry;
    this.#nowMs = Math.max(this.#nowMs, at);
    this.happened += 1;
    const { act } = entry;
    entry.act = null;
    act?.();
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    heap.push(entry);
    for (let at = heap.length - 1; at > 0; ) {
      const parent = (at - 1) >> 1;
      if (!isBefore(heap[at] as Entry, heap[parent] as Entry)) break;
      swap(heap, at, parent);
      at = parent;
    }
  }

  #pop(): Entry | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (heap.length === 0 || last === undefined) return first;
    heap[0] = last;
    for (let at = 0; ; ) {
      const left = 2 * at + 1;
      const right = left + 1;
      let least = at;
      if (left < heap.length && isBefore(heap[left] as Entry, heap[least] as Entry)) least = left;
      if (right < heap.length && isBefore(heap[right] as Entry, heap[least] as Entry)) least = right;
      if (least === at) return first;
      swap(heap, at, least);
      at = least;
    }
  }
}

function isBefore(one: Entry, other: Entry): boolean {
  return one.atMs < other.atMs || (one.atMs === other.atMs && one.order < other.order);
}

function swap(heap: Entry[], one: number, other: number): void {
  const kept = heap[one] as Entry;
  heap[one] = heap[other] as Entry;
  heap[other] = kept;
}

/** Every promise that can go on does so; resolves when none can any more. */
export function quiescent(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

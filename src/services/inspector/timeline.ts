/** The newest records, bounded in number and in size: the oldest make room. */
import type { TimelineRecord } from '../../wire/inspector.ts';

export const RECORDS_KEPT = 10_000;
/** About this many characters of payload are kept in all. */
export const PAYLOADS_KEPT = 8_000_000;

export class Timeline {
  readonly #limits: { readonly records: number; readonly characters: number };
  #records: TimelineRecord[] = [];
  /** Index of the oldest that is kept: removing from the front of an array each time would cost its whole length. */
  #first = 0;
  #characters = 0;

  constructor(limits = { records: RECORDS_KEPT, characters: PAYLOADS_KEPT }) {
    this.#limits = limits;
  }

  add(record: TimelineRecord): void {
    this.#records.push(record);
    this.#characters += sizeOf(record);
    while (this.length > this.#limits.records || (this.#characters > this.#limits.characters && this.length > 1)) {
      this.#characters -= sizeOf(this.#records[this.#first] as TimelineRecord);
      this.#first += 1;
    }
    if (this.#first > this.#limits.records) {
      this.#records = this.#records.slice(this.#first);
      this.#first = 0;
    }
  }

  get length(): number {
    return this.#records.length - this.#first;
  }

  /** Oldest first. */
  all(): readonly TimelineRecord[] {
    return this.#records.slice(this.#first);
  }
}

function sizeOf(record: TimelineRecord): number {
  return record.kind === 'event' ? record.payload.length : 0;
}

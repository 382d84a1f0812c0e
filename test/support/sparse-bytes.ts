/** The content of a file, kept by sector: blank ones take no room and copies share what they hold, so that large preallocated files are cheap. */

export const SECTOR_BYTES = 512;

export class SparseBytes {
  /** A sector is never changed in place; one that is missing is all zeros. */
  #sectors: Map<number, Uint8Array>;
  #length: number;

  constructor(length = 0, sectors: Map<number, Uint8Array> = new Map()) {
    this.#length = length;
    this.#sectors = sectors;
  }

  static of(bytes: Uint8Array): SparseBytes {
    const made = new SparseBytes();
    made.write(bytes, 0);
    return made;
  }

  get length(): number {
    return this.#length;
  }

  clone(): SparseBytes {
    return new SparseBytes(this.#length, new Map(this.#sectors));
  }

  /** Fills `into` from `position` as far as it goes; how many bytes that were. */
  read(into: Uint8Array, position: number): number {
    const end = Math.min(this.#length, position + into.length);
    for (let at = position; at < end; ) {
      const sector = Math.floor(at / SECTOR_BYTES);
      const from = at - sector * SECTOR_BYTES;
      const count = Math.min(SECTOR_BYTES - from, end - at);
      const bytes = this.#sectors.get(sector);
      if (bytes === undefined) into.fill(0, at - position, at - position + count);
      else into.set(bytes.subarray(from, from + count), at - position);
      at += count;
    }
    return Math.max(0, end - position);
  }

  write(bytes: Uint8Array, position: number): void {
    const end = position + bytes.length;
    this.#length = Math.max(this.#length, end);
    for (let at = position; at < end; ) {
      const sector = Math.floor(at / SECTOR_BYTES);
      const from = at - sector * SECTOR_BYTES;
      const count = Math.min(SECTOR_BYTES - from, end - at);
      const part = bytes.subarray(at - position, at - position + count);
      const before = this.#sectors.get(sector);
      if (before !== undefined || !isBlank(part)) {
        const next = new Uint8Array(SECTOR_BYTES);
        if (before !== undefined) next.set(before);
        next.set(part, from);
        this.#sectors.set(sector, next);
      }
      at += count;
    }
  }

  resize(length: number): void {
    if (length < this.#length) {
      const kept = this.toBuffer().subarray(0, length);
      this.#sectors.clear();
      this.#length = 0;
      this.write(kept, 0);
    }
    this.#length = length;
  }

  /** One sector as the other has it, and the length that goes with it. */
  takeSector(from: SparseBytes, sector: number): void {
    const bytes = from.#sectors.get(sector);
    if (bytes === undefined) this.#sectors.delete(sector);
    else this.#sectors.set(sector, bytes);
    this.#length = Math.max(this.#length, Math.min((sector + 1) * SECTOR_BYTES, from.#length));
  }

  /** Whether this sector reads otherwise than the other's. Two that were never written, or share what they hold, do not. */
  differsIn(other: SparseBytes, sector: number): boolean {
    const one = this.#sectors.get(sector);
    const two = other.#sectors.get(sector);
    return one !== two && !(one && two && Buffer.compare(one, two) === 0);
  }

  /** The sectors that were written, by their place; never to be changed. */
  get written(): ReadonlyMap<number, Uint8Array> {
    return this.#sectors;
  }

  toBuffer(): Buffer {
    const whole = Buffer.alloc(this.#length);
    for (const [sector, bytes] of this.#sectors) {
      const at = sector * SECTOR_BYTES;
      if (at < whole.length) whole.set(bytes.subarray(0, whole.length - at), at);
    }
    return whole;
  }
}

const BLANK = Buffer.alloc(SECTOR_BYTES);

function isBlank(part: Uint8Array): boolean {
  return BLANK.compare(part, 0, part.length, 0, part.length) === 0;
}

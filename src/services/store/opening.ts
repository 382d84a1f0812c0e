/**
 * What a state directory holds when it is opened: every slot is judged, the record that counts is chosen, and each of the others is left, named
 * or set aside. Whatever lies there, this ends with an answer (P11), and nothing that someone can still read is written over (P8).
 */
import type { Facts } from '../../machines/facts.ts';
import type { Files } from './files.ts';
import { type Keyring, lockedWhy } from './keyring.ts';
import { type Finding, type Quarantine, setAside } from './quarantine.ts';
import { namesOf } from './record.ts';
import {
  besideSlot,
  type Judged,
  judgeSlot,
  type LockedVerdict,
  placeOf,
  type Slot,
  type WholeVerdict,
} from './slot.ts';

export interface OpeningOptions {
  readonly files: Files;
  /** Paths of the two slots of every version. */
  readonly slots: readonly [string, string];
  readonly quarantine: Quarantine;
  readonly keys: Keyring;
  /** See `StoreOptions`. */
  readonly agentId: string | null;
  readonly lookOnly: boolean;
  readonly abandonLocked: boolean;
  readonly abandonUnread: boolean;
}

/** A slot that holds a whole record. */
export type Holding = Judged & { readonly verdict: WholeVerdict };

export interface Found {
  /** The slot that holds the record that counts; null: there is none. */
  readonly newest: Holding | null;
  /** The two slots that this process may write to. */
  readonly pair: readonly [Slot, Slot];
  /** Slots of the pair that read as blank, or whose bytes are wrong and could not be moved: on the platter there may be another record. */
  readonly unsure: ReadonlySet<Slot>;
  /** What records of this agent name, the newest included. */
  readonly names: ReadonlySet<string>;
  /** The highest sequence in any slot, of a usable record or not. */
  readonly sequence: number;
  /** Something is another's to read, or needs a key that is not here: what it names is not known. */
  readonly hasOthers: boolean;
  /** Records of this agent outside the pair. */
  readonly leftOver: readonly string[];
  /** Why a slot could not be read that may be readable later; null: all was read. */
  readonly unread: string | null;
  /** Ids of keys that are not here and that a record of this agent is encrypted with. */
  readonly locked: ReadonlySet<string>;
  /** Slots found torn beside a good one. */
  readonly torn: number;
  readonly findings: readonly Finding[];
}

/** Looks at the slots and deals with each. `lookOnly`: nothing is moved. */
export function openSlots(options: OpeningOptions): Promise<Found> {
  return new Opening(options).look();
}

class Opening {
  readonly #options: OpeningOptions;
  readonly #usual: readonly [Slot, Slot];
  /** Where the usual slots are not this version's or this key's to write, it keeps its own beside them. */
  readonly #beside: readonly [Slot, Slot];
  #pair: readonly [Slot, Slot];
  #newest: Holding | null = null;
  #unread: string | null = null;
  #hasOthers = false;
  #torn = 0;
  readonly #unsure = new Set<Slot>();
  readonly #locked = new Set<string>();
  readonly #findings: Finding[] = [];

  constructor(options: OpeningOptions) {
    this.#options = options;
    this.#usual = slotsAt(options.slots);
    this.#beside = slotsAt([besideSlot(options.slots[0]), besideSlot(options.slots[1])]);
    this.#pair = this.#usual;
  }

  async look(): Promise<Found> {
    const { files, keys, abandonUnread } = this.#options;
    const judged: Judged[] = [];
    for (const slot of [...this.#usual, ...this.#beside]) judged.push(await judgeSlot(files, slot, keys.read));
    this.#unread = abandonUnread ? null : whyUnread(judged);
    const ours = this.#oursIn(judged);
    this.#newest = this.#choose(ours);
    for (const { slot, verdict } of judged) {
      if (!this.#staysInPlace(slot, verdict)) continue;
      this.#hasOthers = true;
      if (this.#usual.includes(slot)) this.#pair = this.#beside;
    }
    const isLeftOver = ({ slot, verdict }: Judged) =>
      !this.#pair.includes(slot) && verdict.state === 'whole' && !this.#isForeign(verdict.agentId);
    const leftOver = judged.filter(isLeftOver).map(({ slot }) => slot.path);
    for (const each of judged) await this.#dispose(each);
    return {
      newest: this.#newest,
      pair: this.#pair,
      unsure: this.#unsure,
      names: new Set(ours.flatMap(({ verdict }) => [...namesOf(verdict.decoded)])),
      sequence: highestIn(judged),
      hasOthers: this.#hasOthers,
      leftOver,
      unread: this.#unread,
      locked: this.#locked,
      torn: this.#torn,
      findings: this.#findings,
    };
  }

  /** The records of this agent, newest first. */
  #oursIn(judged: readonly Judged[]): readonly Holding[] {
    return judged
      .filter((each): each is Holding => each.verdict.state === 'whole')
      .filter(({ verdict }) => !this.#isForeign(verdict.agentId))
      .toSorted((a, b) => b.verdict.sequence - a.verdict.sequence);
  }

  /** The record that counts: the newest, unless that one was begun only because an older one could not be read then. */
  #choose(ours: readonly Holding[]): Holding | null {
    const [newest = null] = ours;
    if (newest === null || this.#usual.includes(newest.slot) || !holdsNothing(newest.verdict.decoded.facts))
      return newest;
    return ours.find(({ slot }) => this.#usual.includes(slot)) ?? newest;
  }

  /**
   * A slot of a newer format, or one that needs a key that is not here: it is left as it is, for whoever can read it. One of the usual pair that
   * has a newer record beside it was on its way out.
   */
  #staysInPlace(slot: Slot, verdict: Judged['verdict']): boolean {
    if (verdict.state === 'newer') return true;
    if (verdict.state !== 'locked' || this.#options.abandonLocked || this.#isForeign(verdict.subject)) return false;
    if (!this.#usual.includes(slot)) return this.#pair === this.#usual;
    const newest = this.#newest;
    return !(newest && this.#usual.includes(newest.slot) && newest.verdict.sequence > verdict.sequence);
  }

  #isForeign(agentId: string): boolean {
    return this.#options.agentId !== null && agentId !== this.#options.agentId;
  }

  /** Deals with what one slot was found to hold. */
  async #dispose({ slot, verdict }: Judged): Promise<void> {
    const { path } = slot;
    const { write } = this.#options.keys;
    if (write !== null && verdict.state !== 'missing' && verdict.state !== 'blank')
      slot.wipe = !('keyId' in verdict && verdict.keyId === write.id);
    switch (verdict.state) {
      case 'missing':
        return;
      case 'blank':
        // Written over by a process that died before it could sync that: a power cut would bring back what was there, whatever its sequence.
        this.#unsure.add(slot);
        return;
      case 'newer': {
        const message = `${path} was written by a newer version (format ${verdict.format}): it is left as it is`;
        this.#findings.push({ kind: 'newer', message });
        return;
      }
      case 'whole': {
        if (verdict.writtenFor !== placeOf(slot)) {
          const message = `${path} holds the record of ${verdict.writtenFor}: files were mixed up; it is used all the same`;
          this.#findings.push({ kind: 'misplaced', message });
        }
        // That of '' are the starts before the first enrollment: nothing of value, and no other agent's.
        if (slot === this.#newest?.slot || !this.#isForeign(verdict.agentId) || verdict.agentId === '') return;
        return this.#setForeignAside(slot, verdict.agentId);
      }
      case 'locked':
        if (this.#isForeign(verdict.subject)) return this.#setForeignAside(slot, verdict.subject);
        return this.#disposeLocked(slot, verdict);
      case 'damaged':
        if (this.#newest === null) break;
        this.#torn += 1;
        this.#findings.push({
          kind: 'torn',
          message: `${path} is not whole, as a power cut leaves it: ${verdict.why}; the other slot is good`,
        });
        return;
      case 'unreadable':
        if (!verdict.mayPass || this.#unread === null) break;
        this.#findings.push({ kind: 'unreadable', message: this.#unread });
        return;
    }
    this.#findings.push({ kind: verdict.state, message: `${path} could not be read: ${verdict.why}` });
    await this.#away(slot, verdict.why);
    if (slot.identity !== null) this.#unsure.add(slot);
  }

  async #setForeignAside(slot: Slot, agentId: string): Promise<void> {
    const message = `${slot.path} belongs to another agent (${agentId})`;
    this.#findings.push({ kind: 'foreign', message: `${message}: it was set aside` });
    return this.#away(slot, message);
  }

  async #disposeLocked(slot: Slot, verdict: LockedVerdict): Promise<void> {
    const { keyId } = verdict;
    const why = lockedWhy(keyId, this.#options.keys);
    if (this.#staysInPlace(slot, verdict)) {
      if (this.#locked.has(keyId)) return;
      this.#locked.add(keyId);
      const message =
        `${slot.path} could not be read: ${why}. It is kept as it is: put that key back and run \`holdfast restart\`; ` +
        'until then this agent goes on without it and asks Fleet for everything (`holdfast rekey --abandon` gives it up)';
      this.#findings.push({ kind: 'locked', message });
      return;
    }
    this.#findings.push({ kind: 'locked', message: `${slot.path} could not be read: ${why}` });
    await this.#away(slot, why);
    // What could not be moved is not written over: a commit tries again first.
    slot.identity = null;
  }

  async #away(slot: Slot, why: string): Promise<void> {
    if (this.#options.lookOnly || this.#unread !== null) return;
    if (await setAside(this.#options.quarantine, slot.path, why, this.#findings)) slot.identity = null;
  }
}

/** The first slot that may be readable later. What is newest is not known then, whatever the other slot holds. */
function whyUnread(judged: readonly Judged[]): string | null {
  for (const { slot, verdict } of judged) {
    if (verdict.state !== 'unreadable' || !verdict.mayPass) continue;
    return `${slot.path} cannot be read: ${verdict.why}; nothing is written before it can be, or is given up`;
  }
  return null;
}

function highestIn(judged: readonly Judged[]): number {
  const sequences = judged.flatMap(({ verdict }) => ('sequence' in verdict ? [verdict.sequence] : []));
  return Math.max(0, ...sequences.filter(Number.isSafeInteger));
}

/** Nothing was ever delivered to this record. */
function holdsNothing(facts: Facts): boolean {
  const { deliveryToken, generations, candidate, received, rejected, journal, outbox, unenrolled } = facts;
  const lists = [generations, rejected, journal, outbox];
  return deliveryToken === '' && !candidate && !received && !unenrolled && lists.every((list) => list.length === 0);
}

function slotsAt(paths: readonly [string, string]): readonly [Slot, Slot] {
  return [
    { path: paths[0], identity: null, wipe: false },
    { path: paths[1], identity: null, wipe: false },
  ];
}

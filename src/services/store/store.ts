/**
 * The only writer of durable facts: two slots for the root record, objects named by their hash, and one order of writing that no crash,
 * power cut or disk error can turn into a loss of what was acknowledged (design, section 5; P1, P7, P8, P11).
 */
import { dirname } from 'node:path';
import { HoldfastError, type Problem } from '../../errors.ts';
import type { Facts } from '../../machines/facts.ts';
import { type HomePaths, homePaths } from '../home.ts';
import { errnoOf, type Files, inWords, replaceFile, statIfThere } from './files.ts';
import { encodeFrame, FRAME_MAX_BYTES, hashOf } from './frame.ts';
import { type Keyring, NO_KEYS } from './keyring.ts';
import { ObjectFolder } from './objects.ts';
import { type Found, type Holding, openSlots } from './opening.ts';
import { type Finding, type Quarantine, quarantined, setAside } from './quarantine.ts';
import { encodePayload, mustBeHeld, namesOf, policiesNamed, restoreSpilled, SLOT_BYTES } from './record.ts';
import { type FileIdentity, identityOf, isSame, judgeSlot, placeOf, type Slot, sameFile, writeSlot } from './slot.ts';

export interface StoreOptions {
  readonly files: Files;
  readonly home: string;
  /** The agent whose facts these are, `''` while not enrolled; null when it cannot be known (identity unreadable): any agent's are taken. */
  readonly agentId: string | null;
  /** Epoch ms, for the notes of what is set aside. */
  readonly now: () => number;
  /** Only look: nothing is set aside, every commit is refused. For `inspect` beside a daemon that holds the lock. */
  readonly lookOnly?: boolean;
  /** What is encrypted with; {@link NO_KEYS} by default: readable. */
  readonly keys?: Keyring;
  /** Set aside what is encrypted with a key that is not here, instead of keeping it in place for when the key is back. */
  readonly abandonLocked?: boolean;
  /** Set aside what the disk does not let be read at the moment, instead of keeping it in place until it can be. */
  readonly abandonUnread?: boolean;
  /** What a slot is preallocated with, in bytes; {@link SLOT_BYTES} by default. */
  readonly slotBytes?: number;
}

export interface Opened {
  readonly store: Store;
  /** Null: the disk holds no record of this agent. */
  readonly facts: Facts | null;
  /** What was found damaged, foreign or strange. */
  readonly findings: readonly Finding[];
  /** Why a slot could not be read that may be readable later. What it holds is not known, so every commit is refused; null: all was read. */
  readonly unread: string | null;
  /** Ids of keys that are not here and that a root record of this agent is encrypted with. */
  readonly locked: readonly string[];
}

/** What goes to disk together. */
export interface Commit {
  readonly facts: Facts;
  /** Canonical text of policies by hash; at least those that the facts name for the first time. */
  readonly policies: Readonly<Record<string, string>>;
  /** `policy.yml`: last good for people, masked. Null: nothing to show. Absent: unchanged. */
  readonly policyYml?: string | null;
}

export interface Committed {
  readonly sequence: number;
  readonly findings: readonly Finding[];
}

export interface StoreStatus {
  /** Sequence of the newest record that is known to be on disk. */
  readonly sequence: number;
  /** What is written is encrypted, or what lies there is and cannot be read. */
  readonly encrypted: boolean;
  readonly quarantined: number;
  /** Slots found torn beside a good one since this start. */
  readonly torn: number;
}

interface Root {
  readonly facts: Facts;
  readonly sequence: number;
  /** The whole frame as stored, to be written again where it was or where it should be. */
  readonly bytes: Buffer;
  readonly keyId: string | null;
  readonly spilled: ReadonlyMap<string, string>;
  /** Objects the record names, whether they can be read or not. */
  readonly names: ReadonlySet<string>;
}

/** Opens the state directory of `home`. Whatever it holds, this succeeds (P11); what was strange about it is in the findings. */
export async function openStore(options: StoreOptions): Promise<Opened> {
  const { files, home, agentId, now, keys = NO_KEYS, lookOnly = false } = options;
  const { abandonLocked = false, abandonUnread = false } = options;
  const { slots, quarantine: directory } = homePaths(home);
  const quarantine: Quarantine = { files, directory, now };
  const found = await openSlots({ files, slots, quarantine, keys, agentId, lookOnly, abandonLocked, abandonUnread });
  const store = new Store(options, quarantine, found);
  const { facts, findings } = await store.load();
  const ofKeys: Finding[] = keys.refusal === null ? [] : [{ kind: 'key', message: keys.refusal.message }];
  return {
    store,
    facts,
    findings: [...found.findings, ...findings, ...keys.findings, ...ofKeys],
    unread: found.unread,
    locked: [...found.locked],
  };
}

export class Store {
  readonly #files: Files;
  readonly #paths: HomePaths;
  readonly #agentId: string | null;
  readonly #lookOnly: boolean;
  readonly #slotBytes: number;
  readonly #keys: Keyring;
  readonly #quarantine: Quarantine;
  readonly #objects: ObjectFolder;
  /** What there was at the start. */
  readonly #found: Found;
  /** Where the newest record is; null: nowhere. */
  #holder: Slot | null;
  #root: Root | null;
  /** What the record before the newest names: kept as long as its slot may have to be fallen back on. */
  #namesBefore: ReadonlySet<string>;
  /** The objects' directory as it was last seen. */
  #objectsAt: FileIdentity | null = null;
  /** The newest record, the slots and their directories were synced by this process and are still in place. */
  #settled = false;
  /** What reads as blank or wrong there may lie over a whole, newer record that only a power cut brings back. */
  readonly #unsure: Set<Slot>;
  /** Records of this agent outside the pair that is written to. */
  #leftOver: readonly string[];
  /** Canonical text of the policies that the facts name, so that an emptied directory can be written again. */
  readonly #policies = new Map<string, string>();
  #policyYml: string | null | undefined;
  #collectedFor = '';
  #closed = false;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(options: StoreOptions, quarantine: Quarantine, found: Found) {
    this.#files = options.files;
    this.#paths = homePaths(options.home);
    this.#agentId = options.agentId;
    this.#lookOnly = options.lookOnly ?? false;
    this.#slotBytes = options.slotBytes ?? SLOT_BYTES;
    this.#keys = options.keys ?? NO_KEYS;
    this.#quarantine = quarantine;
    this.#objects = new ObjectFolder(this.#paths.objects, quarantine, this.#keys);
    const { newest, names, leftOver, unsure } = found;
    this.#found = found;
    this.#holder = newest?.slot ?? null;
    this.#root = newest && rootOf(newest);
    this.#namesBefore = names;
    this.#leftOver = leftOver;
    this.#unsure = new Set(unsure);
    if (newest !== null) this.#objects.belongTo(newest.verdict.agentId);
  }

  /** Reads what the record names, each thing judged by itself: an object never makes the record invalid. Called once, by {@link openStore}. */
  async load(): Promise<{ readonly facts: Facts | null; readonly findings: readonly Finding[] }> {
    const findings: Finding[] = [];
    const root = this.#root;
    const decoded = this.#found.newest?.verdict.decoded;
    if (root === null || decoded === undefined) return { facts: null, findings };
    const texts = new Map<string, string>();
    const policies = new Set(policiesNamed(root.facts));
    for (const hash of root.names) {
      const read = await this.#objects.read(hash);
      if ('text' in read) {
        texts.set(hash, read.text);
        if (policies.has(hash)) this.#policies.set(hash, read.text);
      } else findings.push({ kind: 'object', message: read.problem.message });
    }
    const facts = restoreSpilled(decoded, texts);
    const spilled = new Map([...texts].filter(([hash]) => Object.values(decoded.spilled).includes(hash)));
    this.#root = { ...root, facts, spilled };
    return { facts, findings };
  }

  /**
   * Makes `facts` what the next start will find. When this resolves they are durable; when it rejects with STORE_WRITE_FAILED the facts
   * of the last commit that resolved, or these, are what a next start finds, and the same commit may be tried again.
   */
  commit(commit: Commit): Promise<Committed> {
    return this.#alone(() => this.#commit(commit));
  }

  async #commit({ facts, policies, policyYml }: Commit): Promise<Committed> {
    if (this.#closed || this.#lookOnly)
      throw new HoldfastError('INTERNAL', 'a commit was asked of a store that is closed');
    const given = new Map(Object.entries(policies));
    for (const [hash, text] of given) {
      if (hashOf(text) !== hash)
        throw new HoldfastError('INTERNAL', `the text given for policy ${hash} is another policy's`);
    }
    const { unread, pair, sequence: sequenceFound } = this.#found;
    if (unread !== null) throw new HoldfastError('STORE_READ_FAILED', unread);
    const { refusal } = this.#keys;
    if (refusal !== null) throw new HoldfastError(refusal.code, refusal.message);
    // Above every sequence that is there, also of a record that is of no use.
    const sequence = Math.max(sequenceFound, this.#root?.sequence ?? 0) + 1;
    const target = pair[0] === this.#holder ? pair[1] : pair[0];
    this.#objects.belongTo(this.#agentId ?? facts.agentId);
    const next = this.#encode(facts, sequence, target);
    const texts = new Map([...this.#policies, ...next.spilled, ...given]);
    const findings: Finding[] = [];

    try {
      await this.#notice(findings);
      if (!this.#settled) await this.#settle(findings);
      await this.#objects.sync([...next.names], texts, this.#needed(facts), findings);
      await writeSlot(this.#files, target, next.bytes, this.#slotBytes);
    } catch (error) {
      throw writeFailed(error);
    }

    this.#namesBefore = this.#root?.names ?? new Set();
    this.#holder = target;
    this.#root = next;
    this.#remember(facts, texts);
    await this.#collect();
    await this.#show(policyYml, findings);
    return { sequence, findings };
  }

  #encode(facts: Facts, sequence: number, target: Slot): Root {
    const payload = encodePayload(facts);
    const frame = { sequence, subject: this.#agentId ?? facts.agentId, payload: payload.bytes };
    const { write: key } = this.#keys;
    const bytes = encodeFrame('root', frame, key === null ? null : { key, place: placeOf(target) });
    if (bytes === null) {
      throw new HoldfastError(
        'STORE_WRITE_FAILED',
        `the root record would have ${payload.bytes.length} bytes (${facts.journal.length} actions in the journal, ${facts.outbox.length} acks owed); ` +
          `more than ${FRAME_MAX_BYTES} are never written`,
      );
    }
    const names = new Set([...policiesNamed(facts), ...payload.spilled.keys()]);
    return { facts, sequence, bytes, keyId: key?.id ?? null, spilled: payload.spilled, names };
  }

  /**
   * The objects without which this commit would be a lie: those of a generation or candidate that was none before. One that was before, and is
   * lost, was found at the start and is dropped by whoever decides about it.
   */
  #needed(facts: Facts): ReadonlySet<string> {
    const before = this.#root?.facts;
    const generations = new Set(before?.generations.map(({ hash }) => hash));
    const held = new Set(before ? mustBeHeld(before) : []);
    const promoted = facts.generations.map(({ hash }) => hash).filter((hash) => !generations.has(hash));
    return new Set(facts.candidate && !held.has(facts.candidate.hash) ? [...promoted, facts.candidate.hash] : promoted);
  }

  /** Compares what lies at the slots' paths with what was last written there. */
  async #notice(findings: Finding[]): Promise<void> {
    for (const slot of new Set([...this.#found.pair, ...(this.#holder ? [this.#holder] : [])])) {
      const stat = await statIfThere(this.#files, slot.path);
      if (stat?.kind === 'file' && isSame(slot.identity, stat)) continue;
      if (stat !== null) {
        const why = 'it was put here while the store was open, or could not be moved before';
        if (!(await setAside(this.#quarantine, slot.path, why, findings))) {
          throw Object.assign(new Error(`${slot.path} is in the way and cannot be moved`), {
            code: 'EEXIST',
            path: slot.path,
          });
        }
      }
      slot.identity = null;
      this.#unsettle();
    }
    const objects = await statIfThere(this.#files, this.#paths.objects);
    if (this.#settled && (objects?.kind !== 'directory' || !isSame(this.#objectsAt, objects))) this.#unsettle();
  }

  /** What this process has synced is not there any more, or not what it was. */
  #unsettle(): void {
    this.#settled = false;
    this.#objects.forget();
  }

  /**
   * Makes the newest record true on disk before anything is built on it: a killed predecessor may have left it, the slots and their
   * directories only in the page cache, and they may have been taken away since. The record goes into the same place with the same bytes, so that
   * not even a power cut in the middle can change it.
   */
  async #settle(findings: Finding[]): Promise<void> {
    const { home, state, objects } = this.#paths;
    for (const directory of [home, state, objects]) await this.#ensureDirectory(directory, findings);
    this.#objectsAt = identityOf(await this.#files.stat(objects));
    if (this.#root && this.#holder) {
      const texts = new Map([...this.#policies, ...this.#root.spilled]);
      await this.#objects.sync([...this.#root.names], texts, new Set(), findings);
      // The old bytes again, so whether this slot is to be wiped is as it was.
      const { wipe } = this.#holder;
      this.#holder.wipe = false;
      await writeSlot(this.#files, this.#holder, this.#root.bytes, this.#slotBytes);
      this.#holder.wipe = wipe;
    }
    for (const slot of this.#found.pair) {
      if (slot.identity !== null && !this.#unsure.has(slot)) continue;
      slot.wipe ||= slot.identity !== null;
      await writeSlot(this.#files, slot, Buffer.alloc(0), this.#slotBytes);
      this.#unsure.delete(slot);
    }
    await this.#files.syncDirectory(state);
    await this.#files.syncDirectory(home);
    await this.#syncParent(home);
    this.#settled = true;
  }

  async #ensureDirectory(path: string, findings: Finding[]): Promise<void> {
    const there = await statIfThere(this.#files, path);
    if (there?.kind === 'directory') return;
    if (there?.kind === 'link' && path !== this.#paths.objects && !(await this.#leadsAstray(path))) return;
    if (there && !(await setAside(this.#quarantine, path, 'a directory belongs here', findings))) {
      throw Object.assign(new Error(`${path} is not a directory and cannot be moved`), { code: 'ENOTDIR', path });
    }
    await this.#files.mkdir(path);
    if (path !== this.#paths.home) await this.#files.syncDirectory(dirname(path));
  }

  /**
   * The home and its state may be links to where the administrator wants them. One to nothing is left as it is, since what is not mounted may be
   * later, and shows as soon as it is used; one to anything else than a directory is damage.
   */
  async #leadsAstray(link: string): Promise<boolean> {
    try {
      await this.#files.readdir(link);
      return false;
    } catch (error) {
      return errnoOf(error) === 'ENOTDIR' || errnoOf(error) === 'ELOOP';
    }
  }

  /** The name of the home itself; its parent is another's, and may not be ours to open. */
  async #syncParent(home: string): Promise<void> {
    try {
      await this.#files.syncDirectory(dirname(home));
    } catch (error) {
      if (errnoOf(error) !== 'EACCES' && errnoOf(error) !== 'EPERM') throw error;
    }
  }

  #remember(facts: Facts, texts: ReadonlyMap<string, string>): void {
    const kept = policiesNamed(facts);
    this.#policies.clear();
    for (const hash of kept) {
      const text = texts.get(hash);
      if (text !== undefined) this.#policies.set(hash, text);
    }
  }

  /** Removes objects nothing names any more. Nothing is ever removed for a record that holds no policy, or beside one that cannot be read. */
  async #collect(): Promise<void> {
    const root = this.#root;
    if (root === null || this.#found.hasOthers || root.facts.generations.length === 0) return;
    const kept = new Set([...root.names, ...this.#namesBefore]);
    const key = [...kept].toSorted().join();
    if (key === this.#collectedFor) return;
    if (await this.#objects.collect(kept)) this.#collectedFor = key;
  }

  async #show(policyYml: string | null | undefined, findings: Finding[]): Promise<void> {
    if (policyYml === undefined || policyYml === this.#policyYml) return;
    try {
      if (policyYml === null) await this.#files.removeTree(this.#paths.policy);
      else await replaceFile(this.#files, this.#paths.home, 'policy.yml', Buffer.from(policyYml, 'utf8'));
      this.#policyYml = policyYml;
    } catch (error) {
      findings.push({ kind: 'derived', message: `${this.#paths.policy} could not be written: ${inWords(error)}` });
    }
  }

  /** The canonical text of a policy, read from disk and verified. */
  async readPolicy(hash: string): Promise<{ readonly text: string } | { readonly problem: Problem }> {
    const read = await this.#objects.read(hash);
    if ('text' in read && this.#root?.names.has(hash)) this.#policies.set(hash, read.text);
    return read;
  }

  /**
   * The texts kept in memory of the policies that the facts name. What is on disk is what counts; this is for going on running when it was lost.
   */
  remembered(hash: string): string | null {
    return this.#policies.get(hash) ?? null;
  }

  /**
   * Whether the disk holds the newest record and the bytes of the policy `hash`, by reading both again (P7). Null: it does. A loss that is
   * noticed here is mended from memory by the next commit, where memory has it.
   */
  verifyHeld(hash: string): Promise<Problem | null> {
    return this.#alone(async () => (await this.#verifyRoot()) ?? (await this.#verifyObject(hash)));
  }

  async #verifyRoot(): Promise<Problem | null> {
    if (this.#root === null || this.#holder === null)
      return { code: 'STORE_UNREADABLE', message: 'no root record was ever committed' };
    if (!this.#settled) {
      const message = 'nothing could be written since this start, so what can be read may not survive a power cut';
      return { code: 'STORE_WRITE_FAILED', message };
    }
    const read = { path: this.#holder.path, identity: null, wipe: false };
    const { slot, verdict } = await judgeSlot(this.#files, read, this.#keys.read);
    if (
      verdict.state === 'whole' &&
      verdict.bytes.equals(this.#root.bytes) &&
      sameFile(slot.identity, this.#holder.identity)
    )
      return null;
    this.#unsettle();
    const why =
      'why' in verdict
        ? verdict.why
        : verdict.state === 'whole'
          ? 'it is not the record that was written'
          : `it is ${verdict.state}`;
    return { code: 'STORE_UNREADABLE', message: `${this.#holder.path} does not hold the newest record: ${why}` };
  }

  async #verifyObject(hash: string): Promise<Problem | null> {
    const read = await this.#objects.read(hash);
    if ('text' in read) return null;
    this.#objects.forget(hash);
    return read.problem;
  }

  async status(): Promise<StoreStatus> {
    return {
      sequence: this.#root?.sequence ?? 0,
      encrypted:
        this.#keys.write !== null ||
        this.#keys.refusal !== null ||
        this.#found.locked.size > 0 ||
        this.#root?.keyId != null,
      quarantined: await quarantined(this.#files, this.#paths.quarantine),
      torn: this.#found.torn,
    };
  }

  /**
   * Writes everything anew as the keys are now: every object, and the record into both slots; then removes records of this agent that lie beside
   * them. After any crash the facts are what they were, under one key or the other. Resolves to the number of objects written; throws as a commit does.
   */
  convert(facts: Facts): Promise<number> {
    return this.#alone(async () => {
      await this.#commit({ facts, policies: {} });
      const written = await this.#objects.convert().catch((error: unknown) => {
        throw writeFailed(error);
      });
      await this.#commit({ facts, policies: {} });
      await this.#removeLeftOver().catch((error: unknown) => {
        throw writeFailed(error);
      });
      return written;
    });
  }

  async #removeLeftOver(): Promise<void> {
    for (const path of this.#leftOver) await this.#files.unlink(path);
    if (this.#leftOver.length > 0) await this.#files.syncDirectory(this.#paths.state);
    this.#leftOver = [];
  }

  /** Waits for what was asked before; a commit asked for later is refused. */
  close(): Promise<void> {
    return this.#alone(async () => {
      this.#closed = true;
    });
  }

  /** One thing at a time, in the order of asking. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work);
    this.#queue = result.catch(() => {});
    return result;
  }
}

function rootOf({ verdict }: Holding): Root {
  const { decoded, sequence, bytes, keyId } = verdict;
  return { facts: decoded.facts, sequence, bytes, keyId, spilled: new Map(), names: namesOf(decoded) };
}

function writeFailed(error: unknown): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const path = (error as { path?: unknown } | null)?.path;
  const where = typeof path === 'string' ? `cannot write ${path}` : 'cannot write the state directory';
  return new HoldfastError('STORE_WRITE_FAILED', `${where}: ${inWords(error)}`, { cause: error });
}

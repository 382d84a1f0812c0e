/**
 * A disk that breaks: files in memory with a page cache, so that what was not synced can be lost, kept or torn, the Nth operation can fail
 * and the process can die at any of them. Deterministic: every choice is the caller's.
 *
 * What it promises is less than real file systems do: each un-synced sector and each un-synced change of a directory survives a power cut or not
 * independently of the others; after a failed sync the data reads as written, is not written by a later sync, and may not be there.
 */
import { createHash } from 'node:crypto';
import type { FileKind, FileStat, Files, OpenFile } from '../../src/services/store/files.ts';
import { SECTOR_BYTES, SparseBytes } from './sparse-bytes.ts';

export { SECTOR_BYTES } from './sparse-bytes.ts';

interface Inode {
  readonly ino: number;
  readonly kind: FileKind;
  mode: number;
  /** What a read sees. */
  cached: SparseBytes;
  /** What the platter has. */
  durable: SparseBytes;
  /** Written and not synced. */
  readonly dirty: Set<number>;
  /** A sync of them failed: clean for the kernel, on the platter or not. */
  readonly limbo: Set<number>;
}

/** One change of directories: atomic by itself. `ino` null: the name is removed. */
type Entries = readonly { readonly path: string; readonly ino: number | null }[];

/** Something un-synced: a change of directories, or a sector; `blank`: it reads the same on the platter, so that only the size of its file is open. */
export type OpenThing =
  | { readonly change: Entries; readonly names: readonly string[] }
  | { readonly ino: number; readonly sector: number; readonly blank: boolean };

export interface Anatomy {
  readonly cached: ReadonlyMap<string, number>;
  readonly durable: ReadonlyMap<string, number>;
  readonly pending: readonly Entries[];
  readonly inode: (ino: number) => Readonly<Pick<Inode, 'kind' | 'cached' | 'durable'>> & {
    readonly dirty: ReadonlySet<number>;
    readonly limbo: ReadonlySet<number>;
  };
}

export type Operation =
  | 'open'
  | 'create'
  | 'fstat'
  | 'stat'
  | 'read'
  | 'write'
  | 'sync'
  | 'datasync'
  | 'readdir'
  | 'mkdir'
  | 'rename'
  | 'unlink'
  | 'syncDirectory';

const CHANGES = new Set<Operation>([
  'create',
  'write',
  'sync',
  'datasync',
  'mkdir',
  'rename',
  'unlink',
  'syncDirectory',
]);
const TAKES_SPACE = new Set<Operation>(['create', 'write', 'sync', 'datasync', 'mkdir', 'rename', 'syncDirectory']);

export interface Fault {
  /** Index of the operation, counted from 0 since the disk was made or {@link Disk.operations} was reset. */
  readonly at: number;
  /**
   * `short`: a write takes half. `kill`: the process dies before the operation; `kill-after`: after it; `kill-half`: half a write was taken.
   */
  readonly what: 'EIO' | 'EMFILE' | 'ENOSPC' | 'EROFS' | 'EACCES' | 'short' | 'kill' | 'kill-after' | 'kill-half';
  readonly forEver?: boolean;
  /** Reading goes on. */
  readonly changesOnly?: boolean;
}

/** Which of `things` un-synced ones survive a power cut: true for each that does. */
export type Survivors = (things: number) => readonly boolean[];

export const nothingSurvives: Survivors = (things) => Array(things).fill(false);
export const everythingSurvives: Survivors = (things) => Array(things).fill(true);

/** Thrown at whoever goes on after the process was killed. */
export class Killed extends Error {
  readonly code = 'KILLED';
}

export class Disk implements Files {
  #inodes = new Map<number, Inode>();
  #nextIno = 2;
  /** path → inode, as a process sees it and as the platter has it. */
  #cachedEntries = new Map<string, number>();
  #durableEntries = new Map<string, number>();
  #pending: Entries[] = [];
  /** What was done, one line each: `write /home/state/root.0 4096@0`. */
  readonly log: string[] = [];
  /** Operations so far. */
  operations = 0;
  faults: Fault[] = [];
  full = false;
  readOnly = false;
  /** Files whose content the disk does not give. */
  unreadable: (path: string) => boolean = () => false;
  /** Which sectors reach the platter all the same when a sync of them fails; of the others it stays open. */
  failedSyncWrites: (sector: number) => boolean = () => false;
  #dead = false;

  constructor(...directories: readonly string[]) {
    for (const path of ['/', ...directories]) {
      const inode = this.#newInode('directory', 0o700);
      this.#cachedEntries.set(path, inode.ino);
      this.#durableEntries.set(path, inode.ino);
    }
  }

  // The test's side

  /** A copy of the whole disk, the page cache included, without faults and with a living process. */
  clone(): Disk {
    const copy = new Disk();
    copy.#inodes = new Map(
      [...this.#inodes].map(([ino, inode]) => [
        ino,
        {
          ...inode,
          cached: inode.cached.clone(),
          durable: inode.durable.clone(),
          dirty: new Set(inode.dirty),
          limbo: new Set(inode.limbo),
        },
      ]),
    );
    copy.#nextIno = this.#nextIno;
    copy.#cachedEntries = new Map(this.#cachedEntries);
    copy.#durableEntries = new Map(this.#durableEntries);
    copy.#pending = [...this.#pending];
    return copy;
  }

  /** The process dies: the page cache stays. */
  kill(): this {
    this.#dead = true;
    return this;
  }

  get killed(): boolean {
    return this.#dead;
  }

  /** A new process on the same machine, without faults. */
  revive(): this {
    this.#dead = false;
    this.faults = [];
    this.operations = 0;
    this.full = false;
    this.readOnly = false;
    return this;
  }

  /** How many un-synced things there are whose survival is open. */
  get unsynced(): number {
    return this.#pending.length + this.#openSectors().length;
  }

  /** What {@link powerCut} asks about, in its order. */
  openThings(): readonly OpenThing[] {
    return [
      ...this.#pending.map((change) => ({ change, names: change.map((entry) => entry.path) })),
      ...this.#openSectors().map(([inode, sector]) => ({
        ino: inode.ino,
        sector,
        blank: !inode.cached.differsIn(inode.durable, sector),
      })),
    ];
  }

  /** Forgets files that no name leads to any more, nor can after a power cut: what becomes of them shows nowhere. */
  forgetNameless(): this {
    const named = new Set([...this.#cachedEntries.values(), ...this.#durableEntries.values()]);
    for (const change of this.#pending) for (const { ino } of change) if (ino !== null) named.add(ino);
    for (const ino of [...this.#inodes.keys()]) if (!named.has(ino)) this.#inodes.delete(ino);
    return this;
  }

  /** Its parts, to be looked at. */
  anatomy(): Anatomy {
    return {
      cached: this.#cachedEntries,
      durable: this.#durableEntries,
      pending: this.#pending,
      inode: (ino) => this.#inodes.get(ino)!,
    };
  }

  /** The power goes. The survivors are asked in a stable order: changes of directories first, then sectors by file and place. */
  powerCut(choose: Survivors): this {
    this.platterChanges += 1;
    const survives = choose(this.unsynced);
    let asked = 0;
    for (const change of this.#pending) if (survives[asked++]) applyEntries(this.#durableEntries, change);
    for (const [inode, sector] of this.#openSectors()) if (survives[asked++]) putSector(inode, sector);
    for (const inode of this.#inodes.values()) {
      inode.dirty.clear();
      inode.limbo.clear();
      inode.cached = inode.durable.clone();
    }
    // A name in a directory that is not there is not there.
    for (const path of [...this.#durableEntries.keys()].toSorted()) {
      if (path !== '/' && !this.#durableEntries.has(parentOf(path))) this.#durableEntries.delete(path);
    }
    this.#cachedEntries = new Map(this.#durableEntries);
    this.#pending = [];
    return this;
  }

  /** What tells this disk from another: platter and page cache. */
  fingerprint(): string {
    const hash = createHash('sha256');
    const sum = (entries: Map<string, number>, of: 'cached' | 'durable') => {
      for (const [path, ino] of [...entries].toSorted()) {
        const inode = this.#inodes.get(ino)!;
        hash
          .update(`${of} ${path} ${inode.kind} ${[...inode.dirty]} ${[...inode.limbo]}\n`)
          .update(inode[of].toBuffer());
      }
    };
    sum(this.#cachedEntries, 'cached');
    sum(this.#durableEntries, 'durable');
    return hash.update(`${this.#pending.length}`).digest('hex');
  }

  /** Removes everything in a directory behind the process's back, durably. */
  empty(path: string): void {
    for (const name of [...this.#cachedEntries.keys()])
      if (name.startsWith(`${path}/`)) this.#cachedEntries.delete(name);
    this.#settleEntries();
  }

  /** Removes one file or directory behind the process's back, durably. */
  remove(path: string): void {
    this.empty(path);
    this.#cachedEntries.delete(path);
    this.#settleEntries();
  }

  /** Puts something else at a path behind the process's back, durably; a new inode. */
  put(path: string, content: Uint8Array | Exclude<FileKind, 'file'>): void {
    this.remove(path);
    const inode = this.#newInode(
      typeof content === 'string' ? content : 'file',
      typeof content === 'string' ? 0o700 : 0o600,
    );
    if (typeof content !== 'string') {
      inode.cached = SparseBytes.of(content);
      inode.durable = inode.cached.clone();
    }
    this.#cachedEntries.set(path, inode.ino);
    this.#settleEntries();
  }

  /** Changes bytes in place, on platter and in cache: what bit rot and editors do. */
  damage(path: string, change: (bytes: Buffer) => Buffer): void {
    this.platterChanges += 1;
    const inode = this.#at(path);
    inode.cached = SparseBytes.of(change(inode.cached.toBuffer()));
    inode.durable = inode.cached.clone();
    inode.dirty.clear();
  }

  flipBit(path: string, bit: number): void {
    this.damage(path, (bytes) => {
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      return bytes;
    });
  }

  /** What a read would give; null where no file is. */
  contents(path: string): Buffer | null {
    const ino = this.#cachedEntries.get(path);
    return ino === undefined ? null : this.#inodes.get(ino)!.cached.toBuffer();
  }

  list(path: string): readonly string[] {
    return this.#children(path);
  }

  /** How often anything on the platter may have changed: equal means that a reader of {@link platter} sees the same. */
  platterChanges = 0;

  /** What is on the platter now, to be read only: what a power cut in which nothing else survives would leave. Not faulty, not counted. */
  platter(): Files {
    return this.#toRead(() => this.#durableEntries, 'durable');
  }

  /** What a new process would find, to be read only; not faulty, not counted. */
  pageCache(): Files {
    return this.#toRead(() => this.#cachedEntries, 'cached');
  }

  /** Null where nothing is. */
  kindOf(path: string): FileKind | null {
    const ino = this.#cachedEntries.get(path);
    return ino === undefined ? null : this.#inodes.get(ino)!.kind;
  }

  #toRead(entriesNow: () => ReadonlyMap<string, number>, of: 'cached' | 'durable'): Files {
    const refuse = async (path: string): Promise<never> => {
      throw errno('EROFS', path);
    };
    const at = (path: string): Inode => {
      const entries = entriesNow();
      const ino = entries.get(path);
      for (let parent = parentOf(path); ino !== undefined && parent !== '/'; parent = parentOf(parent)) {
        if (!entries.has(parent)) throw errno('ENOENT', path);
      }
      if (ino === undefined) throw errno('ENOENT', path);
      return this.#inodes.get(ino)!;
    };
    return {
      open: async (path, how) => {
        if (how !== 'read') return refuse(path);
        const inode = at(path);
        const bytes = inode[of];
        return {
          stat: async () => ({ ...statOf(inode), size: bytes.length }),
          read: async (into, position) => bytes.read(into, position),
          write: () => refuse(path),
          sync: () => refuse(path),
          datasync: () => refuse(path),
          close: async () => {},
        };
      },
      stat: async (path) => {
        const inode = at(path);
        return { ...statOf(inode), size: inode[of].length };
      },
      readdir: async (path) => {
        if (at(path).kind !== 'directory') throw errno('ENOTDIR', path);
        return childrenIn(entriesNow(), path);
      },
      mkdir: refuse,
      rename: refuse,
      unlink: refuse,
      removeTree: refuse,
      syncDirectory: refuse,
    };
  }

  #settleEntries(): void {
    this.platterChanges += 1;
    this.#durableEntries = new Map(this.#cachedEntries);
    this.#pending = [];
  }

  // The process's side

  async open(path: string, how: 'read' | 'write' | 'create'): Promise<OpenFile> {
    return this.#do(how === 'create' ? 'create' : 'open', path, '', () => {
      if (how === 'create') {
        if (this.#cachedEntries.has(path)) throw errno('EEXIST', path);
        this.#parent(path);
        const inode = this.#newInode('file', 0o600);
        this.#change([{ path, ino: inode.ino }]);
        return this.#opened(path, inode);
      }
      if (how === 'write' && this.readOnly) throw errno('EROFS', path);
      const inode = this.#at(path);
      if (inode.kind === 'link') throw errno('ELOOP', path);
      if (inode.kind === 'directory' && how === 'write') throw errno('EISDIR', path);
      return this.#opened(path, inode);
    });
  }

  #opened(path: string, inode: Inode): OpenFile {
    return {
      stat: () => this.#do('fstat', path, '', () => statOf(inode)),
      read: (into, position) =>
        this.#do('read', path, `${into.length}@${position}`, () => {
          if (this.unreadable(path)) throw errno('EIO', path);
          return inode.cached.read(into, position);
        }),
      write: (bytes, position) =>
        this.#do('write', path, `${bytes.length}@${position}`, (half) => {
          const taken = half ? bytes.subarray(0, bytes.length >> 1) : bytes;
          // Overwriting takes no space, growing does.
          if (this.full && position + taken.length > inode.cached.length) throw errno('ENOSPC', path);
          write(inode, taken, position);
          return taken.length;
        }),
      sync: () => this.#sync('sync', path, inode),
      datasync: () => this.#sync('datasync', path, inode),
      close: async () => {},
    };
  }

  async #sync(operation: 'sync' | 'datasync', path: string, inode: Inode): Promise<void> {
    this.platterChanges += 1;
    try {
      await this.#do(operation, path, '', () => {
        for (const sector of [...inode.dirty]) putSector(inode, sector);
        // The size is what was written; of what is in limbo below it, zeros are there.
        inode.durable.resize(inode.cached.length);
        inode.dirty.clear();
      });
    } catch (error) {
      if (this.#dead) throw error;
      for (const sector of inode.dirty) {
        if (this.failedSyncWrites(sector)) putSector(inode, sector);
        else inode.limbo.add(sector);
      }
      inode.dirty.clear();
      throw error;
    }
  }

  async stat(path: string): Promise<FileStat> {
    return this.#do('stat', path, '', () => statOf(this.#at(path)));
  }

  async readdir(path: string): Promise<readonly string[]> {
    return this.#do('readdir', path, '', () => {
      if (this.#at(path).kind !== 'directory') throw errno('ENOTDIR', path);
      return this.#children(path);
    });
  }

  async mkdir(path: string): Promise<void> {
    return this.#do('mkdir', path, '', () => {
      if (this.#cachedEntries.has(path)) throw errno('EEXIST', path);
      if (this.full) throw errno('ENOSPC', path);
      this.#parent(path);
      this.#change([{ path, ino: this.#newInode('directory', 0o700).ino }]);
    });
  }

  async rename(from: string, to: string): Promise<void> {
    return this.#do('rename', from, to, () => {
      const inode = this.#at(from);
      this.#parent(to);
      const target = this.#cachedEntries.get(to);
      if (target !== undefined) {
        const kind = this.#inodes.get(target)!.kind;
        if (kind === 'directory' && inode.kind !== 'directory') throw errno('EISDIR', to);
        if (kind !== 'directory' && inode.kind === 'directory') throw errno('ENOTDIR', to);
        if (kind === 'directory' && this.#children(to).length > 0) throw errno('ENOTEMPTY', to);
      }
      const below = [...this.#cachedEntries].filter(([path]) => path.startsWith(`${from}/`));
      this.#change([
        { path: from, ino: null },
        ...below.map(([path]) => ({ path, ino: null })),
        { path: to, ino: inode.ino },
        ...below.map(([path, ino]) => ({ path: `${to}${path.slice(from.length)}`, ino })),
      ]);
    });
  }

  async unlink(path: string): Promise<void> {
    return this.#do('unlink', path, '', () => {
      if (this.#at(path).kind === 'directory') throw errno('EISDIR', path);
      this.#change([{ path, ino: null }]);
    });
  }

  async removeTree(path: string): Promise<void> {
    return this.#do('unlink', path, 'tree', () => {
      const below = [...this.#cachedEntries.keys()].filter((name) => name === path || name.startsWith(`${path}/`));
      if (below.length > 0) this.#change(below.map((name) => ({ path: name, ino: null })));
    });
  }

  async syncDirectory(path: string): Promise<void> {
    return this.#do('syncDirectory', path, '', () => {
      if (this.#at(path).kind !== 'directory') throw errno('ENOTDIR', path);
      this.platterChanges += 1;
      const touches = (change: Entries) => change.some((entry) => parentOf(entry.path) === path);
      for (const change of this.#pending) if (touches(change)) applyEntries(this.#durableEntries, change);
      this.#pending = this.#pending.filter((change) => !touches(change));
    });
  }

  /** Counts, logs, and lets the fault of this operation happen. */
  async #do<T>(operation: Operation, path: string, detail: string, act: (half: boolean) => T): Promise<T> {
    if (this.#dead) throw new Killed('the process is dead');
    const index = this.operations++;
    this.log.push(detail ? `${operation} ${path} ${detail}` : `${operation} ${path}`);
    if (this.readOnly && CHANGES.has(operation) && !SYNCS.has(operation)) throw errno('EROFS', path);
    if (this.full && operation === 'create') throw errno('ENOSPC', path);
    const fault = this.faults.find((each) => each.at === index || (each.forEver && each.at < index));
    if (!fault || (fault.changesOnly && !CHANGES.has(operation))) return act(false);
    switch (fault.what) {
      case 'kill':
      case 'kill-after':
      case 'kill-half':
        if (fault.what === 'kill-after') act(false);
        if (fault.what === 'kill-half' && operation === 'write') act(true);
        this.#dead = true;
        throw new Killed(`killed at ${operation} ${path}`);
      case 'short':
        return act(operation === 'write');
      case 'EMFILE':
        if (!OPENS.has(operation)) return act(false);
        break;
      case 'ENOSPC':
        if (!TAKES_SPACE.has(operation)) return act(false);
        break;
      case 'EROFS':
        if (!CHANGES.has(operation)) return act(false);
        break;
      default:
    }
    // An error in the middle of a write leaves a part of it.
    if (operation === 'write' && fault.what === 'EIO') act(true);
    throw errno(fault.what, path);
  }

  #newInode(kind: FileKind, mode: number): Inode {
    const ino = this.#nextIno++;
    const inode: Inode = {
      ino,
      kind,
      mode,
      cached: new SparseBytes(),
      durable: new SparseBytes(),
      dirty: new Set(),
      limbo: new Set(),
    };
    this.#inodes.set(ino, inode);
    return inode;
  }

  #at(path: string): Inode {
    for (let parent = parentOf(path); parent !== '/'; parent = parentOf(parent)) {
      const ino = this.#cachedEntries.get(parent);
      if (ino !== undefined && this.#inodes.get(ino)!.kind !== 'directory') throw errno('ENOTDIR', path);
    }
    const ino = this.#cachedEntries.get(path);
    if (ino === undefined) throw errno('ENOENT', path);
    return this.#inodes.get(ino)!;
  }

  #parent(path: string): void {
    if (this.#at(parentOf(path)).kind !== 'directory') throw errno('ENOTDIR', path);
  }

  #change(entries: Entries): void {
    applyEntries(this.#cachedEntries, entries);
    this.#pending.push(entries);
  }

  #children(path: string): readonly string[] {
    return childrenIn(this.#cachedEntries, path);
  }

  /** Sectors whose survival is open, of files that have a name on the platter or may get one. */
  #openSectors(): readonly (readonly [Inode, number])[] {
    return [...this.#inodes.values()].flatMap((inode) =>
      [...new Set([...inode.dirty, ...inode.limbo])]
        .toSorted((a, b) => a - b)
        .map((sector) => [inode, sector] as const),
    );
  }
}

const OPENS = new Set<Operation>(['open', 'create', 'readdir', 'syncDirectory']);
const SYNCS = new Set<Operation>(['sync', 'datasync', 'syncDirectory']);

function childrenIn(entries: ReadonlyMap<string, number>, path: string): string[] {
  return [...entries.keys()]
    .filter((name) => name !== '/' && parentOf(name) === path)
    .map((name) => name.slice(name.lastIndexOf('/') + 1))
    .toSorted();
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/';
}

function errno(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code, path });
}

function applyEntries(to: Map<string, number>, change: Entries): void {
  for (const { path, ino } of change) {
    if (ino === null) to.delete(path);
    else to.set(path, ino);
  }
}

function write(inode: Inode, bytes: Uint8Array, position: number): void {
  const end = position + bytes.length;
  inode.cached.write(bytes, position);
  for (let sector = Math.floor(position / SECTOR_BYTES); sector * SECTOR_BYTES < end; sector += 1) {
    inode.dirty.add(sector);
    inode.limbo.delete(sector);
  }
}

/** One sector reaches the platter, and the size with it. */
function putSector(inode: Inode, sector: number): void {
  inode.durable.takeSector(inode.cached, sector);
}

function statOf(inode: Inode): FileStat {
  return { dev: 1n, ino: BigInt(inode.ino), size: inode.cached.length, mode: inode.mode, kind: inode.kind };
}

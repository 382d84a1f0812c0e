/** What the page knows: the actors, the timeline over all lives of the agent, how the agent stands, and what is chosen. No DOM. */
import type { ActorView, Hello, News, Standing, TimelineRecord, TransitionRecord } from '../wire/inspector.ts';

/** Entries that are kept; the oldest make room. */
export const ENTRIES_KEPT = 10_000;

export type Connection = 'connecting' | 'live' | 'lost' | 'refused';

/** A line of the timeline. */
export interface Entry {
  /** Unique on this page, growing. */
  readonly n: number;
  /** Which process it comes from, counted from 1 on this page. */
  readonly life: number;
  readonly record: TimelineRecord | GapRecord;
}

/** The connection was lost: what was between is not known, or another process goes on. */
export interface GapRecord {
  readonly kind: 'gap';
  readonly at: number;
  /** True: it is another process. */
  readonly died: boolean;
}

export interface TreeRow {
  readonly actor: ActorView;
  readonly depth: number;
}

export class Model {
  connection: Connection = 'connecting';
  standing: Standing | null = null;
  version = '';
  home = '';
  /** Set: what is shown is what a diagnostics file holds. */
  archive: Hello['archive'] = null;
  entries: Entry[] = [];
  actors = new Map<string, ActorView>();
  /** The chosen actor's id; null: the root, whichever that is. */
  chosen: string | null = null;
  life = 0;
  /** When the stream was lost, epoch ms; null: it is not. */
  lostAt: number | null = null;
  #lifeId = '';
  #n = 0;

  /** Everything anew. What another process told stays in the timeline: it is the story of a death. */
  hello(hello: Hello, now: number): void {
    const died = this.#lifeId !== '' && this.#lifeId !== hello.life;
    const known = this.#lifeId === hello.life ? this.#lastSeq() : 0;
    const [first] = hello.records;
    const at = this.#gapAt(first?.at ?? now, now);
    if (died || this.#lifeId === '') this.life += 1;
    if (died) this.#add({ kind: 'gap', at, died: true });
    if (!died && known > 0 && first !== undefined && first.seq > known + 1) this.#add({ kind: 'gap', at, died: false });
    for (const record of hello.records) if (record.seq > known) this.#add(record);
    this.#lifeId = hello.life;
    this.archive = hello.archive;
    this.lostAt = null;
    this.version = hello.version;
    this.home = hello.home;
    this.standing = hello.standing;
    this.actors = new Map(hello.actors.map((actor) => [actor.id, actor]));
    if (died || (this.chosen !== null && !this.actors.has(this.chosen))) this.chosen = null;
    this.connection = 'live';
  }

  news(news: News): void {
    if (news.begun) {
      this.actors = new Map();
      this.chosen = null;
    }
    for (const actor of news.actors) {
      if (actor.status === 'active' || actor.parent === null) this.actors.set(actor.id, actor);
      else this.actors.delete(actor.id);
    }
    if (this.chosen !== null && !this.actors.has(this.chosen)) this.chosen = null;
    for (const record of news.records) this.#add(record);
  }

  /** The stream has ended, or does not begin. */
  lost(why: 'lost' | 'refused', now: number): void {
    this.connection = why;
    this.lostAt ??= now;
  }

  /** What `12 s ago` is counted from: in a file time stands still. */
  clock(now: number): number {
    return this.archive === null ? now : this.archive.takenAt;
  }

  /** Who took a transition: itself, or whoever has its place now that it is gone. */
  actorOf(record: TransitionRecord): ActorView | null {
    const all = [...this.actors.values()];
    return (
      this.actors.get(record.actor) ??
      all.find(({ name, machine }) => name === record.name && machine === record.machine) ??
      all.find(({ machine }) => machine === record.machine) ??
      null
    );
  }

  /** Between what was told before and what is told after it, whatever the clocks say. */
  #gapAt(next: number, now: number): number {
    const last = this.entries.at(-1)?.record.at ?? 0;
    return Math.max(last, Math.min(this.lostAt ?? now, next));
  }

  /** The actor whose chart is shown. */
  get shown(): ActorView | null {
    return (this.chosen === null ? null : this.actors.get(this.chosen)) ?? this.root;
  }

  get root(): ActorView | null {
    for (const actor of this.actors.values()) if (actor.parent === null) return actor;
    return null;
  }

  /** Every actor below the one it belongs to: machines before what they only wait for. */
  tree(): TreeRow[] {
    const below = new Map<string | null, ActorView[]>();
    for (const actor of this.actors.values()) {
      const parent = actor.parent !== null && this.actors.has(actor.parent) ? actor.parent : null;
      below.set(parent, [...(below.get(parent) ?? []), actor]);
    }
    const rows: TreeRow[] = [];
    const walk = (parent: string | null, depth: number) => {
      const children = below.get(parent) ?? [];
      for (const actor of [...children].sort((a, b) => rank(a) - rank(b))) {
        rows.push({ actor, depth });
        walk(actor.id, depth + 1);
      }
    };
    walk(null, 0);
    return rows;
  }

  /** The transitions that an event caused, or that a transition itself is. */
  transitionOf(entry: Entry): { readonly entry: Entry; readonly record: TransitionRecord } | null {
    const { record, life } = entry;
    if (record.kind === 'transition') return { entry, record };
    if (record.kind !== 'event') return null;
    for (let index = this.#indexOf(entry); index < this.entries.length; index += 1) {
      const later = this.entries[index] as Entry;
      if (later.life !== life) return null;
      if (later.record.kind === 'transition' && later.record.cause === record.seq) {
        return { entry: later, record: later.record };
      }
    }
    return null;
  }

  /** Entries are numbered without holes. */
  #indexOf(entry: Entry): number {
    return Math.max(0, entry.n - (this.entries[0]?.n ?? 0));
  }

  #lastSeq(): number {
    const last = this.entries.findLast(({ record }) => record.kind !== 'gap')?.record;
    return last === undefined || last.kind === 'gap' ? 0 : last.seq;
  }

  #add(record: TimelineRecord | GapRecord): void {
    this.#n += 1;
    this.entries.push({ n: this.#n, life: this.life, record });
    // A thousand at a time: taking each one from the front would cost the length of the list.
    if (this.entries.length > ENTRIES_KEPT + 1_000) this.entries = this.entries.slice(-ENTRIES_KEPT);
  }
}

function rank({ machine }: ActorView): number {
  return machine === null ? 1 : 0;
}

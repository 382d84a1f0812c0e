/** What the inspector's page is told about: a daemon that runs, or a diagnostics file. */
import type { ActorView, Hello, Recording, Standing, TimelineRecord } from '../../wire/inspector.ts';

export type Change =
  | { readonly record: TimelineRecord }
  | { readonly actor: ActorView }
  /** A new agent: nothing of the one before goes on. */
  | { readonly begun: true };

/** Everything it gives is masked. */
export interface Source {
  /** What a stream begins with. */
  hello(): Hello;
  /** Null: there is no agent yet. */
  standing(): Standing | null;
  /** Calls `listener` at each change; the returned function ends that. */
  onChange(listener: (change: Change) => void): () => void;
  /** Calls `listener` after each change of what {@link standing} says; the returned function ends that. */
  onStanding(listener: () => void): () => void;
  recordings(): readonly Recording[] | Promise<readonly Recording[]>;
  /** A policy by its hash, as YAML; null: it is not held, or cannot be read. */
  policy(hash: string): Promise<string | null>;
  /** The last lines of what a component wrote; null: there is no such component. */
  output(component: string): Promise<string | null>;
  /** The last lines of the log, for people. */
  log(): Promise<string>;
}

/**
 * What the inspector's page is told: who the actors are, what they were sent, which transitions they took, and how the agent stands.
 * Types only: the page and its server are always of one build. Times are epoch milliseconds.
 */
import type { Inspection, Status } from './control.ts';

/** Paths that the inspector serves, all by GET. */
export const INSPECTOR_PATH = {
  /** The page. `?token=` lets a browser in, once; from then on a cookie does. */
  page: '/',
  /** Its scripts and styles, by file name. */
  assets: '/assets/',
  /** {@link ChartIndex}. */
  charts: '/charts.json',
  /** One laid-out chart: `/charts/<name>.svg`. */
  chart: '/charts/',
  /** Server-sent events: {@link Hello} first, then {@link News} and {@link Standing}. */
  stream: '/stream',
  /** A policy that is held, as masked YAML: `/policies/<hash>`. */
  policies: '/policies/',
  /** The last lines of a component's output, masked: `/output/<component id>`. */
  output: '/output/',
  /** The last lines of the daemon's own log, masked. */
  log: '/log',
  /** {@link Recording}s of this start and those before it. */
  recordings: '/recordings.json',
} as const;

/** How an actor stands. A machine has `states`; everything else only lives or has ended. */
export interface ActorView {
  /** XState's session id, with {@link Hello.life} and the number of the agent in this process: unique on one page, whoever it is told by. */
  readonly id: string;
  readonly name: string;
  readonly parent: string | null;
  /** The machine's id, which is its chart's name; null: a promise or callback. */
  readonly machine: string | null;
  /** Ids of the active states that have no active state inside them. */
  readonly states: readonly string[];
  readonly status: 'active' | 'done' | 'error' | 'stopped';
}

/** An actor was sent an event. */
export interface EventRecord {
  readonly kind: 'event';
  /** Counts all records of this process, from 1. */
  readonly seq: number;
  readonly at: number;
  /** Names. Null: from outside the system. */
  readonly from: string | null;
  readonly to: string;
  /** The receiver's {@link ActorView.id}. */
  readonly actor: string;
  readonly type: string;
  /** The event without its type: JSON, masked and bounded. */
  readonly payload: string;
}

/** A machine took transitions, all at once. */
export interface TransitionRecord {
  readonly kind: 'transition';
  readonly seq: number;
  readonly at: number;
  readonly actor: string;
  readonly name: string;
  readonly machine: string;
  /** The {@link EventRecord} that it answers; null: none that is known. */
  readonly cause: number | null;
  /** The event's type. */
  readonly type: string;
  /** Ids as in the chart's model: `<source>#<n>`. */
  readonly transitions: readonly string[];
  /** No state was left or entered: only actions ran. */
  readonly stays: boolean;
  /** Where the machine is then, as in {@link ActorView.states}. */
  readonly states: readonly string[];
}

/** A new agent begins in this process. */
export interface BeginRecord {
  readonly kind: 'begin';
  readonly seq: number;
  readonly at: number;
}

export type TimelineRecord = EventRecord | TransitionRecord | BeginRecord;

/** What has happened since the last news. */
export interface News {
  readonly records: readonly TimelineRecord[];
  /** Actors that are new or stand otherwise than before. */
  readonly actors: readonly ActorView[];
  /** A new agent has begun: the actors named before are gone. */
  readonly begun: boolean;
}

/** Is the agent where it should be, in a sentence; and the step that is awaited when it is not. */
export interface Convergence {
  readonly converged: boolean;
  readonly sentence: string;
  /** The plan's step id; null: no step is awaited. */
  readonly step: string | null;
}

/** How the agent stands. */
export interface Standing {
  readonly status: Status;
  /** The first sentence of `holdfast status`. */
  readonly sentence: string;
  readonly convergence: Convergence;
  readonly held: Pick<Inspection, 'journal' | 'outbox' | 'starts'>;
  readonly at: number;
}

/** The first message of a stream. */
export interface Hello {
  /** Another one with each process: process ids come again, in containers at once. */
  readonly life: string;
  /** Set: nothing here lives; it is what a diagnostics file holds. */
  readonly archive: { readonly file: string; readonly takenAt: number } | null;
  readonly version: string;
  readonly pid: number;
  readonly home: string;
  readonly actors: readonly ActorView[];
  readonly records: readonly TimelineRecord[];
  /** Null: there is no agent yet. */
  readonly standing: Standing | null;
}

/** One step of a start from state to state, as it is kept on disk. */
export interface RecordedMoment {
  readonly at: number;
  readonly actor: string;
  readonly event: string;
  /** Who sent the event; absent: from outside, or not known. */
  readonly from?: string;
  /** This step came again so often since it was written last, as health probes do; absent: it stands for itself. */
  readonly times?: number;
  readonly transitions: readonly string[];
  readonly states: readonly string[];
}

/** The last moments of one start. */
export interface Recording {
  /** The start's number; 0: the disk took no writes, so it has none. */
  readonly start: number;
  readonly pid: number;
  /** Oldest first. */
  readonly moments: readonly RecordedMoment[];
  /** By the names of its actors: where each was at the oldest moment that is kept. */
  readonly before: Readonly<Record<string, readonly string[]>>;
  /** Where those were at the end whose last steps were repeats that have no line. */
  readonly after: Readonly<Record<string, readonly string[]>>;
}

export interface ChartIndex {
  readonly views: readonly ChartView[];
  /** By transition id. */
  readonly transitions: Readonly<Record<string, ChartTransitionView>>;
  /** Descriptions by state id. */
  readonly states: Readonly<Record<string, string>>;
}

export interface ChartView {
  readonly name: string;
  readonly title: string;
  readonly machine: string;
}

export interface ChartTransitionView {
  readonly source: string;
  readonly label: string;
  readonly guard: string | null;
  readonly targets: readonly string[];
  readonly actions: readonly string[];
}

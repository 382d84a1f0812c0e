/**
 * Keeps the last transitions of each start on disk, so that a start that was killed can still tell its last moments. Written after the
 * fact and off the path of every commit: what the disk does not take is lost, and nothing waits for it.
 */
import { appendFile, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { AnyActorRef, InspectionEvent } from 'xstate';
import type { RecordedMoment } from '../../wire/inspector.ts';
import { homePaths } from '../home.ts';
import { activeStates, isStaying, machineOf, nameOf, parentOf, transitionIds } from './actors.ts';
import { Repeats } from './repeats.ts';

/** A start keeps between one and two of these, in bytes: the newest hold some hundreds of transitions. */
export const RECORDING_HALF_BYTES = 128 * 1024;
/** Starts whose recordings are kept, this one included. */
export const RECORDINGS_KEPT = 3;
/** Moments that wait for the disk; what comes beyond is lost. */
const WAITING_KEPT = 2_000;

/** First line of each half of a recording. */
export interface RecordingHeader {
  readonly start: number;
  readonly pid: number;
  /** Where each actor was when this half began: the one before it may be gone. */
  readonly before: Readonly<Record<string, readonly string[]>>;
}

/** The two halves of the recording of this start (0) or one before it, older half first. */
export function recordingFiles(home: string, back: number): readonly [string, string] {
  const file = join(homePaths(home).logs, `transitions.${back}.ndjson`);
  return [`${file}.old`, file];
}

/** Where actors were whose last steps were repeats without a line: small, and written over. */
export function recordingEnd(home: string, back: number): string {
  return `${recordingFiles(home, back)[1]}.end`;
}

/** How often that is written while nothing else happens. */
const END_EVERY_MS = 1_000;

export class FlightRecorder {
  readonly #home: string;
  readonly #now: () => number;
  readonly #repeats = new Repeats();
  /** Where each actor that lives was, as far as it is written. */
  readonly #written = new Map<string, readonly string[]>();
  /** Steps that were not written, newest of each actor. */
  readonly #unwritten = new Map<string, { readonly at: number; readonly states: readonly string[] }>();
  #endTimer: NodeJS.Timeout | null = null;
  #waiting: RecordedMoment[] = [];
  #senders = new WeakMap<object, string>();
  #header: Omit<RecordingHeader, 'before'> | null = null;
  #bytes = 0;
  #writing: Promise<void> = Promise.resolve();
  #scheduled = false;
  #lost = 0;

  /** `now`: epoch ms. */
  constructor(home: string, now: () => number = Date.now) {
    this.#home = home;
    this.#now = now;
  }

  /** Moments that were not written. */
  get lost(): number {
    return this.#lost;
  }

  /** Resolves when everything that was seen so far is written, or lost. */
  async settled(): Promise<void> {
    if (this.#endTimer !== null) this.#writeEnd();
    while (this.#scheduled) await new Promise((done) => setImmediate(done));
    await this.#writing;
  }

  /** Never throws. */
  readonly observe = (event: InspectionEvent): void => {
    try {
      if (event.type === '@xstate.microstep') this.#moment(event);
      else if (event.type === '@xstate.event') this.#sent(event);
      else if (event.type === '@xstate.snapshot' && this.#header === null) this.#lookForStart(event);
    } catch {
      this.#lost += 1;
    }
  };

  #sent(event: InspectionEvent & { readonly type: '@xstate.event' }): void {
    const source = event.sourceRef as AnyActorRef | undefined;
    if (source !== undefined) this.#senders.set(event.event, nameOf(source));
  }

  #moment(event: InspectionEvent & { readonly type: '@xstate.microstep' }): void {
    const transitions = transitionIds(event);
    const actor = event.actorRef as AnyActorRef;
    if (transitions.length === 0 || isStaying(event) || machineOf(actor) === null) return;
    const from = this.#senders.get(event.event);
    const seen: RecordedMoment = {
      at: this.#now(),
      actor: nameOf(actor),
      event: event.event.type,
      ...(from === undefined ? {} : { from }),
      transitions,
      states: activeStates(event.snapshot),
    };
    const moment = this.#repeats.judge(seen);
    if (moment === null) {
      this.#unwritten.set(seen.actor, { at: seen.at, states: seen.states });
      this.#endTimer ??= setTimeout(() => this.#writeEnd(), END_EVERY_MS).unref();
      return;
    }
    this.#unwritten.delete(seen.actor);
    if (this.#waiting.length >= WAITING_KEPT) {
      this.#waiting.shift();
      this.#lost += 1;
    }
    this.#waiting.push(moment);
    if (this.#header !== null) this.#schedule();
  }

  /** Nothing is written before boot is over: until then the home may be another daemon's. */
  #lookForStart(event: InspectionEvent & { readonly type: '@xstate.snapshot' }): void {
    if (parentOf(event.actorRef as AnyActorRef) !== null) return;
    const { value, context } = event.snapshot as unknown as {
      readonly value?: unknown;
      readonly context?: { readonly facts?: { readonly starts?: readonly { readonly number: number }[] } };
    };
    const isBooting = value === 'boot' || (typeof value === 'object' && value !== null && 'boot' in value);
    if (isBooting || value === 'stopped' || value === undefined) return;
    this.#header = { start: context?.facts?.starts?.[0]?.number ?? 0, pid: process.pid };
    this.#write(() => this.#makeRoom());
    this.#schedule();
  }

  #writeEnd(): void {
    if (this.#endTimer !== null) clearTimeout(this.#endTimer);
    this.#endTimer = null;
    if (this.#header === null) return;
    const { start } = this.#header;
    const text = JSON.stringify({ start, actors: Object.fromEntries(this.#unwritten) });
    // Torn by a death it is not read: the lines say nearly as much.
    this.#write(() => writeFile(recordingEnd(this.#home, 0), text, { mode: 0o600 }));
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#write(() => this.#append());
    });
  }

  #write(act: () => Promise<void>): void {
    this.#writing = this.#writing.then(act).catch(() => {
      this.#lost += 1;
    });
  }

  async #makeRoom(): Promise<void> {
    await mkdir(dirname(recordingFiles(this.#home, 0)[0]), { recursive: true, mode: 0o700 });
    const filesOf = (back: number) => [...recordingFiles(this.#home, back), recordingEnd(this.#home, back)];
    for (let back = RECORDINGS_KEPT - 1; back >= 0; back -= 1) {
      const to = filesOf(back + 1);
      for (const [half, from] of filesOf(back).entries()) {
        const target = to[half] as string;
        await rm(target, { force: true });
        if (back + 1 < RECORDINGS_KEPT) await rename(from, target).catch(() => undefined);
        else await rm(from, { force: true });
      }
    }
    this.#bytes = 0;
  }

  async #append(): Promise<void> {
    const moments = this.#waiting.splice(0);
    if (moments.length === 0 || this.#header === null) return;
    const [older, file] = recordingFiles(this.#home, 0);
    if (this.#bytes > RECORDING_HALF_BYTES) {
      await rename(file, older);
      this.#bytes = 0;
    }
    const header: RecordingHeader = { ...this.#header, before: Object.fromEntries(this.#written) };
    const lines = [...(this.#bytes === 0 ? [header] : []), ...moments];
    const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
    this.#bytes += Buffer.byteLength(text);
    for (const { actor, states } of moments) {
      // One that has no state left has ended.
      if (states.length === 0) this.#written.delete(actor);
      else this.#written.set(actor, states);
    }
    await appendFile(file, text, { mode: 0o600 });
  }
}

/** Tells what comes again and again by itself (health probes, a damped link, their commits) from what is worth a line of its own. */
import type { RecordedMoment } from '../../wire/inspector.ts';

/** Steps of one actor that are looked back at. */
const LOOKED_BACK = 64;
/** A step that is found more often than this among them is a repeat. */
const OWN_LINES = 2;
/** What the mission itself does is always worth a line. */
const NEVER_REPEATS: ReadonlySet<string> = new Set(['agent', 'components']);
/** Actors that are remembered. */
const ACTORS = 512;

interface Memory {
  /** The newest steps, as keys, oldest first. */
  readonly last: string[];
  /** Repeats that have no line yet, by key. */
  readonly counted: Map<string, number>;
  /** Repeats of one kind are written when there are this many. */
  readonly due: Map<string, number>;
}

export class Repeats {
  readonly #actors = new Map<string, Memory>();

  /** What is to be written: the moment, with the number it stands for when it is a repeat; null: nothing now. */
  judge(moment: RecordedMoment): RecordedMoment | null {
    if (NEVER_REPEATS.has(moment.actor)) return moment;
    const memory = this.#memoryOf(moment.actor);
    const key = `${moment.event} ${moment.transitions.join()} ${moment.states.join()}`;
    memory.last.push(key);
    if (memory.last.length > LOOKED_BACK) memory.last.shift();
    if (memory.last.filter((one) => one === key).length <= OWN_LINES) {
      memory.counted.delete(key);
      memory.due.delete(key);
      return moment;
    }
    const times = (memory.counted.get(key) ?? 0) + 1;
    const due = memory.due.get(key) ?? 2;
    if (times < due) {
      memory.counted.set(key, times);
      return null;
    }
    // Ever more rarely: a year of probes is a handful of lines.
    memory.counted.set(key, 0);
    memory.due.set(key, due * 2);
    return { ...moment, times };
  }

  #memoryOf(actor: string): Memory {
    const known = this.#actors.get(actor);
    if (known !== undefined) return known;
    const [oldest] = this.#actors.keys();
    if (this.#actors.size >= ACTORS && oldest !== undefined) this.#actors.delete(oldest);
    const memory: Memory = { last: [], counted: new Map(), due: new Map() };
    this.#actors.set(actor, memory);
    return memory;
  }
}

/** Plain data without its times, its start numbers and its boots: those are listed beside it, so that two that differ only by a shift can be found equal. */

export interface Shape {
  /** Equal texts have equal numbers. */
  readonly text: number;
  /** Instants, epoch ms, in the order of the text. */
  readonly times: readonly number[];
  /** Numbers of starts. */
  readonly starts: readonly number[];
  /** Numbers of boots. */
  readonly boots: readonly number[];
}

const texts = new Map<string, number>();
const shapes = new WeakMap<object, Shape>();

/** Every world begins at this instant; a smaller number is no time of it. */
const TIMES_FROM = Date.UTC(2025, 11, 1);

export function shapeOf(value: object): Shape {
  const before = shapes.get(value);
  if (before !== undefined) return before;
  const times: number[] = [];
  const starts: number[] = [];
  const boots: number[] = [];
  const text = JSON.stringify(value, (key, inner: unknown) => {
    if (typeof inner === 'number') {
      if (inner >= TIMES_FROM) return `t${times.push(inner)}`;
      if (key === 'number') return `s${starts.push(inner)}`;
      return inner;
    }
    if (typeof inner !== 'string') return inner;
    const boot = /^boot-(\d+)$/.exec(inner);
    if (boot !== null) return `b${boots.push(Number(boot[1]))}`;
    // Instants in words.
    return inner.replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'T');
  });
  const number = texts.get(text) ?? texts.size;
  texts.set(text, number);
  const shape = { text: number, times, starts, boots };
  shapes.set(value, shape);
  return shape;
}

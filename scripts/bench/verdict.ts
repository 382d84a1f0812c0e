/** Whether an encrypted commit costs more than it may, from commits that were measured in turn with readable ones. */

export interface Cost {
  /** From the call to its answer. */
  readonly ms: number;
  /** What this process computed meanwhile. */
  readonly cpuMs: number;
}

/** One commit of each kind, one right after the other. */
export interface Round {
  readonly readable: Cost;
  readonly encrypted: Cost;
}

export interface Verdict {
  /** `unknown`: the host is too restless for these rounds to tell. */
  readonly found: 'within' | 'above' | 'unknown';
  /** An encrypted commit in readable ones, by the time they take. */
  readonly timed: Interval;
  /** The same by what encryption computes beside the faster readable commits: other processes move it less, and it sees no waiting. */
  readonly computed: Interval;
}

/** The median, and the bounds that it lies between with 99 %. */
export interface Interval {
  readonly low: number;
  readonly middle: number;
  readonly high: number;
}

const SIGMAS = 2.576; // 99 %
const FASTER = 0.25;

/** Rounds take turns in which kind goes first; an odd last one does not count. */
export function verdictOf(rounds: readonly Round[], limit: number): Verdict {
  const turns = rounds.flatMap((round, at) => {
    const before = rounds[at - 1];
    return at % 2 === 1 && before !== undefined ? [[before, round] as const] : [];
  });
  const timed = medianOf(turns.map(([one, other]) => Math.sqrt(ratioOf(one) * ratioOf(other))));
  const fast = quantile(
    rounds.map(({ readable }) => readable.ms),
    FASTER,
  );
  const computed = medianOf(turns.map(([one, other]) => 1 + (extraOf(one) + extraOf(other)) / 2 / fast));
  const sides = [timed, computed].map(({ low, high }) =>
    low > limit ? 'above' : high <= limit ? 'within' : 'unknown',
  );
  return { found: sides.find((side) => side !== 'unknown') ?? 'unknown', timed, computed };
}

function ratioOf({ readable, encrypted }: Round): number {
  return encrypted.ms / readable.ms;
}

function extraOf({ readable, encrypted }: Round): number {
  return encrypted.cpuMs - readable.cpuMs;
}

/** Between order statistics, so that a few wild values move nothing. */
function medianOf(values: readonly number[]): Interval {
  const spread = (SIGMAS * Math.sqrt(values.length)) / 2 / values.length;
  return { low: quantile(values, 0.5 - spread), middle: quantile(values, 0.5), high: quantile(values, 0.5 + spread) };
}

function quantile(values: readonly number[], share: number): number {
  const at = Math.floor(share * values.length);
  return values.toSorted((a, b) => a - b)[Math.min(Math.max(at, 0), values.length - 1)] ?? Number.NaN;
}

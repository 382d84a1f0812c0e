/** Many worlds, their sum, and of a failing one the shortest schedule that still fails. */
import { PROMISES } from './oracle.ts';
import { type Happening, SCENARIOS, type Scenario, scheduleOf } from './schedule.ts';
import { type Outcome, runWorld } from './world.ts';

export interface Failure {
  readonly seed: number;
  readonly scenario: Scenario;
  /** The first promise that was broken, and how. */
  readonly promise: string;
  readonly message: string;
}

/** What many worlds came to; plain data, so that workers can send it. */
export interface Tally {
  worlds: number;
  events: number;
  lives: number;
  readonly failures: Failure[];
  /** Promise → how often it was looked at. */
  readonly checks: Record<string, number>;
  /** `<fault kind>|<state>` → times. */
  readonly struck: Record<string, number>;
}

export function emptyTally(): Tally {
  return { worlds: 0, events: 0, lives: 0, failures: [], checks: {}, struck: {} };
}

/** Each seed has its scenario, unless one is asked for. */
export function scenarioOf(seed: number, asked: Scenario | null): Scenario {
  return asked ?? (SCENARIOS[seed % SCENARIOS.length] as Scenario);
}

export async function runSeed(seed: number, asked: Scenario | null, into: Tally): Promise<Outcome> {
  const scenario = scenarioOf(seed, asked);
  const outcome = await runWorld({ seed, schedule: scheduleOf(seed, scenario) });
  into.worlds += 1;
  into.events += outcome.events;
  into.lives += outcome.lives;
  for (const [promise, times] of outcome.checks) into.checks[promise] = (into.checks[promise] ?? 0) + times;
  for (const [key, times] of outcome.struck) into.struck[key] = (into.struck[key] ?? 0) + times;
  const [first] = outcome.violations;
  if (first) into.failures.push({ seed, scenario, promise: first.promise, message: first.message });
  return outcome;
}

export function merge(into: Tally, from: Tally): void {
  into.worlds += from.worlds;
  into.events += from.events;
  into.lives += from.lives;
  into.failures.push(...from.failures);
  for (const [key, times] of Object.entries(from.checks)) into.checks[key] = (into.checks[key] ?? 0) + times;
  for (const [key, times] of Object.entries(from.struck)) into.struck[key] = (into.struck[key] ?? 0) + times;
}

/** Leaves out one thing after the other as long as the same promise still breaks. The places in the whole schedule that are left. */
export async function shrink({ seed, scenario, promise }: Failure): Promise<readonly number[]> {
  const whole = scheduleOf(seed, scenario);
  let kept = whole.map((_, at) => at);
  const fails = async (places: readonly number[]) => {
    const { violations } = await runWorld({ seed, schedule: places.map((at) => whole[at] as Happening) });
    return violations.some((one) => one.promise === promise);
  };
  for (let progress = true; progress; ) {
    progress = false;
    for (const place of kept.toReversed()) {
      const fewer = kept.filter((at) => at !== place);
      if (!(await fails(fewer))) continue;
      kept = fewer;
      progress = true;
    }
  }
  return kept;
}

/** States × fault kinds × promises, as text. */
export function tableOf(tally: Tally): string {
  const lines = ['promise   looked at'];
  for (const promise of PROMISES) lines.push(`${promise.padEnd(8)} ${String(tally.checks[promise] ?? 0).padStart(10)}`);
  const kinds = new Map<string, { times: number; readonly states: Set<string> }>();
  for (const [key, times] of Object.entries(tally.struck)) {
    const [kind = '', state = ''] = key.split('|');
    const entry = kinds.get(kind) ?? { times: 0, states: new Set<string>() };
    entry.times += times;
    entry.states.add(state);
    kinds.set(kind, entry);
  }
  lines.push('', `${'fault'.padEnd(22)}${'times'.padStart(9)}   struck in`);
  for (const [kind, { times, states }] of [...kinds].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    lines.push(`${kind.padEnd(22)}${String(times).padStart(9)}   ${[...states].toSorted().join(', ')}`);
  }
  return lines.join('\n');
}

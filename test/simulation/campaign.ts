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
  /** `<fault kind>|<promise>` → how often the promise was looked at in worlds that the fault struck. */
  readonly judged: Record<string, number>;
}

export function emptyTally(): Tally {
  return { worlds: 0, events: 0, lives: 0, failures: [], checks: {}, struck: {}, judged: {} };
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
  for (const kind of new Set([...outcome.struck.keys()].map(kindOf))) {
    for (const [promise, times] of outcome.checks) {
      into.judged[`${kind}|${promise}`] = (into.judged[`${kind}|${promise}`] ?? 0) + times;
    }
  }
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
  for (const [key, times] of Object.entries(from.judged)) into.judged[key] = (into.judged[key] ?? 0) + times;
}

/** Of `<fault kind>|<state>`: all garbage is one kind, all statuses another. */
function kindOf(struck: string): string {
  return (struck.split('|')[0] ?? '').replace(/ \d+$/, '');
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

/** States × fault kinds × promises, as text: where each fault struck, and how often each promise was looked at in the worlds it struck. */
export function tableOf(tally: Tally): string {
  const row = (name: string, of: (promise: string) => number) =>
    `${name.padEnd(20)}${PROMISES.map((promise) => String(of(promise)).padStart(9)).join('')}`;
  const keys = Object.keys(tally.struck);
  const names = [...new Set(keys.map(kindOf))].toSorted();
  const lines = [`${'looked at'.padEnd(20)}${PROMISES.map((promise) => promise.padStart(9)).join('')}`];
  lines.push(row('in all worlds', (promise) => tally.checks[promise] ?? 0));
  for (const name of names) lines.push(row(name, (promise) => tally.judged[`${name}|${promise}`] ?? 0));
  lines.push('', `${'fault'.padEnd(20)}${'times'.padStart(9)}   struck in`);
  for (const name of names) {
    const struck = keys.filter((key) => kindOf(key) === name);
    const times = struck.reduce((sum, key) => sum + (tally.struck[key] ?? 0), 0);
    const states = [...new Set(struck.map((key) => key.split('|')[1] ?? ''))].toSorted();
    lines.push(`${name.padEnd(20)}${String(times).padStart(9)}   ${states.join(', ')}`);
  }
  return lines.join('\n');
}

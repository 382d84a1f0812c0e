/** What an exploration came to, as text. */
import type { Broken, Explored } from './explore.ts';

const HEADINGS = ['points', 'raw', 'distinct', '2nd points', '2nd raw', '2nd distinct', 'broken'] as const;

function countsOf(one: Explored): readonly number[] {
  const { points, raw, distinct, secondPoints, secondRaw, secondDistinct, broken } = one;
  return [points, raw, distinct, secondPoints, secondRaw, secondDistinct, broken.length];
}

function line(name: string, cells: readonly (string | number)[]): string {
  return name.padEnd(32) + cells.map((cell) => String(cell).padStart(13)).join('');
}

export function tableOf(all: readonly Explored[]): string {
  const sums = HEADINGS.map((_, at) => all.reduce((sum, one) => sum + (countsOf(one)[at] as number), 0));
  return [
    line('scenario', HEADINGS),
    ...all.map((one) => line(one.scenario, countsOf(one))),
    line(`total of ${all.length}`, sums),
  ].join('\n');
}

export function brokenInWords({ scenario, promise, message, path, doing }: Broken): string {
  const lines = [`BROKEN ${promise} in ${scenario}: ${message}`];
  for (const [at, name] of path.entries())
    lines.push(`  ${at === 0 ? 'crash' : 'and, during the recovery, crash'} at ${name}: ${doing[at]}`);
  lines.push(`  replay: ${replayOf(scenario, path)}`);
  return lines.join('\n');
}

export function replayOf(scenario: string, path: readonly string[]): string {
  const [at, then] = path;
  const where = [at === undefined ? '' : ` --at '${at}'`, then === undefined ? '' : ` --then '${then}'`].join('');
  return `npm run exhaustive -- --scenario '${scenario}' --replay${where}`;
}

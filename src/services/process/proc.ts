/** What /proc says about processes: who one is, whether it lives, and what was in its environment. */
import { readdir, readFile, readlink } from 'node:fs/promises';

/** One process at one moment. `pid` and `startTime` together name it in one boot. */
export interface ProcessFacts {
  readonly pid: number;
  /** Clock ticks since boot, as text: it may outgrow a double. */
  readonly startTime: string;
  readonly state: string;
  readonly group: number;
  readonly session: number;
}

/** Null: there is no such process (any more). */
export async function readProcess(pid: number): Promise<ProcessFacts | null> {
  try {
    return parseStat(await readFile(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return null;
  }
}

/** The program's name stands in parentheses and may hold anything, so fields are counted from the last one. */
function parseStat(stat: string): ProcessFacts | null {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, , group, session] = fields;
  const startTime = fields[19];
  if (state === undefined || startTime === undefined) return null;
  return { pid: Number.parseInt(stat, 10), startTime, state, group: Number(group), session: Number(session) };
}

/** A zombie has ended; only its parent has not noticed. */
export function lives(facts: ProcessFacts | null): facts is ProcessFacts {
  return facts !== null && facts.state !== 'Z' && facts.state !== 'X';
}

/** Every process that lives in this pid namespace. */
export async function allProcesses(): Promise<ProcessFacts[]> {
  const entries = await readdir('/proc').catch(() => []);
  const found = await Promise.all(entries.filter((name) => /^\d+$/.test(name)).map((pid) => readProcess(Number(pid))));
  return found.filter(lives);
}

/** The environment a process was started with; empty when it cannot be read or the program has written its title over it. */
export async function readEnvironment(pid: number): Promise<ReadonlyMap<string, string>> {
  const text = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
  const pairs = text.split('\0').flatMap((entry): [string, string][] => {
    const equals = entry.indexOf('=');
    return equals > 0 ? [[entry.slice(0, equals), entry.slice(equals + 1)]] : [];
  });
  return new Map(pairs);
}

/** The arguments of a process, NUL-separated; empty when it has ended. */
export async function readCommandLine(pid: number): Promise<string> {
  return readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
}

/** Names the pid namespace a process lives in, such as `pid:[4026531836]`; a pid means something only inside it. */
export async function pidNamespaceOf(pid: number | 'self'): Promise<string> {
  return readlink(`/proc/${pid}/ns/pid`).catch(() => 'unknown');
}

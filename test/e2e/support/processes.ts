/** Which processes belong to a home: the proof that nothing is left running. */
import { readdirSync, readFileSync } from 'node:fs';

export interface Found {
  readonly pid: number;
  readonly command: string;
}

/** Live processes whose command line or environment names a directory. */
export function processesNaming(directory: string): Found[] {
  return alive().filter(({ pid, command }) => `${command}\0${read(`/proc/${pid}/environ`)}`.includes(directory));
}

/** Live processes with HOLDFAST_HOME=<home> in their environment: components, and what they started. */
export function componentsOf(home: string): Found[] {
  return alive().filter(({ pid }) => read(`/proc/${pid}/environ`).split('\0').includes(`HOLDFAST_HOME=${home}`));
}

function alive(): Found[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter(isAlive)
    .map((pid) => ({ pid, command: read(`/proc/${pid}/cmdline`).split('\0').join(' ').trim() }));
}

/** False also of a zombie, which nobody may ever collect. */
export function isAlive(pid: number): boolean {
  const stat = read(`/proc/${pid}/stat`);
  return stat !== '' && !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

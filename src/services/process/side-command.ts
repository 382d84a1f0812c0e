/** A command beside a component (a check, a probe, a reload): run to its end, its output bounded, its whole group killed when time is over. */
import { spawn } from 'node:child_process';
import type { Command } from '../../policy/component.ts';
import { hideSecrets } from '../log/known-secrets.ts';
import { argvOf, endOf, environmentOf } from './launch.ts';
import { SIDE_OF } from './members.ts';

/** What is kept of its output, in bytes. */
const OUTPUT_MAX_BYTES = 64 * 1024;

export interface SideCommandOptions {
  readonly id: string;
  readonly home: string;
  readonly cwd: string;
  readonly timeoutMs: number;
  readonly abort?: AbortSignal | undefined;
}

export interface SideCommandResult {
  readonly ok: boolean;
  /** How it ended: `exited with code 1`, `did not end within 10 s`. */
  readonly how: string;
  /** Standard output and error as they came, at most 64 KiB, then cut at the end of a line: half a secret would not be recognised. */
  readonly output: string;
}

export async function runSideCommand(run: Command, options: SideCommandOptions): Promise<SideCommandResult> {
  const [command = '', ...args] = await argvOf(run);
  const child = spawn(command, args, {
    cwd: run.cwd ?? options.cwd,
    env: { ...environmentOf(run, options), [SIDE_OF]: String(process.pid) },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const chunks: Buffer[] = [];
  let bytes = 0;
  const keep = (chunk: Buffer) => {
    if (bytes < OUTPUT_MAX_BYTES) chunks.push(chunk.subarray(0, OUTPUT_MAX_BYTES - bytes));
    bytes += chunk.length;
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  // What it printed last may arrive after its end; what it left running in the background must not hold the pipes open for ever.
  const drained = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const ended = endOf(child);
  const result = await endOrTimeout(ended, options);
  killGroup(child.pid);
  await Promise.race([drained, new Promise((resolve) => setTimeout(resolve, 200))]);
  child.stdout.destroy();
  child.stderr.destroy();
  options.abort?.throwIfAborted();
  const output = Buffer.concat(chunks).toString('utf8');
  const wholeLines = bytes > OUTPUT_MAX_BYTES ? output.lastIndexOf('\n') + 1 : 0;
  return { ...result, output: wholeLines > 0 ? output.slice(0, wholeLines) : output };
}

async function endOrTimeout(
  ended: Promise<string>,
  { timeoutMs, abort }: SideCommandOptions,
): Promise<{ ok: boolean; how: string }> {
  let stop = () => {};
  const late = new Promise<string>((resolve) => {
    const timer = setTimeout(() => resolve(`did not end within ${timeoutMs / 1000} s`), timeoutMs);
    const onAbort = () => resolve('was not awaited any longer');
    abort?.addEventListener('abort', onAbort, { once: true });
    if (abort?.aborted) onAbort();
    stop = () => {
      clearTimeout(timer);
      abort?.removeEventListener('abort', onAbort);
    };
  });
  const how = await Promise.race([ended, late]);
  stop();
  return { ok: how === 'exited with code 0', how };
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // Nothing of it was left.
  }
}

/** The lines of a program's output that say most: those that complain, else the first; at most three, bounded. */
export function usefulLines(output: string): string {
  const lines = hideSecrets(output)
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const complaints = lines.filter((line) => /error|emerg|crit|fatal|invalid|unknown|unexpected|fail|not /i.test(line));
  return (complaints.length > 0 ? complaints : lines).slice(0, 3).join('; ').slice(0, 400);
}

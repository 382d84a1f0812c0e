/** Starts a program that outlives this one: in a session of its own, its output in a file, and on record before it runs. */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { type FileHandle, lstat, open, rename, rm } from 'node:fs/promises';
import { HoldfastError } from '../../errors.ts';
import type { Command } from '../../policy/component.ts';
import { readCommandLine, readProcess } from './proc.ts';
import type { ProcessRecord, RecordStub } from './record.ts';
import { accountOf } from './user.ts';

/**
 * The launcher: it writes its own pid and start time on record, then becomes the program, so there is no moment at which the program
 * runs unrecorded. No fsync: after a power cut the process is gone too. When the record cannot be written (a full disk) the program runs
 * all the same (P11); the name in its environment still tells whose it is.
 */
const LAUNCHER = `record=$1 rest=$2; shift 2
read -r stat </proc/$$/stat
start_time() { shift 19; echo "$1"; }
if printf '{"pid":%s,"startTime":"%s",%s\\n' $$ "$(start_time \${stat##*) })" "$rest" >"$record.tmp"; then
  mv -f "$record.tmp" "$record"
fi`;

/** ulimit's letters. Shells agree on their units, and on all letters but the one for processes: bash has -u, dash -p. */
const LIMITS: Readonly<Record<string, readonly string[]>> = {
  as: ['-v'],
  core: ['-c'],
  cpu: ['-t'],
  data: ['-d'],
  fsize: ['-f'],
  memlock: ['-l'],
  nofile: ['-n'],
  nproc: ['-u', '-p'],
  stack: ['-s'],
};

/** Of this process's own environment a component gets only what any program needs: the rest may hold secrets, such as an enrollment token. */
const INHERITED = ['PATH', 'HOME', 'USER', 'LOGNAME', 'SHELL', 'LANG', 'LANGUAGE', 'TZ', 'TMPDIR'];

export interface LaunchOptions {
  readonly id: string;
  readonly home: string;
  readonly run: Command;
  readonly limits: Readonly<Record<string, number>>;
  readonly cwd: string;
  readonly outputPath: string;
  readonly recordPath: string;
  readonly stub: RecordStub;
}

export interface LaunchedProcess {
  readonly child: ChildProcess;
  readonly record: ProcessRecord;
  /** How it ended: `exited with code 1`. */
  readonly ended: Promise<string>;
}

/** What a disk that takes no writes answers, and a directory that could not be moved out of the way. */
const NO_WRITES = new Set(['EROFS', 'ENOSPC', 'EDQUOT', 'EIO', 'EISDIR', 'ENXIO', 'ELOOP']);
/** Never through a link, and without waiting for a reader of what should be a file. */
const APPEND =
  constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** Where nothing can be written the program runs without its output (P11): only what is looked for in that is missed. */
async function openOutput(path: string): Promise<FileHandle> {
  const there = await lstat(path).catch(() => null);
  if (there !== null && !there.isFile()) {
    const aside = `${path}.aside`;
    await rm(aside, { recursive: true, force: true })
      .then(() => rename(path, aside))
      .catch(() => undefined);
  }
  try {
    return await open(path, APPEND, 0o600);
  } catch (error) {
    if (!NO_WRITES.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
    return open('/dev/null', 'a');
  }
}

/** Resolves when the launcher has become the program. Rejects when that ended first. */
export async function launchProcess(options: LaunchOptions): Promise<LaunchedProcess> {
  const argv = await argvOf(options.run);
  const script = `${LAUNCHER}\n${limitLines(options.limits)}exec "$@"`;
  const output = await openOutput(options.outputPath);
  try {
    const child = spawn(
      '/bin/sh',
      ['-c', script, 'holdfast-launcher', options.recordPath, restOf(options.stub), ...argv],
      {
        cwd: options.cwd,
        env: environmentOf(options.run, options),
        detached: true,
        stdio: ['ignore', output.fd, output.fd],
      },
    );
    const ended = endOf(child);
    child.unref();
    if (child.pid === undefined) throw new HoldfastError('COMPONENT_START_FAILED', await ended);
    await becomesProgram(child, child.pid, options.recordPath, ended);
    const facts = await readProcess(child.pid);
    const startTime = facts?.startTime ?? '0';
    return { child, record: { ...options.stub, pid: child.pid, startTime }, ended };
  } finally {
    await output.close();
  }
}

/** The environment of a component's program. Its last two entries are the name by which the next start knows it. */
export function environmentOf(run: Command, { home, id }: { home: string; id: string }): Record<string, string> {
  const inherited = Object.entries(process.env).filter(
    (entry): entry is [string, string] =>
      entry[1] !== undefined && (INHERITED.includes(entry[0]) || entry[0].startsWith('LC_')),
  );
  return { ...Object.fromEntries(inherited), ...run.env, HOLDFAST_HOME: home, HOLDFAST_COMPONENT: id };
}

/** The command line, through setpriv when it is to run as another user. */
export async function argvOf(run: Command): Promise<string[]> {
  const account = await accountOf(run.user);
  const become = account ? ['setpriv', `--reuid=${account.uid}`, `--regid=${account.gid}`, '--init-groups', '--'] : [];
  return [...become, run.command, ...run.args];
}

/** How a child ended, in words. Never rejects. */
export function endOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(`could not be started: ${error.message}`));
    child.once('exit', (code, signal) =>
      resolve(signal === null ? `exited with code ${code}` : `was ended by ${signal}`),
    );
  });
}

function restOf(stub: RecordStub): string {
  return JSON.stringify(stub).slice(1);
}

function limitLines(limits: Readonly<Record<string, number>>): string {
  return Object.entries(limits)
    .map(([name, value]) => {
      const letters = LIMITS[name];
      if (letters === undefined || !Number.isInteger(value) || value < 0) {
        const known = Object.keys(LIMITS).join(', ');
        throw new HoldfastError('COMPONENT_START_FAILED', `no such limit: ${name}: ${value}; known are ${known}`);
      }
      // Only the last one may complain: of the others a shell may not know the letter.
      const tries = letters.map(
        (letter, at) => `ulimit ${letter} ${value}${at < letters.length - 1 ? ' 2>/dev/null' : ''}`,
      );
      return `${tries.join(' || ')} || exit 126\n`;
    })
    .join('');
}

/** A new program has a new command line; nothing else shows an exec to others. */
async function becomesProgram(
  child: ChildProcess,
  pid: number,
  recordPath: string,
  ended: Promise<string>,
): Promise<void> {
  let end: string | null = null;
  void ended.then((how) => {
    end = how;
  });
  while (end === null && child.exitCode === null && child.signalCode === null) {
    const line = await readCommandLine(pid);
    if (line !== '' && !line.includes(`\0holdfast-launcher\0${recordPath}\0`)) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new HoldfastError('COMPONENT_START_FAILED', await ended);
}

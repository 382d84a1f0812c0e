/** `holdfast status`: what the daemon does and holds; from disk when none runs. */
import { Command } from 'commander';
import { EXIT, HoldfastError } from '../errors.ts';
import { controlClient } from '../services/control/client.ts';
import { lastWords, momentInWords, readRecordings } from '../services/inspector/recordings.ts';
import type { LoadOptions } from '../services/settings/load.ts';
import type { Status } from '../wire/control.ts';
import { statusFromDisk } from './from-disk.ts';
import { settingsSources } from './options.ts';
import { statusText } from './status-text.ts';
import type { Surroundings } from './surroundings.ts';
import { type Moment, watchLine, watchText } from './watch-text.ts';

/** How often a watch looks whether a daemon runs again, and the text is drawn anew so that its times stay true. */
const LOOK_EVERY_MS = 1_000;
/** Last events that a watch shows; a small terminal has room for them. */
const MOMENTS = 6;
/** Steps that are looked through for them: most of what an agent at rest does is health probes. */
const MOMENTS_READ = 2_000;

export function statusCommand(surroundings: Surroundings, exit: (code: number) => void): Command {
  return new Command('status')
    .description('say what runs, what is held and what Fleet knows; exit code 0 only when healthy')
    .option('--json', 'print the whole status as one JSON object')
    .option('--watch', 'go on until interrupted, at each change')
    .action(async (options: { json?: boolean; watch?: boolean }, command: Command) => {
      const sources = settingsSources(command, surroundings);
      if (options.watch) return exit(await watch(sources, options.json ?? false, surroundings));
      const status = await currentStatus(sources, surroundings);
      surroundings.terminal.out(shown(status, options.json ?? false, surroundings));
      exit(exitCodeOf(status));
    });
}

/** 0 only when healthy; 4 when no daemon runs; 3 when it runs without an enrollment. */
function exitCodeOf(status: Status): number {
  if (status.pid === 0) return EXIT.notRunning;
  if (!status.agent.enrolled) return EXIT.notEnrolled;
  return status.health === 'healthy' ? EXIT.success : EXIT.failure;
}

async function currentStatus(sources: LoadOptions, surroundings: Surroundings): Promise<Status> {
  try {
    return await controlClient(sources.home, surroundings.env).status();
  } catch (thrown) {
    if (!(thrown instanceof HoldfastError) || thrown.code !== 'NOT_RUNNING') throw thrown;
    return statusFromDisk(sources, surroundings);
  }
}

function shown(status: Status, json: boolean, { nowMs }: Surroundings): string {
  return json ? `${JSON.stringify(status)}\n` : statusText(status, nowMs());
}

/** Shows the status until interrupted: drawn over itself on a terminal, a line for each change elsewhere. */
async function watch(sources: LoadOptions, json: boolean, surroundings: Surroundings): Promise<number> {
  const { terminal } = surroundings;
  const interrupted = new AbortController();
  const unlisten = surroundings.onSignal(['SIGINT', 'SIGTERM'], () => interrupted.abort());
  const redraws = terminal.outIsTerminal && !json;
  let drawn = 0;
  let last: Status | null = null;
  let said = '';
  const line = (status: Status) => {
    // At one and the same instant, so that the time that passes is no change.
    const now = watchLine(status, 0);
    if (now !== said) terminal.out(watchLine(status, surroundings.nowMs()));
    said = now;
  };
  const show = (status: Status) => {
    last = status;
    if (json) return terminal.out(shown(status, json, surroundings));
    if (!redraws) return line(status);
    const text = watchText(status, lastMoments(sources.home), surroundings.nowMs(), terminal);
    terminal.out(`${drawn > 0 ? `\x1b[${drawn}A\r` : ''}\x1b[J${text}`);
    drawn = text.split('\n').length - 1;
  };
  const clock = redraws ? setInterval(() => last && show(last), LOOK_EVERY_MS) : null;
  try {
    let saidDown = false;
    while (!interrupted.signal.aborted) {
      try {
        for await (const status of controlClient(sources.home, surroundings.env).watch(interrupted.signal)) {
          saidDown = false;
          show(status);
        }
      } catch (thrown) {
        if (interrupted.signal.aborted) break;
        if (!(thrown instanceof HoldfastError) || thrown.code !== 'NOT_RUNNING') throw thrown;
      }
      if (interrupted.signal.aborted) break;
      if (!saidDown) show(await statusFromDisk(sources, surroundings));
      saidDown = true;
      await pause(LOOK_EVERY_MS, interrupted.signal);
    }
  } finally {
    if (clock) clearInterval(clock);
    unlisten();
  }
  return EXIT.success;
}

/** The last steps that the newest start has recorded. */
function lastMoments(home: string): Moment[] {
  const [newest] = readRecordings(home, MOMENTS_READ);
  return (newest === undefined ? [] : lastWords(newest, MOMENTS)).map((one) => ({
    at: one.at,
    words: momentInWords(one),
  }));
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

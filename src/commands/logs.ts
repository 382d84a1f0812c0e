/** `holdfast logs`: the daemon's own log, or what a component wrote; needs no daemon. */
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { EXIT, HoldfastError } from '../errors.ts';
import { componentPaths } from '../services/home.ts';
import { LOG_FILE } from '../services/log/logger.ts';
import { prettyLines } from '../services/log/pretty.ts';
import { followLines, lastLines, MOST_LINES } from '../services/log/read-log.ts';
import { type GlobalOptions, homeOf, settingsSources } from './options.ts';
import { hiderFor } from './shown-secrets.ts';
import type { Surroundings } from './surroundings.ts';

interface LogsOptions extends GlobalOptions {
  readonly follow?: boolean;
  readonly lines: number;
  readonly component?: string;
  readonly json?: boolean;
}

export function logsCommand(surroundings: Surroundings, exit: (code: number) => void): Command {
  return new Command('logs')
    .description("show the daemon's log, or what a component wrote")
    .option('-f, --follow', 'go on until interrupted')
    .option('-n, --lines <count>', 'lines to begin with', lineCount, 50)
    .option('--component <id>', 'what this component wrote')
    .option('--json', 'print the lines as they are on disk (ECS)')
    .action(async (_: unknown, command: Command) => {
      const options = command.optsWithGlobals<LogsOptions>();
      const { terminal, env } = surroundings;
      const home = homeOf(command, surroundings);
      const path = options.component === undefined ? join(home, LOG_FILE) : outputOf(home, options.component);
      const raw = options.json || options.logFormat === 'ecs' || options.component !== undefined;
      const pretty = raw ? null : prettyLines({ colour: terminal.outIsTerminal && !env.NO_COLOR });
      refuseUnreadable(path);
      // The log was masked when it was written; what a program writes was not.
      const hide =
        options.component === undefined ? asItIs : await hiderFor(settingsSources(command, surroundings), surroundings);
      const show = (line: string) => terminal.out(pretty ? pretty(line) : `${hide(line)}\n`);

      const lines = lastLines(path, options.lines);
      // As a whole: some secrets, private keys among them, are known by more than one line.
      for (const line of lines.length === 0 ? [] : hide(lines.join('\n')).split('\n')) show(line);
      if (options.follow) {
        const interrupted = new AbortController();
        const unlisten = surroundings.onSignal(['SIGINT', 'SIGTERM'], () => interrupted.abort());
        await followLines(path, show, interrupted.signal);
        unlisten();
      } else if (lines.length === 0 && options.lines > 0) {
        throw new HoldfastError('USAGE', `there is nothing in ${path}`);
      }
      exit(EXIT.success);
    });
}

function asItIs(text: string): string {
  return text;
}

/** A log of another user is not an empty log. */
function refuseUnreadable(path: string): void {
  try {
    accessSync(path, constants.R_OK);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'EACCES') throw new HoldfastError('CONTROL_REFUSED', `${path} cannot be read: ${message}`);
  }
}

/** The output file of a component; its id is a directory name and nothing else. */
function outputOf(home: string, id: string): string {
  if (!/^[\w.@-]+$/.test(id) || id === '.' || id === '..') {
    throw new HoldfastError('USAGE', `${JSON.stringify(id)} is not the id of a component`);
  }
  return componentPaths(home, id).output;
}

function lineCount(text: string): number {
  const count = Number(text);
  if (!/^\d+$/.test(text) || count > MOST_LINES)
    throw new InvalidArgumentError(`It wants a whole number up to ${MOST_LINES}.`);
  return count;
}

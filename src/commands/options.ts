/** The options that every command takes, and what they come to. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { HoldfastError } from '../errors.ts';
import { createLogger, LOG_FILE, type Logger } from '../services/log/logger.ts';
import { homeDirectory, type LoadOptions } from '../services/settings/load.ts';
import { type Flag, readSettings } from '../services/settings/read.ts';
import type { Settings } from '../services/settings/settings.ts';
import type { Surroundings } from './surroundings.ts';

export interface GlobalOptions {
  readonly home?: string;
  readonly config?: string;
  readonly logLevel?: string;
  readonly logFormat?: string;
}

export function addGlobalOptions(program: Command): void {
  program
    .option('--home <dir>', 'state directory (default: $HOLDFAST_HOME, else /var/lib/holdfast as root)')
    .option('--config <file>', 'settings file (default: <home>/holdfast.yml)')
    .option('--log-level <level>', 'trace, debug, info, warning or error')
    .option('--log-format <format>', 'ecs or pretty (default: pretty on a terminal)');
}

/** The home directory that this command line names. */
export function homeOf(command: Command, { env, uid }: Surroundings): string {
  return homeDirectory(command.optsWithGlobals<GlobalOptions>().home, env, uid);
}

/** Where the settings of this command line come from; `more` are options of the command itself. */
export function settingsSources(command: Command, surroundings: Surroundings, more: readonly Flag[] = []): LoadOptions {
  const options = command.optsWithGlobals<GlobalOptions>();
  return {
    home: homeOf(command, surroundings),
    config: options.config,
    env: surroundings.env,
    flags: [
      { option: '--log-level', key: 'agent.logging.level', value: options.logLevel },
      { option: '--log-format', key: 'agent.logging.format', value: options.logFormat },
      ...more,
    ],
  };
}

/**
 * Refuses what was typed wrong, also where a command needs no settings. The daemon looks itself: where there is something to lose it starts
 * all the same (P11).
 */
export function checkGlobalOptions(command: Command, surroundings: Surroundings): void {
  if (command.name() === 'run') return;
  const { config, ...typed } = settingsSources(command, surroundings);
  const complaints = [...readSettings({ file: null, env: {}, flags: typed.flags }).complaints];
  if (config !== undefined && !existsSync(config)) complaints.push(`option --config: ${config}: there is no such file`);
  if (complaints.length > 0) throw new HoldfastError('SETTINGS_INVALID', complaints.join('\n'));
}

/** The daemon's log: to the log file of its home and to standard output. */
export function daemonLogger(home: string, settings: Settings, { terminal, version }: Surroundings): Logger {
  return createLogger({
    level: settings.logging.level,
    format: settings.logging.format,
    screen: { write: (text) => terminal.out(text), isTTY: terminal.outIsTerminal },
    file: join(home, LOG_FILE),
    version,
  });
}

/** Collects an option that may be given more than once. */
export function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

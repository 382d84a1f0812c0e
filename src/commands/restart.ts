/** `holdfast restart`: asks the daemon to stop and start everything anew, in the same process. */
import type { Command } from 'commander';
import { askCommand } from './ask.ts';
import type { Surroundings } from './surroundings.ts';

export function restartCommand(surroundings: Surroundings, exit: (code: number) => void): Command {
  return askCommand(
    'restart',
    'stop and start everything anew, in the same process',
    (client) => client.restart('holdfast restart'),
    surroundings,
    exit,
  );
}

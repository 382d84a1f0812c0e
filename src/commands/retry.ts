/** `holdfast retry`: asks the daemon to try what was rejected or passed over again, now. */
import type { Command } from 'commander';
import { askCommand } from './ask.ts';
import type { Surroundings } from './surroundings.ts';

export function retryCommand(surroundings: Surroundings, exit: (code: number) => void): Command {
  return askCommand(
    'retry',
    'try what was rejected or passed over again, now; exit code 1 when there is nothing',
    (client) => client.retry(),
    surroundings,
    exit,
  );
}

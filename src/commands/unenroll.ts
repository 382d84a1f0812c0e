/** `holdfast unenroll`: asks the daemon to leave Fleet and manage nothing any more. */
import type { Command } from 'commander';
import { askCommand } from './ask.ts';
import type { Surroundings } from './surroundings.ts';

export function unenrollCommand(surroundings: Surroundings, exit: (code: number) => void): Command {
  return askCommand(
    'unenroll',
    'leave Fleet and manage nothing any more',
    (client) => client.unenroll('holdfast unenroll'),
    surroundings,
    exit,
  );
}

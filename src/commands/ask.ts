/** `holdfast retry`, `restart` and `unenroll`: one request to the daemon each, and what it answered. */
import { Command } from 'commander';
import { EXIT } from '../errors.ts';
import { type ControlClient, controlClient } from '../services/control/client.ts';
import type { Accepted } from '../wire/control.ts';
import { homeOf } from './options.ts';
import type { Surroundings } from './surroundings.ts';

export function askCommand(
  name: string,
  description: string,
  ask: (client: ControlClient) => Promise<Accepted>,
  surroundings: Surroundings,
  exit: (code: number) => void,
): Command {
  return new Command(name)
    .description(description)
    .option('--json', 'print the answer as JSON')
    .action(async (options: { json?: boolean }, command: Command) => {
      const accepted = await ask(controlClient(homeOf(command, surroundings), surroundings.env));
      surroundings.terminal.out(options.json ? `${JSON.stringify(accepted)}\n` : `${sentence(accepted.message)}\n`);
      exit(EXIT.success);
    });
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

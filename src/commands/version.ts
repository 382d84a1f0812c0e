/** `holdfast version`: which Holdfast this is, and on what it runs. */
import { Command } from 'commander';
import { EXIT } from '../errors.ts';
import { specPlatform } from '../services/host/host.ts';
import type { Surroundings } from './surroundings.ts';

export function versionCommand({ terminal, version }: Surroundings, exit: (code: number) => void): Command {
  return new Command('version')
    .description('say which Holdfast this is')
    .option('--json', 'print JSON')
    .action((options: { json?: boolean }) => {
      const facts = { version, node: process.version, platform: specPlatform() };
      terminal.out(
        options.json
          ? `${JSON.stringify(facts)}\n`
          : `holdfast ${facts.version} (node ${facts.node.slice(1)}, ${facts.platform})\n`,
      );
      exit(EXIT.success);
    });
}

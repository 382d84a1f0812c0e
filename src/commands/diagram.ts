/** `holdfast diagram`: prints a chart of the agent's behaviour, as it was generated from the machines of this release. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { EXIT, HoldfastError } from '../errors.ts';
import type { Surroundings } from './surroundings.ts';

/** Beside `dist` in the package, and beside `src` in the sources. */
const FOLDER = join(import.meta.dirname, '..', '..', 'diagrams');

/** The ending of a format's files. */
const ENDINGS = { mermaid: '.mmd', svg: '.svg', json: '.json' } as const;
type Format = keyof typeof ENDINGS;

export function diagramCommand({ terminal }: Surroundings, exit: (code: number) => void): Command {
  return new Command('diagram')
    .description('print a chart of what Holdfast does')
    .argument('[machine]', 'which one; "list" names them', 'mission')
    .addOption(new Option('--format <format>', 'how').choices(Object.keys(ENDINGS)).default('mermaid'))
    .action((machine: string, { format }: { format: Format }) => {
      const names = chartNames();
      if (machine === 'list') terminal.out(names.map((name) => `${name}\n`).join(''));
      else if (names.includes(machine)) terminal.out(readFileSync(join(FOLDER, machine + ENDINGS[format]), 'utf8'));
      else throw new HoldfastError('USAGE', `there is no chart of ${machine}; there are ${names.join(', ')}`);
      exit(EXIT.success);
    });
}

function chartNames(): string[] {
  try {
    const files = readdirSync(FOLDER).filter((file) => file.endsWith(ENDINGS.json));
    return files.map((file) => file.slice(0, -ENDINGS.json.length)).sort();
  } catch (thrown) {
    throw new HoldfastError('INTERNAL', `the charts are not where this installation should have them, in ${FOLDER}`, {
      cause: thrown,
    });
  }
}

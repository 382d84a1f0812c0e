/** What the commands of simulation and exploration are given: wrong flags end them with a sentence and the usage, and nothing is run. */
import { type ParseArgsConfig, parseArgs } from 'node:util';

/** Exit code of a command that was called wrongly (sysexits.h, EX_USAGE). */
const EX_USAGE = 64;

type Options = NonNullable<ParseArgsConfig['options']>;

/** The values of `options`; `--help` prints `usage` and ends the process, and so does what cannot be parsed. */
export function argumentsOf<const O extends Options>(usage: string, options: O) {
  try {
    if (process.argv.includes('--help')) {
      console.log(usage);
      process.exit(0);
    }
    return parseArgs({ options }).values;
  } catch (error) {
    return refuse((error as Error).message, usage);
  }
}

/** The whole number, at least `least`, that the flag `name` was given. */
export function wholeNumber(name: string, text: string, least: number, usage: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
  return refuse(`--${name} takes a whole number of at least ${least}, and was given ${JSON.stringify(text)}`, usage);
}

export function refuse(why: string, usage: string): never {
  console.error(`${why}\n\n${usage}`);
  process.exit(EX_USAGE);
}

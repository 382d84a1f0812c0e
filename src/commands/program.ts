/** The command line: every command mounted, every error turned into a sentence and an exit code. */
import { Command, CommanderError } from 'commander';
import { asHoldfastError, EXIT, type HoldfastError } from '../errors.ts';
import { maskText } from '../services/log/mask.ts';
import { demoCommand } from './demo.ts';
import { diagnosticsCommand } from './diagnostics.ts';
import { diagramCommand } from './diagram.ts';
import { enrollCommand } from './enroll.ts';
import { inspectCommand } from './inspect.ts';
import { logsCommand } from './logs.ts';
import { addGlobalOptions, checkGlobalOptions } from './options.ts';
import { rekeyCommand } from './rekey.ts';
import { renderCommand } from './render.ts';
import { restartCommand } from './restart.ts';
import { retryCommand } from './retry.ts';
import { runCommand } from './run.ts';
import { statusCommand } from './status.ts';
import type { Surroundings } from './surroundings.ts';
import { unenrollCommand } from './unenroll.ts';
import { versionCommand } from './version.ts';

/** Runs one command line (without the program's own name) and returns its exit code. Never rejects. */
export async function runProgram(
  argv: readonly string[],
  surroundings: Surroundings,
  more: readonly Command[] = [],
): Promise<number> {
  let code: number = EXIT.success;
  const exit = (given: number) => {
    code = given;
  };
  const program = new Command('holdfast')
    .description('Runs your programs from an Elastic Fleet policy and never loses the last one that worked.')
    .version(surroundings.version, '--version', 'say which Holdfast this is')
    .addHelpText('after', HELP_END);
  addGlobalOptions(program);
  program.hook('preAction', (_program, command) => checkGlobalOptions(command, surroundings));
  for (const make of [
    runCommand,
    enrollCommand,
    unenrollCommand,
    statusCommand,
    inspectCommand,
    renderCommand,
    retryCommand,
    restartCommand,
    logsCommand,
    diagnosticsCommand,
    rekeyCommand,
    versionCommand,
    demoCommand,
    diagramCommand,
  ]) {
    program.addCommand(make(surroundings, exit));
  }
  for (const command of more) program.addCommand(command);
  speakHere(program, surroundings);

  if (argv.length === 0) {
    program.outputHelp();
    return EXIT.usage;
  }
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return code;
  } catch (thrown) {
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? EXIT.success : EXIT.usage;
    const error = asHoldfastError(thrown);
    surroundings.terminal.err(errorText(error));
    return error.exitCode;
  }
}

const HELP_END = `
Exit codes: 0 success, 1 failure, 2 wrong usage, 3 not enrolled, 4 agent not running.
`;

/** `holdfast: CODE: the sentence.` and what to do on a line of its own. */
function errorText(error: HoldfastError): string {
  return `holdfast: ${error.code}: ${maskText(error.message)}\n  ${error.help}\n`;
}

/** Lets a command and all below it speak through our terminal, and throw instead of ending the process. */
function speakHere(command: Command, surroundings: Surroundings): void {
  const { terminal } = surroundings;
  command.exitOverride();
  command.configureOutput({
    writeOut: (text) => terminal.out(text),
    writeErr: (text) => terminal.err(text),
    outputError: (text, write) => write(`holdfast: USAGE: ${text.replace(/^error: /, '')}  See \`holdfast --help\`.\n`),
  });
  for (const below of command.commands) speakHere(below, surroundings);
}

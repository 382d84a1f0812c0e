#!/usr/bin/env node
/** The program's entry: gives the commands the real terminal, environment and daemon, and ends with their exit code. */
import { readFileSync } from 'node:fs';
import { runProgram } from './commands/program.ts';
import type { Surroundings, Terminal } from './commands/surroundings.ts';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

/** Writes to a stream until whoever reads it has gone (`holdfast logs | head`); that is no error. */
function writerTo(stream: NodeJS.WriteStream): (text: string) => void {
  let open = true;
  stream.on('error', () => {
    open = false;
  });
  return (text) => {
    if (open) stream.write(text);
  };
}

const terminal: Terminal = {
  out: writerTo(process.stdout),
  err: writerTo(process.stderr),
  outIsTerminal: process.stdout.isTTY === true,
  get rows() {
    return process.stdout.rows || 24;
  },
  get columns() {
    return process.stdout.columns || 80;
  },
};

const surroundings: Surroundings = {
  terminal,
  env: process.env,
  uid: process.getuid?.(),
  version,
  nowMs: () => Date.now(),
  onSignal: (signals, listener) => {
    for (const signal of signals) process.on(signal, listener);
    return () => {
      for (const signal of signals) process.removeListener(signal, listener);
    };
  },
  // Loaded when they are needed: `status` should not wait for a network stack.
  startAgent: async (start) => (await import('./agent.ts')).startAgent(start),
  enroll: async (request) => (await import('./commands/enrollment.ts')).enroll({ ...request, version }),
  identity: async (home) => (await import('./services/store/identity.ts')).findIdentity(home),
};

/** How long a forgotten timer or socket may keep the process after its command has ended. */
const LINGER_MS = 2_000;

const argv = process.argv.slice(2);
// The embedded server is a program of its own: only who asks for it, or for help, waits for it to load.
const asksForAll = argv.length === 0 || argv.some((word) => ['-h', '--help', 'help'].includes(word));
const more = asksForAll || argv.includes('fleet') ? [(await import('./commands/fleet.ts')).fleetCommand()] : [];
process.exitCode = await runProgram(argv, surroundings, more);

// Whatever is still open must not keep a process that has said its last word; a clean one ends before this.
setTimeout(() => process.exit(), LINGER_MS).unref();

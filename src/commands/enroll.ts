/** `holdfast enroll`: gets this host an identity from Fleet and exits; a running daemon takes the new identity over. */
import { mkdir } from 'node:fs/promises';
import { Command } from 'commander';
import { EXIT, HoldfastError, type Problem } from '../errors.ts';
import { controlClient } from '../services/control/client.ts';
import { loadSettings } from '../services/settings/load.ts';
import type { Settings } from '../services/settings/settings.ts';
import { addFleetOptions, type FleetOptions, fleetFlags } from './fleet-options.ts';
import { statusFromDisk } from './from-disk.ts';
import { settingsSources } from './options.ts';
import { span } from './status-sentence.ts';
import type { Surroundings } from './surroundings.ts';

interface EnrollOptions extends FleetOptions {
  readonly force?: boolean;
  readonly json?: boolean;
}

/** How often a person who waits is kept waiting; the daemon itself tries without end. */
const ATTEMPTS = 5;

export function enrollCommand(surroundings: Surroundings, exit: (code: number) => void): Command {
  return addFleetOptions(new Command('enroll'))
    .description('enroll with Fleet and exit; a running daemon takes the new identity over')
    .option('--force', 'replace the identity that is there')
    .option('--json', 'print the agent id as JSON')
    .action(async (options: EnrollOptions, command: Command) => {
      const sources = settingsSources(command, surroundings, fleetFlags(options));
      const { home } = sources;
      const settings = loadSettings(sources);
      const { terminal, env } = surroundings;
      const identity = await surroundings.identity(home);
      // An agent that left Fleet has nothing left to lose.
      const inUse = identity.kind === 'enrolled' && (await statusFromDisk(sources, surroundings)).agent.enrolled;
      if ((inUse || identity.kind === 'unreadable') && !options.force) {
        const found =
          identity.kind === 'enrolled' ? `is enrolled as ${identity.agentId}` : 'holds an identity that cannot be read';
        throw new HoldfastError('USAGE', `${home} ${found}; --force replaces it`);
      }
      const agentId = await enrollNow({ home, settings, attempts: ATTEMPTS }, surroundings, (message) =>
        terminal.err(`holdfast: ${message}\n`),
      );

      let told = '';
      try {
        await controlClient(home, env).identityChanged();
        told = '; the running daemon takes over the new identity';
      } catch (thrown) {
        if (!(thrown instanceof HoldfastError) || thrown.code !== 'NOT_RUNNING') throw thrown;
      }
      terminal.out(
        options.json ? `${JSON.stringify({ agent: { id: agentId } })}\n` : `Enrolled as ${agentId}${told}.\n`,
      );
      exit(EXIT.success);
    });
}

/** Enrolls with what the settings name. Rejects with USAGE when that is not enough, else with the problem that ended it. */
export async function enrollNow(
  { home, settings, attempts }: { home: string; settings: Settings; attempts: number | null },
  surroundings: Surroundings,
  tell: (message: string) => void,
): Promise<string> {
  const { hosts, enrollmentToken, insecure, tags } = settings.fleet;
  if (hosts.length === 0)
    throw new HoldfastError('USAGE', 'which Fleet Server to enroll with was not said: give --url');
  if (enrollmentToken === null) {
    throw new HoldfastError('USAGE', 'no enrollment token was given: give --enrollment-token');
  }
  const plain = hosts.find((host) => /^http:/i.test(host));
  if (plain !== undefined && !insecure) {
    throw new HoldfastError(
      'USAGE',
      `${plain} is not encrypted, so keys could be read on the way: add --insecure to allow that`,
    );
  }
  await mkdir(home, { recursive: true, mode: 0o700 }).catch((cause: Error) => {
    throw new HoldfastError('HOME_UNUSABLE', `${home} cannot be created: ${cause.message}`, { cause });
  });

  const interrupted = new AbortController();
  const unlisten = surroundings.onSignal(['SIGINT', 'SIGTERM'], () => interrupted.abort());
  try {
    return await surroundings.enroll({
      home,
      settings,
      hosts,
      token: enrollmentToken,
      tags,
      attempts,
      signal: interrupted.signal,
      onDelayed: (problem: Problem, delayMs: number) =>
        tell(`${problem.code}: ${problem.message}; trying again in ${span(Math.max(1000, delayMs))}`),
    });
  } finally {
    unlisten();
  }
}

/** `holdfast rekey`: encrypts the state directory, makes it readable, or changes its key, while no daemon runs. */
import { resolve } from 'node:path';
import { Command } from 'commander';
import { EXIT, HoldfastError } from '../errors.ts';
import { homePaths } from '../services/home.ts';
import { loadSettings } from '../services/settings/load.ts';
import { nodeFiles } from '../services/store/files.ts';
import { type HomeLock, lockHome } from '../services/store/lock.ts';
import { quarantined } from '../services/store/quarantine.ts';
import { type RekeyTarget, rekey } from '../services/store/rekey.ts';
import { isKeyText } from '../services/store/secret-key.ts';
import { collect, settingsSources } from './options.ts';
import type { Surroundings } from './surroundings.ts';

interface RekeyOptions {
  readonly to?: string;
  readonly from?: readonly string[];
  readonly abandon?: boolean;
  readonly json?: boolean;
}

export function rekeyCommand(surroundings: Surroundings, exit: (code: number) => void): Command {
  return new Command('rekey')
    .description(
      'encrypt the stored policies and journal, make them readable, or change their key; the daemon must be stopped',
    )
    .option(
      '--to <none|generated|FILE>',
      'readable, a new key in <home>/key, or the key in FILE (default: as the settings say)',
    )
    .option('--from <file>', 'a key that something here may be encrypted with; may be repeated', collect)
    .option('--abandon', 'give up what needs a key that is gone: it is moved to quarantine')
    .option('--json', 'print one JSON object')
    .addHelpText('after', HELP)
    .action(async (options: RekeyOptions, command: Command) => {
      const sources = settingsSources(command, surroundings);
      const { home } = sources;
      const settings = loadSettings(sources);
      const identity = await surroundings.identity(home);
      const lock = await lockStopped(home);
      try {
        const done = await rekey({
          files: nodeFiles,
          home,
          agentId: identity.kind === 'enrolled' ? identity.agentId : identity.kind === 'none' ? '' : null,
          now: () => surroundings.nowMs(),
          settings: settings.encryption,
          to: targetNamed(options.to),
          from: (options.from ?? []).map((path) => fileNamed('--from', path)),
          abandon: options.abandon ?? false,
        });
        const kept = await quarantined(nodeFiles, homePaths(home).quarantine);
        const { terminal } = surroundings;
        if (options.json) {
          const { keyId, source, objects, findings } = done;
          terminal.out(
            `${JSON.stringify({ encrypted: keyId !== null, key: keyId, source, objects, quarantined: kept, findings })}\n`,
          );
        } else {
          for (const finding of done.findings) terminal.err(`holdfast: ${finding}\n`);
          terminal.out(
            done.keyId === null
              ? `The state in ${home} is readable now.\n`
              : `The state in ${home} is encrypted with key ${done.keyId} now (${done.source}).\n`,
          );
          if (kept > 0) terminal.out(`What was set aside before is left as it was: ${homePaths(home).quarantine}\n`);
        }
        exit(EXIT.success);
      } finally {
        await lock.release();
      }
    });
}

const HELP = `
The key is 32 random bytes, as they are, as 64 hex digits or in base64: openssl rand -hex 32 >FILE
Without the key nothing of what was encrypted can be had again, except from Fleet. Keep a copy elsewhere.
`;

function targetNamed(word: string | undefined): RekeyTarget {
  if (word === undefined) return { kind: 'settings' };
  if (word === 'none' || word === 'generated') return { kind: word };
  return { kind: 'file', path: fileNamed('--to', word) };
}

function fileNamed(option: string, word: string): string {
  if (!isKeyText(word)) return resolve(word);
  throw new HoldfastError(
    'USAGE',
    `${option} names a file that holds the key, not the key itself: command lines are for all to see`,
  );
}

async function lockStopped(home: string): Promise<HomeLock> {
  try {
    return await lockHome(home);
  } catch (thrown) {
    if (!(thrown instanceof HoldfastError) || thrown.code !== 'HOME_LOCKED') throw thrown;
    throw new HoldfastError('HOME_LOCKED', `${thrown.message}: the key can be changed only while it is stopped`, {
      cause: thrown,
    });
  }
}

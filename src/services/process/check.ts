/** A program's own verdict on its new configuration, before anything that runs is touched. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { asHoldfastError } from '../../errors.ts';
import type { WantedComponent } from '../../policy/component.ts';
import { ensureDirectory } from '../durable-file.ts';
import { componentPaths } from '../home.ts';
import { writeConfiguration } from './configuration.ts';
import { runSideCommand, usefulLines } from './side-command.ts';
import { accountOf, letThrough } from './user.ts';

/**
 * Runs the check on a rendering of its own, in the directory that rendering names: `<component>/<hash>`, removed afterwards. The
 * program's configuration itself names `current`, which still belongs to what runs.
 *
 * @returns null when the program has no objection or the component no check; else why not, in the program's words.
 */
export async function runCheck(home: string, component: WantedComponent, abort?: AbortSignal): Promise<string | null> {
  const { check } = component.daemon;
  if (check === null) return null;
  const paths = componentPaths(home, component.id);
  const directory = join(paths.directory, component.hash);
  try {
    const owner = await accountOf(check.run.user);
    await ensureDirectory(paths.data);
    await ensureDirectory(paths.configurations);
    if (owner) await letThrough(owner, paths, home);
    await writeConfiguration(directory, check.files, owner);
    const options = { id: component.id, home, cwd: directory, timeoutMs: check.timeoutMs, abort };
    const { ok, how, output } = await runSideCommand(check.run, options);
    // People know the file by the name it has in the spec, not by where this check happened to lie.
    return ok ? null : usefulLines(output.replaceAll(`${directory}/`, '')) || `${check.run.command} ${how}`;
  } catch (thrown) {
    throw asHoldfastError(thrown, 'HOME_UNUSABLE', `checking ${component.id}`);
  } finally {
    await rm(directory, { recursive: true, force: true }).catch(() => undefined);
  }
}

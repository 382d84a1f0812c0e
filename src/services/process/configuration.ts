/** Configuration directories: immutable, named by hash, made durable as a whole; and the symlink that says which one is in use. */
import { chown, mkdir, open, readdir, rename, rm, stat, symlink } from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import { HoldfastError } from '../../errors.ts';
import type { RenderedFile } from '../../policy/component.ts';
import { ensureDirectory, readRegular, syncDirectory } from '../durable-file.ts';
import type { ComponentPaths } from '../home.ts';
import type { Account } from './user.ts';

/** Configurations that stay beside the current one, for the way back. */
const PREVIOUS_KEPT = 1;

/**
 * Writes the files as `directory`, durably and as a whole: under another name first, renamed when every byte is synced. A directory
 * that is there and holds exactly these files is used as it is (also on a disk that takes no writes); a different one is replaced.
 */
export async function writeConfiguration(
  directory: string,
  files: readonly RenderedFile[],
  owner: Account | null = null,
): Promise<void> {
  if (await holdsExactly(directory, files)) return;
  const temporary = `${directory}.tmp`;
  await rm(temporary, { recursive: true, force: true });
  await ensureDirectory(temporary);
  const directories = new Set([temporary]);
  for (const { path, content } of files) {
    const target = join(temporary, path);
    if (!target.startsWith(temporary + sep)) {
      throw new HoldfastError('POLICY_RENDER_FAILED', `the file ${path} would leave its configuration directory`);
    }
    await mkdir(dirname(target), { recursive: true, mode: 0o700 });
    for (let parent = dirname(target); parent !== temporary; parent = dirname(parent)) directories.add(parent);
    await writeDurably(target, content);
    if (owner) await chown(target, owner.uid, owner.gid);
  }
  for (const each of directories) {
    if (owner) await chown(each, owner.uid, owner.gid);
    await syncDirectory(each);
  }
  const discarded = `${directory}.old`;
  await rm(discarded, { recursive: true, force: true });
  await rename(directory, discarded).catch(ignoreMissing);
  await rename(temporary, directory);
  await syncDirectory(dirname(directory));
  await rm(discarded, { recursive: true, force: true });
}

/** Makes the configuration `hash` the one that `current` names, by one rename. */
export async function makeCurrent(paths: ComponentPaths, hash: string): Promise<void> {
  const temporary = `${paths.current}.tmp`;
  await rm(temporary, { recursive: true, force: true });
  await symlink(join('configurations', hash), temporary);
  await rename(temporary, paths.current).catch(async (error: NodeJS.ErrnoException) => {
    // Only a directory is in the way of a link; this program makes none there.
    if (error.code !== 'EISDIR') throw error;
    await rm(paths.current, { recursive: true, force: true });
    await rename(temporary, paths.current);
  });
  await syncDirectory(paths.directory);
}

/** Removes all configurations but `hash` and the newest before it. What cannot be removed stays for the next time. */
export async function collectConfigurations(paths: ComponentPaths, hash: string): Promise<void> {
  const names = await readdir(paths.configurations).catch(() => []);
  const dated = await Promise.all(
    names
      .filter((name) => name !== hash)
      .map(async (name) => {
        const path = join(paths.configurations, name);
        return { path, at: (await stat(path).catch(() => null))?.mtimeMs ?? 0 };
      }),
  );
  const old = dated.sort((a, b) => b.at - a.at).slice(PREVIOUS_KEPT);
  await Promise.all(old.map(({ path }) => rm(path, { recursive: true, force: true }).catch(() => undefined)));
}

async function holdsExactly(directory: string, files: readonly RenderedFile[]): Promise<boolean> {
  try {
    const found = await filesBelow(directory, '');
    const wanted = new Map(files.map(({ path, content }) => [path, content]));
    if (found.length !== wanted.size) return false;
    for (const path of found) {
      const content = wanted.get(path);
      if (content === undefined) return false;
      const bytes = Buffer.from(content);
      if (!(await readRegular(join(directory, path), bytes.length)).equals(bytes)) return false;
    }
    return true;
  } catch {
    return false;
  }
}

async function filesBelow(directory: string, prefix: string): Promise<string[]> {
  const entries = await readdir(join(directory, prefix), { withFileTypes: true });
  const nested = await Promise.all(
    entries.map((entry) => {
      const path = prefix === '' ? entry.name : `${prefix}/${entry.name}`;
      return entry.isDirectory() ? filesBelow(directory, path) : [path];
    }),
  );
  return nested.flat();
}

async function writeDurably(path: string, content: string): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}

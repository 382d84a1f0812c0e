/** The disk as one incarnation sees it: slow when it syncs, deadly at any operation, and refusing when the schedule says so. */
import type { FileStat, Files, OpenFile } from '../../src/services/store/files.ts';
import type { Disk } from '../support/disk.ts';
import { type Incarnation, never } from './incarnation.ts';
import type { Timeline } from './timeline.ts';

export interface DiskLatency {
  /** How long the next sync takes, in ms. */
  syncMs(): number;
}

export function simFiles(disk: Disk, process: Incarnation, timeline: Timeline, latency: DiskLatency): Files {
  async function run<T>(what: string, slow: boolean, act: () => Promise<T>): Promise<T> {
    if (!process.passes('disk', what)) return never();
    if (slow) {
      await timeline.pass(latency.syncMs());
      if (!process.alive) return never();
    }
    try {
      const result = await act();
      return process.passes('disk', `${what} (done)`) ? result : never();
    } catch (error) {
      if (!process.alive) return never();
      throw error;
    }
  }

  function opened(file: OpenFile, path: string): OpenFile {
    return {
      stat: () => (process.alive ? file.stat() : never()),
      read: (into, position) => (process.alive ? file.read(into, position) : never()),
      write: (bytes, position) => run(`write ${path}`, false, () => file.write(bytes, position)),
      sync: () => run(`sync ${path}`, true, () => file.sync()),
      datasync: () => run(`datasync ${path}`, true, () => file.datasync()),
      close: () => (process.alive ? file.close() : never()),
    };
  }

  return {
    open: async (path, how) => {
      if (how !== 'create') return process.alive ? opened(await disk.open(path, how), path) : never();
      return run(`create ${path}`, false, async () => opened(await disk.open(path, how), path));
    },
    stat: (path): Promise<FileStat> => (process.alive ? disk.stat(path) : never()),
    readdir: (path) => (process.alive ? disk.readdir(path) : never()),
    mkdir: (path) => run(`mkdir ${path}`, false, () => disk.mkdir(path)),
    rename: (from, to) => run(`rename ${to}`, false, () => disk.rename(from, to)),
    unlink: (path) => run(`unlink ${path}`, false, () => disk.unlink(path)),
    removeTree: (path) => run(`removeTree ${path}`, false, () => disk.removeTree(path)),
    syncDirectory: (path) => run(`syncDirectory ${path}`, true, () => disk.syncDirectory(path)),
  };
}

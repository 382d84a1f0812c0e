/** A disk whose writes happen in two steps, so that a process can die between them: what a kill in the middle of a long write leaves. */
import type { OpenFile } from '../../src/services/store/files.ts';
import { never } from '../simulation/incarnation.ts';
import type { Disk } from '../support/disk.ts';

/** `passes` is asked in the middle of each write; false: the process is dead. */
export function halving(disk: Disk, passes: (path: string) => boolean): Disk {
  const halved = (path: string, file: OpenFile): OpenFile => ({
    ...file,
    write: async (bytes, position) => {
      const middle = bytes.length >> 1;
      if (middle === 0) return file.write(bytes, position);
      const first = await file.write(bytes.subarray(0, middle), position);
      if (!passes(path)) return never();
      return first < middle ? first : first + (await file.write(bytes.subarray(middle), position + middle));
    },
  });
  return new Proxy(disk, {
    get(target, name) {
      if (name === 'open')
        return async (path: string, how: 'read' | 'write' | 'create') => halved(path, await target.open(path, how));
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

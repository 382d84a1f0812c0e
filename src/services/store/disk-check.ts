/** Tells one bad file from a disk, or a process, that can read none at the moment. */
import { type Files, readSmall, replaceFile } from './files.ts';

const NAME = 'disk-check';
const CONTENT = Buffer.from('Written and read back before Holdfast gives up on a file that it cannot read.\n');

/** True when the directory takes a new file now and gives it back. Never throws. What a kill leaves of it is written over by the next one. */
export async function takesFiles(files: Files, directory: string): Promise<boolean> {
  try {
    await replaceFile(files, directory, NAME, CONTENT);
    const back = await readSmall(files, `${directory}/${NAME}`, CONTENT.length);
    await files.removeTree(`${directory}/${NAME}`);
    return back?.equals(CONTENT) === true;
  } catch {
    return false;
  }
}

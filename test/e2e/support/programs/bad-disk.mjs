/**
 * Preloaded into the program: while the file that BAD_DISK names is there, files at the paths it lists, one a line and the errno first, answer reads
 * (EIO) or writes (ENOSPC) with that error, as the kernel words it.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const WORDS = { EIO: 'i/o error', ENOSPC: 'no space left on device' };
const FAILING = { EIO: ['read'], ENOSPC: ['write', 'writeFile'] };

function errnoFor(path) {
  let text = '';
  try {
    text = fs.readFileSync(process.env.BAD_DISK, 'utf8');
  } catch {
    // The disk is well.
  }
  const [errno, ...places] = text.split('\n');
  return places.some((place) => place !== '' && path.startsWith(place)) ? errno : null;
}

const { open } = fs.promises;
fs.promises.open = async (path, ...more) => {
  const file = await open(path, ...more);
  for (const call of Object.values(FAILING).flat()) {
    const works = file[call].bind(file);
    file[call] = async (...given) => {
      const errno = errnoFor(String(path));
      if (!FAILING[errno]?.includes(call)) return works(...given);
      throw Object.assign(new Error(`${errno}: ${WORDS[errno]}, ${call}`), { code: errno, syscall: call });
    };
  }
  return file;
};
syncBuiltinESMExports();

/**
 * Preloaded into the program: SIGKILL before its operation number KILL_AT on files, counted from 1 over everything that opens, writes, syncs,
 * renames, removes or makes a directory.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const killAt = Number(process.env.KILL_AT);
let operations = 0;

function counted(owner, call) {
  const works = owner[call].bind(owner);
  owner[call] = (...given) => {
    operations += 1;
    if (operations === killAt) process.kill(process.pid, 'SIGKILL');
    return works(...given);
  };
}

const { open } = fs.promises;
fs.promises.open = async (...given) => {
  const file = await open(...given);
  for (const call of ['write', 'writeFile', 'sync', 'datasync']) counted(file, call);
  return file;
};
for (const call of ['open', 'rename', 'unlink', 'rm', 'mkdir']) counted(fs.promises, call);
syncBuiltinESMExports();

/**
 * Preloaded into the program: SIGKILL before its change of a file number KILL_AT, counted from 1 over everything that creates, writes, syncs,
 * renames or removes. Without the variable nothing happens.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const killAt = Number(process.env.KILL_AT ?? 0);
let changes = 0;

function counted(owner, call) {
  const works = owner[call].bind(owner);
  owner[call] = (...given) => {
    changes += 1;
    if (changes === killAt) process.kill(process.pid, 'SIGKILL');
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

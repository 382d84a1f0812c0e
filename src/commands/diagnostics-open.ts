/** `holdfast diagnostics --open`: shows a diagnostics file in the inspector's page, on any machine, until interrupted. */
import { resolve } from 'node:path';
import { openArchive } from '../services/diagnostics/archive-source.ts';
import { inspectAddress } from '../services/inspector/address.ts';
import { newToken } from '../services/inspector/admission.ts';
import { servePage } from '../services/inspector/page-server.ts';
import { createLogger } from '../services/log/logger.ts';
import { standingOf } from './standing.ts';
import type { Surroundings } from './surroundings.ts';

/** `where`: as after `--inspect=`. Rejects with ARCHIVE_UNREADABLE, CONTROL_FAILED or USAGE. */
export async function showArchive(file: string, where: string | true, surroundings: Surroundings): Promise<void> {
  const { terminal, version } = surroundings;
  const address = inspectAddress(where);
  const archive = await openArchive(resolve(file), standingOf);
  try {
    const screen = { write: (text: string) => terminal.err(text) };
    const log = createLogger({ level: 'warning', format: 'pretty', screen, file: null, version });
    const { url, close } = await servePage({ address, source: archive.source, token: newToken, log });
    terminal.out(`inspector: ${url}\n`);
    terminal.err(`holdfast: it shows ${file}, written on ${archive.hostname}, until Ctrl-C\n`);
    await new Promise<void>((done) => {
      const unlisten = surroundings.onSignal(['SIGINT', 'SIGTERM'], () => {
        unlisten();
        done();
      });
    });
    await close();
    log.close();
  } finally {
    await archive.close();
  }
}

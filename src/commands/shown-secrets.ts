/** What a command hides in what it shows of a home: every secret that is held there, and those that were. */
import { resolve } from 'node:path';
import { secretsOfHome } from '../services/diagnostics/home-secrets.ts';
import { hiddenText, learnForDiagnostics } from '../services/diagnostics/redaction.ts';
import { homePaths } from '../services/home.ts';
import { EarlierSecrets } from '../services/log/earlier-secrets.ts';
import { type LoadOptions, tryLoadSettings } from '../services/settings/load.ts';
import { nodeFiles } from '../services/store/files.ts';
import { readKeyring } from '../services/store/keyring.ts';
import { openStore } from '../services/store/store.ts';
import type { Surroundings } from './surroundings.ts';

/** Looks through the home once; the function it resolves with hides what was found in any text. Never rejects. */
export async function hiderFor(sources: LoadOptions, surroundings: Surroundings): Promise<(text: string) => string> {
  const { home } = sources;
  const store = await opened(sources, surroundings).catch(() => null);
  const settingsFile = sources.config === undefined ? homePaths(home).settings : resolve(sources.config);
  learnForDiagnostics(await secretsOfHome({ home, settingsFile, env: surroundings.env, store }));
  const earlier = EarlierSecrets.read(home);
  return (text) => earlier.hide(hiddenText(text));
}

async function opened(sources: LoadOptions, surroundings: Surroundings) {
  const { home } = sources;
  const identity = await surroundings.identity(home);
  const { encryption } = tryLoadSettings(sources).settings;
  const { store } = await openStore({
    files: nodeFiles,
    home,
    keys: await readKeyring({ files: nodeFiles, home, settings: encryption, generate: false }),
    agentId: identity.kind === 'enrolled' ? identity.agentId : identity.kind === 'none' ? '' : null,
    now: () => surroundings.nowMs(),
    lookOnly: true,
  });
  return store;
}

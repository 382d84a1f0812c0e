/** `holdfast diagnostics`: everything a helper needs in one masked zip file; with the daemon running, stopped, or on a damaged home. */
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import { EXIT, HoldfastError } from '../errors.ts';
import { plan as planFor } from '../policy/plan.ts';
import { controlClient } from '../services/control/client.ts';
import { Archive } from '../services/diagnostics/archive.ts';
import { collect } from '../services/diagnostics/collect.ts';
import { type Entry, type Part, value } from '../services/diagnostics/entry.ts';
import { secretsOfHome } from '../services/diagnostics/home-secrets.ts';
import { failure, type HomeView, homeParts } from '../services/diagnostics/parts.ts';
import { learnForDiagnostics } from '../services/diagnostics/redaction.ts';
import { homePaths } from '../services/home.ts';
import { EarlierSecrets } from '../services/log/earlier-secrets.ts';
import { type LoadOptions, tryLoadSettings } from '../services/settings/load.ts';
import { EXAMPLES, hostVariables, renderOnHost } from '../services/specs/render-on-host.ts';
import { nodeFiles } from '../services/store/files.ts';
import { readKeyring } from '../services/store/keyring.ts';
import { openStore } from '../services/store/store.ts';
import { inspectFromDisk, statusFromDisk } from './from-disk.ts';
import { settingsSources } from './options.ts';
import type { Surroundings } from './surroundings.ts';

interface DiagnosticsOptions {
  readonly file?: string;
  readonly open?: string;
  readonly inspect?: string;
  readonly json?: boolean;
}

export function diagnosticsCommand(surroundings: Surroundings, exit: (code: number) => void): Command {
  return new Command('diagnostics')
    .description(
      'write everything a helper needs into a zip file, secrets masked; needs no daemon. With --open: show such a file',
    )
    .option('-f, --file <file.zip>', 'where to (default: holdfast-diagnostics-<host>-<time>.zip here)')
    .option('--json', 'print what was written as JSON')
    .option('--open <file.zip>', 'show one in the inspector, on this or any other machine, without a network')
    .option('--inspect <where>', 'with --open: listen there (default: 127.0.0.1:8229)')
    .action(async (options: DiagnosticsOptions, command: Command) => {
      if (options.open !== undefined) {
        const { showArchive } = await import('./diagnostics-open.ts');
        await showArchive(options.open, options.inspect ?? true, surroundings);
        return exit(EXIT.success);
      }
      const path = resolve(options.file ?? defaultName(surroundings.nowMs()));
      const written = await write(path, settingsSources(command, surroundings), surroundings);
      const { terminal } = surroundings;
      if (options.json) terminal.out(`${JSON.stringify(written)}\n`);
      else terminal.out(sentence(written));
      exit(EXIT.success);
    });
}

interface Written {
  readonly file: string;
  readonly bytes: number;
  readonly entries: number;
  /** What could not be had: entries that say why. */
  readonly failures: readonly string[];
}

async function write(path: string, sources: LoadOptions, surroundings: Surroundings): Promise<Written> {
  const { terminal } = surroundings;
  const archive = await Archive.create(path, new Date(surroundings.nowMs()));
  const interrupted = new AbortController();
  const unlisten = surroundings.onSignal(['SIGINT', 'SIGTERM'], () => interrupted.abort());
  try {
    const view = homeView(sources, surroundings);
    const parts = [...agentParts(view, sources, surroundings), ...homeParts(view)];
    const steps = parts.length + 1;
    const step = (number: number, name: string) => terminal.err(`holdfast: [${number}/${steps}] ${name}\n`);
    step(1, 'secrets to be masked');
    // Before anything is written, since any part may repeat what another one holds.
    const store = await view.opened().catch(() => null);
    const secrets = await secretsOfHome({ ...view, env: surroundings.env, store: store?.store ?? null });
    const earlier = EarlierSecrets.read(view.home);
    const { entries, failures } = await collect({
      parts,
      archive,
      longestSecret: Math.max(learnForDiagnostics(secrets), earlier.longest),
      hideEarlier: (text) => earlier.hide(text),
      onPart: (name, index) => step(index + 2, name),
      signal: interrupted.signal,
    });
    return { file: path, bytes: await archive.end(), entries, failures };
  } catch (thrown) {
    await archive.abandon();
    throw thrown;
  } finally {
    unlisten();
  }
}

function homeView(sources: LoadOptions, surroundings: Surroundings): HomeView {
  const { home } = sources;
  const reading = () => tryLoadSettings(sources);
  const keys = () => readKeyring({ files: nodeFiles, home, settings: reading().settings.encryption, generate: false });
  return {
    home,
    version: surroundings.version,
    nowMs: surroundings.nowMs(),
    settingsFile: sources.config === undefined ? homePaths(home).settings : resolve(sources.config),
    reading,
    keys,
    opened: async () => {
      const identity = await surroundings.identity(home);
      return openStore({
        files: nodeFiles,
        home,
        keys: await keys(),
        agentId: identity.kind === 'enrolled' ? identity.agentId : identity.kind === 'none' ? '' : null,
        now: () => surroundings.nowMs(),
        lookOnly: true,
      });
    },
  };
}

/** What the daemon says of itself, from disk where none answers, and what last good comes to on this host. */
function agentParts(view: HomeView, sources: LoadOptions, surroundings: Surroundings): readonly Part[] {
  const daemon = controlClient(sources.home, surroundings.env);
  return [
    {
      name: 'status',
      entries: () =>
        askedOrRead(
          'status',
          () => daemon.status(),
          () => statusFromDisk(sources, surroundings),
          (status) => [value('status.json', status)],
        ),
    },
    {
      name: 'inspection',
      entries: () =>
        askedOrRead(
          'inspection',
          () => daemon.inspect(),
          () => inspectFromDisk(sources, surroundings),
          ({ starts, ...inspection }) => [value('inspection.json', inspection), value('starts.json', starts)],
        ),
    },
    { name: 'plan', entries: () => plan(view, surroundings) },
  ];
}

async function* askedOrRead<T>(
  name: string,
  ask: () => Promise<T>,
  read: () => Promise<T>,
  show: (answer: T) => readonly Entry[],
): AsyncGenerator<Entry> {
  let answer: T | null = null;
  try {
    answer = await ask();
  } catch (thrown) {
    if (!(thrown instanceof HoldfastError)) throw thrown;
    if (thrown.code !== 'NOT_RUNNING') yield failure(`${name}.daemon`, thrown.code, thrown.message);
  }
  yield* show(answer ?? (await read()));
}

/** The components that last good wants here, without their commands, environment and files' content. */
async function* plan(view: HomeView, surroundings: Surroundings): AsyncGenerator<Entry> {
  const { facts, store } = await view.opened();
  const last = facts?.generations[facts.runs] ?? facts?.generations[0];
  if (last === undefined) return yield value('plan.json', { policy: null });
  const read = await store.readPolicy(last.hash);
  if ('problem' in read) throw new HoldfastError(read.problem.code, read.problem.message);
  const { settings } = view.reading();
  const notes: string[] = [];
  const { components, problems } = await renderOnHost(read.text, {
    home: view.home,
    variables: hostVariables({
      home: view.home,
      agentId: facts?.agentId ?? '',
      agentVersion: settings.fleet.agentVersion,
      examples: EXAMPLES,
      env: surroundings.env,
      local: settings.localVariables,
    }),
    unsupported: settings.components.unsupported,
    note: (message) => notes.push(message),
  });
  yield value('plan.json', {
    policy: { id: last.id, revision: last.revision, hash: last.hash },
    components: components.map(({ id, type, hash, processHash, units, daemon }) => ({
      id,
      type,
      hash,
      process_hash: processHash,
      units,
      files: daemon.files.map(({ path, content }) => ({ path, characters: content.length })),
    })),
    // From nothing: what a start would do with it.
    steps: planFor([], components),
    problems,
    notes,
  });
}

function defaultName(nowMs: number): string {
  const time = new Date(nowMs).toISOString().slice(0, 19).replaceAll(':', '-');
  return join('.', `holdfast-diagnostics-${hostname().replace(/[^\w.-]/g, '_')}-${time}.zip`);
}

function sentence({ file, bytes, entries, failures }: Written): string {
  const size = `${entries} files, ${Math.ceil(bytes / 1024)} KiB`;
  const missing = failures.length === 0 ? '' : `Could not be had, and why is in:\n${list(failures)}`;
  return `${file} (${size})\n${missing}`;
}

function list(names: readonly string[]): string {
  return names.map((name) => `  ${name}\n`).join('');
}

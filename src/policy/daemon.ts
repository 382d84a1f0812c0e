/** One component's `daemon` runtime rendered: its command line, files, probes and the hashes that tell whether it changed. */
import { HoldfastError } from '../errors.ts';
import { canonicalJson, hashOf } from './canonical.ts';
import type { Check, Command, Daemon, Probe, Reload, RenderedFile } from './component.ts';
import { writeYaml } from './document.ts';
import { getOwn, isObject, type JsonObject, type JsonValue } from './json.ts';
import {
  type CommandSpec,
  type DaemonSpec,
  type FileSpec,
  type ProbeSpec,
  parseAddress,
  type ReloadSpec,
} from './spec.ts';
import { renderTemplate } from './template.ts';
import { asText, substituteText, type Variables } from './variables.ts';

/** An input with its variables replaced and its streams complete. */
export interface ComponentInput extends JsonObject {
  readonly id: string;
  readonly type: string;
  readonly streams: readonly JsonObject[];
}

export interface DaemonContext {
  /** Component id; safe as a directory name. */
  readonly id: string;
  readonly type: string;
  readonly componentsDir: string;
  readonly inputs: readonly ComponentInput[];
  readonly output: JsonObject;
  readonly variables: Variables;
  readonly templates: Readonly<Record<string, string>>;
}

export interface RenderedDaemon {
  readonly daemon: Daemon;
  readonly hash: string;
  readonly processHash: string;
}

/** What `${component.dir}` and the rest stand for in one rendering. */
interface Scope {
  readonly variables: Variables;
  readonly dir: string;
  readonly context: DaemonContext;
}

/** @throws HoldfastError POLICY_RENDER_FAILED that names the file, template or variable. */
export function renderDaemon(spec: DaemonSpec, context: DaemonContext): RenderedDaemon {
  const home = `${context.componentsDir}/${context.id}`;
  const scope = scopeOf(context, `${home}/current`);
  const run = mainCommand(spec, scope);
  const files = renderFiles(spec.files, scope);
  const process = { ...run, limits: spec.limits };
  const hash = hashOf({ ...process, files });
  return {
    hash,
    processHash: hashOf(process),
    daemon: {
      run,
      limits: spec.limits,
      files,
      check: renderCheck(spec, scopeOf(context, `${home}/${hash}`)),
      reload: spec.reload ? renderReload(spec.reload, spec, scope) : null,
      ready: { probe: renderProbe(spec.ready.probe, spec, scope), timeoutMs: spec.ready.timeoutMs },
      health: spec.health
        ? {
            probe: renderProbe(spec.health.probe, spec, scope),
            everyMs: spec.health.everyMs,
            failAfter: spec.health.failAfter,
          }
        : null,
      stop: spec.stop,
      restart: spec.restart,
    },
  };
}

function scopeOf(context: DaemonContext, dir: string): Scope {
  const data = `${context.componentsDir}/${context.id}/data`;
  return { variables: { ...context.variables, component: { id: context.id, dir }, data: { dir: data } }, dir, context };
}

function text(template: string, scope: Scope, what: string): string {
  try {
    return asText(substituteText(template, scope.variables));
  } catch (error) {
    throw new HoldfastError('POLICY_RENDER_FAILED', `the spec's ${what}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

function texts(record: Readonly<Record<string, string>>, scope: Scope): Record<string, string> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, text(value, scope, `env ${key}`)]));
}

function mainCommand(spec: DaemonSpec, scope: Scope): Command {
  return {
    command: text(spec.command, scope, 'command'),
    args: spec.args.map((arg) => text(arg, scope, 'args')),
    env: texts(spec.env, scope),
    cwd: spec.cwd === null ? null : text(spec.cwd, scope, 'cwd'),
    user: spec.user === null ? null : text(spec.user, scope, 'user'),
  };
}

/** A command beside the daemon: same user, same directory, the daemon's environment and its own. */
function sideCommand(side: CommandSpec, spec: DaemonSpec, scope: Scope): Command {
  const main = mainCommand(spec, scope);
  return {
    ...main,
    command: side.command === null ? main.command : text(side.command, scope, 'command'),
    args: side.args.map((arg) => text(arg, scope, 'args')),
    env: { ...main.env, ...texts(side.env, scope) },
  };
}

/** The check runs on a rendering of its own, in which `${component.dir}` is the new directory and not the one in use. */
function renderCheck(spec: DaemonSpec, scope: Scope): Check | null {
  if (spec.check === null) return null;
  return {
    run: sideCommand(spec.check, spec, scope),
    files: renderFiles(spec.files, scope),
    timeoutMs: spec.check.timeoutMs,
  };
}

function renderReload(reload: ReloadSpec, spec: DaemonSpec, scope: Scope): Reload {
  const { action } = reload;
  return {
    action:
      action.kind === 'command'
        ? { kind: 'command', run: sideCommand(action.run, spec, scope) }
        : action.kind === 'http'
          ? { ...action, url: url(action.url, scope) }
          : action,
    confirm: reload.confirm ? renderProbe(reload.confirm, spec, scope) : null,
    timeoutMs: reload.timeoutMs,
  };
}

function renderProbe(probe: ProbeSpec, spec: DaemonSpec, scope: Scope): Probe {
  switch (probe.kind) {
    case 'tcp': {
      const written = text(probe.address, scope, 'tcp probe');
      const address = parseAddress(written);
      if (!address)
        throw new HoldfastError(
          'POLICY_RENDER_FAILED',
          `the spec's tcp probe: ${JSON.stringify(written)} is not host:port`,
        );
      return { kind: 'tcp', ...address };
    }
    case 'http':
      return { kind: 'http', url: url(probe.url, scope) };
    case 'command':
      return { kind: 'command', run: sideCommand(probe.run, spec, scope) };
    default:
      return probe;
  }
}

function url(template: string, scope: Scope): string {
  const written = text(template, scope, 'URL');
  if (!URL.canParse(written) || !/^https?:$/.test(new URL(written).protocol)) {
    throw new HoldfastError(
      'POLICY_RENDER_FAILED',
      `the spec's URL ${JSON.stringify(written)} is not an http or https URL`,
    );
  }
  return written;
}

function renderFiles(files: readonly FileSpec[], scope: Scope): RenderedFile[] {
  return files
    .map((file) => ({ path: file.path, content: content(file, scope) }))
    .sort((a, b) => (a.path < b.path ? -1 : 1));
}

function content(file: FileSpec, scope: Scope): string {
  const { context } = scope;
  switch (file.kind) {
    case 'from': {
      const found = stringAt(file.from, context.inputs);
      if (!file.variables) return found;
      return asText(substituteText(found, scope.variables, [file.from]));
    }
    case 'template':
      return renderTemplate(file.template, context.templates[file.template] ?? '', file.format, templateContext(scope));
    case 'whole': {
      const whole = { id: context.id, type: context.type, output: context.output, inputs: context.inputs };
      return file.format === 'yaml' ? writeYaml(whole) : `${canonicalJson(whole)}\n`;
    }
  }
}

function templateContext({ context, variables, dir }: Scope): JsonObject {
  return {
    inputs: context.inputs,
    streams: context.inputs.flatMap((input) =>
      input.streams.map((stream) => ({
        input: { id: input.id, type: input.type, name: input.name ?? null },
        ...stream,
      })),
    ),
    output: context.output,
    agent: variables.agent ?? {},
    host: variables.host ?? {},
    component: { id: context.id, dir },
    data: variables.data ?? {},
  };
}

/** The one string at a dot path of the inputs, or of their streams, where Kibana keeps an integration's variables. */
function stringAt(path: string, inputs: readonly ComponentInput[]): string {
  const at = (value: JsonObject): JsonValue | undefined => {
    let found: JsonValue | undefined = value;
    for (const key of path.split('.')) found = found !== undefined && isObject(found) ? getOwn(found, key) : undefined;
    return found;
  };
  const inInputs = inputs.map(at).filter((value) => value !== undefined);
  const found =
    inInputs.length > 0
      ? inInputs
      : inputs.flatMap((input) => input.streams.map(at)).filter((value) => value !== undefined);
  const fail = (why: string): HoldfastError =>
    new HoldfastError('POLICY_RENDER_FAILED', `inputs ${inputs.map((input) => input.id).join(', ')}: ${path} ${why}`);
  if (found.length === 0) throw fail('is missing');
  if (found.length > 1) throw fail(`is there ${found.length} times; one process can have only one (see isolate_units)`);
  if (typeof found[0] !== 'string') throw fail('is not a string');
  return found[0];
}

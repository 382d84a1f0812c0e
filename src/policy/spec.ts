/** A `*.spec.yml` file: which input types this host carries out, and how (design, section 7). Elastic Agent's format, version 2. */
import { z } from 'zod';
import type { HoldfastError } from '../errors.ts';
import { readYaml } from './document.ts';
import { type JsonValue, valueAt } from './json.ts';
import { compileTemplate } from './template.ts';

/** A spec with the texts of the templates that lie beside it, by file name. */
export interface SpecFile {
  readonly file: string;
  readonly spec: Spec;
  readonly templates: Readonly<Record<string, string>>;
}

/** A spec file that cannot be used. */
export interface BrokenSpec {
  readonly file: string;
  /** Place and reason. */
  readonly message: string;
  /** The input types that it would carry out, as far as that can be seen; `anything` where nothing can. */
  readonly offers: readonly Pick<InputSpec, 'name' | 'aliases'>[] | 'anything';
}

export interface Spec {
  readonly inputs: readonly InputSpec[];
}

export interface InputSpec {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly description: string;
  /** `os/arch` as Go names them; null: any. */
  readonly platforms: readonly string[] | null;
  /** Output types; `*` stands for all. */
  readonly outputs: readonly string[];
  /** True: one process an input. False: one for each type and output. */
  readonly isolateUnits: boolean;
  /** Keys of inputs and streams that need not be carried out; `*` stands for all. */
  readonly ignores: readonly string[];
  /** `service` and `command` are known by name and not carried out yet. */
  readonly runtime: { readonly kind: 'daemon'; readonly daemon: DaemonSpec } | { readonly kind: 'service' | 'command' };
}

/** Strings may hold variables; times are milliseconds. */
export interface DaemonSpec {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly user: string | null;
  readonly cwd: string | null;
  readonly limits: Readonly<Record<string, number>>;
  readonly files: readonly FileSpec[];
  readonly check: (CommandSpec & { readonly timeoutMs: number }) | null;
  readonly reload: ReloadSpec | null;
  readonly ready: { readonly probe: ProbeSpec; readonly timeoutMs: number };
  readonly health: { readonly probe: ProbeSpec; readonly everyMs: number; readonly failAfter: number } | null;
  readonly stop: { readonly signal: NodeJS.Signals; readonly graceMs: number };
  readonly restart: { readonly initialMs: number; readonly maxMs: number; readonly giveUpAfter: number };
}

export type FileSpec =
  /** A string of the input, found by a dot path; verbatim unless `variables`. */
  | { readonly kind: 'from'; readonly path: string; readonly from: string; readonly variables: boolean }
  | { readonly kind: 'template'; readonly path: string; readonly template: string; readonly format: FileFormat }
  /** The component's whole configuration. */
  | { readonly kind: 'whole'; readonly path: string; readonly format: 'json' | 'yaml' };

export type FileFormat = 'text' | 'json' | 'yaml';

/** A command beside the daemon's own; `command` null: the daemon's. Its environment is added to the daemon's. */
export interface CommandSpec {
  readonly command: string | null;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

export type ProbeSpec =
  | { readonly kind: 'tcp'; readonly address: string }
  | { readonly kind: 'http'; readonly url: string }
  | { readonly kind: 'output'; readonly pattern: string }
  | { readonly kind: 'command'; readonly run: CommandSpec }
  | { readonly kind: 'after'; readonly ms: number };

export interface ReloadSpec {
  readonly action:
    | { readonly kind: 'signal'; readonly signal: NodeJS.Signals }
    | { readonly kind: 'command'; readonly run: CommandSpec }
    | { readonly kind: 'http'; readonly url: string; readonly method: string };
  readonly confirm: ProbeSpec | null;
  readonly timeoutMs: number;
}

/** What holds when the spec does not say. */
const DEFAULTS = {
  checkTimeoutMs: 10_000,
  reloadTimeoutMs: 10_000,
  readyAfterMs: 1_000,
  readyTimeoutMs: 20_000,
  healthEveryMs: 10_000,
  healthFailAfter: 3,
  stopGraceMs: 10_000,
  restartInitialMs: 1_000,
  restartMaxMs: 60_000,
  restartGiveUpAfter: 10,
} as const;

/** Longest duration: more than a day in a spec is a slip. */
const MAX_DURATION_MS = 24 * 3_600_000;
const SIGNALS = [
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGTERM',
  'SIGUSR1',
  'SIGUSR2',
  'SIGWINCH',
  'SIGCONT',
  'SIGKILL',
] as const;
/**
 * As setrlimit(2) names them, in the units of the shell's ulimit: `as`, `data`, `memlock` and `stack` in KiB, `core` and `fsize` in blocks of
 * 512 bytes, `cpu` in seconds, `nofile` and `nproc` in numbers.
 */
const LIMITS = ['as', 'core', 'cpu', 'data', 'fsize', 'memlock', 'nofile', 'nproc', 'stack'] as const;
const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** Milliseconds of `10s`, `1m30s`, `500ms`, `1.5s`; null for what is no duration. */
export function parseDuration(text: string): number | null {
  if (!/^(?:\d+(?:\.\d+)?(?:ms|s|m|h))+$/.test(text)) return null;
  let ms = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g))
    ms += Number(amount) * (UNIT_MS[unit as string] as number);
  return ms <= MAX_DURATION_MS ? Math.round(ms) : null;
}

/** Why a path must not be used inside a configuration directory, or null when it may. */
export function unsafePath(path: string): string | null {
  if (path === '' || path.length > 255) return 'must have 1 to 255 characters';
  if (path.startsWith('/') || path.includes('\\') || /\p{Cc}/u.test(path))
    return 'must be a relative path with "/" between its parts';
  if (path.split('/').some((part) => part === '' || part === '.' || part === '..'))
    return 'must not leave its directory or hold empty parts';
  return null;
}

const safePath = z.string().superRefine((path, issue) => {
  const why = unsafePath(path);
  if (why !== null) issue.addIssue({ code: 'custom', message: why });
});

const duration = z.string({ error: 'must be a duration such as 10s, 1m30s or 500ms' }).transform((text, issue) => {
  const ms = parseDuration(text);
  if (ms === null)
    issue.addIssue({ code: 'custom', message: 'must be a duration such as 10s, 1m30s or 500ms, of at most 24h' });
  return ms ?? 0;
});
const positiveDuration = duration.refine((ms) => ms > 0, 'must be more than 0');

const signal = z.enum(SIGNALS, { error: `must be one of ${SIGNALS.join(', ')}` });
const text = z.string();
const filled = text.min(1, 'must not be empty');
const scalarText = z.union([text, z.number(), z.boolean()], { error: 'must be a string' }).transform(String);
const env = z.record(z.string().regex(/^[^=\0]+$/, 'must be the name of an environment variable'), scalarText);
const args = z.array(scalarText);
const pattern = filled.superRefine((source, issue) => {
  try {
    new RegExp(source);
  } catch (error) {
    issue.addIssue({ code: 'custom', message: `must be a regular expression: ${String(error)}` });
  }
});
const tcpAddress = filled.refine(
  (address) => address.includes('${') || parseAddress(address) !== null,
  'must be host:port',
);

const probeShape = {
  tcp: tcpAddress.optional(),
  http: filled.optional(),
  output: pattern.optional(),
  command: filled.optional(),
  args: args.optional(),
  env: env.optional(),
  after: duration.optional(),
};
const KINDS = ['tcp', 'http', 'output', 'command', 'after'] as const;

function oneProbe(value: Readonly<Record<string, unknown>>, issue: z.core.$RefinementCtx): void {
  const kinds = KINDS.filter((kind) => value[kind] !== undefined);
  if (kinds.length !== 1) issue.addIssue({ code: 'custom', message: `must have exactly one of ${KINDS.join(', ')}` });
  else if (kinds[0] !== 'command' && (value.args !== undefined || value.env !== undefined)) {
    issue.addIssue({ code: 'custom', message: 'has args or env, which belong to a command' });
  }
}

const confirm = z.strictObject(probeShape).superRefine(oneProbe);
const ready = z.strictObject({ ...probeShape, timeout: positiveDuration.optional() }).superRefine(oneProbe);
const health = z
  .strictObject({ ...probeShape, every: positiveDuration.optional(), fail_after: z.int().min(1).optional() })
  .superRefine(oneProbe)
  .refine(
    (value) => value.after === undefined && value.output === undefined,
    'must be asked again and again: use tcp, http or command',
  );

const file = z
  .strictObject({
    path: safePath,
    from: z
      .string()
      .regex(/^[^.\s]+(\.[^.\s]+)*$/, 'must be a dot path into the input')
      .optional(),
    variables: z.boolean().optional(),
    template: safePath.optional(),
    format: z.enum(['text', 'json', 'yaml'], { error: 'must be text, json or yaml' }).optional(),
  })
  .superRefine((value, issue) => {
    const say = (message: string): void => issue.addIssue({ code: 'custom', message });
    if (value.from !== undefined && value.template !== undefined) say('must not have both from and template');
    if (value.from !== undefined && value.format !== undefined)
      say('has a format, which a copied string does not need');
    if (value.from === undefined && value.variables !== undefined) say('has variables, which belongs to from');
    if (value.from === undefined && value.template === undefined && (value.format ?? 'text') === 'text') {
      say('must have from, template, or a format of json or yaml for the whole configuration');
    }
  });

const reload = z
  .strictObject({
    signal: signal.optional(),
    command: filled.optional(),
    args: args.optional(),
    env: env.optional(),
    http: filled.optional(),
    method: z.enum(['GET', 'POST', 'PUT']).optional(),
    confirm: confirm.optional(),
    timeout: positiveDuration.optional(),
  })
  .refine(
    (value) => [value.signal, value.command, value.http].filter((way) => way !== undefined).length === 1,
    'must have exactly one of signal, command, http',
  );

const daemon = z.strictObject({
  command: filled,
  args: args.optional(),
  env: env.optional(),
  user: scalarText.optional(),
  cwd: filled.optional(),
  limits: z.partialRecord(z.enum(LIMITS), z.int().min(0)).optional(),
  files: z
    .array(file)
    .superRefine((files, issue) => {
      for (const [index, { path }] of files.entries()) {
        const other = files
          .slice(0, index)
          .find((one) => one.path === path || one.path.startsWith(`${path}/`) || path.startsWith(`${one.path}/`));
        if (other)
          issue.addIssue({ code: 'custom', path: [index, 'path'], message: `stands in the way of ${other.path}` });
      }
    })
    .optional(),
  check: z
    .strictObject({
      command: filled.optional(),
      args: args.optional(),
      env: env.optional(),
      timeout: positiveDuration.optional(),
    })
    .optional(),
  reload: reload.optional(),
  ready: ready.optional(),
  health: health.optional(),
  stop: z.strictObject({ signal: signal.optional(), grace: duration.optional() }).optional(),
  restart: z
    .strictObject({
      initial: positiveDuration.optional(),
      max: positiveDuration.optional(),
      give_up_after: z.int().min(1).optional(),
    })
    .optional(),
});

const input = z
  .looseObject({
    name: filled,
    aliases: z.array(filled).optional(),
    description: text.optional(),
    platforms: z.array(filled).nullish(),
    outputs: z.array(filled).nullish(),
    isolate_units: z.boolean().optional(),
    ignores: z.array(filled).optional(),
    daemon: daemon.optional(),
    service: z.looseObject({}).optional(),
    command: z.looseObject({}).optional(),
  })
  .refine(
    (value) => [value.daemon, value.service, value.command].filter((runtime) => runtime !== undefined).length === 1,
    'must have exactly one of daemon, service, command',
  );

const spec = z.looseObject({
  version: z.literal(2, { error: 'must be 2' }),
  inputs: z.array(input).min(1, 'must not be empty'),
});

type Parsed<T extends z.ZodType> = z.output<T>;

/**
 * Parses a spec.
 *
 * @param templates the texts of the files beside it that a spec may name, by file name.
 * @throws HoldfastError SPEC_INVALID with file, line, column and path; a template's own fault names the template.
 */
export function parseSpec(yamlText: string, fileName: string, templates: Readonly<Record<string, string>>): SpecFile {
  const document = readYaml(yamlText, fileName, 'SPEC_INVALID');
  const parsed = spec.safeParse(document.value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0] as z.core.$ZodIssue;
    const extra = issue.code === 'unrecognized_keys' ? [issue.keys[0] as string] : [];
    throw document.complaint(
      [...issue.path, ...extra],
      extra.length > 0 ? 'is not known here' : inWords(issue, document.value),
    );
  }
  const names = new Map<string, number>();
  for (const [index, item] of parsed.data.inputs.entries()) {
    for (const name of [item.name, ...(item.aliases ?? [])]) {
      if (names.has(name))
        throw document.complaint(
          ['inputs', index, 'name'],
          `is ${JSON.stringify(name)}, which another input of this file has`,
        );
      names.set(name, index);
    }
    checkTemplates(item, index, templates, document.complaint);
  }
  return { file: fileName, spec: { inputs: parsed.data.inputs.map(inputSpec) }, templates };
}

/**
 * Which input types a spec that cannot be used was written for, as far as its text shows: names and aliases, and the name of the file, which
 * is that of its type by habit. Null text: it could not be read either.
 */
export function typesOffered(yamlText: string | null, fileName: string): BrokenSpec['offers'] {
  const stem = (fileName.split('/').at(-1) ?? fileName).replace(/\.spec\.yml$/, '');
  const offers: { readonly name: string; readonly aliases: string[] }[] = [{ name: stem, aliases: [] }];
  for (const line of (yamlText ?? '').split('\n')) {
    for (const [, key, rest = ''] of line.matchAll(/\b(name|aliases)"?:\s*(\[[^\]]*\]|[^\s,}#]+)/g)) {
      const words = rest.split(/[\s,[\]"']+/).filter((word) => word !== '');
      if (key === 'aliases') offers.at(-1)?.aliases.push(...words);
      else if (words[0] !== undefined && words[0] !== stem) offers.push({ name: words[0], aliases: [] });
    }
  }
  return offers;
}

function checkTemplates(
  item: Parsed<typeof input>,
  index: number,
  templates: Readonly<Record<string, string>>,
  complaint: (path: readonly PropertyKey[], why: string) => HoldfastError,
): void {
  for (const [at, { template, format }] of (item.daemon?.files ?? []).entries()) {
    if (template === undefined) continue;
    const source = Object.hasOwn(templates, template) ? templates[template] : undefined;
    const place = ['inputs', index, 'daemon', 'files', at, 'template'];
    if (source === undefined) throw complaint(place, `names ${template}, which does not lie beside the spec`);
    const why = compileTemplate(source, format ?? 'text');
    if (why !== null) throw complaint(place, `names ${template}, which is not a usable template: ${why}`);
  }
}

function inputSpec(item: Parsed<typeof input>): InputSpec {
  const runtime = item.daemon
    ? ({ kind: 'daemon', daemon: daemonSpec(item.daemon) } as const)
    : ({ kind: item.service ? 'service' : 'command' } as const);
  return {
    name: item.name,
    aliases: item.aliases ?? [],
    description: item.description ?? '',
    platforms: item.platforms ?? null,
    outputs: item.outputs ?? ['*'],
    isolateUnits: item.isolate_units ?? runtime.kind === 'daemon',
    ignores: item.ignores ?? [],
    runtime,
  };
}

function daemonSpec(item: Parsed<typeof daemon>): DaemonSpec {
  return {
    command: item.command,
    args: item.args ?? [],
    env: item.env ?? {},
    user: item.user ?? null,
    cwd: item.cwd ?? null,
    limits: { ...item.limits },
    files: (item.files ?? []).map(fileSpec),
    check: item.check
      ? {
          ...commandSpec(item.check, item.check.command ?? null),
          timeoutMs: item.check.timeout ?? DEFAULTS.checkTimeoutMs,
        }
      : null,
    reload: item.reload ? reloadSpec(item.reload) : null,
    ready: {
      probe: item.ready ? probeSpec(item.ready) : { kind: 'after', ms: DEFAULTS.readyAfterMs },
      timeoutMs: item.ready?.timeout ?? DEFAULTS.readyTimeoutMs,
    },
    health: item.health
      ? {
          probe: probeSpec(item.health),
          everyMs: item.health.every ?? DEFAULTS.healthEveryMs,
          failAfter: item.health.fail_after ?? DEFAULTS.healthFailAfter,
        }
      : null,
    stop: { signal: item.stop?.signal ?? 'SIGTERM', graceMs: item.stop?.grace ?? DEFAULTS.stopGraceMs },
    restart: {
      initialMs: item.restart?.initial ?? DEFAULTS.restartInitialMs,
      maxMs: item.restart?.max ?? DEFAULTS.restartMaxMs,
      giveUpAfter: item.restart?.give_up_after ?? DEFAULTS.restartGiveUpAfter,
    },
  };
}

function fileSpec(item: Parsed<typeof file>): FileSpec {
  if (item.from !== undefined)
    return { kind: 'from', path: item.path, from: item.from, variables: item.variables ?? false };
  if (item.template !== undefined) {
    return { kind: 'template', path: item.path, template: item.template, format: item.format ?? 'text' };
  }
  return { kind: 'whole', path: item.path, format: item.format === 'yaml' ? 'yaml' : 'json' };
}

interface CommandParts {
  readonly args?: string[] | undefined;
  readonly env?: Record<string, string> | undefined;
}

function commandSpec(item: CommandParts, command: string | null): CommandSpec {
  return { command, args: item.args ?? [], env: item.env ?? {} };
}

function probeSpec(item: Parsed<typeof confirm>): ProbeSpec {
  if (item.tcp !== undefined) return { kind: 'tcp', address: item.tcp };
  if (item.http !== undefined) return { kind: 'http', url: item.http };
  if (item.output !== undefined) return { kind: 'output', pattern: item.output };
  if (item.command !== undefined) return { kind: 'command', run: commandSpec(item, item.command) };
  return { kind: 'after', ms: item.after ?? DEFAULTS.readyAfterMs };
}

function reloadSpec(item: Parsed<typeof reload>): ReloadSpec {
  const confirmed = {
    confirm: item.confirm ? probeSpec(item.confirm) : null,
    timeoutMs: item.timeout ?? DEFAULTS.reloadTimeoutMs,
  };
  if (item.signal !== undefined) return { action: { kind: 'signal', signal: item.signal }, ...confirmed };
  if (item.command !== undefined)
    return { action: { kind: 'command', run: commandSpec(item, item.command) }, ...confirmed };
  return { action: { kind: 'http', url: item.http ?? '', method: item.method ?? 'POST' }, ...confirmed };
}

/** `host:port`, with IPv6 addresses in brackets; null for anything else. */
export function parseAddress(address: string): { host: string; port: number } | null {
  const match = /^(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:/[\]]+)):(\d{1,5})$/.exec(address);
  const port = Number(match?.[3]);
  if (!match || port < 1 || port > 65_535) return null;
  return { host: (match[1] ?? match[2]) as string, port };
}

function inWords(issue: z.core.$ZodIssue, document: JsonValue): string {
  if (valueAt(document, issue.path) === undefined) return 'is missing';
  if (/^(must|has|stands) /.test(issue.message)) return issue.message;
  if (issue.code === 'invalid_type')
    return `must be ${issue.expected === 'array' ? 'a list' : `of type ${issue.expected}`}`;
  return `is wrong: ${issue.message}`;
}

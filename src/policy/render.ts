/** From a policy's text to the components this host runs for it: inputs resolved, grouped, and rendered down to commands and files. */
import { asProblem, HoldfastError } from '../errors.ts';
import { sha256 } from './canonical.ts';
import type { ComponentProblem, Rendering, Unit, WantedComponent } from './component.ts';
import { holds } from './condition.ts';
import { type ComponentInput, renderDaemon } from './daemon.ts';
import { getOwn, isArray, isObject, type JsonObject, type JsonValue, type Path } from './json.ts';
import { type Policy, type PolicyInput, parsePolicy, type ResolvedInput, resolvedInput } from './parse.ts';
import type { BrokenSpec, InputSpec, SpecFile } from './spec.ts';
import { substitute, substituteText, UnresolvedVariable, type Variables } from './variables.ts';

export interface RenderContext {
  readonly specs: readonly SpecFile[];
  /** Spec files of this host that cannot be used: what they would carry out is not for want of a spec. */
  readonly broken?: readonly BrokenSpec[];
  readonly variables: Variables;
  /** Absolute paths. A component's configuration is `<componentsDir>/<id>/current`, its data `<componentsDir>/<id>/data`. */
  readonly paths: { readonly componentsDir: string };
  /** `os/arch` as Go names them, such as `linux/amd64`. */
  readonly platform: string;
  /** What becomes of inputs that no spec carries out: named and degraded, or only noted. */
  readonly unsupported: 'degrade' | 'ignore';
}

/** A spec's input with the file it stands in. */
interface Carrier {
  readonly input: InputSpec;
  readonly file: SpecFile;
}

/** An input that is to be carried out on this host. */
interface Wanted extends ResolvedInput {
  readonly place: string;
  readonly value: ComponentInput;
}

/** The inputs of one component. */
interface Group {
  readonly key: readonly string[];
  readonly type: string;
  readonly output: string;
  readonly carrier: Carrier | null;
  readonly inputs: Wanted[];
  /** Why no spec here carries them out; null when one does, or would. */
  readonly unsupported: string | null;
  /** Why the spec that would carry them out cannot be used. */
  readonly broken: string | null;
}

/**
 * Renders a policy. Pure: the same arguments give the same value.
 *
 * @throws HoldfastError POLICY_UNPARSABLE when the text is no policy, POLICY_RENDER_FAILED when an output cannot be resolved. What
 * is wrong with one input or component is in `problems` instead.
 */
export function render(policyText: string, context: RenderContext): Rendering {
  const policy = parsePolicy(policyText);
  const carriers = new Map<string, Carrier>();
  const notes = [...collectCarriers(context.specs, carriers), ...notCarriedOut(policy)];
  const outputs = resolveOutputs(policy, context.variables);
  const problems: ComponentProblem[] = [];
  const groups = new Map<string, Group>();

  for (const input of policy.inputs) {
    try {
      const wanted = resolveInput(input, policy, carriers, context.variables);
      if (typeof wanted === 'string') notes.push(wanted);
      else if (wanted !== null) {
        const disabled = outputs.get(wanted.useOutput)?.enabled === false;
        if (disabled)
          notes.push(`${wanted.place} (${wanted.id}) is not run: its output ${wanted.useOutput} is disabled`);
        else addToGroup(groups, wanted, outputs, carriers, context);
      }
    } catch (error) {
      problems.push(inputProblem(input, error));
    }
  }

  const components: WantedComponent[] = [];
  const ids = componentIds([...groups.values()]);
  for (const [key, group] of groups) {
    const id = ids.get(key) as string;
    const units = group.inputs.map((input) => `${id}-${input.id}`);
    if (group.broken !== null) {
      problems.push({
        component: id,
        type: group.type,
        units,
        mayBe: group.inputs.map((input) => idOf([...group.key, input.id], false)),
        degradesOnly: false,
        code: 'SPEC_INVALID',
        message: group.broken,
      });
      continue;
    }
    if (group.unsupported !== null) {
      if (context.unsupported === 'ignore') notes.push(`${id}: ${group.unsupported}; ignored, as the settings say`);
      else
        problems.push({
          component: id,
          type: group.type,
          units,
          degradesOnly: true,
          code: 'POLICY_RENDER_FAILED',
          message: group.unsupported,
        });
      continue;
    }
    try {
      components.push(component(id, group, outputs.get(group.output) as JsonObject, context));
    } catch (error) {
      problems.push({
        component: id,
        type: group.type,
        units,
        degradesOnly: false,
        ...asProblem(error, 'POLICY_RENDER_FAILED', id),
      });
    }
  }
  const byId = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
  return {
    components: components.sort((a, b) => byId(a.id, b.id)),
    problems: problems.sort((a, b) => byId(a.component, b.component)),
    notes,
  };
}

function component(id: string, group: Group, output: JsonObject, context: RenderContext): WantedComponent {
  const { input: spec, file } = group.carrier as Carrier;
  if (spec.runtime.kind !== 'daemon')
    throw new HoldfastError('INTERNAL', `${id}: ${spec.runtime.kind} is not carried out yet`);
  const twice = group.inputs.find((one, index) => group.inputs.findIndex((other) => other.id === one.id) !== index);
  if (twice)
    throw new HoldfastError(
      'POLICY_RENDER_FAILED',
      `${twice.place}: the id ${JSON.stringify(twice.id)} is another input's too, once variables are replaced`,
    );

  const { daemon, hash, processHash } = renderDaemon(spec.runtime.daemon, {
    id,
    type: group.type,
    componentsDir: context.paths.componentsDir,
    inputs: group.inputs.map((input) => input.value),
    output: { ...output, name: group.output },
    variables: context.variables,
    templates: file.templates,
  });
  const units: Unit[] = group.inputs.map((input) => ({
    id: `${id}-${input.id}`,
    type: 'input',
    degraded: degradation(input.value, spec, file),
  }));
  units.push({ id, type: 'output', degraded: null });
  return { id, type: group.type, hash, processHash, units, daemon };
}

/** Specs by type and alias. When two files offer one type the first file by name wins, and it is said. */
function collectCarriers(specs: readonly SpecFile[], carriers: Map<string, Carrier>): string[] {
  const notes: string[] = [];
  for (const file of [...specs].sort((a, b) => (a.file < b.file ? -1 : 1))) {
    for (const input of file.spec.inputs) {
      for (const name of [input.name, ...input.aliases]) {
        const first = carriers.get(name);
        if (first) notes.push(`${file.file} offers the input type ${name} too; ${first.file.file} is used`);
        else carriers.set(name, { input, file });
      }
    }
  }
  return notes;
}

const OTEL_SECTIONS = ['receivers', 'processors', 'connectors', 'exporters', 'extensions', 'service'];

/** Parts of a stock policy that Holdfast knows of and does not carry out. */
function notCarriedOut(policy: Policy): string[] {
  const notes: string[] = [];
  const isOn = (key: string): boolean => {
    const section = getOwn(policy.agent, key);
    return isObject(section ?? null) && getOwn(section as JsonObject, 'enabled') === true;
  };
  if (isOn('monitoring'))
    notes.push('agent.monitoring is not carried out: Holdfast does not ship its own logs and metrics');
  if (isOn('protection'))
    notes.push('agent.protection is not carried out: nothing guards this agent against being removed');
  const hosts = getOwn(policy.fleet, 'hosts');
  if (isArray(hosts) && hosts.length > 0) {
    notes.push(
      'fleet.hosts is not carried out: the agent stays with the Fleet hosts it was enrolled with or was given',
    );
  }
  const sections = OTEL_SECTIONS.filter((key) => {
    const section = getOwn(policy.body, key);
    return isObject(section ?? null) && Object.keys(section as JsonObject).length > 0;
  });
  if (sections.length > 0) notes.push(`${sections.join(', ')}: OpenTelemetry sections of a policy are not carried out`);
  return notes;
}

/** Outputs with their variables replaced; one that cannot be is an error of the whole policy, as Elastic Agent has it. */
function resolveOutputs(policy: Policy, variables: Variables): Map<string, JsonObject> {
  const outputs = new Map<string, JsonObject>();
  for (const [name, output] of policy.outputs) {
    outputs.set(name, substitute(output, variables, undefined, ['outputs', name]) as JsonObject);
  }
  return outputs;
}

/** An input for this host; null when it is switched off; a note when it does not concern this host. */
function resolveInput(
  { place, value }: PolicyInput,
  policy: Policy,
  carriers: ReadonlyMap<string, Carrier>,
  variables: Variables,
): Wanted | string | null {
  try {
    if (!isWanted(value, variables)) return null;
    const type = substituteText(String(value.type), variables, ['type']);
    const carrier = typeof type === 'string' ? carriers.get(type) : undefined;
    const all = isArray(value.streams) ? value.streams : [];
    // Those that are switched off keep their place, so that complaints count as the policy does.
    const streams = all.map((stream) => (isWanted(stream as JsonObject, variables) ? stream : null));
    if (all.length > 0 && streams.every((stream) => stream === null)) return null;

    const resolved = substitute({ ...value, streams }, variables, verbatimPaths(carrier)) as JsonObject;
    const input = resolvedInput({ ...resolved, streams: runStreams(resolved) }, place);
    if (!input.enabled) return null;
    if (!policy.outputs.has(input.useOutput)) {
      throw new HoldfastError(
        'POLICY_RENDER_FAILED',
        `${place}.use_output names the output ${JSON.stringify(input.useOutput)}, which the policy does not have`,
      );
    }
    return { ...input, place, value: completed(resolved, input) };
  } catch (error) {
    if (error instanceof UnresolvedVariable)
      return `${place} (${nameOf(value)}) is not run on this host: ${error.message}`;
    throw error;
  }
}

/** Switches and conditions of an input or stream. */
function isWanted(value: JsonObject, variables: Variables): boolean {
  const enabled =
    typeof value.enabled === 'string' ? substituteText(value.enabled, variables, ['enabled']) : value.enabled;
  if (enabled === false || enabled === 'false') return false;
  const condition = value.condition;
  if (typeof condition === 'boolean') return condition;
  return typeof condition !== 'string' || condition.trim() === '' || holds(condition, variables);
}

/** Strings that a spec copies as they are: their braces belong to the program. */
function verbatimPaths(carrier: Carrier | undefined): (path: Path) => boolean {
  const verbatim = new Set<string>();
  if (carrier?.input.runtime.kind === 'daemon') {
    for (const file of carrier.input.runtime.daemon.files) if (file.kind === 'from') verbatim.add(file.from);
  }
  return (path) => {
    const inStream = path[0] === 'streams' && typeof path[1] === 'number';
    return verbatim.has((inStream ? path.slice(2) : path).join('.'));
  };
}

function runStreams(resolved: JsonObject): JsonObject[] {
  return (resolved.streams as readonly (JsonObject | null)[]).filter((stream) => stream !== null);
}

/** The input as templates see it: conditions and switches gone, streams complete as Elastic Agent completes them. */
function completed(value: JsonObject, { id, type }: ResolvedInput): ComponentInput {
  const { condition: _condition, enabled: _enabled, ...rest } = value;
  const own = isObject(value.data_stream ?? null) ? (value.data_stream as JsonObject) : {};
  const streams = runStreams(value).map((stream) => {
    const { condition: _c, enabled: _e, ...fields } = stream;
    const its = isObject(stream.data_stream ?? null) ? (stream.data_stream as JsonObject) : {};
    return {
      ...fields,
      data_stream: {
        ...own,
        ...its,
        type: its.type ?? own.type ?? 'logs',
        dataset: its.dataset ?? own.dataset ?? 'generic',
        namespace: its.namespace ?? own.namespace ?? 'default',
      },
    };
  });
  return { ...rest, id, type, streams };
}

function addToGroup(
  groups: Map<string, Group>,
  input: Wanted,
  outputs: ReadonlyMap<string, JsonObject>,
  carriers: ReadonlyMap<string, Carrier>,
  { platform, broken: brokenSpecs = [] }: RenderContext,
): void {
  const carrier = carriers.get(input.type) ?? null;
  const brokenSpec = carrier === null ? whatWouldCarryOut(input.type, brokenSpecs) : null;
  const broken = brokenSpec?.why ?? null;
  const outputType = String(outputs.get(input.useOutput)?.type);
  const unsupported = broken === null ? whyUnsupported(carrier, input.type, outputType, platform) : null;
  // The canonical type, so that an alias and the name itself share a process.
  const type = carrier?.input.name ?? brokenSpec?.name ?? input.type;
  const isolated = unsupported === null && carrier?.input.isolateUnits === true;
  const parts = isolated ? [type, input.useOutput, input.id] : [type, input.useOutput];
  const key = JSON.stringify(parts);
  const group = groups.get(key);
  if (group) group.inputs.push(input);
  else groups.set(key, { key: parts, type, output: input.useOutput, carrier, inputs: [input], unsupported, broken });
}

/** The type as a broken spec names it, and why that spec cannot be used. */
function whatWouldCarryOut(type: string, broken: readonly BrokenSpec[]): { name: string; why: string } | null {
  for (const { message, offers } of broken) {
    const why = `the spec that carries it out cannot be used: ${message}`;
    if (offers === 'anything') return { name: type, why };
    const offer = offers.find(({ name, aliases }) => name === type || aliases.includes(type));
    if (offer) return { name: offer.name, why };
  }
  return null;
}

function whyUnsupported(carrier: Carrier | null, type: string, outputType: string, platform: string): string | null {
  if (carrier === null) return `no spec on this host carries out the input type ${JSON.stringify(type)}`;
  const { input, file } = carrier;
  if (input.runtime.kind !== 'daemon')
    return `${file.file} carries out ${type} as a ${input.runtime.kind}, which Holdfast does not do yet`;
  if (input.platforms !== null && !input.platforms.includes(platform)) {
    return `${file.file} carries out ${type} on ${input.platforms.join(', ')}, and this host is ${platform}`;
  }
  if (!input.outputs.includes('*') && !input.outputs.includes(outputType)) {
    return `${file.file} carries out ${type} for outputs of type ${input.outputs.join(', ')}, and this one is ${outputType}`;
  }
  return null;
}

/** Longest id that is used as it is; a file name may have 255 bytes. */
const MAX_ID_LENGTH = 128;

/**
 * Ids by group: `<type>-<output>` or `<type>-<output>-<input id>`. One that is no safe directory name, or that two groups would share
 * (`a-b` + `c` and `a` + `b-c`), gets a hash behind a `~`, which no id has of itself. So two groups never share an id.
 */
function componentIds(groups: readonly Group[]): Map<string, string> {
  const plain = groups.map((group) => group.key.join('-'));
  const ids = new Map<string, string>();
  for (const [index, { key }] of groups.entries()) {
    const id = plain[index] as string;
    const isShared = plain.indexOf(id) !== index || plain.lastIndexOf(id) !== index;
    ids.set(JSON.stringify(key), idOf(key, isShared));
  }
  return ids;
}

function idOf(key: readonly string[], isShared: boolean): string {
  const id = key.join('-');
  if (!isShared && isSafeId(id)) return id;
  const readable = id
    .replace(/[^A-Za-z0-9_.-]/g, '_')
    .replace(/^\./, '_')
    .slice(0, MAX_ID_LENGTH);
  return `${readable}~${sha256(JSON.stringify(key)).slice(0, 16)}`;
}

function isSafeId(id: string): boolean {
  return id.length <= MAX_ID_LENGTH && /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/.test(id);
}

/** Keys that name or place an input or stream, and that Holdfast itself carries out or that mean nothing to a program. */
const FRAME = new Set(
  'id name type revision use_output data_stream package_policy_id policy_template meta original_id enabled condition streams'.split(
    ' ',
  ),
);

/** Names what of an input no file carries to the program, since nothing is dropped silently. */
function degradation(input: ComponentInput, spec: InputSpec, file: SpecFile): string | null {
  if (spec.ignores.includes('*') || spec.runtime.kind !== 'daemon') return null;
  const files = spec.runtime.daemon.files;
  if (files.some((one) => one.kind === 'whole')) return null;
  const carried = new Set([...FRAME, ...spec.ignores]);
  const templates: string[] = [];
  for (const one of files) {
    if (one.kind === 'from') carried.add(one.from.split('.')[0] as string);
    if (one.kind === 'template') templates.push(file.templates[one.template] ?? '');
  }
  const dropped = new Set<string>();
  for (const part of [input, ...input.streams]) {
    for (const key of Object.keys(part)) {
      if (!carried.has(key) && !isNothing(part[key] as JsonValue) && !templates.some((text) => names(text, key)))
        dropped.add(key);
    }
  }
  return dropped.size === 0 ? null : `${[...dropped].sort().join(', ')} not carried out`;
}

function names(template: string, key: string): boolean {
  const at = template.indexOf(key);
  if (at < 0) return false;
  const isWordCharacter = (char: string | undefined): boolean => char !== undefined && /[\w-]/.test(char);
  for (let i = at; i >= 0; i = template.indexOf(key, i + 1)) {
    if (!isWordCharacter(template[i - 1]) && !isWordCharacter(template[i + key.length])) return true;
  }
  return false;
}

function isNothing(value: JsonValue): boolean {
  return (
    value === null ||
    value === '' ||
    (isArray(value) && value.length === 0) ||
    (isObject(value) && Object.keys(value).length === 0)
  );
}

function inputProblem({ place, value }: PolicyInput, error: unknown): ComponentProblem {
  const type = String(value.type);
  const output = typeof value.use_output === 'string' && value.use_output !== '' ? value.use_output : 'default';
  const component = `${type}-${output}`;
  return {
    component,
    type,
    units: [`${component}-${nameOf(value)}`],
    mayBe: [idOf([type, output, nameOf(value)], false)],
    degradesOnly: false,
    ...asProblem(error, 'POLICY_RENDER_FAILED', `${place} (${nameOf(value)})`),
  };
}

function nameOf(value: JsonObject): string {
  return String(value.id || value.type);
}

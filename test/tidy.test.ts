/** The rules of the house, held by tests instead of by reviewers (CONTRIBUTING.md lists them with their reasons). */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join, relative, sep } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type AnyStateMachine, type AnyStateNode, StateMachine } from 'xstate';
import { ERRORS } from '../src/errors.ts';
import { stateNodes } from './support/machine-kit.ts';

const ROOT = join(import.meta.dirname, '..');
const MACHINE_LINES = 400;
const NOT_OURS = new Set(['node_modules', 'dist', 'coverage', '.git', '.holdfast-demo', 'package-lock.json']);

interface Import {
  readonly from: string;
  readonly typesOnly: boolean;
}

interface Source {
  /** From the root of the project, with forward slashes. */
  readonly path: string;
  readonly text: string;
  readonly imports: readonly Import[];
}

const tree = filesBelow(ROOT).map((file) => relative(ROOT, file).replaceAll(sep, '/'));
const sources = tree.filter((path) => /^src\/.*\.ts$/.test(path)).map(readSource);
const unloadable: string[] = [];
const machines = await findMachines();

describe.each(machines.map(({ name, machine }) => [name, machine] as const))('the chart of %s', (_name, machine) => {
  const nodes = stateNodes(machine.root);

  it('describes every state: what holds there and what ends it', () => {
    const undescribed = nodes.filter((node) => !node.description && (node.parent || node.type === 'atomic'));
    expect(ids(undescribed)).toEqual([]);
  });

  it('handles the failure of everything it invokes', () => {
    const careless = nodes.flatMap((node) =>
      node.invoke.filter((invoke) => invoke.onError === undefined).map((invoke) => `${node.id}: ${String(invoke.src)}`),
    );
    expect(careless).toEqual([]);
  });

  it('speaks in names: no guard, action, actor or delay is written into it', () => {
    expect(nodes.flatMap((node) => inlineParts(node, machine))).toEqual([]);
  });

  it('names every event noun.verb', () => {
    const events = new Set(nodes.flatMap((node) => [...node.transitions.keys()] as string[]));
    const odd = [...events].filter((type) => !/^(xstate\..+|\*|[a-z]\w*(\.[a-z]\w*)*\.([a-z]\w*|\*))$/.test(type));
    expect(odd).toEqual([]);
  });

  it('has a way out of every state that does not end the machine', () => {
    expect(ids(nodes.filter(isStuck))).toEqual([]);
  });
});

describe('the machines', () => {
  it('are found by their exports', () => {
    expect(unloadable).toEqual([]);
    const files = sources.filter(
      (source) => /^src\/machines\/.*\.ts$/.test(source.path) && source.text.includes('.createMachine('),
    );
    expect(new Set(machines.map((one) => one.path))).toEqual(new Set(files.map((one) => one.path)));
  });

  it(`are at most ${MACHINE_LINES} lines each: a longer one is two machines`, () => {
    const long = machines
      .map((one) => source(one.path))
      .filter((one) => one.text.split('\n').length > MACHINE_LINES + 1);
    expect(long.map((one) => one.path)).toEqual([]);
  });

  it('import xstate, each other, the policy and the errors, and of the wire only types', () => {
    const allowed = ({ from, typesOnly }: Import) =>
      /^(xstate$|\.\/|\.\.\/policy\/|\.\.\/errors\.ts$)/.test(from) || (from.startsWith('../wire/') && typesOnly);
    expect(foreignImports(/^src\/machines\//, allowed)).toEqual([]);
  });

  it('read no clock, draw no random number and see no environment; nor does the policy code', () => {
    const impure =
      /\bDate\.now\b|\bMath\.random\b|\bprocess\.(env|pid|ppid|hrtime|cwd|argv|uptime|platform|memoryUsage)\b|\bnew Date\(\)|\bperformance\.now\b|\brandom(UUID|Bytes|Int)\b/;
    const found = sources.filter(
      (one) => /^src\/(machines|policy)\//.test(one.path) && impure.test(withoutComments(one.text)),
    );
    expect(paths(found)).toEqual([]);
  });
});

describe('the source', () => {
  it('opens every file with a comment that says what it is', () => {
    const mute = sources.filter((one) => !/^(#!.*\n)?(\/\*\*|\/\/) ?\S?/.test(one.text));
    expect(paths(mute)).toEqual([]);
  });

  it('lets services know machines by their types only', () => {
    const allowed = ({ from, typesOnly }: Import) => typesOnly || !from.includes('/machines/');
    expect(foreignImports(/^src\/services\//, allowed)).toEqual([]);
  });

  it('brings machines and services together only in agent.ts, in enroll.ts and in the commands', () => {
    const both = sources.filter((one) => {
      const values = one.imports.filter((each) => !each.typesOnly).map((each) => each.from);
      return values.some((from) => from.includes('machines/')) && values.some((from) => from.includes('services/'));
    });
    const composed = ['src/agent.ts'];
    expect(paths(both).filter((path) => !composed.includes(path) && !path.startsWith('src/commands/'))).toEqual([]);
  });

  it('keeps the policy code free of machines, services and I/O', () => {
    const allowed = ({ from, typesOnly }: Import) =>
      typesOnly || !/machines\/|services\/|commands\/|^node:(fs|net|http|https|child_process|os)/.test(from);
    expect(foreignImports(/^src\/policy\//, allowed)).toEqual([]);
  });

  it('lets the embedded Fleet server share nothing of the agent but wire, policy, errors and the durable file', () => {
    const allowed = ({ from }: Import) => !/machines\/|commands\/|agent\.ts$/.test(from);
    expect(foreignImports(/^src\/fleet-server\//, allowed)).toEqual([]);
  });

  it('uses every error code it declares', () => {
    const used = sources.filter((one) => one.path !== 'src/errors.ts').map((one) => one.text);
    const unused = Object.keys(ERRORS).filter((code) => !used.some((text) => text.includes(`'${code}'`)));
    expect(unused).toEqual([]);
  });

  it('loads the HTTP client with the first exchange, never with the program: nothing of it before the replay (P2)', () => {
    const early = sources.filter((one) => one.imports.some(({ from, typesOnly }) => from === 'undici' && !typesOnly));
    expect(paths(early)).toEqual([]);
    expect(sources.filter((one) => one.text.includes("await import('undici')"))).toHaveLength(1);
  });

  it('has no drawer for everything', () => {
    expect(tree.filter((path) => /(^|\/)(utils?|helpers?|misc|common)(\/|\.ts$)/.test(path))).toEqual([]);
  });
});

describe('the tree', () => {
  const texts = tree.filter((path) => !/\.(png|ico|zip|gz)$/.test(path)).map((path) => ({ path, text: read(path) }));

  it('holds no note to do something later', () => {
    const mark = new RegExp(`\\b(${['TO', 'FIX'].map((word) => word + (word === 'TO' ? 'DO' : 'ME')).join('|')})\\b`);
    expect(paths(texts.filter((one) => mark.test(one.text)))).toEqual([]);
  });

  it('does not know where it is checked out', () => {
    const place = ROOT.replaceAll(sep, '/');
    const telling = place.split('/').length > 2 ? texts.filter((one) => one.text.includes(`${place}/`)) : [];
    expect(paths(telling)).toEqual([]);
  });

  it('tests every machine by generated paths and commits what they walk', () => {
    const tests = texts.filter(
      (one) => /^test\/machines\/.*\.test\.ts$/.test(one.path) && one.text.includes('describePaths('),
    );
    const untested = machines.filter(({ name }) => !tests.some((one) => new RegExp(`\\b${name}\\b`).test(one.text)));
    expect(untested.map((one) => one.name)).toEqual([]);
  });

  it.runIf(existsSync(join(ROOT, 'README.md')))('mentions each of the twelve promises in the README', () => {
    const promises = Array.from({ length: 12 }, (_, index) => `P${index + 1}`);
    expect(promises.filter((one) => !new RegExp(`\\b${one}\\b`).test(read('README.md')))).toEqual([]);
  });
});

function ids(nodes: readonly AnyStateNode[]): string[] {
  return nodes.map((node) => node.id);
}

function paths(files: readonly { path: string }[]): string[] {
  return files.map((file) => file.path);
}

function foreignImports(where: RegExp, allowed: (one: Import) => boolean): string[] {
  return sources
    .filter((one) => where.test(one.path))
    .flatMap((one) => one.imports.filter((each) => !allowed(each)).map((each) => `${one.path} imports ${each.from}`));
}

/** What is written into the chart where a name belongs. `and`, `or` and `not` may combine names; `input` and `params` may be mapped. */
function inlineParts(node: AnyStateNode, machine: AnyStateMachine): string[] {
  const transitions = [...node.transitions.values(), node.always ?? []].flat();
  const delays = Object.keys((node.config.after as object | undefined) ?? {});
  const guards = transitions.flatMap((one) => (one.guard === undefined || isNamedGuard(one.guard) ? [] : ['a guard']));
  const actions = [
    ...listed(node.config.entry),
    ...listed(node.config.exit),
    ...transitions.flatMap((one) => one.actions),
  ].flatMap((one) => (isNamed(one) ? [] : [`an action (${String((one as { type?: string }).type ?? 'function')})`]));
  const actors = node.invoke.flatMap((one) =>
    typeof one.src === 'string' && Object.hasOwn(machine.implementations.actors, one.src) ? [] : ['an actor'],
  );
  const times = delays.flatMap((one) =>
    Object.hasOwn(machine.implementations.delays, one) ? [] : [`the delay ${one}`],
  );
  return [...guards, ...actions, ...actors, ...times].map((part) => `${node.id}: ${part}`);
}

/** As written: xstate adds actions of its own for `after`. */
function listed(actions: unknown): unknown[] {
  return actions === undefined ? [] : Array.isArray(actions) ? actions : [actions];
}

function isNamed(part: unknown): boolean {
  return typeof part === 'string' || (typeof part === 'object' && part !== null && 'type' in part);
}

function isNamedGuard(guard: unknown): boolean {
  const combined = typeof guard === 'function' ? (guard as { guards?: unknown[] }).guards : undefined;
  return combined ? combined.every(isNamedGuard) : isNamed(guard);
}

/** Nothing that can happen leads out of this leaf, and it does not end the machine either. */
function isStuck(node: AnyStateNode): boolean {
  if (!node.parent || !['atomic', 'final'].includes(node.type)) return false;
  if (node.type === 'final' && !node.parent.parent) return false;
  for (let at: AnyStateNode | undefined = node; at; at = at.parent) {
    const out = [...at.transitions.values(), at.always ?? []].flat().flatMap((one) => one.target ?? []);
    if (out.some((target) => target !== node)) return false;
  }
  return true;
}

async function findMachines(): Promise<{ name: string; path: string; machine: AnyStateMachine }[]> {
  const found = [];
  for (const { path } of sources.filter((one) => one.path.startsWith('src/machines/'))) {
    const exported = await import(join(ROOT, path)).catch((error: unknown) => {
      unloadable.push(`${path}: ${String(error)}`);
      return {};
    });
    for (const [name, value] of Object.entries(exported)) {
      if (value instanceof StateMachine) found.push({ name, path, machine: value as unknown as AnyStateMachine });
    }
  }
  return found;
}

function source(path: string): Source {
  return sources.find((one) => one.path === path) as Source;
}

function readSource(path: string): Source {
  const text = read(path);
  const found = withoutComments(text).matchAll(
    /(?:^|\n)\s*(?:import|export)\s+(type\s+)?(?:([^'";]*?)\s+from\s+)?'([^']+)'/g,
  );
  const imports = [...found].map(([, type, names = '', from = '']) => {
    const named =
      /^\{([\s\S]*)\}$/
        .exec(names.trim())?.[1]
        ?.split(',')
        .map((one) => one.trim()) ?? [];
    const each = named.filter(Boolean);
    return { from, typesOnly: Boolean(type) || (each.length > 0 && each.every((one) => one.startsWith('type '))) };
  });
  return { path, text, imports };
}

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '');
}

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (NOT_OURS.has(entry.name) || entry.name.endsWith('.log')) return [];
    const path = join(folder, basename(entry.name));
    return entry.isDirectory() ? filesBelow(path) : entry.isFile() ? [path] : [];
  });
}

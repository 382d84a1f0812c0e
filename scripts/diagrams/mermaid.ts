/** Writes a chart as Mermaid text, which code hosts draw in place. */
import type { ChartState, ChartTransition } from './chart.ts';
import type { Drawing } from './drawing.ts';
import { type View, type Ways, waysOf } from './view.ts';

export interface MermaidOptions {
  /** Also show transitions that leave no state and only do something, as arrows back to where they began. Default: false. */
  readonly staying?: boolean;
}

/** `stateDiagram-v2` text of a view. What any state inside another can take leaves a node called "anywhere in …". */
export function mermaidOf(view: View, { staying = false }: MermaidOptions = {}): string {
  return new StateDiagram(view, staying).text();
}

class StateDiagram {
  readonly #view: View;
  readonly #staying: boolean;
  readonly #states: ReadonlyMap<string, ChartState>;
  readonly #anywhere = new Set<string>();
  readonly #met = new Set<string>();

  constructor(view: View, staying: boolean) {
    this.#view = view;
    this.#staying = staying;
    this.#states = new Map(view.chart.states.map((state) => [state.id, state]));
  }

  text(): string {
    const { chart, within, name } = this.#view;
    const root = this.#states.get(within ?? (chart.states[0]?.id as string)) as ChartState;
    const arrows = this.#arrows(root);
    // A part of a chart stands in a box of its own, so that what is elsewhere stands beside it.
    if (within !== undefined) return titled(name, [...this.#elsewhere(root), ...this.#declaration(root), ...arrows]);
    const body = [
      ...(root.initial === null ? [] : [`[*] --> ${word(this.#shown(root.initial))}`]),
      ...this.#inside(root),
      ...arrows,
    ];
    return titled(name, body);
  }

  /** The states outside the shown part that arrows come from or lead to. */
  #elsewhere(root: ChartState): string[] {
    return [...this.#met]
      .filter((id) => !this.#isIn(id, root.id))
      .map((id) => `state "${id.split('.').slice(1).join('.') || 'from anywhere'}" as ${word(id)}`);
  }

  /** The declarations of everything in this state; the arrows must be known, since they ask for nodes of their own. */
  #inside(state: ChartState): string[] {
    const lines = this.#below(state).flatMap((child, index) => {
      const separator = state.type === 'parallel' && index > 0 ? ['--'] : [];
      return [...separator, ...this.#declaration(child)];
    });
    const anywhere = this.#anywhere.has(state.id)
      ? [`state "anywhere in ${state.key}" as ${anywhereIn(state.id)}`]
      : [];
    return [...anywhere, ...lines];
  }

  #declaration(state: ChartState): string[] {
    const name = `state "${state.key}" as ${word(state.id)}`;
    if (this.#below(state).length === 0) return state.type === 'final' ? [name, `${word(state.id)} --> [*]`] : [name];
    const entry = state.initial === null ? [] : [`[*] --> ${word(this.#shown(state.initial))}`];
    return [`${name} {`, ...[...entry, ...this.#inside(state)].map((line) => `  ${line}`), '}'];
  }

  #arrows(root: ChartState): string[] {
    const merged = new Map<string, { from: string; to: string; all: ChartTransition[] }>();
    for (const transition of this.#view.chart.transitions) {
      if (this.#view.without?.(transition)) continue;
      const targets = transition.targets.length === 0 && this.#staying ? [transition.source] : transition.targets;
      for (const target of targets) {
        const isInside = this.#isIn(transition.source, root.id) || this.#isIn(target, root.id);
        if (!isInside) continue;
        const ends = this.#ends(transition.source, target);
        if (ends === null) continue;
        const key = `${ends.from} ${ends.to}`;
        const arrow = merged.get(key) ?? { ...ends, all: [] };
        arrow.all.push(transition);
        merged.set(key, arrow);
      }
    }
    return [...merged.values()].map(({ from, to, all }) => {
      const label = waysOf(all).map(wayInWords).filter(Boolean).join('<br/>');
      return `${from} --> ${to}${label === '' ? '' : ` : ${label}`}`;
    });
  }

  /** Renderers do not draw an arrow between a box and what is in it: it begins "anywhere in" the box and ends where the box is entered. */
  #ends(source: string, target: string): { from: string; to: string } | null {
    const from = this.#shown(source);
    const to = this.#shown(target);
    if (from === to && source !== target) return null;
    const isOpen = this.#below(this.#states.get(from) as ChartState).length > 0;
    const entered = this.#isIn(from, to) ? this.#leaf(to) : to;
    const { within } = this.#view;
    const isShown = within === undefined || this.#isIn(from, within);
    if (isShown && isOpen && this.#isIn(to, from)) {
      this.#anywhere.add(from);
      return { from: anywhereIn(from), to: word(entered) };
    }
    this.#met.add(from).add(entered);
    return { from: word(from), to: word(entered) };
  }

  #leaf(id: string): string {
    const state = this.#states.get(id) as ChartState;
    return state.initial === null || this.#below(state).length === 0 ? id : this.#leaf(state.initial);
  }

  #below(state: ChartState): ChartState[] {
    if (this.#view.folded?.includes(state.id)) return [];
    return [...this.#states.values()].filter(({ parent }) => parent === state.id);
  }

  /** The outermost folded state around this one, else itself. */
  #shown(id: string): string {
    const around: string[] = [];
    for (let at: string | null = id; at !== null; at = this.#states.get(at)?.parent ?? null) around.unshift(at);
    return around.find((one) => this.#view.folded?.includes(one)) ?? id;
  }

  #isIn(id: string, ancestor: string): boolean {
    for (let at: string | null = id; at !== null; at = this.#states.get(at)?.parent ?? null)
      if (at === ancestor) return true;
    return false;
  }
}

function titled(name: string, body: readonly string[]): string {
  return `---\ntitle: ${name}\n---\nstateDiagram-v2\n${body.map((line) => `  ${line}\n`).join('')}`;
}

/** `flowchart` text of the actor diagram. */
export function mermaidFlowchart({ name, boxes, arrows }: Drawing): string {
  const lines = [
    ...boxes.map(({ id, title, kind }) =>
      kind === 'outside' ? `${word(id)}(["${title}"])` : `${word(id)}["${title}"]`,
    ),
    ...arrows.map(({ from, to, kind, words }) => {
      const text = words.map((line) => line.text).join('<br/>');
      return `${word(from)} ${kind === 'call' ? '-.->' : '-->'}|"${text}"| ${word(to)}`;
    }),
  ];
  return `---\ntitle: ${name}\n---\nflowchart TD\n${lines.map((line) => `  ${line}\n`).join('')}`;
}

/** A state's id as one word; `end` and the like are keywords, so none stays bare. */
function word(id: string): string {
  return `s_${id.replace(/\W/g, '_')}`;
}

function anywhereIn(id: string): string {
  return `${word(id)}_anywhere`;
}

function wayInWords({ condition, events }: Ways): string {
  const when = condition === null ? [] : [`[${condition}]`];
  return plain([events.join(' / '), ...when].filter(Boolean).join(' '));
}

/** Labels end at a semicolon, and a colon begins one. */
function plain(text: string): string {
  return text.replace(/[;:#]/g, ',').replaceAll('"', "'");
}

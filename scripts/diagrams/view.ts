/** Which part of a chart a picture shows: all of it, one state and what is in it, or the outer states with their insides folded away. */
import type { Chart, ChartState, ChartTransition } from './chart.ts';
import type { Arrow, ArrowKind, Box, BoxKind, Drawing, Words } from './drawing.ts';

export interface View {
  readonly name: string;
  readonly title: string;
  readonly chart: Chart;
  /** Show only this state and what is in it; what is outside and meets it is drawn as a stub. */
  readonly within?: string;
  /** States whose insides are not shown. */
  readonly folded?: readonly string[];
  /** States that are not shown. */
  readonly omitted?: readonly string[];
  /** Transitions that are not shown. */
  readonly without?: (transition: ChartTransition) => boolean;
  readonly direction?: 'DOWN' | 'RIGHT';
  /** For a glance: without the words at the arrows, which stand in their tooltips. */
  readonly isSmall?: boolean;
}

/** Longest line of a label, in characters. */
const LINE_CHARACTERS = 27;

/** What this view draws. Transitions without a target leave no arrow: they stand in the tooltip of their state. */
export function drawingOf(view: View): Drawing {
  const shown = shownStates(view);
  const arrows = arrowsOf(view, shown);
  const roots = [...shown.values()].filter(({ parent }) => parent === null || !shown.has(parent));
  const leaving = new Set(arrows.map(({ from }) => from));
  const boxes = roots.map((state) => boxOf(state, view, shown, leaving));
  const stubs = elsewhere(arrows, shown, view.chart);
  return {
    name: view.name,
    title: view.title,
    boxes: [...boxes, ...stubs],
    arrows: [...entries(view, shown), ...arrows].map((arrow) => (view.isSmall ? { ...arrow, words: [] } : arrow)),
    direction: view.direction ?? 'DOWN',
    isSmall: view.isSmall ?? false,
  };
}

function shownStates({ chart, within, folded = [], omitted = [] }: View): Map<string, ChartState> {
  const shown = new Map<string, ChartState>();
  for (const state of chart.states) {
    const isRoot = within === undefined ? state.parent === null : state.id === within;
    const parentIsOpen = state.parent !== null && shown.has(state.parent) && !folded.includes(state.parent);
    if ((isRoot || parentIsOpen) && !omitted.includes(state.id)) shown.set(state.id, state);
  }
  return shown;
}

/** The innermost shown state around this one; itself when it is shown or nothing around it is. */
function visible(id: string, shown: ReadonlyMap<string, ChartState>, chart: Chart): string {
  for (let at: string | null = id; at !== null; at = parentOf(at, chart)) if (shown.has(at)) return at;
  return id;
}

function parentOf(id: string, chart: Chart): string | null {
  return chart.states.find((state) => state.id === id)?.parent ?? null;
}

/** Is the first a state around the second? */
function isAround(around: string, id: string, chart: Chart): boolean {
  for (let at = parentOf(id, chart); at !== null; at = parentOf(at, chart)) if (at === around) return true;
  return false;
}

/** The id of the box that stands for every state in this one. */
function anywhereIn(id: string): string {
  return `${id}#anywhere`;
}

function isWithin(id: string, { chart, within }: View): boolean {
  if (within === undefined) return true;
  for (let at: string | null = id; at !== null; at = parentOf(at, chart)) if (at === within) return true;
  return false;
}

/** One arrow for all that leads from one box to another in the same way. */
function arrowsOf(view: View, shown: ReadonlyMap<string, ChartState>): Arrow[] {
  const merged = new Map<string, { kind: ArrowKind; from: string; to: string; all: ChartTransition[] }>();
  for (const transition of view.chart.transitions) {
    if (view.without?.(transition)) continue;
    for (const target of transition.targets) {
      if (!isWithin(transition.source, view) && !isWithin(target, view)) continue;
      const from = visible(transition.source, shown, view.chart);
      const to = visible(target, shown, view.chart);
      // Inside a folded state; unless it is one state that is entered again.
      if (from === to && transition.source !== target) continue;
      const leaves = isAround(from, to, view.chart) ? anywhereIn(from) : from;
      // At a glance the way counts, and not how often it can be taken.
      const key = `${leaves}>${to}>${view.isSmall ? '' : transition.kind}`;
      const arrow = merged.get(key) ?? { kind: transition.kind, from: leaves, to, all: [] };
      arrow.all.push(transition);
      merged.set(key, arrow);
    }
  }
  return [...merged.values()].map(({ kind, from, to, all }) => ({
    id: [view.name, from, to, kind].join('--').replace(/[^\w.-]/g, '-'),
    kind,
    from,
    to,
    words: labelOf(all),
    tooltip: all.map((one) => tooltipOf(one)).join('\n\n'),
    transitions: all.map(({ id }) => id),
  }));
}

/** Events that go the same way under the same condition; null: under none. */
export interface Ways {
  readonly condition: string | null;
  readonly events: readonly string[];
}

export function waysOf(transitions: readonly ChartTransition[]): Ways[] {
  const byCondition = new Map<string | null, Set<string>>();
  for (const { label, guard, otherwise } of transitions) {
    const condition = guard ?? (otherwise ? 'otherwise' : null);
    byCondition.set(condition, (byCondition.get(condition) ?? new Set()).add(label));
  }
  return [...byCondition].map(([condition, labels]) => ({
    condition,
    events: [...labels].filter((label) => label !== ''),
  }));
}

/** A label's lines: an event is said once, though it stands under several conditions one after the other. */
function labelOf(transitions: readonly ChartTransition[]): Words[] {
  const said = new Set<string>();
  return waysOf(transitions).flatMap(({ condition, events }) => {
    const fresh = events.filter((event) => events.length > 1 || !said.has(event));
    for (const event of fresh) said.add(event);
    const when = condition === null ? [] : wrapped(`[${condition}]`);
    return [
      ...fresh.flatMap(wrapped).map((text) => ({ text, isGuard: false })),
      ...when.map((text) => ({ text, isGuard: true })),
    ];
  });
}

function wrapped(text: string): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= LINE_CHARACTERS)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

function tooltipOf(transition: ChartTransition): string {
  const { source, label, guard, otherwise, targets, actions } = transition;
  const when = guard === null ? (otherwise ? ', otherwise' : '') : `, if ${guard}`;
  const does = actions.length === 0 ? '' : `\nthen: ${actions.join('; ')}`;
  return `${source} → ${targets.join(', ')}\non: ${label === '' ? 'at once' : label}${when}${does}`;
}

function boxOf(
  state: ChartState,
  view: View,
  shown: ReadonlyMap<string, ChartState>,
  leaving: ReadonlySet<string>,
): Box {
  const below = [...shown.values()].filter(({ parent }) => parent === state.id);
  const initial: Box[] =
    below.length > 0 && state.initial !== null
      ? [{ id: `${state.id}#initial`, kind: 'initial', title: '', pills: [], tooltip: '', boxes: [] }]
      : [];
  const anywhere: Box[] = leaving.has(anywhereIn(state.id))
    ? [
        {
          id: anywhereIn(state.id),
          kind: 'anywhere',
          title: 'from anywhere',
          pills: [],
          tooltip: `From every state in ${state.id}, unless that state itself has another answer.`,
          boxes: [],
        },
      ]
    : [];
  return {
    id: state.id,
    kind: kindOf(state, below.length > 0, shown),
    title: state.key,
    pills: (view.isSmall ? [] : state.invokes).map(({ src, id }) => (src === id ? src : `${src} (${id})`)),
    tooltip: stateTooltip(state, view.chart),
    boxes: [...initial, ...anywhere, ...below.map((child) => boxOf(child, view, shown, leaving))],
  };
}

function kindOf(state: ChartState, isOpen: boolean, shown: ReadonlyMap<string, ChartState>): BoxKind {
  if (state.parent !== null && shown.get(state.parent)?.type === 'parallel') return 'region';
  if (!isOpen) return state.type === 'final' ? 'final' : 'state';
  return state.type === 'parallel' ? 'parallel' : 'compound';
}

function stateTooltip(state: ChartState, chart: Chart): string {
  const staying = chart.transitions.filter(({ source, targets }) => source === state.id && targets.length === 0);
  return [
    state.id,
    state.description,
    ...(state.entry.length > 0 ? [`on entry: ${state.entry.join('; ')}`] : []),
    ...(state.exit.length > 0 ? [`on exit: ${state.exit.join('; ')}`] : []),
    ...staying.map(
      ({ label, guard, actions }) =>
        `stays on ${label}${guard === null ? '' : ` [${guard}]`}: ${actions.join('; ') || 'nothing is done'}`,
    ),
  ]
    .filter((line) => line !== '')
    .join('\n');
}

function entries(view: View, shown: ReadonlyMap<string, ChartState>): Arrow[] {
  return [...shown.values()].flatMap((state) => {
    const isOpen = [...shown.values()].some(({ parent }) => parent === state.id);
    if (!isOpen || state.initial === null) return [];
    const to = visible(state.initial, shown, view.chart);
    return [
      {
        id: `${view.name}--${state.id}--initial`,
        kind: 'initial' as const,
        from: `${state.id}#initial`,
        to,
        words: [],
        tooltip: `${state.id} begins in ${to}`,
        transitions: [],
      },
    ];
  });
}

/** The states outside a view that its arrows come from or lead to. */
function elsewhere(arrows: readonly Arrow[], shown: ReadonlyMap<string, ChartState>, chart: Chart): Box[] {
  const ids = new Set(
    arrows.flatMap(({ from, to }) => [from, to]).filter((id) => !shown.has(id.split('#')[0] as string)),
  );
  return [...ids].map((id) => ({
    id,
    kind: 'elsewhere',
    title: id.split('.').slice(1).join('.') || 'from anywhere',
    pills: [],
    tooltip: `${id}\n${chart.states.find((state) => state.id === id)?.description ?? ''}`,
    boxes: [],
  }));
}

/** The laid-out charts that come with the program, and what their transitions and states are called. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ChartIndex, ChartTransitionView, ChartView } from '../../wire/inspector.ts';

const DIAGRAMS = fileURLToPath(new URL('../../../diagrams/', import.meta.url));
/** The parts of the charts that have some, in the order of the mission; the whole of a machine comes last. */
const FIRST = [
  ...['mission', 'policy', 'apply', 'rollback', 'orphaned', 'boot', 'draining'],
  ...['plan', 'planning', 'changing', 'confirming', 'program', 'up'],
];

export interface Charts {
  readonly index: ChartIndex;
  /** The picture without its own colours (the page has them, and a strict policy allows no style in it); null: there is none. */
  svg(name: string): string | null;
}

/** Reads the charts in `directory`; without them the page has none, and shows the rest. */
export function readCharts(directory: string = DIAGRAMS): Charts {
  const views: ChartView[] = [];
  const transitions: Record<string, ChartTransitionView> = {};
  const states: Record<string, string> = {};
  for (const file of filesIn(directory).filter((name) => name.endsWith('.json'))) {
    const model = JSON.parse(readFileSync(join(directory, file), 'utf8')) as Model;
    if (model.machine === undefined || model.picture?.isSmall) continue;
    views.push({ name: model.name, title: model.title, machine: model.machine });
    for (const { id, description } of model.chart?.states ?? []) states[id] = description;
    for (const { id, source, label, guard, targets, actions } of model.chart?.transitions ?? []) {
      transitions[id] = { source, label, guard, targets, actions };
    }
  }
  views.sort((a, b) => place(a) - place(b) || (a.name < b.name ? -1 : 1));
  const names = new Set(views.map(({ name }) => name));
  return {
    index: { views, transitions, states },
    svg: (name) =>
      names.has(name)
        ? readFileSync(join(directory, `${name}.svg`), 'utf8').replace(/<style>[\s\S]*?<\/style>\s*/, '')
        : null,
  };
}

interface Model {
  readonly name: string;
  readonly title: string;
  /** Absent: the picture shows no machine. */
  readonly machine?: string;
  /** A small one is for a page beside which nothing lives. */
  readonly picture?: { readonly isSmall: boolean };
  readonly chart?: {
    readonly states: readonly { readonly id: string; readonly description: string }[];
    readonly transitions: readonly (ChartTransitionView & { readonly id: string })[];
  };
}

function filesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function place({ name }: ChartView): number {
  const found = FIRST.indexOf(name);
  return found < 0 ? FIRST.length : found;
}

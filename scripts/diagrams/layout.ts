/** Gives every box and arrow of a drawing its place, by the Eclipse Layout Kernel: boxes within boxes, arrows in right angles. */
import elk from 'elkjs/lib/elk.bundled.js';
import type { ElkExtendedEdge, ElkNode } from 'elkjs/lib/elk-api.js';
import type { Arrow, Box, Drawing } from './drawing.ts';
import { textWidth } from './text-width.ts';

/** All in pixels. */
export const SIZES = {
  title: 14,
  pill: 11,
  words: 11,
  pillHeight: 18,
  pillGap: 6,
  lineHeight: 14,
  header: 34,
  margin: 20,
} as const;

export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface PlacedBox extends Omit<Box, 'boxes'> {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly depth: number;
  readonly hasBoxes: boolean;
}

export interface PlacedArrow extends Arrow {
  readonly points: readonly Point[];
  /** Where its words begin, and how much room they have; null: it has none. */
  readonly label: { readonly x: number; readonly y: number; readonly width: number; readonly height: number } | null;
}

export interface Picture {
  readonly name: string;
  readonly title: string;
  readonly width: number;
  readonly height: number;
  /** Outer ones first. */
  readonly boxes: readonly PlacedBox[];
  readonly arrows: readonly PlacedArrow[];
  readonly isSmall: boolean;
}

const OUTSIDE = {
  'elk.algorithm': 'layered',
  'elk.hierarchyHandling': 'INCLUDE_CHILDREN',
  'elk.edgeRouting': 'ORTHOGONAL',
  'elk.json.shapeCoords': 'ROOT',
  'elk.json.edgeCoords': 'ROOT',
  'elk.randomSeed': '1',
  'elk.padding': `[top=${SIZES.margin},left=${SIZES.margin},bottom=${SIZES.margin},right=${SIZES.margin}]`,
} as const;

const SPACING = {
  'elk.layered.cycleBreaking.strategy': 'DEPTH_FIRST',
  'elk.layered.spacing.nodeNodeBetweenLayers': '34',
  'elk.layered.spacing.edgeNodeBetweenLayers': '14',
  'elk.layered.spacing.edgeEdgeBetweenLayers': '10',
  'elk.spacing.nodeNode': '28',
  'elk.spacing.edgeNode': '14',
  'elk.spacing.edgeEdge': '10',
  'elk.spacing.edgeLabel': '3',
  'elk.spacing.nodeSelfLoop': '12',
  'elk.layered.nodePlacement.strategy': 'NETWORK_SIMPLEX',
  'elk.layered.thoroughness': '40',
} as const;

/** Over {@link SPACING}, where there are no words between the boxes. */
const TIGHT = {
  'elk.layered.spacing.nodeNodeBetweenLayers': '22',
  'elk.layered.spacing.edgeNodeBetweenLayers': '9',
  'elk.layered.spacing.edgeEdgeBetweenLayers': '6',
  'elk.spacing.nodeNode': '14',
  'elk.spacing.edgeNode': '9',
  'elk.spacing.edgeEdge': '6',
} as const;

/** Lays a drawing out. The same drawing always comes out the same. */
export async function layOut(drawing: Drawing): Promise<Picture> {
  const options = { ...SPACING, ...(drawing.isSmall ? TIGHT : {}), 'elk.direction': drawing.direction };
  const graph: ElkNode = {
    id: ' root',
    layoutOptions: { ...OUTSIDE, ...options },
    children: drawing.boxes.map((box) => nodeOf(box, options, drawing.isSmall)),
    edges: drawing.arrows.map(edgeOf),
  };
  const laid = await new elk.default().layout(graph);
  const places = new Map(nodesBelow(laid).map((node) => [node.id, node]));
  const edges = new Map((laid.edges ?? []).map((edge) => [edge.id, edge]));
  return {
    name: drawing.name,
    title: drawing.title,
    isSmall: drawing.isSmall,
    width: Math.ceil(laid.width ?? 0),
    height: Math.ceil(laid.height ?? 0),
    boxes: drawing.boxes.flatMap((box) => placed(box, places, 0)),
    arrows: drawing.arrows.map((arrow) => placedArrow(arrow, edges.get(arrow.id))),
  };
}

function nodeOf(box: Box, options: Record<string, string>, isSmall: boolean): ElkNode {
  if (box.kind === 'initial') return { id: box.id, width: 10, height: 10 };
  const pills = box.pills.map(pillWidth);
  if (box.boxes.length === 0) {
    if (box.kind === 'anywhere') return { id: box.id, width: textWidth(box.title, SIZES.words) + 24, height: 24 };
    const inner = Math.max(textWidth(box.title, SIZES.title, true), ...pills);
    return {
      id: box.id,
      width: Math.max(box.kind === 'elsewhere' || isSmall ? 60 : 96, inner + (isSmall ? 16 : 28)),
      height: 36 + (pills.length === 0 ? 0 : pills.length * (SIZES.pillHeight + 4) + 2),
    };
  }
  const header = headerWidth(box);
  return {
    id: box.id,
    layoutOptions: {
      ...options,
      'elk.padding': `[top=${SIZES.header + 12},left=18,bottom=18,right=18]`,
      'elk.nodeSize.constraints': 'MINIMUM_SIZE',
      'elk.nodeSize.minimum': `(${header}, 60)`,
    },
    children: box.boxes.map((child) => nodeOf(child, options, isSmall)),
  };
}

export function pillWidth(text: string): number {
  return textWidth(text, SIZES.pill) + 26;
}

function headerWidth(box: Box): number {
  const pills = box.pills.reduce((sum, one) => sum + pillWidth(one) + SIZES.pillGap, 0);
  return textWidth(box.title, SIZES.title, true) + pills + 48;
}

function edgeOf({ id, from, to, words }: Arrow): ElkExtendedEdge {
  const edge = { id, sources: [from], targets: [to] };
  if (words.length === 0) return edge;
  const width = Math.max(...words.map(({ text }) => textWidth(text, SIZES.words))) + 6;
  const label = { id: `${id} label`, text: id, width, height: words.length * SIZES.lineHeight + 4 };
  return { ...edge, labels: [label] };
}

function nodesBelow(node: ElkNode): ElkNode[] {
  return [node, ...(node.children ?? []).flatMap(nodesBelow)];
}

function placed(box: Box, places: ReadonlyMap<string, ElkNode>, depth: number): PlacedBox[] {
  const { boxes, ...rest } = box;
  const { x = 0, y = 0, width = 0, height = 0 } = places.get(box.id) ?? {};
  const here: PlacedBox = { ...rest, ...rounded({ x, y, width, height }), depth, hasBoxes: boxes.length > 0 };
  return [here, ...boxes.flatMap((child) => placed(child, places, depth + 1))];
}

function placedArrow(arrow: Arrow, edge: ElkExtendedEdge | undefined): PlacedArrow {
  const section = edge?.sections?.[0];
  const points = section ? [section.startPoint, ...(section.bendPoints ?? []), section.endPoint] : [];
  const label = edge?.labels?.[0];
  return {
    ...arrow,
    points: points.map(({ x, y }) => rounded({ x, y })),
    label: label
      ? rounded({ x: label.x ?? 0, y: label.y ?? 0, width: label.width ?? 0, height: label.height ?? 0 })
      : null,
  };
}

/** To a tenth of a pixel, so that the files are short and the same everywhere. */
function rounded<T extends Record<string, number>>(numbers: T): T {
  return Object.fromEntries(Object.entries(numbers).map(([key, value]) => [key, Math.round(value * 10) / 10])) as T;
}

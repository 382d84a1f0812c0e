/** Draws a laid-out picture as SVG: light and dark, descriptions as tooltips, each state and arrow with an id that a live view can light. */
import type { ArrowKind } from './drawing.ts';
import { type Picture, type PlacedArrow, type PlacedBox, type Point, pillWidth, SIZES } from './layout.ts';
import { textWidth } from './text-width.ts';

const CORNER = 7;
const LEGEND_ROW = 26;
/** Fits the first screen of a page. */
const SMALL_WIDTH = 900;

/** What each kind of arrow means, in the order of the legend. */
const LEGEND: readonly (readonly [ArrowKind, string])[] = [
  ['event', 'told by another actor'],
  ['done', 'what was invoked is done'],
  ['always', 'at once'],
  ['delay', 'after a delay'],
  ['error', 'what was invoked failed'],
  ['message', 'tells'],
  ['call', 'uses, from outside'],
];

/** The picture as one SVG document, its legend included. */
export function svgOf(picture: Picture): string {
  const { name, title, boxes, arrows } = picture;
  const legend = picture.isSmall ? { svg: '', height: 0 } : legendOf(picture);
  const width = picture.width;
  const height = picture.height + legend.height;
  // One for a glance is looked at as it is.
  const scale = picture.isSmall ? Math.min(1, SMALL_WIDTH / width) : 1;
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" id="hf-${name}" class="hf" data-chart="${name}" viewBox="0 0 ${width} ${height}" width="${Math.round(width * scale)}" height="${Math.round(height * scale)}" role="img" aria-label="${escaped(title)}">`,
    `<style>${STYLE}</style>`,
    `<rect class="paper" width="${width}" height="${height}" rx="12"/>`,
    ...boxes.filter(({ hasBoxes }) => hasBoxes).map((box) => boxSvg(box, name)),
    ...arrows.map(arrowSvg),
    ...boxes.filter(({ hasBoxes }) => hasBoxes).map((box) => headerSvg(box, arrows)),
    ...boxes.filter(({ hasBoxes }) => !hasBoxes).map((box) => boxSvg(box, name)),
    ...arrows.map(wordsSvg).filter((text) => text !== ''),
    `<g class="legend" transform="translate(0,${picture.height - 8})">${legend.svg}</g>`,
    '</svg>',
  ].join('\n')}\n`;
}

function boxSvg(box: PlacedBox, chart: string): string {
  const { x, y, width, height } = box;
  if (box.kind === 'initial') return `<circle class="initial" cx="${x + 5}" cy="${y + 5}" r="5"/>`;
  const attributes = `id="hf-${chart}--${box.id.replace(/[^\w.-]/g, '-')}" class="box ${box.kind}${box.hasBoxes ? ` open depth${Math.min(box.depth, 3)}` : ''}" data-state="${escaped(box.id)}"`;
  const final =
    box.kind === 'final' ? rect({ x: x + 3, y: y + 3, width: width - 6, height: height - 6 }, 6, 'inner') : '';
  return [
    `<g ${attributes}><title>${escaped(box.tooltip)}</title>`,
    rect({ x, y, width, height }, box.hasBoxes ? 12 : 9, 'shape'),
    final,
    box.hasBoxes ? '' : insideSvg(box),
    '</g>',
  ].join('');
}

/** Beside the arrows that pass where it would stand; above them where there is no room beside. */
function headerSvg(box: PlacedBox, arrows: readonly PlacedArrow[]): string {
  const { id, y, title, pills, tooltip } = box;
  const x = headerPlace(box, arrows);
  let at = x + 16 + textWidth(title, SIZES.title, true) + 14;
  const drawn = pills.map((text) => {
    const svg = pillSvg(text, at, y + 10);
    at += pillWidth(text) + SIZES.pillGap;
    return svg;
  });
  const words = `<text class="title" x="${tenths(x + 16)}" y="${tenths(y + 24)}">${escaped(title)}</text>`;
  return `<g class="header" data-of="${escaped(id)}"><title>${escaped(tooltip)}</title>${words}${drawn.join('')}</g>`;
}

const CLEARANCE = 8;

/** The leftmost x at which the header of a box is crossed by no arrow and no words; that of the box itself where there is none. */
function headerPlace({ x, y, width, title, pills }: PlacedBox, arrows: readonly PlacedArrow[]): number {
  const needed =
    textWidth(title, SIZES.title, true) + pills.reduce((sum, one) => sum + pillWidth(one) + SIZES.pillGap, 14);
  const isInBand = (top: number, bottom: number) => bottom > y + 4 && top < y + SIZES.header;
  const taken = arrows.flatMap(({ points, label }) => {
    const lines = points.slice(1).flatMap((to, index) => {
      const from = points[index] as Point;
      const isCrossing = isInBand(Math.min(from.y, to.y), Math.max(from.y, to.y));
      return isCrossing ? [{ from: Math.min(from.x, to.x), to: Math.max(from.x, to.x) }] : [];
    });
    const isOver = label !== null && isInBand(label.y, label.y + label.height);
    return isOver ? [...lines, { from: label.x, to: label.x + label.width }] : lines;
  });
  const last = x + width - needed - 32;
  for (let at = x; at <= last; at += 4) {
    const from = at + 16 - CLEARANCE;
    if (taken.every((one) => one.to < from || one.from > from + needed + 2 * CLEARANCE)) return at;
  }
  return x;
}

function insideSvg({ x, y, width, title, pills, kind }: PlacedBox): string {
  const middle = x + width / 2;
  if (kind === 'anywhere')
    return `<text class="middle" x="${tenths(middle)}" y="${tenths(y + 16)}">${escaped(title)}</text>`;
  const drawn = pills.map((text, index) =>
    pillSvg(text, middle - pillWidth(text) / 2, y + 33 + index * (SIZES.pillHeight + 4)),
  );
  return `<text class="title middle" x="${tenths(middle)}" y="${y + 23}">${escaped(title)}</text>${drawn.join('')}`;
}

function pillSvg(text: string, x: number, y: number): string {
  const place = { x: tenths(x), y: tenths(y), width: pillWidth(text), height: SIZES.pillHeight };
  const gear = `<circle class="gear" cx="${tenths(x + 11)}" cy="${tenths(y + 9)}" r="3"/>`;
  return `<g class="pill">${rect(place, 9, 'shape')}${gear}<text x="${tenths(x + 19)}" y="${tenths(y + 13)}">${escaped(text)}</text></g>`;
}

function rect(
  { x, y, width, height }: { x: number; y: number; width: number; height: number },
  radius: number,
  name: string,
): string {
  return `<rect class="${name}" x="${tenths(x)}" y="${tenths(y)}" width="${tenths(width)}" height="${tenths(height)}" rx="${radius}"/>`;
}

function arrowSvg(arrow: PlacedArrow): string {
  const data = `id="hf-${arrow.id}" data-from="${escaped(arrow.from)}" data-to="${escaped(arrow.to)}" data-transitions="${escaped(arrow.transitions.join(' '))}"`;
  return `<g class="arrow ${arrow.kind}" ${data}><title>${escaped(arrow.tooltip)}</title><path class="line" d="${pathOf(arrow.points)}"/><path class="head" d="${headOf(arrow.points)}"/></g>`;
}

function wordsSvg({ id, kind, words, label, tooltip }: PlacedArrow): string {
  if (label === null) return '';
  const lines = words.map(
    ({ text, isGuard }, index) =>
      `<tspan${isGuard ? ' class="guard"' : ''} x="${tenths(label.x + label.width / 2)}" y="${tenths(label.y + 12 + index * SIZES.lineHeight)}">${escaped(text)}</tspan>`,
  );
  return `<g class="words ${kind}" data-arrow="hf-${id}"><title>${escaped(tooltip)}</title><text>${lines.join('')}</text></g>`;
}

/** Right angles with their corners rounded off. */
function pathOf(points: readonly Point[]): string {
  return points
    .map((point, index) => {
      const before = points[index - 1];
      const after = points[index + 1];
      if (before === undefined) return `M${point.x} ${point.y}`;
      if (after === undefined) return `L${point.x} ${point.y}`;
      const into = towards(point, before, CORNER);
      const out = towards(point, after, CORNER);
      return `L${into.x} ${into.y}Q${point.x} ${point.y} ${out.x} ${out.y}`;
    })
    .join('');
}

/** A point on the way from one to another, at most halfway. */
function towards(from: Point, to: Point, distance: number): Point {
  const length = Math.hypot(to.x - from.x, to.y - from.y);
  const share = length === 0 ? 0 : Math.min(distance, length / 2) / length;
  return { x: tenths(from.x + (to.x - from.x) * share), y: tenths(from.y + (to.y - from.y) * share) };
}

function headOf(points: readonly Point[]): string {
  const tip = points.at(-1);
  const before = points.at(-2);
  if (tip === undefined || before === undefined) return '';
  const length = Math.hypot(tip.x - before.x, tip.y - before.y) || 1;
  const along = { x: (tip.x - before.x) / length, y: (tip.y - before.y) / length };
  const base = { x: tip.x - along.x * 8, y: tip.y - along.y * 8 };
  const left = `${tenths(base.x - along.y * 4)} ${tenths(base.y + along.x * 4)}`;
  const right = `${tenths(base.x + along.y * 4)} ${tenths(base.y - along.x * 4)}`;
  return `M${tip.x} ${tip.y}L${left}L${right}Z`;
}

/** The signs that this picture uses, in as many rows as its width asks for. */
function legendOf({ arrows, boxes, width }: Picture): { svg: string; height: number } {
  const arrowSigns = LEGEND.filter(([kind]) => arrows.some((arrow) => arrow.kind === kind)).map(([kind, meaning]) => ({
    width: 34,
    meaning,
    draw: (x: number, y: number) => {
      const points = [
        { x, y },
        { x: x + 34, y },
      ];
      return `<g class="arrow ${kind}"><path class="line" d="${pathOf(points)}"/><path class="head" d="${headOf(points)}"/></g>`;
    },
  }));
  const pill = {
    width: pillWidth('invoked'),
    meaning: 'lives while the state does',
    draw: (x: number, y: number) => pillSvg('invoked', x, y - 9),
  };
  const signs = boxes.some(({ pills }) => pills.length > 0) ? [...arrowSigns, pill] : arrowSigns;
  let x: number = SIZES.margin;
  let y = LEGEND_ROW / 2;
  const drawn = signs.map((sign) => {
    const needed = sign.width + 8 + textWidth(sign.meaning, SIZES.words);
    if (x > SIZES.margin && x + needed > width - SIZES.margin) {
      x = SIZES.margin;
      y += LEGEND_ROW;
    }
    const svg = `${sign.draw(x, y)}<text x="${x + sign.width + 8}" y="${y + 4}">${sign.meaning}</text>`;
    x += needed + 24;
    return svg;
  });
  return { svg: drawn.join(''), height: y + LEGEND_ROW / 2 + 8 };
}

function tenths(value: number): number {
  return Math.round(value * 10) / 10;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}

/** Colours of one scheme. Written out in full: not every viewer of SVG knows variables. */
interface Scheme {
  readonly paper: string;
  readonly panels: readonly [string, string, string, string];
  readonly panelLine: string;
  readonly box: string;
  readonly boxLine: string;
  readonly ink: string;
  readonly faint: string;
  readonly pill: string;
  readonly pillLine: string;
  readonly pillInk: string;
  readonly arrows: Readonly<Record<ArrowKind, string>>;
}

const LIGHT: Scheme = {
  paper: '#ffffff',
  panels: ['#f6f8fb', '#eef2f8', '#e6ecf5', '#dee6f1'],
  panelLine: '#c3cedd',
  box: '#ffffff',
  boxLine: '#7a8ba3',
  ink: '#14213a',
  faint: '#5b6b82',
  pill: '#e5f5f1',
  pillLine: '#79c2b2',
  pillInk: '#0b5f50',
  arrows: {
    event: '#3b4f6b',
    done: '#0b7f6b',
    error: '#c62836',
    delay: '#a65a00',
    always: '#6a4fd0',
    initial: '#3b4f6b',
    message: '#2f5fb3',
    call: '#6b7a90',
  },
};

const DARK: Scheme = {
  paper: '#0d1420',
  panels: ['#131c2b', '#192436', '#202d42', '#27364e'],
  panelLine: '#37475f',
  box: '#0f1826',
  boxLine: '#6f83a0',
  ink: '#e8eef7',
  faint: '#9fb0c7',
  pill: '#0f2f2b',
  pillLine: '#2f7f70',
  pillInk: '#8fe0cf',
  arrows: {
    event: '#a9bbd4',
    done: '#4fc9b0',
    error: '#ff7b84',
    delay: '#f0ab4f',
    always: '#ab98ff',
    initial: '#a9bbd4',
    message: '#7fb0ff',
    call: '#8d9db5',
  },
};

const STYLE = [
  `.hf text{font-family:Inter,"Helvetica Neue",Helvetica,Arial,"Liberation Sans",sans-serif;font-size:${SIZES.words}px}`,
  `.hf .title{font-size:${SIZES.title}px;font-weight:600}`,
  '.hf .middle,.hf .words text{text-anchor:middle}',
  '.hf .words text,.hf .header>.title{paint-order:stroke;stroke-width:4px;stroke-linejoin:round}',
  '.hf .header>.title{stroke-width:6px}',
  '.hf .guard{font-style:italic}',
  '.hf .shape{stroke-width:1.2}',
  '.hf .inner{fill:none;stroke-width:1}',
  '.hf .open>.shape{stroke-width:1}',
  '.hf .region>.shape,.hf .elsewhere>.shape,.hf .anywhere>.shape{stroke-dasharray:5 4}',
  '.hf .anywhere>text{font-style:italic}',
  '.hf .outside>.shape{stroke-dasharray:2 3}',
  '.hf .line{fill:none;stroke-width:1.4}',
  '.hf .always .line{stroke-width:1.1}',
  '.hf .error .line{stroke-dasharray:7 3}',
  '.hf .delay .line{stroke-dasharray:2 3}',
  '.hf .call .line{stroke-dasharray:4 3}',
  ...colours(LIGHT),
  `@media (prefers-color-scheme:dark){${colours(DARK).join('')}}`,
].join('');

function colours(scheme: Scheme): string[] {
  return [
    `.hf .paper{fill:${scheme.paper}}`,
    ...scheme.panels.map((fill, depth) => `.hf .depth${depth}>.shape{fill:${fill}}`),
    `.hf .open>.shape{stroke:${scheme.panelLine}}`,
    `.hf .box:not(.open)>.shape{fill:${scheme.box};stroke:${scheme.boxLine}}`,
    `.hf .inner{stroke:${scheme.boxLine}}`,
    `.hf .elsewhere>.shape,.hf .anywhere>.shape{fill:none}`,
    `.hf .title{fill:${scheme.ink}}`,
    `.hf .elsewhere .title,.hf .anywhere text,.hf .legend>text{fill:${scheme.faint}}`,
    `.hf .initial{fill:${scheme.arrows.initial}}`,
    `.hf .pill .shape{fill:${scheme.pill};stroke:${scheme.pillLine};stroke-width:.8}`,
    `.hf .pill text{fill:${scheme.pillInk}}.hf .gear{fill:none;stroke:${scheme.pillInk};stroke-width:1.4}`,
    `.hf .words text,.hf .header>.title{stroke:${scheme.panels[1]};stroke-opacity:.9}`,
    ...Object.entries(scheme.arrows).map(
      ([kind, colour]) =>
        `.hf .${kind} .line{stroke:${colour}}.hf .${kind} .head{fill:${colour}}.hf .words.${kind} text{fill:${colour}}`,
    ),
  ];
}

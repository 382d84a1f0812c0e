/** Words fit their boxes in the widest of the typefaces that a picture may be shown in, and no arrow runs through a title. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Picture, PlacedArrow } from '../../scripts/diagrams/layout.ts';
import { SIZES } from '../../scripts/diagrams/layout.ts';
import { textWidth } from '../../scripts/diagrams/text-width.ts';
import { views } from '../../scripts/diagrams/views.ts';

const TITLE = /data-of="([^"]+)"><title>[^<]*<\/title><text class="title" x="([\d.]+)" y="([\d.]+)">([^<]*)</g;

const committed = (file: string) => readFileSync(join(import.meta.dirname, '../../diagrams', file), 'utf8');

describe.each(['system', ...views.map(({ name }) => name)])('the picture %s', (name) => {
  const { picture } = JSON.parse(committed(`${name}.json`)) as { readonly picture: Picture };
  const titles = [...committed(`${name}.svg`).matchAll(TITLE)];

  it('has room for the title of each box', () => {
    const tight = picture.boxes
      .filter(({ hasBoxes, title }) => !hasBoxes && title !== '')
      .filter(
        ({ title, kind, width }) =>
          textWidth(title, kind === 'anywhere' ? SIZES.words : SIZES.title, kind !== 'anywhere') + 8 > width,
      );
    expect(tight.map(({ id }) => id)).toEqual([]);
  });

  it('has titles that no arrow crosses', () => {
    const crossed = titles.flatMap(([, box, x = '', y = '', text = '']) => {
      const band = {
        left: Number(x),
        right: Number(x) + textWidth(text, SIZES.title, true),
        top: Number(y) - 11,
        bottom: Number(y) + 3,
      };
      return picture.arrows.filter((arrow) => crosses(arrow, band)).map(({ id }) => `${box}: ${id}`);
    });
    expect(crossed).toEqual([]);
  });
});

function crosses({ points }: PlacedArrow, band: { left: number; right: number; top: number; bottom: number }): boolean {
  return points.slice(1).some((to, index) => {
    const from = points[index] ?? to;
    const overlaps = (a: number, b: number, low: number, high: number) => Math.max(a, b) > low && Math.min(a, b) < high;
    return overlaps(from.x, to.x, band.left, band.right) && overlaps(from.y, to.y, band.top, band.bottom);
  });
}

/** How wide words are in the typefaces that the pictures ask for: there is no typesetter when they are made. */

/** Advance widths of Helvetica (and Arial, Liberation Sans) in thousandths of an em, for the characters that are not near 556. */
const WIDTHS: Readonly<Record<string, number>> = Object.fromEntries(
  [
    [222, 'ijl'],
    [278, " !,./:;[]\\It|·'"],
    [333, '()-r`f'],
    [355, '"“”'],
    [500, 'ckJsvxyz'],
    [584, '+<>=~→'],
    [667, 'ABEKPSVXY&'],
    [722, 'CDHNRUw'],
    [778, 'GOQ'],
    [833, 'mM'],
    [944, 'W—…%'],
  ].flatMap(([width, characters]) => [...String(characters)].map((one) => [one, Number(width)])),
);

/** Other faces of the list are wider. */
const SLACK = 1.08;

/** In pixels. */
export function textWidth(text: string, sizePx: number, bold = false): number {
  const thousandths = [...text].reduce((sum, one) => sum + (WIDTHS[one] ?? 556), 0);
  return Math.ceil((thousandths / 1000) * sizePx * SLACK * (bold ? 1.06 : 1));
}

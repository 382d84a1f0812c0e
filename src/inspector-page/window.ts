/** Which rows of a long list are worth drawing: those in sight, and a few around them. */

export interface Window {
  /** Index of the first row drawn. */
  readonly from: number;
  /** Index after the last row drawn. */
  readonly to: number;
  /** Height of what is left out above and below, in px. */
  readonly aboveHeight: number;
  readonly belowHeight: number;
}

const AROUND = 12;

/** All lengths in px. */
export function windowOf(list: {
  readonly rows: number;
  readonly rowHeight: number;
  readonly scrolled: number;
  readonly visible: number;
}): Window {
  const { rows, rowHeight, scrolled, visible } = list;
  const inSight = Math.ceil(visible / rowHeight);
  const top = Math.min(Math.max(0, Math.floor(scrolled / rowHeight)), Math.max(0, rows - inSight));
  const from = Math.max(0, top - AROUND);
  const to = Math.min(rows, top + inSight + AROUND);
  return { from, to, aboveHeight: from * rowHeight, belowHeight: (rows - to) * rowHeight };
}

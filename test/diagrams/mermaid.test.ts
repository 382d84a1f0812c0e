/** The Mermaid text: whole, well formed, and the same as the committed one. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { systemDrawing } from '../../scripts/diagrams/actors.ts';
import { bookOf } from '../../scripts/diagrams/book.ts';
import { mermaidFlowchart, mermaidOf } from '../../scripts/diagrams/mermaid.ts';
import { pageOf } from '../../scripts/diagrams/page.ts';
import { drawingOf } from '../../scripts/diagrams/view.ts';
import { ASIDE, views } from '../../scripts/diagrams/views.ts';

const ROOT = join(import.meta.dirname, '../..');
const committed = (file: string) => readFileSync(join(ROOT, 'diagrams', file), 'utf8');
const STALE = 'diagrams/ is stale: run `npm run diagrams` and review what it changes';

describe.each(views.map((view) => [view.name, view] as const))('%s as Mermaid text', (name, view) => {
  const lines = mermaidOf(view).split('\n');

  it('is what is committed', () => {
    expect(committed(`${name}.mmd`), STALE).toBe(mermaidOf(view));
  });

  it('closes what it opens, and declares each state before it is gone to', () => {
    const depth = lines.reduce((open, line) => {
      const now = open + (line.endsWith('{') ? 1 : 0) - (line.trim() === '}' ? 1 : 0);
      expect(now).toBeGreaterThanOrEqual(0);
      return now;
    }, 0);
    expect(depth).toBe(0);
    const declared = new Set(lines.flatMap((line) => /\bas (\w+)/.exec(line)?.[1] ?? []));
    const met = lines.flatMap((line) => (/^\s*(\S+) --> (\S+)/.exec(line) ?? []).slice(1)).filter((id) => id !== '[*]');
    expect(met.filter((id) => !declared.has(id))).toEqual([]);
    expect(met.length).toBeGreaterThan(0);
  });

  it('says in one line of known form what each line says', () => {
    const known = /^( *)(state "[^"]+" as \w+( \{)?|\}|--|(\[\*\]|\w+) --> (\[\*\]|\w+)( : [^:;#"]+)?)$/;
    expect(lines.slice(4, -1).filter((line) => !known.test(line))).toEqual([]);
  });
});

describe('the pictures', () => {
  it('show every transition that leads somewhere: each whole machine leaves out none', () => {
    for (const view of views.filter(({ name, chart }) => name === chart.name)) {
      const drawn = new Set(drawingOf(view).arrows.flatMap(({ transitions }) => transitions));
      const leading = view.chart.transitions.filter(({ targets }) => targets.length > 0).map(({ id }) => id);
      expect(leading.filter((id) => !drawn.has(id))).toEqual([]);
    }
  });

  it('leave out of the mission only what there is', () => {
    const agent = views.find(({ name }) => name === 'agent')!.chart;
    const ways = new Set(agent.transitions.map(({ source, guard }) => `${source} [${guard ?? ''}]`));
    expect(ASIDE.filter((way) => !ways.has(way))).toEqual([]);
  });

  it('are committed as SVG with an id for each of their boxes and arrows', () => {
    for (const view of views) {
      const svg = committed(`${view.name}.svg`);
      const { arrows } = drawingOf(view);
      expect(
        arrows.filter(({ id }) => !svg.includes(`id="hf-${id}"`)).map(({ id }) => id),
        STALE,
      ).toEqual([]);
    }
  });

  it('show also what leaves no state, when asked', () => {
    const store = views.find(({ name }) => name === 'store')!;
    expect(mermaidOf(store)).not.toContain('s_store_failing --> s_store_failing');
    expect(mermaidOf(store, { staying: true })).toContain('s_store_failing --> s_store_failing : store.change');
  });
});

describe('the texts around them', () => {
  it('are what is committed', () => {
    expect(committed('system.mmd'), STALE).toBe(mermaidFlowchart(systemDrawing(ROOT)));
    expect(committed('README.md'), STALE).toBe(bookOf(readFileSync(join(ROOT, 'scripts/diagrams/book.md'), 'utf8')));
    for (const view of views.filter(({ name, chart }) => name === chart.name)) {
      expect(committed(`${view.name}.md`), STALE).toBe(pageOf(view.chart, mermaidOf(view)));
    }
  });

  it('show every picture in the book, but the agent whole, to which it links', () => {
    const book = committed('README.md');
    const names = ['system', ...views.map(({ name }) => name)];
    expect(names.filter((name) => !book.includes(`](${name}.svg)`) && !book.includes(`](${name}.md)`))).toEqual([]);
  });

  it('are all there is in the folder', () => {
    const machines = new Set(views.map(({ chart }) => chart.name));
    const names = ['system', ...views.map(({ name }) => name)];
    const expected = names.flatMap((name) => [`${name}.json`, `${name}.mmd`, `${name}.svg`]);
    const pages = [...machines].map((name) => `${name}.md`);
    expect(readdirSync(join(ROOT, 'diagrams')).sort()).toEqual([...expected, ...pages, 'README.md'].sort());
  });

  it('refuse a chart that does not exist', () => {
    expect(() => bookOf('{{chart nowhere}}')).toThrow('calls for a chart nowhere');
  });
});

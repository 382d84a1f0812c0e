/** The book of the agent's behaviour: hand-written paragraphs with a chart wherever one is called for. */
import { views } from './views.ts';

const MARK = /^\{\{chart (\S+)\}\}$/gm;

/** Puts the charts into the paragraphs. Throws on a chart that does not exist. */
export function bookOf(source: string): string {
  return source.replace(MARK, (_, name: string) => {
    const title =
      name === 'system' ? 'The actors and what they tell each other' : views.find((view) => view.name === name)?.title;
    if (title === undefined)
      throw new Error(`the book calls for a chart ${name}, and there is none: see scripts/diagrams/views.ts`);
    return `[![${title}](${name}.svg)](${name}.svg)`;
  });
}

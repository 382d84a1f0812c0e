/** The page of one machine: its picture, the same as Mermaid text, and every state in words. */
import type { Chart, ChartState } from './chart.ts';

export function pageOf({ name, states }: Chart, mermaid: string): string {
  return `${[
    `# ${name}`,
    '',
    `Generated from \`src/machines/\` by \`npm run diagrams\`. What it is for stands in [the book](README.md).`,
    '',
    `[![The chart of ${name}](${name}.svg)](${name}.svg)`,
    '',
    '| state | what holds here, and what ends it |',
    '|---|---|',
    ...states.filter(({ parent, description }) => parent !== null || description !== '').map(row),
    '',
    '<details><summary>The same as Mermaid text</summary>',
    '',
    '```mermaid',
    mermaid.trimEnd(),
    '```',
    '',
    '</details>',
  ].join('\n')}\n`;
}

function row({ id, description, invokes }: ChartState): string {
  const lives = invokes.length === 0 ? '' : ` Meanwhile: ${invokes.map(({ src }) => `\`${src}\``).join(', ')}.`;
  return `| \`${id}\` | ${(description + lives).replaceAll('|', '\\|')} |`;
}

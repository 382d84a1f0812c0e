/** Regenerates everything in `diagrams/`. Run from the root of the project, by `npm run diagrams`. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { messagesIn, systemDrawing } from './actors.ts';
import { bookOf } from './book.ts';
import { layOut } from './layout.ts';
import { mermaidFlowchart, mermaidOf } from './mermaid.ts';
import { pageOf } from './page.ts';
import { svgOf } from './svg.ts';
import { drawingOf } from './view.ts';
import { views } from './views.ts';

const root = process.cwd();
const folder = join(root, 'diagrams');
mkdirSync(folder, { recursive: true });
for (const file of readdirSync(folder)) rmSync(join(folder, file));

const system = systemDrawing(root);
const systemPicture = await layOut(system);
write('system.svg', svgOf(systemPicture));
write('system.mmd', mermaidFlowchart(system));
write('system.json', json({ name: 'system', title: system.title, messages: messagesIn(root), picture: systemPicture }));

for (const view of views) {
  const { name, title, chart } = view;
  const picture = await layOut(drawingOf(view));
  const mermaid = mermaidOf(view);
  write(`${name}.svg`, svgOf(picture));
  write(`${name}.mmd`, mermaid);
  // The model of a part is that of its machine, in the machine's own file.
  const model = name === chart.name ? { chart } : {};
  write(`${name}.json`, json({ name, title, machine: chart.name, ...model, picture }));
  if (name === chart.name) write(`${name}.md`, pageOf(chart, mermaid));
}
write('README.md', bookOf(readFileSync(join(root, 'scripts', 'diagrams', 'book.md'), 'utf8')));

function write(file: string, text: string): void {
  writeFileSync(join(folder, file), text);
}

/** A state, transition, message, box or arrow a line, so that a change is a diff that can be read. */
function json(value: object): string {
  return `${pretty(value, '')}\n`;
}

function pretty(value: unknown, indent: string): string {
  const inner = `${indent}  `;
  if (Array.isArray(value) && value.every((one) => typeof one === 'object')) {
    return `[\n${value.map((one) => inner + JSON.stringify(one)).join(',\n')}\n${indent}]`;
  }
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const entries = Object.entries(value).map(([key, one]) => `${inner}${JSON.stringify(key)}: ${pretty(one, inner)}`);
  return `{\n${entries.join(',\n')}\n${indent}}`;
}

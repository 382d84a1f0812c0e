/** The built program as one module, so that a life is up in a third of the time: a matrix has thousands of them. */
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { rolldown } from 'rolldown';

const PARTS = {
  runProgram: 'commands/program.js',
  startAgent: 'agent.js',
  realWorld: 'world.js',
  enroll: 'commands/enrollment.js',
  findIdentity: 'services/store/identity.js',
};

/** Path of the module, beside `main`, the built main.js. */
export async function programOf(main: string): Promise<string> {
  const dist = dirname(main);
  const entry = join(dist, 'lives.entry.js');
  const lines = Object.entries(PARTS).map(([name, path]) => `export { ${name} } from './${path}';`);
  await writeFile(entry, lines.join('\n'));
  const bundle = await rolldown({ input: entry, platform: 'node' });
  const file = join(dist, 'lives.mjs');
  await bundle.write({ file, format: 'esm', codeSplitting: false });
  await bundle.close();
  return file;
}

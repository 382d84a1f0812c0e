/** Builds the program once for all end-to-end tests, apart from dist/, so that a test never sees a build half written. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  interface ProvidedContext {
    /** Path of the built `main.js`. */
    main: string;
  }
}

const ROOT = join(import.meta.dirname, '..', '..', '..');

export default function build(project: TestProject): () => void {
  const place = mkdtempSync(join(tmpdir(), 'holdfast-built-'));
  // What the program expects beside dist/.
  for (const name of ['package.json', 'node_modules', 'examples', 'diagrams'])
    symlinkSync(join(ROOT, name), join(place, name));
  const dist = join(place, 'dist');
  const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
  // Types are checked by `npm run types`.
  execFileSync(process.execPath, [tsc, '-p', 'tsconfig.build.json', '--noCheck', '--outDir', dist], {
    cwd: ROOT,
    stdio: 'inherit',
  });
  execFileSync(join(ROOT, 'scripts', 'build-page'), [dist], { cwd: ROOT, stdio: 'inherit' });
  const main = join(dist, 'main.js');
  if (!existsSync(main)) throw new Error(`the build brought no ${main}`);
  project.provide('main', main);
  return () => rmSync(place, { recursive: true, force: true });
}

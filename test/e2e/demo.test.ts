/** What `npm start` runs: the first thing a newcomer sees. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, inject, onTestFinished, test } from 'vitest';
import { processesNaming } from './support/processes.ts';
import { Signal } from './support/waiting.ts';

test('the demo enrolls as soon as its server listens, stands, takes a change, brings the killed agent back, and leaves nothing running', async () => {
  const demo = await begin();
  await demo.says(/It stands\. What to try/);
  expect(demo.text()).not.toMatch(/WARNING|ERROR/);
  const agent = Number((await demo.says(/kill -9 (\d+)/))[1]);
  const program = Number((await demo.says(/its program, pid (\d+), is adopted/))[1]);

  const policy = join(demo.dir, 'policies', 'demo.yml');
  await writeFile(policy, (await readFile(policy, 'utf8')).replace(/every: \d+s/, 'every: 17s'));
  await demo.says(/acked demo:2/);

  process.kill(agent, 'SIGKILL');
  await demo.says(
    new RegExp(`the agent \\(pid ${agent}\\) was ended by SIGKILL; uptime-default \\(pid ${program}\\) runs on`),
  );
  await demo.says(/start 2, after a crash/);

  demo.child.kill('SIGINT');
  const [code] = await once(demo.child, 'close');
  expect(code, demo.text()).toBe(0);
  expect(demo.text()).toContain('nothing is left running');
  expect(processesNaming(demo.dir)).toEqual([]);
});

/** Loaded into every process of the demo: its server takes long to listen, as on a slow machine. */
const SLOW_SERVER = `data:text/javascript,${encodeURIComponent(
  'if (process.argv[2] === "fleet") await new Promise((resolve) => setTimeout(resolve, 2000));',
)}`;

async function begin() {
  const dir = await mkdtemp(join(tmpdir(), 'holdfast-demo-'));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const { PATH, HOME, TMPDIR } = process.env;
  const child = spawn(process.execPath, [inject('main'), 'demo', '--dir', dir, '--listen', '127.0.0.1:0'], {
    env: { PATH, HOME, TMPDIR, NODE_OPTIONS: `--import=${SLOW_SERVER}` },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onTestFinished(() => {
    for (const { pid } of processesNaming(dir)) process.kill(pid, 'SIGKILL');
  });
  const lines: string[] = [];
  const heard = new Signal();
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      lines.push(line);
      heard.changed();
    });
  }
  const text = () => lines.join('\n');
  const says = (what: RegExp) => heard.until(() => what.exec(text()) ?? undefined, String(what), text);
  return { dir, child, text, says };
}

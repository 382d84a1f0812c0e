/** The tour is taken for real, believes only what it sees, and leaves nothing running, however it ends. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, inject, onTestFinished, test } from 'vitest';
import { type Found, processesNaming } from './support/processes.ts';

interface Taken {
  readonly code: number | null;
  readonly text: string;
  /** Processes that name the tour's directory, once it is over. */
  readonly left: readonly Found[];
}

interface Line {
  readonly text: string;
  /** Process id of the program, once it was told. */
  readonly program: number;
  readonly tour: number;
}

/** Takes the tour without a terminal; `onLine` may get in its way. */
async function take(onLine: (line: Line) => void = () => {}, prepare?: (dir: string) => Promise<void>): Promise<Taken> {
  const dir = await mkdtemp(join(tmpdir(), 'holdfast-tour-'));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  await prepare?.(dir);
  const { PATH, HOME, TMPDIR } = process.env;
  const child = spawn(process.execPath, [inject('main'), 'demo', '--tour', '--dir', dir, '--listen', '127.0.0.1:0'], {
    env: { PATH, HOME, TMPDIR },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const lines: string[] = [];
  let program = 0;
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (text) => {
      lines.push(text);
      program = Number(/✓ \S+ runs with pid (\d+)/.exec(text)?.[1] ?? program);
      onLine({ text, program, tour: child.pid ?? 0 });
    });
  }
  const [code] = await once(child, 'close');
  return { code, text: lines.join('\n'), left: processesNaming(dir) };
}

async function lookAt(link: string): Promise<string> {
  const response = await fetch(link);
  return `${response.status} ${await response.text()}`;
}

test('every step is seen, and nothing is left running', { timeout: 300_000 }, async () => {
  let step = '';
  const links: string[] = [];
  const looks: Promise<string>[] = [];
  const { code, text, left } = await take(({ text }) => {
    step = /── (\d)\/9/.exec(text)?.[1] ?? step;
    const link = /See it live, and leave it open: (http\S+)/.exec(text)?.[1];
    if (link === undefined) return;
    links.push(link);
    // After these steps the agent lives on for a while: it is the first one, and one that came after two kills and an orderly end.
    if (step === '1' || step === '7') looks.push(lookAt(link));
  });
  expect(links).toHaveLength(8); // after the last step nobody is left to be looked at
  expect(new Set(links).size).toBe(1);
  expect(await Promise.all(looks)).toEqual([
    expect.stringContaining('200 <!doctype html>'),
    expect.stringContaining('200 <!doctype html>'),
  ]);
  expect(text).toMatch(/tour {2}┃ All 9 steps were seen, in \d+ s\./);
  expect(code, text).toBe(0);
  expect(text).toContain('every: "soon" is not a duration');
  expect(text).toContain('holds no record of this agent');
  // Adopted after kill -9, and healed after the loss of state/: as few processes of the program as the story tells of.
  const pids = new Set([...text.matchAll(/✓ .*\bpid (?:is )?(\d+), (?:as before|is on disk)/g)].map(([, pid]) => pid));
  expect([...pids]).toHaveLength(1 + 1);
  expect(left).toEqual([]);
});

test('a step that does not happen is named, and the exit code is 1', { timeout: 300_000 }, async () => {
  let killed = 0;
  const { code, text, left } = await take(({ text, program }) => {
    if (!text.includes('── 2/9 A change')) return;
    killed = program;
    // The story says that this process goes on.
    process.kill(program, 'SIGKILL');
  });
  expect(killed).toBeGreaterThan(0);
  expect(text).toMatch(/✗ 2\/9 A change was not seen: /);
  expect(text).toContain(`pid ${killed}`);
  expect(text).not.toContain('3/9');
  expect(code).toBe(1);
  expect(left).toEqual([]);
});

test('a tour that is interrupted clears up behind itself', { timeout: 300_000 }, async () => {
  const { code, text, left } = await take(({ text, tour }) => {
    if (text.includes('── 2/9 A change')) process.kill(tour, 'SIGTERM');
  });
  expect(text).toMatch(/✗ 2\/9 A change was not seen: interrupted while waiting for /);
  expect(code).toBe(1);
  expect(left).toEqual([]);
});

test('a directory that no tour has made is not emptied', async () => {
  let kept = '';
  const { code, text } = await take(undefined, async (dir) => {
    kept = join(dir, 'mine.txt');
    await writeFile(kept, 'mine');
  });
  expect(text).toContain('holds what no tour has made; name another place with --dir');
  expect(code).toBe(2);
  expect(await readFile(kept, 'utf8')).toBe('mine');
});

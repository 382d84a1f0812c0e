/** A program's output file: read from an offset, bounded, and rotated under the hands of the program that writes it. */
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lastLine, nextLookMs, outputSince, rotateOutput } from '../../../src/services/process/output.ts';
import { eventually } from './support.ts';

let directory = '';
let path = '';
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-output-'));
  path = join(directory, 'output.log');
});
afterEach(() => rm(directory, { recursive: true, force: true }));

describe('the output of a program', () => {
  it('is rotated by copy and truncation, three files in all, while the program goes on writing', async () => {
    const file = await open(path, 'a');
    const program = spawn('sh', ['-c', 'while :; do echo a line of its output; sleep 0.005; done'], {
      stdio: ['ignore', file.fd, 'ignore'],
    });
    await file.close();
    for (let rotations = 0; rotations < 4; rotations++) {
      await eventually(async () => (await stat(path)).size > 200);
      expect(await rotateOutput(path, 200)).toBe(true);
      expect((await stat(path)).size).toBeLessThan(200);
    }
    await eventually(async () => (await stat(path)).size > 0);
    program.kill('SIGKILL');
    // Opened for append, it writes at the new end: no hole of NULs where it was before.
    expect(await readFile(path, 'utf8')).toMatch(/^(a line of its output\n)*$/);
    for (const copy of [`${path}.1`, `${path}.2`]) {
      expect((await stat(copy)).size).toBeLessThanOrEqual(200);
      expect(await readFile(copy, 'utf8')).toMatch(/^(a line of its output\n)+$/);
    }
    await expect(stat(`${path}.3`)).rejects.toThrow('ENOENT');
  });

  it('keeps the newest of what it holds, however much that is', async () => {
    const line = (n: number) => `line ${String(n).padStart(6, '0')}\n`;
    const lines = (from: number, to: number) => Array.from({ length: to - from }, (_, at) => line(from + at)).join('');
    await writeFile(path, lines(0, 500_000));
    expect(await rotateOutput(path, 1_200_000)).toBe(true);
    expect(await readFile(`${path}.1`, 'utf8')).toBe(lines(400_000, 500_000));
    await writeFile(path, lines(500_000, 700_000));
    await rotateOutput(path, 1_200_000);
    expect(await readFile(`${path}.1`, 'utf8')).toBe(lines(600_000, 700_000));
    expect(await readFile(`${path}.2`, 'utf8')).toBe(lines(400_000, 500_000));
    expect((await stat(path)).size).toBe(0);
  });

  it('is rotated over whatever lies in the way of its copies', async () => {
    for (const each of [`${path}.1`, `${path}.2`]) await mkdir(join(each, 'full'), { recursive: true });
    await writeFile(path, 'x'.repeat(300));
    expect(await rotateOutput(path, 200)).toBe(true);
    expect((await stat(`${path}.1`)).size).toBe(200);
  });

  it('is cut also where no copy can be made: a program must not fill the disk', async () => {
    // A name that leaves no room for that of a copy.
    path = join(directory, 'x'.repeat(255));
    await writeFile(path, 'x'.repeat(300));
    await expect(rotateOutput(path, 200)).rejects.toThrow('ENAMETOOLONG');
    expect((await stat(path)).size).toBe(0);
  });

  it('is looked at before the bound is passed by much: the faster it grows the sooner', () => {
    const MiB = 1024 * 1024;
    expect(nextLookMs(0, 0)).toBe(50);
    expect(nextLookMs(0, 200)).toBe(400);
    expect(nextLookMs(0, 1_000)).toBe(1_000);
    expect(nextLookMs(10 * MiB, 1_000)).toBe(250);
    expect(nextLookMs(1_000 * MiB, 1_000)).toBe(50);
    expect(nextLookMs(-5, 1_000)).toBe(1_000);
  });

  it('is left alone while it is small', async () => {
    await writeFile(path, 'small');
    expect(await rotateOutput(path, 200)).toBe(false);
  });

  it('is read from where a step began, and as a whole when it was rotated since', async () => {
    await writeFile(path, 'before\nafter\n');
    expect(await outputSince(path, 'before\n'.length)).toBe('after\n');
    expect(await outputSince(path, 1_000)).toBe('before\nafter\n');
    expect(await outputSince(join(directory, 'none'), 0)).toBe('');
  });

  it('is read back a bounded piece at a time', async () => {
    await writeFile(path, `${'x'.repeat(2 * 1024 * 1024)}\nthe end\n`);
    const text = await outputSince(path, 0);
    expect(text).toBe('the end\n');
    expect(lastLine(text)).toBe('the end');
    await writeFile(path, 'whole line\n'.repeat(200_000));
    const lines = await outputSince(path, 0);
    expect(lines.length).toBeGreaterThan(1024 * 1024 - 100);
    expect(lines).toMatch(/^(whole line\n)+$/);
  });

  it('never begins with half a line, in which half a secret would not be recognised', async () => {
    await writeFile(path, `${'x'.repeat(2 * 1024 * 1024)} s3cr3t-value at the end`);
    expect(await outputSince(path, 0)).toBe('');
  });

  it('has a last line that says something, bounded', () => {
    expect(lastLine('one\ntwo\n\n  \n')).toBe('two');
    expect(lastLine('')).toBe('');
    expect(lastLine('x'.repeat(1_000))).toHaveLength(300);
  });
});

/** A program's output file: read from an offset, bounded, and rotated under the hands of the program that writes it. */
import { spawn } from 'node:child_process';
import { mkdtemp, open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lastLine, outputSince, rotateOutput } from '../../../src/services/process/output.ts';
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
    expect((await readFile(`${path}.1`, 'utf8')).length).toBeGreaterThan(200);
    expect((await readFile(`${path}.2`, 'utf8')).length).toBeGreaterThan(200);
    await expect(stat(`${path}.3`)).rejects.toThrow('ENOENT');
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
    expect(text.length).toBe(1024 * 1024);
    expect(lastLine(text)).toBe('the end');
  });

  it('has a last line that says something, bounded', () => {
    expect(lastLine('one\ntwo\n\n  \n')).toBe('two');
    expect(lastLine('')).toBe('');
    expect(lastLine('x'.repeat(1_000))).toHaveLength(300);
  });
});

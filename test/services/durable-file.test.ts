/** What lies in the place of a file may be anything: it is never waited for, and never read beyond what it may have. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readFileIfThere, readRegular, readRegularSync } from '../../src/services/durable-file.ts';
import { componentPaths } from '../../src/services/home.ts';
import { LogFile } from '../../src/services/log/log-file.ts';
import { makeCurrent } from '../../src/services/process/configuration.ts';
import { readRecord, removeRecord } from '../../src/services/process/record.ts';
import { readSettings } from '../../src/services/settings/read.ts';
import { readSpecs } from '../../src/services/specs/read-specs.ts';

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'hf-file-'));
  path = join(directory, 'it');
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const fifo = (at: string) => execFileSync('mkfifo', [at]);
const huge = (at: string) => {
  writeFileSync(at, '');
  truncateSync(at, 2 ** 30);
};

describe('reading', () => {
  test('a fifo that nobody writes is refused at once', async () => {
    fifo(path);
    await expect(readRegular(path)).rejects.toThrow('is not a file');
    expect(() => readRegularSync(path, 10)).toThrow('is not a file');
  });

  test('a file that is too large is refused before it is read', async () => {
    huge(path);
    await expect(readRegular(path, 1_000)).rejects.toThrow('has 1073741824 bytes; more than 1000 are not read');
    expect(() => readRegularSync(path, 1_000)).toThrow('more than 1000 are not read');
  });

  test('a link to a file gives what it links to; where nothing is, there is nothing', async () => {
    writeFileSync(path, 'text');
    symlinkSync(path, `${path}.link`);
    expect(String(await readRegular(`${path}.link`, 4))).toBe('text');
    expect(await readFileIfThere(`${path}.none`)).toBeNull();
  });
});

test('a spec that is a fifo, a directory or a GiB is named, and the others are used', async () => {
  writeFileSync(join(directory, 'good.spec.yml'), 'version: 2\ninputs: [{ name: x, daemon: { command: y } }]');
  fifo(join(directory, 'fifo.spec.yml'));
  huge(join(directory, 'huge.spec.yml'));
  mkdirSync(join(directory, 'directory.spec.yml'));
  const { specs, broken } = await readSpecs([directory]);
  expect(specs).toHaveLength(1);
  expect(broken.map(({ code }) => code)).toEqual(['SPEC_INVALID', 'SPEC_INVALID', 'SPEC_INVALID']);
});

test('whatever lies in the place of a record is no record, and can be removed', async () => {
  fifo(path);
  expect(await readRecord(path)).toBeNull();
  await removeRecord(path);
  mkdirSync(path);
  writeFileSync(join(path, 'x'), '');
  expect(await readRecord(path)).toBeNull();
  await removeRecord(path);
  expect(await readFileIfThere(path)).toBeNull();
});

test('a directory in the place of the link to the current configuration gives way', async () => {
  const paths = componentPaths(directory, 'c');
  mkdirSync(paths.current, { recursive: true });
  writeFileSync(join(paths.current, 'x'), '');
  await makeCurrent(paths, 'abc');
  await expect(readRegular(paths.current)).rejects.toThrow('ENOENT');
});

test('a log that is a fifo holds nobody up', () => {
  fifo(path);
  const log = new LogFile(path);
  log.write('a line\n');
  expect(log.lost).toBe(1);
});

test('a settings file of many strange keys is read in no time, and complained of in a few lines', () => {
  const text = Array.from({ length: 40_000 }, (_, at) => `key${at}: 1`).join('\n');
  const { complaints } = readSettings({ file: { path: 'holdfast.yml', text }, env: {}, flags: [] });
  expect(complaints).toHaveLength(21);
  expect(complaints.at(-1)).toBe('holdfast.yml: 39980 more keys are not settings');
});

test('a section that stands twice in the settings is complained of', () => {
  const text = 'fleet: { hosts: [https://a] }\nfleet: { hosts: [https://b] }\n';
  const { complaints } = readSettings({ file: { path: 'holdfast.yml', text }, env: {}, flags: [] });
  expect(complaints.join()).toContain('holdfast.yml:2:1: fleet stands there twice');
});

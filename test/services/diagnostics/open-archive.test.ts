/** A diagnostics file may come from anyone: what is read of it is bounded, and what is not as expected is left out or refused. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { ZipFile } from 'yazl';
import { standingOf } from '../../../src/commands/standing.ts';
import { openArchive } from '../../../src/services/diagnostics/archive-source.ts';
import { ZipReader } from '../../../src/services/diagnostics/zip-reader.ts';
import { aStatus } from '../../commands/fakes.ts';

let work: string;
let path: string;
beforeEach(() => {
  work = mkdtempSync(join(tmpdir(), 'hf-open-'));
  path = join(work, 'it.zip');
});
afterEach(() => rmSync(work, { recursive: true, force: true }));

async function zipOf(entries: Readonly<Record<string, string>>): Promise<void> {
  const zip = new ZipFile();
  for (const [name, text] of Object.entries(entries)) zip.addBuffer(Buffer.from(text), name);
  zip.end();
  writeFileSync(path, await buffer(zip.outputStream));
}

/** Writes other bytes of the same length over what is there. */
function forge(from: string | Buffer, to: string | Buffer): void {
  const bytes = readFileSync(path);
  for (let at = bytes.indexOf(from); at >= 0; at = bytes.indexOf(from, at + 1)) bytes.set(Buffer.from(to), at);
  writeFileSync(path, bytes);
}

async function opened() {
  const zip = await ZipReader.open(path);
  onTestFinished(() => zip.close());
  return zip;
}

const REFUSED = expect.objectContaining({ code: 'ARCHIVE_UNREADABLE' });

describe('of a zip file', () => {
  test('an entry is read by its name, and what is not there is not', async () => {
    await zipOf({ 'a.txt': 'one', 'b/c.txt': 'two' });
    const zip = await opened();
    expect(zip.names).toEqual(['a.txt', 'b/c.txt']);
    expect(await zip.text('b/c.txt', 10)).toBe('two');
    expect(await zip.text('../a.txt', 10)).toBeNull();
  });

  test('an entry that is larger than asked for is refused before anything of it is unpacked', async () => {
    await zipOf({ 'bomb.txt': '0'.repeat(5_000_000) });
    await expect((await opened()).text('bomb.txt', 1_000_000)).rejects.toThrow(
      /it has 5000000 bytes, 1000000 are read/,
    );
  });

  test('an entry that says it is small is cut off as soon as it is not', async () => {
    await zipOf({ 'bomb.txt': '0'.repeat(5_000_000) });
    const size = (bytes: number) => Buffer.from(new Uint32Array([bytes]).buffer);
    forge(size(5_000_000), size(100));
    await expect((await opened()).text('bomb.txt', 1_000)).rejects.toEqual(REFUSED);
  });

  test.each(['../up.txt', '/root.txt', 'a\\b.txt'])('a name that leads out of it is refused: %s', async (name) => {
    await zipOf({ ['x'.repeat(name.length)]: 'one' });
    forge('x'.repeat(name.length), name);
    await expect(ZipReader.open(path)).rejects.toEqual(REFUSED);
  });

  test('a name that is there twice is refused', async () => {
    await zipOf({ 'a.txt': 'one', 'b.txt': 'two' });
    forge('b.txt', 'a.txt');
    await expect(ZipReader.open(path)).rejects.toThrow(/is in it twice/);
  });

  test('what is no zip file, cut, or no file is refused by name', async () => {
    await expect(ZipReader.open(path)).rejects.toEqual(REFUSED);
    writeFileSync(path, 'no zip');
    await expect(ZipReader.open(path)).rejects.toEqual(REFUSED);
    await zipOf({ 'a.txt': 'one' });
    truncateSync(path, 60);
    await expect(ZipReader.open(path)).rejects.toEqual(REFUSED);
    rmSync(path);
    execFileSync('mkfifo', [path]);
    await expect(ZipReader.open(path)).rejects.toThrow(/it is not a file/);
  });
});

const VERSIONS = JSON.stringify({
  holdfast: '0.1.0',
  taken_at: '2026-11-23T12:00:00Z',
  home: '/var/lib/holdfast',
  hostname: 'far',
});
const moment = (actor: string, source: string, state: string, more: object = {}) =>
  JSON.stringify({
    at: 5,
    actor,
    event: 'x',
    transitions: [`${source}#0`],
    states: state === '' ? [] : [state],
    ...more,
  });

async function archiveOf(entries: Readonly<Record<string, string>>) {
  await zipOf({ 'versions.json': VERSIONS, ...entries });
  const archive = await openArchive(path, standingOf);
  onTestFinished(() => archive.close());
  return archive.source;
}

describe('of a diagnostics file', () => {
  test('the charts stand where they ended, also of an actor whose steps are not kept any more', async () => {
    const source = await archiveOf({
      'transitions/start-7.ndjson': [
        JSON.stringify({
          start: 7,
          pid: 1,
          before: { store: ['store.ready'], 'component:a': ['component.up'] },
          after: { store: ['store.failing'] },
        }),
        moment('agent', 'agent.boot', 'agent.running.checkin', { from: 'store' }),
        moment('component:a', 'component.up', ''),
      ].join('\n'),
      'transitions/start-6.ndjson': `${JSON.stringify({ start: 6, pid: 1 })}\n${moment('agent', 'agent.boot', 'agent.crashed')}`,
    });
    const { actors, records } = source.hello();
    expect(actors.map(({ name, machine, states }) => [name, machine, states])).toEqual([
      ['store', 'store', ['store.failing']],
      ['agent', 'agent', ['agent.running.checkin']],
    ]);
    expect(records.map(({ kind }) => kind)).toEqual([
      'begin',
      'event',
      'transition',
      'begin',
      'event',
      'transition',
      'event',
      'transition',
    ]);
    expect(records[4]).toMatchObject({ from: 'store', to: 'agent' });
    expect(records[5]).toMatchObject({ cause: records[4]?.seq });
  });

  test('a component of a home without a daemon is there with what it wrote, and only such a one', async () => {
    const source = await archiveOf({
      'status.json': JSON.stringify(aStatus({ pid: 0, state: 'stopped', components: [] as never })),
      'components/a_b/component.json': JSON.stringify({ id: 'a b' }),
      'components/a_b/output.log': 'one\ntwo\n',
    });
    expect(source.standing()?.status.components.map(({ id }) => id)).toEqual(['a b']);
    expect(await source.output('a b')).toBe('one\ntwo');
    expect(await source.output('../x')).toBeNull();
  });

  test('a policy is found by the hash that it is of, and shown without the line that says so', async () => {
    const hash = 'a'.repeat(64);
    const source = await archiveOf({ 'policies/generation-0-web-3.yml': `# generation-0: ${hash}\nid: web\n` });
    expect(await source.policy(hash)).toBe('id: web\n');
    expect(await source.policy('b'.repeat(64))).toBeNull();
  });

  test('what is not as it should be is left out, and costs nothing else', async () => {
    const source = await archiveOf({
      'status.json': JSON.stringify({ ...aStatus(), components: 'many' }),
      'starts.json': JSON.stringify([{ number: { deep: [[[]]] } }]),
      'plan.json': '[[[[[',
      'transitions/start-1.ndjson': '{"start":1,"pid":2,"before":{"x":7}}\nnot json\n{"at":"late"}',
      'logs/holdfast.ndjson': 'torn',
    });
    expect(source.standing()).toBeNull();
    expect(source.hello()).toMatchObject({ actors: [], records: [] });
    expect(await source.log()).toBe('torn\n');
  });

  test('a zip file that diagnostics did not write is named as such', async () => {
    await zipOf({ 'a.txt': 'one' });
    await expect(openArchive(path, standingOf)).rejects.toThrow(/was not written by `holdfast diagnostics`/);
  });
});

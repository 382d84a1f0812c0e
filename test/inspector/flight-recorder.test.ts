/** The last moments of a start: on disk before anyone asks, bounded, and never in anyone's way. */
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { homePaths } from '../../src/services/home.ts';
import { FlightRecorder, RECORDING_HALF_BYTES, recordingFiles } from '../../src/services/inspector/flight-recorder.ts';
import { lastWords, momentInWords, readRecordings } from '../../src/services/inspector/recordings.ts';
import { aComponent, anAgent } from './machine.ts';

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'hf-recorder-'));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

async function aStart(number: number, steps: number): Promise<FlightRecorder> {
  const recorder = new FlightRecorder(home, () => 1_000 + number);
  const agent = anAgent(number, recorder.observe);
  for (let step = 0; step < steps; step += 1) agent.send({ type: 'agent.go' });
  await recorder.settled();
  return recorder;
}

test('a start leaves its transitions behind without saying goodbye, those of its boot included', async () => {
  await aStart(7, 2);
  const [recording] = readRecordings(home, 10);
  expect(recording).toMatchObject({ start: 7, pid: process.pid });
  expect(recording?.moments.map(momentInWords)).toEqual([
    'agent: agent.go: boot → running',
    'agent: agent.go: running → resting',
  ]);
});

test('nothing is written while the home may still be another daemon’s', async () => {
  await aStart(1, 0);
  expect(readRecordings(home, 10)).toEqual([]);
  expect(readdirSync(home)).toEqual([]);
});

test('the starts before are kept, the oldest is let go', async () => {
  for (const number of [1, 2, 3, 4, 5]) await aStart(number, 3);
  expect(readRecordings(home, 10).map(({ start }) => start)).toEqual([5, 4, 3]);
  expect(readdirSync(homePaths(home).logs)).toHaveLength(3);
});

test('a recording is bounded, and keeps the newest', async () => {
  const recorder = new FlightRecorder(home);
  const agent = anAgent(1, recorder.observe);
  for (let batch = 0; batch < 30; batch += 1) {
    for (let step = 0; step < 200; step += 1) agent.send({ type: 'agent.go' });
    await recorder.settled();
  }
  const bytes = recordingFiles(home, 0).map((file) => statSync(file).size);
  expect(Math.max(...bytes)).toBeLessThan(RECORDING_HALF_BYTES * 1.5);
  const [recording] = readRecordings(home, 100_000);
  expect(recording?.moments.length).toBeGreaterThan(600);
  expect(recording?.moments.at(-1)?.states).toEqual([
    agent.getSnapshot().value === 'running' ? 'agent.running' : 'agent.resting',
  ]);
  expect(recorder.lost).toBe(0);
});

test('what comes again and again is a handful of lines with a count, and leaves the last words to what is worth them', async () => {
  const recorder = new FlightRecorder(home);
  const agent = anAgent(1, recorder.observe);
  agent.send({ type: 'agent.go' });
  const component = aComponent(recorder.observe);
  for (let probe = 0; probe < 2_000; probe += 1) component.send({ type: 'probe' });
  agent.send({ type: 'agent.go' });
  await recorder.settled();
  const [recording] = readRecordings(home, 100_000);
  expect(recording?.moments.length).toBeLessThan(40);
  const counted = recording?.moments.reduce((sum, { times }) => sum + (times ?? 1), 0) ?? 0;
  expect(counted).toBeGreaterThan(1_000);
  expect(recording && lastWords(recording, 2).map(momentInWords).at(-1)).toBe('agent: agent.go: running → resting');
  // Its last step has no line, and is known all the same.
  component.send({ type: 'probe' });
  await recorder.settled();
  const [now] = readRecordings(home, 1);
  expect(now?.after.component).toEqual(['component.probing']);
  // A step that was not seen for a while is worth a line again.
  component.send({ type: 'fall' });
  await recorder.settled();
  const [last] = readRecordings(home, 1);
  expect(last?.moments.map(momentInWords)).toEqual(['component: fall: component → fallen']);
  expect(last?.after).toEqual({});
});

test('a half that has lost what was before it still says where each actor was', async () => {
  const recorder = new FlightRecorder(home);
  const agent = anAgent(1, recorder.observe);
  const component = aComponent(recorder.observe);
  component.send({ type: 'probe' });
  await recorder.settled();
  for (let batch = 0; batch < 15; batch += 1) {
    for (let step = 0; step < 200; step += 1) agent.send({ type: 'agent.go' });
    await recorder.settled();
  }
  const [recording] = readRecordings(home, 100_000);
  expect(recording?.moments.some(({ actor }) => actor === 'component')).toBe(false);
  expect(recording?.before.component).toEqual(['component.probing']);
});

test('what a death has cut is left out, and the rest is read', async () => {
  await aStart(1, 4);
  writeFileSync(recordingFiles(home, 0)[1], '{"at":12,"act', { flag: 'a' });
  expect(readRecordings(home, 10)[0]?.moments).toHaveLength(4);
});

test('a disk that takes nothing costs the recording and nothing else', async () => {
  writeFileSync(homePaths(home).logs, 'not a directory');
  const recorder = await aStart(1, 3);
  expect(recorder.lost).toBeGreaterThan(0);
  expect(readRecordings(home, 10)).toEqual([]);
});

/** What looking on costs the actors: nothing when nobody does, microseconds an event when somebody does. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { InspectionEvent } from 'xstate';
import { FlightRecorder } from '../../src/services/inspector/flight-recorder.ts';
import { Observer } from '../../src/services/inspector/observer.ts';
import { anAgent } from './machine.ts';

const EVENTS = 4_000;

/** Microseconds an event, the best of five: the machine may be busy with other things. */
function costOf(inspector: () => (event: InspectionEvent) => void): number {
  const rounds = Array.from({ length: 5 }, () => {
    const agent = anAgent(1, inspector());
    const began = performance.now();
    for (let sent = 0; sent < EVENTS; sent += 1) agent.send({ type: 'agent.go' });
    return ((performance.now() - began) * 1_000) / EVENTS;
  });
  return Math.min(...rounds);
}

test('an event costs tens of microseconds more at the most', () => {
  const home = mkdtempSync(join(tmpdir(), 'hf-cost-'));
  onTestFinished(() => rmSync(home, { recursive: true, force: true, maxRetries: 5 }));
  const nobody = costOf(() => () => {});
  const recorder = costOf(() => new FlightRecorder(home).observe);
  const inspector = costOf(() => new Observer().observe);
  const shown = (us: number) => `${us.toFixed(1)} µs`;
  console.log(`an event: ${shown(nobody)}; recorded: ${shown(recorder)}; inspected: ${shown(inspector)}`);
  expect(recorder - nobody).toBeLessThan(100);
  expect(inspector - nobody).toBeLessThan(200);
});

/**
 * What looking on costs the actors. The product without `--inspect` has no inspector at all, and its flight recorder and secret keeper beside it: that
 * is measured against a machine that nobody looks at in any way. An inspector is measured on top of that.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { InspectionEvent } from 'xstate';
import { FlightRecorder } from '../../src/services/inspector/flight-recorder.ts';
import { Observer } from '../../src/services/inspector/observer.ts';
import { SecretKeeper } from '../../src/services/log/earlier-secrets.ts';
import { anAgent } from './machine.ts';

const EVENTS = 2_000;
const ROUNDS = 9;

type Look = (event: InspectionEvent) => void;

/**
 * Microseconds an event, each the best of its rounds. The rounds take turns, so that whatever else the machine does falls on all alike. `null`: XState
 * is not even asked to show anything.
 */
function costsOf(looks: readonly (() => Look | null)[]): number[] {
  const best = looks.map(() => Number.POSITIVE_INFINITY);
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [index, look] of looks.entries()) {
      const agent = anAgent(1, look());
      const began = performance.now();
      for (let sent = 0; sent < EVENTS; sent += 1) agent.send({ type: 'agent.go' });
      best[index] = Math.min(best[index] ?? 0, ((performance.now() - began) * 1_000) / EVENTS);
    }
  }
  return best;
}

test('without --inspect an event costs what the recorder does, and with it some tens of microseconds more', () => {
  const home = mkdtempSync(join(tmpdir(), 'hf-cost-'));
  onTestFinished(() => rmSync(home, { recursive: true, force: true, maxRetries: 5 }));
  const always = (): Look => {
    const recorder = new FlightRecorder(home);
    const keeper = new SecretKeeper(home);
    return (event) => {
      recorder.observe(event);
      keeper.observe(event);
    };
  };
  const inspecting = (): Look => {
    const without = always();
    const { observe } = new Observer();
    return (event) => {
      without(event);
      observe(event);
    };
  };
  const [nobody = 0, usual = 0, inspected = 0] = costsOf([() => null, always, inspecting]);
  const shown = (us: number) => `${us.toFixed(1)} µs`;
  console.log(`an event: ${shown(nobody)} unseen, ${shown(usual)} as the product runs, ${shown(inspected)} inspected`);
  // Relative to an event that nobody sees, with a floor for a machine that is busy with other tests: every one of these is a change of state, which is
  // what costs most. A minute of an agent at rest has some dozens of events.
  expect(usual - nobody).toBeLessThan(Math.max(10 * nobody, 60));
  expect(inspected - usual).toBeLessThan(Math.max(20 * nobody, 120));
});

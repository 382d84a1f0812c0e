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

const EVENTS = 4_000;
const ROUNDS = 7;

type Look = (event: InspectionEvent) => void;

/** Microseconds an event, the best of its rounds: the machine may be busy with other things. `null`: XState is not even asked to show anything. */
function costOf(look: () => Look | null): number {
  const rounds = Array.from({ length: ROUNDS }, () => {
    const agent = anAgent(1, look());
    const began = performance.now();
    for (let sent = 0; sent < EVENTS; sent += 1) agent.send({ type: 'agent.go' });
    return ((performance.now() - began) * 1_000) / EVENTS;
  });
  return Math.min(...rounds);
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
  costOf(always); // so that no measurement pays for the compiler
  const nobody = costOf(() => null);
  const usual = costOf(always);
  const inspected = costOf(() => {
    const without = always();
    const { observe } = new Observer();
    return (event) => {
      without(event);
      observe(event);
    };
  });
  const shown = (us: number) => `${us.toFixed(1)} µs`;
  console.log(`an event: ${shown(nobody)} unseen, ${shown(usual)} as the product runs, ${shown(inspected)} inspected`);
  // Relative to the machine it runs on, with a floor for what a clock and a busy processor make of little.
  expect(usual - nobody).toBeLessThan(Math.max(4 * nobody, 30));
  expect(inspected - usual).toBeLessThan(Math.max(10 * nobody, 80));
});

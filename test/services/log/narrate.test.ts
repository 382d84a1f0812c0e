import { describe, expect, it } from 'vitest';
import { emptyFacts, type Facts, type JournalEntry, type Start } from '../../../src/machines/facts.ts';
import { narrate } from '../../../src/services/log/narrate.ts';

const start = (number: number) => ({ number }) as Start;
const facts = (changed: Partial<Facts> = {}): Facts => ({ ...emptyFacts('a'), starts: [start(2)], ...changed });
const entry = (id: string, changed: Partial<JournalEntry> = {}): JournalEntry => ({
  id,
  type: 'SETTINGS',
  data: null,
  inputType: null,
  startTime: null,
  expiration: null,
  undecodable: null,
  state: 'received',
  receivedAt: 1,
  doneAt: null,
  outcome: null,
  ...changed,
});
const done = entry('x', { state: 'done', outcome: { ok: true, message: 'Log level set to debug.' } });
const failed = entry('y', { state: 'done', outcome: { ok: false, error: 'not supported' } });

describe('the log of a commit', () => {
  it('has one line for an action that came, one when it is done, and a warning when it failed', () => {
    expect(narrate(facts(), facts({ journal: [entry('x')] }))).toEqual([
      { level: 'info', message: 'action SETTINGS x received' },
    ]);
    expect(narrate(facts({ journal: [entry('x')] }), facts({ journal: [done, failed] }))).toEqual([
      { level: 'info', message: 'action SETTINGS x done: Log level set to debug.' },
      { level: 'warning', message: 'action SETTINGS y failed: not supported' },
    ]);
    expect(narrate(facts({ journal: [done] }), facts({ journal: [done], deliveryToken: 't' }))).toEqual([]);
  });

  it('says nothing of what a start finds on disk', () => {
    expect(narrate(emptyFacts('a'), facts({ journal: [done] }))).toEqual([]);
    expect(narrate(facts({ starts: [start(1)] }), facts({ journal: [done] }))).toEqual([]);
  });

  it('names an ack that Fleet does not take, with its reason', () => {
    const refusedAcks = [{ actionId: 'x', actionType: 'SETTINGS', reason: '404 Not Found, 10 times', at: 5 }];
    expect(narrate(facts(), facts({ refusedAcks }))).toEqual([
      {
        level: 'warning',
        message: 'Fleet does not take the ack of SETTINGS x, which is given up: 404 Not Found, 10 times',
      },
    ]);
    expect(narrate(facts({ refusedAcks }), facts({ refusedAcks, deliveryToken: 't' }))).toEqual([]);
  });
});

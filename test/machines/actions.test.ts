/** What becomes of each type of action. */
import { describe, expect, it } from 'vitest';
import { laneOf, outcomesOf, reconcile } from '../../src/machines/actions.ts';
import { emptyFacts, type JournalEntry } from '../../src/machines/facts.ts';
import { actionNamed } from '../support/agent-world.ts';

const NOW = 1_000;
const entry = (type: string, data: unknown, more: Partial<JournalEntry> = {}): JournalEntry => ({
  ...actionNamed('a1', type, data),
  state: 'received',
  receivedAt: 1,
  doneAt: null,
  outcome: null,
  ...more,
});
const outcomeOf = (one: JournalEntry, ...others: JournalEntry[]) =>
  outcomesOf([one], { ...emptyFacts('agent'), journal: [one, ...others] }, NOW)[0];

describe('an action', () => {
  it.each([
    ['SETTINGS', { log_level: 'debug' }, { ok: true, message: 'Log level set to debug.' }, { logLevel: 'debug' }],
    ['SETTINGS', { log_level: '' }, { ok: true, message: 'Log level cleared.' }, { logLevel: null }],
    ['SETTINGS', { log_level: 'loud' }, { ok: false, error: expect.stringContaining('log_level is not one of') }, null],
    ['SETTINGS', undefined, { ok: false, error: expect.stringContaining('log_level is not one of') }, null],
    [
      'SETTINGS',
      { constructor: 'debug' },
      { ok: false, error: expect.stringContaining('log_level is not one of') },
      null,
    ],
    ['POLICY_REASSIGN', null, { ok: true, message: expect.stringContaining('follows') }, null],
    ['CANCEL', { target_id: 'other' }, { ok: true, message: 'No action other is held; nothing to cancel.' }, null],
    ['CANCEL', {}, { ok: false, error: 'target_id is missing' }, null],
    ['UPGRADE', {}, { ok: false, error: 'actions of type "UPGRADE" are not supported by this agent' }, null],
    ['toString', {}, { ok: false, error: 'actions of type "toString" are not supported by this agent' }, null],
  ] as const)('%s with %j is answered', (type, data, outcome, intents) => {
    expect(outcomeOf(entry(type, data))).toEqual({ type: 'action.done', id: 'a1', outcome, intents });
  });

  it('is answered as expired after its time, and as unreadable when it could not be read', () => {
    const settings = { log_level: 'debug' };
    expect(outcomeOf(entry('SETTINGS', settings, { expiration: NOW - 1 }))).toMatchObject({ outcome: { ok: false } });
    expect(outcomeOf(entry('SETTINGS', settings, { expiration: NOW }))).toMatchObject({ outcome: { ok: true } });
    expect(outcomeOf(entry('SETTINGS', settings, { undecodable: 'no id' }))).toMatchObject({
      outcome: { error: 'the action could not be read: no id' },
    });
    expect(outcomeOf({ ...entry('SETTINGS', null), data: '{"log_level":' })).toMatchObject({ outcome: { ok: false } });
  });

  it('that cancels one that is done says so', () => {
    const other = entry('SETTINGS', null, { id: 'b', state: 'done' });
    expect(outcomeOf(entry('CANCEL', { target_id: 'b' }), other)).toMatchObject({
      outcome: { message: 'Action b is done; nothing scheduled to cancel.' },
    });
  });

  it('of type UNENROLL unenrolls in the same commit as its ack', () => {
    const changes = outcomesOf([entry('UNENROLL', null)], emptyFacts('agent'), NOW);
    expect(changes.map((change) => change.type)).toEqual(['action.done', 'agent.unenrolled']);
  });

  it('that had begun runs again only when that does no harm (P5)', () => {
    const facts = {
      ...emptyFacts('agent'),
      journal: [
        entry('SETTINGS', { log_level: 'debug' }, { id: 'again', state: 'started' }),
        entry('INPUT_ACTION', {}, { id: 'unknown', state: 'started' }),
        entry('SETTINGS', {}, { id: 'waits' }),
        entry('SETTINGS', {}, { id: 'over', state: 'done' }),
      ],
    };
    expect(reconcile(facts, NOW)).toMatchObject([
      { id: 'again', outcome: { ok: true } },
      { id: 'unknown', outcome: { ok: false, error: expect.stringContaining('whether it took effect is unknown') } },
    ]);
    expect(laneOf(facts.journal, 'quick').map((one) => one.id)).toEqual(['waits']);
  });
});

/** What a commit says to people: one line for each action that came or ended, and for each ack that Fleet will not take. */
import type { ActionOutcome, Facts, JournalEntry } from '../../machines/facts.ts';

export interface Line {
  readonly level: 'info' | 'warning';
  readonly message: string;
}

/** Between two values of the facts within one start; what a start finds on disk was told by the one that put it there. */
export function narrate(before: Facts, after: Facts): readonly Line[] {
  if (before === after || before.starts[0]?.number !== after.starts[0]?.number) return [];
  return [...actionLines(before, after), ...refusalLines(before, after), ...auditLines(before, after)];
}

function actionLines(before: Facts, after: Facts): readonly Line[] {
  if (before.journal === after.journal) return [];
  const states = new Map(before.journal.map((entry) => [entry.id, entry.state]));
  return after.journal.flatMap((entry): readonly Line[] => {
    const was = states.get(entry.id);
    const name = `action ${entry.type} ${entry.id}`;
    if (entry.outcome !== null && was !== 'done') return [ended(name, entry.outcome)];
    return was === undefined ? [{ level: 'info', message: `${name} received${whenOf(entry)}` }] : [];
  });
}

function ended(name: string, outcome: ActionOutcome): Line {
  return outcome.ok
    ? { level: 'info', message: `${name} done: ${outcome.message}` }
    : { level: 'warning', message: `${name} failed: ${outcome.error}` };
}

function whenOf({ startTime }: JournalEntry): string {
  return startTime === null ? '' : `, to be carried out at ${new Date(startTime).toISOString()}`;
}

function refusalLines(before: Facts, after: Facts): readonly Line[] {
  const known = new Set(before.refusedAcks.map(({ actionId, at }) => `${actionId} ${at}`));
  return after.refusedAcks
    .filter(({ actionId, at }) => !known.has(`${actionId} ${at}`))
    .map(({ actionId, actionType, reason }) => ({
      level: 'warning',
      message: `Fleet does not take the ack of ${actionType} ${actionId}, which is given up: ${reason}`,
    }));
}

function auditLines({ audit: before }: Facts, { audit: after }: Facts): readonly Line[] {
  if (before === null || after !== null) return [];
  return [{ level: 'info', message: `Fleet was told that this agent has left it (${before.reason})` }];
}

import { expect, test } from 'vitest';
import { ackerInput, heldFacts, initialContext } from '../../src/machines/agent-context.ts';
import type { AgentInput } from '../../src/machines/agent-setup.ts';
import { buildReport } from '../../src/machines/report.ts';
import { AT, factsWith, generation } from './link-fixtures.ts';

const [older, lost] = [generation('web', 1), generation('web', 2)];
const found = {
  ...initialContext({ agentId: 'agent-1' } as AgentInput),
  facts: factsWith({ generations: [lost, older] }),
  lost: [lost.hash],
};

test('a policy that was found lost is withheld until the commit that drops it, and not when Fleet has sent it again (P1, P6)', () => {
  const after = (...generations: (typeof lost)[]) => heldFacts(found, { facts: factsWith({ generations }), at: AT });
  expect(after(lost, older).lost).toEqual([lost.hash]);
  const dropped = { ...found, ...after(older) };
  expect(dropped.lost).toEqual([]);
  const again = { ...dropped, ...heldFacts(dropped, { facts: factsWith({ generations: [lost, older] }), at: AT }) };
  expect(ackerInput(again)).toMatchObject({ withheld: [], proven: true });
  expect(ackerInput(found)).toMatchObject({ withheld: [lost.hash], proven: false });
});

test('an orphan says that it holds less, but where last good itself is damaged, which each check-in looks at (P8)', () => {
  const orphan = (damaged: string | null) =>
    buildReport({ ...found, orphaned: { reason: 'lost', since: AT, receivedAt: null, damaged } }).holdsLess;
  expect([orphan(null), orphan(older.hash), orphan(lost.hash), buildReport(found).holdsLess]).toEqual([
    true,
    true,
    false,
    false,
  ]);
});

/** Which policy and which actions a check-in is answered with: the table of revisions, the cursor, and polls side by side. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { cursorOf, effectiveRevision, pendingActions } from '../../src/fleet-server/delivery.ts';
import { pollWaitMs } from '../../src/fleet-server/polls.ts';
import type { StoredAction } from '../../src/fleet-server/state.ts';
import { IDLE_CHECKIN_BODY, LIMIT, POLL } from '../../src/wire/fleet.ts';
import { type Answer, enroll, holds, ids, longPoll, startServer } from './support.ts';

describe('the table of revisions (assigned web, latest 5, recorded 4 unless said)', () => {
  const recorded = { id: 'web', revision: 4 };
  test.each([
    ['both fields absent: its record counts', undefined, undefined, recorded, 4],
    ['id absent: its record counts', undefined, 5, recorded, 4],
    ['revision absent: its record counts', 'web', undefined, recorded, 4],
    ['null is absent', null, null, recorded, 4],
    ['absent and nothing recorded: everything', undefined, undefined, null, 0],
    ['absent and the record is of another policy: everything', undefined, undefined, { id: 'db', revision: 9 }, 0],
    ['absent and recorded the latest: nothing is due', undefined, undefined, { id: 'web', revision: 5 }, 5],
    ['"" and 0: everything (heal)', '', 0, { id: 'web', revision: 5 }, 0],
    ['"" with a revision: everything', '', 5, recorded, 0],
    ['another id: everything (reassigned)', 'db', 5, recorded, 0],
    ['another id with a negative revision: everything', 'db', -1, recorded, 0],
    ['the id and 0: everything', 'web', 0, { id: 'web', revision: 5 }, 0],
    ['the id and an old revision: that one', 'web', 2, recorded, 2],
    ['the id and the latest: nothing is due', 'web', 5, recorded, 5],
    ['the id and a revision beyond the latest: everything (downgrade)', 'web', 6, recorded, 0],
    ['the id and a negative revision: not possible', 'web', -1, recorded, null],
  ] as const)('%s', (_case, agentPolicyId, policyRevision, record, expected) => {
    expect(effectiveRevision({ agentPolicyId, policyRevision }, 'web', record, 5)).toBe(expected);
  });

  test.each([
    ['fields absent, never acked', {}, false, ['policy:web:2']],
    ['fields absent, acked earlier: an orphan that does not say so gets nothing', {}, true, []],
    ['"" and 0, acked earlier: healed', holds('', 0), true, ['policy:web:2']],
    ['only the id said, acked earlier', { agent_policy_id: '' }, true, []],
    ['the latest', holds('web', 2), false, []],
    ['older', holds('web', 1), true, ['policy:web:2']],
    ['newer than this server knows', holds('web', 7), true, ['policy:web:2']],
    ['another policy', holds('db', 2), true, ['policy:web:2']],
  ])('over the wire: %s', async (_case, body, acked, expected) => {
    const { server, save } = await startServer();
    await save('web', 'inputs: [{id: second}]');
    const agent = await enroll(server.url);
    if (acked) await agent.ack({ action_id: 'policy:web:2' });
    expect(ids(await agent.checkin(body))).toEqual(expected);
  });

  test('over the wire: a negative revision is answered 500', async () => {
    const { server } = await startServer();
    const agent = await enroll(server.url);
    expect((await agent.checkin(holds('web', -1))).status).toBe(500);
  });

  test('a policy is sent on every check-in until it is held, and only its latest revision', async () => {
    const { server, save } = await startServer();
    const agent = await enroll(server.url);
    expect(ids(await agent.checkin(holds('', 0)))).toEqual(['policy:web:1']);
    await save('web', 'inputs: [{id: second}]');
    await save('web', 'inputs: [{id: third}]');
    for (let times = 1; times <= 3; times += 1) {
      expect(ids(await agent.checkin(holds('', 0)))).toEqual(['policy:web:3']);
      expect(server.agents()[0]?.policy.delivered).toMatchObject({ revision: 3, times });
    }
  });

  test('what is reported counts as held without an ack, and both are shown apart', async () => {
    const { server } = await startServer();
    const agent = await enroll(server.url);
    await agent.checkin(holds('web', 1));
    expect(ids(await agent.checkin())).toEqual([]);
    expect(server.agents()[0]?.policy).toMatchObject({ reported: { id: 'web', revision: 1 }, acked: null });
  });

  test('an agent that says it holds nothing does not lose the record of what it acked', async () => {
    const { server } = await startServer();
    const agent = await enroll(server.url);
    await agent.ack({ action_id: 'policy:web:1' });
    await agent.checkin(holds('', 0));
    expect(ids(await agent.checkin())).toEqual([]);
    expect(server.agents()[0]).toMatchObject({
      policy: { reported: { id: '', revision: 0 }, acked: { id: 'web', revision: 1 } },
      warnings: ['holds no policy, although it acked web:1'],
    });
  });

  test('a late ack of an older revision takes nothing back, in one batch or alone', async () => {
    const { server, save } = await startServer();
    await save('web', 'inputs: [{id: second}]');
    const agent = await enroll(server.url);
    await agent.ack({ action_id: 'policy:web:2' }, { action_id: 'policy:web:1' });
    await agent.ack({ action_id: 'policy:web:1' });
    expect(ids(await agent.checkin())).toEqual([]);
    expect(server.agents()[0]).toMatchObject({ policy: { acked: { revision: 2 } }, re_acks: 0 });
  });

  test('a failed ack is a rejection, not an ack; the policy goes on being sent', async () => {
    const { server } = await startServer();
    const agent = await enroll(server.url);
    await agent.ack({ action_id: 'policy:web:1', error: 'nginx: unknown directive' });
    expect(ids(await agent.checkin())).toEqual(['policy:web:1']);
    expect(server.agents()[0]).toMatchObject({
      policy: { acked: null, rejected: { id: 'web', revision: 1, reason: 'nginx: unknown directive' } },
      warnings: ['rejected web:1: nginx: unknown directive'],
    });
    await agent.ack({ action_id: 'policy:web:1' });
    expect(server.agents()[0]?.policy.rejected).toBeNull();
  });
});

describe('reassignment', () => {
  test('breaks the poll with the action, then brings the other policy', async () => {
    const { server } = await startServer({ web: '{}', db: 'inputs: [{id: d}]' }, { poll: longPoll });
    const agent = await enroll(server.url, 'T:web');
    const poll = agent.checkin(holds('web', 1));
    await expect.poll(() => server.agents()[0]?.polling).toBe(true);
    await server.send(agent.id, 'POLICY_REASSIGN', { data: '{"policy_id":"db"}' });
    const broken = await poll;
    expect(broken.json.actions).toMatchObject([{ type: 'POLICY_REASSIGN', data: { policy_id: 'db' } }]);
    const next = await agent.checkin({ ack_token: broken.json.ack_token, ...holds('web', 1) });
    expect(ids(next)).toEqual(['policy:db:1']);
  });

  test('to a policy that is not there is refused', async () => {
    const { server } = await startServer();
    const agent = await enroll(server.url);
    await expect(server.send(agent.id, 'POLICY_REASSIGN', { data: '{"policy_id":"no"}' })).rejects.toThrow(
      'no policy no',
    );
    await expect(server.send(agent.id, 'POLICY_REASSIGN')).rejects.toThrow('needs');
  });
});

describe('the action cursor', () => {
  const settings = { data: '{"log_level":"debug"}' };

  test('a token moves past what it covers; an unknown or empty one does not', async () => {
    const { server } = await startServer();
    const agent = await enroll(server.url);
    const [one, two] = [
      await server.send(agent.id, 'SETTINGS', settings),
      await server.send(agent.id, 'SETTINGS', settings),
    ];
    const both = await agent.checkin(holds('web', 1));
    expect(ids(both)).toEqual([one.actionId, two.actionId]);
    const three = await server.send(agent.id, 'SETTINGS', settings);
    const { ack_token } = both.json;
    expect(ack_token).not.toBe(two.actionId);
    expect(ids(await agent.checkin(holds('web', 1)))).toHaveLength(3);
    expect(ids(await agent.checkin({ ack_token, ...holds('web', 1) }))).toEqual([three.actionId]);
    expect(ids(await agent.checkin({ ack_token: '', ...holds('web', 1) }))).toEqual([three.actionId]);
    expect(ids(await agent.checkin({ ack_token: 'unknown', ...holds('web', 1) }))).toEqual([three.actionId]);
  });

  test('acks neither move it nor bring anything again', async () => {
    const { server } = await startServer();
    const agent = await enroll(server.url);
    const sent = await server.send(agent.id, 'SETTINGS', settings);
    const { ack_token } = (await agent.checkin(holds('web', 1))).json;
    await agent.ack({ action_id: sent.actionId });
    expect(ids(await agent.checkin(holds('web', 1)))).toEqual([sent.actionId]);
    expect((await agent.checkin({ ack_token, ...holds('web', 1) })).text).toBe(IDLE_CHECKIN_BODY);
  });

  test('an old token replays what is unexpired', async () => {
    const { server } = await startServer();
    const agent = await enroll(server.url);
    await server.send(agent.id, 'SETTINGS', settings);
    const first = (await agent.checkin(holds('web', 1))).json.ack_token;
    const two = await server.send(agent.id, 'SETTINGS', settings);
    const second = (await agent.checkin({ ack_token: first, ...holds('web', 1) })).json.ack_token;
    await agent.checkin({ ack_token: second, ...holds('web', 1) });
    expect(ids(await agent.checkin({ ack_token: first, ...holds('web', 1) }))).toEqual([two.actionId]);
  });

  test('actions go before a policy, and not with it', async () => {
    const { server } = await startServer();
    const agent = await enroll(server.url);
    const sent = await server.send(agent.id, 'SETTINGS', settings);
    const first = await agent.checkin(holds('', 0));
    expect(ids(first)).toEqual([sent.actionId]);
    expect(ids(await agent.checkin({ ack_token: first.json.ack_token, ...holds('', 0) }))).toEqual(['policy:web:1']);
  });

  test('an action sent during a poll ends it; other agents go on waiting', async () => {
    const { server } = await startServer({ web: '{}' }, { poll: longPoll });
    const [agent, other] = [await enroll(server.url), await enroll(server.url)];
    const aborted = new AbortController();
    let otherAnswered = false;
    const waiting = other.checkin(holds('web', 1), {}, aborted.signal).then(
      () => {
        otherAnswered = true;
      },
      () => undefined,
    );
    const poll = agent.checkin(holds('web', 1));
    await expect.poll(() => server.agents().every((view) => view.polling)).toBe(true);
    const sent = await server.send(agent.id, 'WHATEVER', { data: '{"big":12345678901234567890}' });
    const answer = await poll;
    expect(ids(answer)).toEqual([sent.actionId]);
    expect(answer.text).toContain('"big":12345678901234567890');
    expect(otherAnswered).toBe(false);
    aborted.abort();
    await waiting;
  });

  test('only those of the agent, unexpired, oldest first, at most a hundred', () => {
    const action = fc.record({ seq: fc.nat(300), mine: fc.boolean(), expired: fc.boolean() });
    fc.assert(
      fc.property(
        fc.uniqueArray(action, { selector: ({ seq }) => seq, maxLength: 300 }),
        fc.integer({ min: -1, max: 300 }),
        (drawn, cursor) => {
          const actions = drawn
            .sort((a, b) => a.seq - b.seq)
            .map(({ seq, mine, expired }) => stored(seq, mine ? 'me' : 'other', expired ? 10 : 1000));
          const pending = pendingActions(actions, 'me', cursor, 10);
          const wanted = actions.filter((a) => a.seq > cursor && a.agents.includes('me') && a.expiration > 10);
          expect(pending).toEqual(wanted.slice(0, LIMIT.actionsInAnswer));
          const last = pending.at(-1);
          if (last)
            expect(pendingActions(actions, 'me', cursorOf(actions, last.token, cursor), 10)).toEqual(wanted.slice(100));
        },
      ),
    );
  });
});

describe('polls of one agent side by side', () => {
  test('the end of the old one does not take the new one with it', async () => {
    const { server, save } = await startServer({ web: '{}' }, { poll: longPoll });
    const agent = await enroll(server.url);
    const old = new AbortController();
    const lost = agent.checkin(holds('web', 1), {}, old.signal).catch(() => null);
    await expect.poll(() => server.agents()[0]?.polling).toBe(true);
    const poll = agent.checkin({ message: 'second', ...holds('web', 1) });
    await expect.poll(() => server.agents()[0]?.message).toBe('second');
    old.abort();
    await lost;
    await save('web', 'inputs: [{id: second}]');
    expect(ids(await poll)).toEqual(['policy:web:2']);
  });

  test('a poll nobody waits for any more is forgotten', async () => {
    const { server } = await startServer({ web: '{}' }, { poll: longPoll });
    const agent = await enroll(server.url);
    const gone = new AbortController();
    const poll = agent.checkin(holds('web', 1), {}, gone.signal).catch(() => null);
    await expect.poll(() => server.agents()[0]?.polling).toBe(true);
    gone.abort();
    await poll;
    await expect.poll(() => server.agents()[0]?.polling).toBe(false);
  });

  test('whatever comes reaches all of them', async () => {
    const { server, save } = await startServer({ web: '{}' }, { poll: longPoll });
    const agent = await enroll(server.url);
    const polls: Promise<Answer>[] = [];
    for (const message of ['one', 'two', 'three']) {
      polls.push(agent.checkin({ message, ...holds('web', 1) }));
      await expect.poll(() => server.agents()[0]?.message).toBe(message);
    }
    await save('web', 'inputs: [{id: second}]');
    for (const answer of await Promise.all(polls)) expect(ids(answer)).toEqual(['policy:web:2']);
  });
});

describe('how long an idle poll is held', () => {
  test.each([
    ['five minutes by default', null, 0, 0, 300_000],
    ['less a random part', null, 0, 0.5, 285_000],
    ['less what the request took', null, 1000, 0, 299_000],
    ['what is asked for, less the margin', 600_000, 0, 0, 480_000],
    ['at least a minute', 90_000, 0, 0, 60_000],
    ['at most an hour', 7_200_000, 0, 0, 3_600_000],
    ['never nothing', null, 400_000, 0.9, 1],
    ['"0" is the default', 0, 0, 0, 300_000],
  ])('%s', (_case, requestedMs, setupMs, random, expected) => {
    expect(pollWaitMs(requestedMs, setupMs, random, POLL)).toBe(expected);
  });
});

function stored(seq: number, agentId: string, expiration: number): StoredAction {
  return {
    seq,
    token: `token ${seq}`,
    id: `action ${seq}`,
    type: 'SETTINGS',
    data: 'null',
    agents: [agentId],
    createdAt: 0,
    expiration,
    startTime: null,
    inputType: '',
    timeoutS: null,
    results: [],
  };
}

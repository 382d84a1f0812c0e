/** A rejected policy whose bytes the disk has lost, and that somebody wants to try again. */
import { expect, test } from 'vitest';
import { createActor, toPromise } from 'xstate';
import { type Change, emptyFacts, type Facts } from '../../../src/machines/facts.ts';
import { advance } from '../../../src/machines/rules.ts';
import type { StoreRequest } from '../../../src/machines/store.ts';
import { policyBody } from '../../../src/policy/identity.ts';
import { SILENT } from '../../../src/services/log/logger.ts';
import { storePorts } from '../../../src/services/store/ports.ts';
import { RULES } from '../../support/agent-world.ts';
import { Disk } from '../../support/disk.ts';

const NO_IDENTITY = { identity: null, pending: null, problem: null, mayPass: false, findings: [] };

async function openPorts(disk: Disk) {
  const ports = storePorts({
    home: '/home',
    files: disk,
    clock: { wallMs: () => 1_000, monotonicMs: () => 0 },
    log: SILENT,
    lock: async () => ({ kind: 'flock', release: async () => {} }),
    identity: NO_IDENTITY,
    readIdentity: async () => NO_IDENTITY,
    beginWith: emptyFacts(''),
    encryption: { key: 'none', keyFile: null, credentialsDirectory: null },
    decide: (before, requests, now) => {
      const changes = requests.flatMap((one) => one.changes);
      const { facts, bodies, news } = advance(before, changes, now, RULES);
      return { facts, bodies, news: requests.map(() => news) };
    },
  });
  const opened = createActor(ports.store.open, { input: { agentId: '' } }).start();
  const { facts } = await toPromise(opened);
  const commit = async (before: Facts, ...changes: readonly Change[]): Promise<Facts> => {
    const requests: readonly StoreRequest[] = [{ from: 'agent', id: 'test', changes }];
    const actor = createActor(ports.store.commit, { input: { facts: before, requests } }).start();
    return (await toPromise(actor)).facts;
  };
  return { facts: facts ?? emptyFacts(''), commit };
}

test('it is not tried, and what is committed with it is', async () => {
  const disk = new Disk('/home');
  const first = await openPorts(disk);
  const policy = policyBody({ id: 'web', revision: 1 }, { id: 'policy:web:1' });
  const started = await first.commit(first.facts, { type: 'start.opened', bootId: 'boot' });
  const received = await first.commit(started, { type: 'delivery.received', token: null, actions: [], policy });
  await first.commit(received, { type: 'policy.rejected', hash: policy.hash, kind: 'health', reason: 'it fell over' });

  const object = disk.list('/home/state/objects').find((name) => name.startsWith(policy.hash));
  disk.flipBit(`/home/state/objects/${object}`, 800);
  const second = await openPorts(disk);
  const facts = await second.commit(
    second.facts,
    { type: 'rejection.retried', hash: null },
    { type: 'agent.unenrolled', reason: 'committed besides' },
  );
  expect(facts.candidate).toBeNull();
  expect(facts.rejected[0]).toMatchObject({ hash: policy.hash, retry: null });
  expect(facts.unenrolled?.reason).toBe('committed besides');
});

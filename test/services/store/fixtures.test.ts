/**
 * State directories as released formats wrote them are read for ever. A fixture is never written again: a newer format adds its own beside
 * these (`MAKE_FIXTURES=v1 npx vitest run --project quick test/services/store/fixtures.test.ts` made the first two).
 */
import { cp, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { Facts } from '../../../src/machines/facts.ts';
import { nodeFiles } from '../../../src/services/store/files.ts';
import { hashOf } from '../../../src/services/store/frame.ts';
import { READABLE, readKeyring } from '../../../src/services/store/keyring.ts';
import { openStore } from '../../../src/services/store/store.ts';
import { AGENT, factsAt, policyHash, policyText } from '../../support/facts.ts';
import { keyText } from '../../support/keys.ts';

const FIXTURES = join(import.meta.dirname, '..', '..', 'fixtures', 'state');
/** Longer than what stands in the record itself. */
const LONG = 'a long reason, kept as an object of its own. '.repeat(40);

/** Something of everything a record can hold. */
function richFacts(): Facts {
  const ref = { id: 'web', revision: 4, hash: policyHash(4), actionId: 'policy:web:4' };
  return {
    ...factsAt(6),
    deliveryToken: 'token-v1',
    passedOver: { at: 5, delayMs: 1000, times: 1 },
    candidate: { ...ref, receivedAt: 7, attempts: 1 },
    rejected: [
      {
        ...ref,
        hash: hashOf('rejected'),
        kind: 'check',
        reason: LONG,
        rejectedAt: 8,
        times: 2,
        retry: { at: 9, delayMs: 60_000 },
      },
    ],
    received: { ...ref, at: 7 },
    acked: { ...ref, revision: 3, hash: policyHash(3), at: 6 },
    journal: [
      {
        id: 'action-1',
        type: 'SETTINGS',
        data: '{"log_level":"debug"}',
        inputType: null,
        startTime: null,
        expiration: 10,
        undecodable: null,
        state: 'done',
        receivedAt: 1,
        doneAt: 2,
        outcome: { ok: true, message: 'done' },
      },
    ],
    outbox: [
      { actionId: 'action-1', actionType: 'SETTINGS', message: 'm', error: null, owedAt: 2, notFound: 1, policy: null },
    ],
    intents: { logLevel: 'debug' },
    starts: [
      {
        number: 2,
        bootId: 'boot',
        at: 3,
        previous: 'crashed',
        crashes: 1,
        inFlight: 'applying web:3',
        confirmed: true,
        goodbye: false,
        spent: { generation: policyHash(3), candidate: null },
      },
    ],
    safeMode: { reason: 'r', since: 4, until: { at: 5, delayMs: 6 } },
  };
}

const WITHOUT_OBJECT = hashOf('rejected');

test.runIf(process.env.MAKE_FIXTURES === 'v1').each(['v1-readable', 'v1-encrypted'])('makes %s', async (name) => {
  const home = join(FIXTURES, name);
  await mkdir(join(FIXTURES), { recursive: true });
  await mkdir(home);
  if (name.endsWith('encrypted')) await writeFile(join(home, 'key'), keyText(1), { mode: 0o600 });
  const keys = await readKeyring({ files: nodeFiles, home, settings: READABLE, generate: false });
  const { store } = await openStore({ files: nodeFiles, home, agentId: AGENT, now: () => 0, keys, slotBytes: 4096 });
  const texts = [1, 2, 3, 4].map(policyText);
  const policies = Object.fromEntries([...texts.map((text) => [hashOf(text), text]), [WITHOUT_OBJECT, 'rejected']]);
  await store.commit({ facts: factsAt(6), policies });
  await store.commit({ facts: richFacts(), policies });
});

test.each(['v1-readable', 'v1-encrypted'])(
  'what %s holds is read, every fact and every policy, and can be built on',
  async (name) => {
    const home = await mkdtemp(join(tmpdir(), 'holdfast-fixture-'));
    onTestFinished(() => rm(home, { recursive: true, force: true }));
    await cp(join(FIXTURES, name), home, { recursive: true });
    const open = async () => {
      const keys = await readKeyring({ files: nodeFiles, home, settings: READABLE, generate: false });
      return openStore({ files: nodeFiles, home, agentId: AGENT, now: () => 0, keys });
    };
    const { facts, findings, store } = await open();
    expect(findings).toEqual([]);
    expect(facts).toEqual(richFacts());
    expect((await store.status()).encrypted).toBe(name.endsWith('encrypted'));
    for (const revision of [1, 2, 3, 4])
      expect(await store.readPolicy(policyHash(revision))).toEqual({ text: policyText(revision) });
    expect(await store.readPolicy(WITHOUT_OBJECT)).toEqual({ text: 'rejected' });
    await store.commit({ facts: { ...richFacts(), deliveryToken: 'newer' }, policies: {} });
    expect((await open()).facts).toEqual({ ...richFacts(), deliveryToken: 'newer' });
  },
);

test('every fixture is read by a test', async () => {
  expect((await readdir(FIXTURES)).toSorted()).toEqual(['v1-encrypted', 'v1-readable']);
});

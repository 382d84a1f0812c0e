// Naming a policy: by the action it came in, else by its body; by its hash in any case.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { canonicalJson, sha256 } from '../../src/policy/canonical.ts';
import { policyBody } from '../../src/policy/identity.ts';
import { json } from './arbitraries.ts';

const body = { id: 'in-body', revision: 7, inputs: [] };

test.each([
  ['policy:web:3', 'web', 3],
  ['policy:web#9.4:12', 'web#9.4', 12],
  ['policy:web:3:1', 'web', 3],
  ['policy:a-b-c:0', 'a-b-c', 0],
])('the action id %s names the policy %s in revision %i', (actionId, id, revision) => {
  expect(policyBody(body, { id: actionId })).toMatchObject({ id, revision, actionId });
});

test.each(['0b9d8ea0-9a4a-4a7c-9a9a-1f2b3c4d5e6f', 'policy:web', 'policy:web:x', 'policy::3', 'policy:a:1:2:3', ''])(
  'the action id %j names none, so that the body does',
  (actionId) => {
    expect(policyBody(body, { id: actionId })).toMatchObject({ id: 'in-body', revision: 7, actionId });
  },
);

test('a body without a usable name is nobody in revision 0', () => {
  for (const value of [{}, null, 3, [], { id: 4, revision: -1 }, { revision: 1.5 }, { revision: 10n ** 30n }]) {
    expect(policyBody(value, null)).toMatchObject({ id: '', revision: 0, actionId: '' });
  }
});

test('the hash is that of the canonical text, and text and value come to the same', () => {
  fc.assert(
    fc.property(json, (value) => {
      const named = policyBody({ value }, null);
      expect(named.hash).toBe(sha256(named.text));
      expect(policyBody(canonicalJson({ value }), null)).toEqual(named);
      expect(policyBody(named.text, null)).toEqual(named);
    }),
  );
});

test('the same revision with another key is another policy', () => {
  const one = policyBody({ ...body, key: 'a' }, { id: 'policy:web:3' });
  const two = policyBody({ ...body, key: 'b' }, { id: 'policy:web:3' });
  expect(one.hash).not.toBe(two.hash);
});

test('what is not usable JSON still has a name, so that it can be rejected and remembered', () => {
  for (const text of ['{', '['.repeat(100_000), 'no', '']) {
    expect(policyBody(text, { id: 'policy:web:3' })).toEqual({
      id: 'web',
      revision: 3,
      actionId: 'policy:web:3',
      text,
      hash: sha256(text),
    });
  }
});

/** YAML and JSON of any kind against everything that reads documents: bounded in time, never a crash, and a prototype never touched. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readPolicyYaml } from '../../src/fleet-server/policy-yaml.ts';
import { policyBody } from '../../src/policy/identity.ts';
import { policyYaml } from '../../src/policy/mask.ts';
import { parsePolicy, parsePolicyYaml } from '../../src/policy/parse.ts';
import { parseSpec } from '../../src/policy/spec.ts';
import { readSettings } from '../../src/services/settings/read.ts';
import { BOMBS, BOUND_MS, hostileJson, outcomeOf, RUNS, torn } from './support.ts';

const READERS: Readonly<Record<string, (text: string) => unknown>> = {
  'a policy': parsePolicy,
  'a policy file': (text) => parsePolicyYaml(text, 'policy.yml'),
  'a policy folder': readPolicyYaml,
  'a spec file': (text) => parseSpec(text, 'x.spec.yml', {}),
  'a settings file': (text) => readSettings({ file: { path: 'holdfast.yml', text }, env: {}, flags: [] }),
  'the name of a policy': (text) => policyBody(text, null),
  'the masked form of a policy': policyYaml,
};

describe.each(Object.entries(READERS))('%s', (_, read) => {
  test('of any text is read or refused', () => {
    fc.assert(
      fc.property(torn(fc.oneof(hostileJson, fc.string({ unit: 'binary' }), fc.json())), (text) => {
        outcomeOf(() => read(text));
      }),
      RUNS,
    );
  });

  test.each(BOMBS)('with %s is read or refused in bounded time', (_name, text) => {
    const started = performance.now();
    outcomeOf(() => read(text));
    expect(performance.now() - started).toBeLessThan(BOUND_MS);
  });
});

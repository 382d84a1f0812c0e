/** Facts to store: a short history of an agent that gets policies, one commit a step. */
import { emptyFacts, type Facts, type Generation } from '../../src/machines/facts.ts';
import { hashOf } from '../../src/services/store/frame.ts';

export const AGENT = '8a1b6e0c-5f53-4c2f-9d0e-3f2a44b3a111';

export const policyText = (revision: number) => `{"id":"web","inputs":[],"revision":${revision}}`;
export const policyHash = (revision: number) => hashOf(policyText(revision));

const ref = (revision: number) => ({
  id: 'web',
  revision,
  hash: policyHash(revision),
  actionId: `policy:web:${revision}`,
});

export function generation(revision: number): Generation {
  return { ...ref(revision), promotedAt: 1000 + revision, attempts: 0 };
}

/** Step 1 delivers policy 1, step 2 promotes it, step 3 delivers policy 2, and so on. Every step's facts differ. */
export function factsAt(step: number, agentId = AGENT): Facts {
  const good = Math.floor(step / 2);
  const generations = [good, good - 1, good - 2].filter((revision) => revision > 0).map(generation);
  const candidate = step % 2 === 1 ? { ...ref(good + 1), receivedAt: step, attempts: 1 } : null;
  return { ...emptyFacts(agentId), deliveryToken: `token-${step}`, generations, candidate };
}

/** The texts a step's facts name for the first time. */
export function policiesAt(step: number): Record<string, string> {
  const candidate = factsAt(step).candidate;
  return candidate ? { [candidate.hash]: policyText(candidate.revision) } : {};
}

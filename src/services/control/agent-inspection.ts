/** `inspect` of a running agent: what is held and what runs, secrets masked. */
import type { AgentContext } from '../../machines/agent-setup.ts';
import { writeYaml } from '../../policy/document.ts';
import { ExactNumber, isArray, isObject, type JsonObject, type JsonValue, parseJson } from '../../policy/json.ts';
import { mask } from '../../policy/mask.ts';
import type { Variables } from '../../policy/variables.ts';
import type { Inspection } from '../../wire/control.ts';
import { inspectionFacts } from './facts-status.ts';

/** `policyText` gives the canonical text of a policy that is held, null when it is not at hand. */
export function agentInspection(
  context: AgentContext,
  variables: Variables,
  policyText: (hash: string) => string | null,
): Inspection {
  const hash = context.running?.hash ?? context.facts.generations[0]?.hash;
  const text = hash === undefined ? null : policyText(hash);
  return {
    policy: text === null ? null : maskedPolicy(text),
    components: context.components.map((one) => ({ ...one })),
    variables: plainObject(mask(variables as JsonObject, [])),
    ...inspectionFacts(context.facts),
  };
}

/** A policy as `inspect` shows it: masked, and as JSON's own types, with numbers that those cannot hold as text. */
export function maskedPolicy(text: string): Record<string, unknown> | null {
  const policy = parseJson(text);
  return isObject(policy) ? plainObject(mask(policy)) : null;
}

/** A policy's JSON text as masked YAML; null when it cannot be shown. */
export function policyForPeople(text: string): string | null {
  try {
    return writeYaml(mask(parseJson(text)));
  } catch {
    return null;
  }
}

function plainObject(value: JsonValue): Record<string, unknown> {
  return plain(value) as Record<string, unknown>;
}

function plain(value: JsonValue): unknown {
  if (typeof value === 'bigint' || value instanceof ExactNumber) return String(value);
  if (isArray(value)) return value.map(plain);
  if (isObject(value)) return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, plain(one)]));
  return value;
}

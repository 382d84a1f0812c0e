/** Renders a policy for this host: with the specs as they lie there now, and the facts of the host as variables. */

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { asHoldfastError, HoldfastError } from '../../errors.ts';
import type { Rendering } from '../../policy/component.ts';
import { type JsonObject, parseJson } from '../../policy/json.ts';
import { secretsIn } from '../../policy/mask.ts';
import { render } from '../../policy/render.ts';
import { type Variables, variablesFor } from '../../policy/variables.ts';
import { homePaths } from '../home.ts';
import { specPlatform, variableHost } from '../host/host.ts';
import { hideSecrets, learnSecrets } from '../log/known-secrets.ts';
import { readSpecs, type Specs } from './read-specs.ts';

export interface HostRendering {
  /** Absolute path. */
  readonly home: string;
  readonly variables: Variables;
  readonly unsupported: 'degrade' | 'ignore';
  /** Directories whose specs come before those of the home. */
  readonly specs?: readonly string[];
  /** Where the components lie, when not in the home. */
  readonly componentsDir?: string;
  /** Told what of a policy is noted and not carried out, and which spec files are broken. */
  readonly note: (message: string) => void;
}

/** What a policy comes to here, and the spec files that were of no use to it. */
export interface HostRendered extends Rendering {
  readonly broken: Specs['broken'];
}

/** @throws HoldfastError POLICY_UNPARSABLE or POLICY_RENDER_FAILED for the policy as a whole. */
export async function renderOnHost(policyText: string, host: HostRendering): Promise<HostRendered> {
  learnSecretsOf(policyText, host.variables);
  try {
    return withoutSecrets(await renderWithSpecs(policyText, host));
  } catch (thrown) {
    // Its words are stored, shown and sent to Fleet.
    const error = asHoldfastError(thrown, 'POLICY_RENDER_FAILED');
    throw new HoldfastError(error.code, hideSecrets(error.message), { cause: thrown });
  }
}

/** Makes what is secret in a policy, and in what it may be filled with, known to all who speak of it. Never throws. */
function learnSecretsOf(policyText: string, variables: Variables): void {
  learnSecrets('variables', secretsIn(variables as JsonObject));
  try {
    learnSecrets(createHash('sha256').update(policyText).digest('hex'), secretsIn(parseJson(policyText)));
  } catch {
    // What is not JSON is refused as a whole, and its error does not quote it.
  }
}

function withoutSecrets(rendering: HostRendered): HostRendered {
  const hidden = <T extends { readonly message: string }>(one: T): T => ({ ...one, message: hideSecrets(one.message) });
  return { ...rendering, problems: rendering.problems.map(hidden), notes: rendering.notes.map(hideSecrets) };
}

async function renderWithSpecs(policyText: string, host: HostRendering): Promise<HostRendered> {
  const paths = homePaths(host.home);
  const { specs, broken } = await readSpecs([...(host.specs ?? []), paths.specs]);
  for (const { message } of broken) host.note(`a spec cannot be used: ${message}`);
  const rendering = render(policyText, {
    specs,
    broken,
    variables: host.variables,
    paths: { componentsDir: host.componentsDir ?? paths.components },
    platform: specPlatform(),
    unsupported: host.unsupported,
  });
  for (const note of rendering.notes) host.note(hideSecrets(note));
  return { ...rendering, broken };
}

/** The providers that policies of the agent on `home` may use. */
export function hostVariables(agent: {
  readonly home: string;
  readonly agentId: string;
  /** The version claimed to Fleet. */
  readonly agentVersion: string;
  /** Where the examples that come with Holdfast are. */
  readonly examples: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly local: Readonly<Record<string, unknown>>;
}): Variables {
  const { home } = agent;
  const { components, logs } = homePaths(home);
  return variablesFor({
    env: agent.env,
    host: variableHost(),
    agent: { id: agent.agentId, version: agent.agentVersion },
    path: { home, data: components, logs, config: home, examples: agent.examples, node: process.execPath },
    local: agent.local as JsonObject,
  });
}

/** Where the examples lie: beside the built program and beside its sources alike. */
export const EXAMPLES = join(import.meta.dirname, '..', '..', '..', 'examples');

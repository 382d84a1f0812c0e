/** Policy files become revisions: new content is a new one, a broken or vanished file leaves the last one in force and is complained about. */
import { relative } from 'node:path';
import type { Core } from './core.ts';
import { enrollmentTokens } from './enrollment.ts';
import type { PolicyFile } from './policy-folder.ts';
import type { PolicyView } from './views.ts';

export class Policies {
  readonly #core: Core;
  /** By policy id; `<file>:<line>:<column>: <reason>`. */
  #problems = new Map<string, string>();
  /** New revisions that polls have not been told of, since they could not be made durable yet. */
  readonly #unannounced = new Set<string>();

  constructor(core: Core) {
    this.#core = core;
  }

  /** Takes over what the folder holds now; waiting polls hear of a new revision only when it is durable. */
  async take(files: readonly PolicyFile[]): Promise<void> {
    const { ledger, polls, log, clock } = this.#core;
    const { policies } = ledger.state;
    const problems = new Map<string, string>();
    for (const { id, file, policy } of files) {
      const known = policies.get(id);
      if (!policy.ok) {
        problems.set(id, `${shortened(file)}:${policy.problem}`);
        continue;
      }
      if (known?.hash === policy.hash) continue;
      const revision = (known?.revision ?? 0) + 1;
      policies.set(id, { id, revision, hash: policy.hash, text: policy.text, savedAt: clock.now() });
      this.#unannounced.add(id);
      ledger.changed();
      log('info', `policy ${id}:${revision} read from ${shortened(file)}`);
    }
    for (const id of policies.keys()) {
      if (!files.some((file) => file.id === id)) problems.set(id, 'its file is gone');
    }
    this.#complain(problems);
    await ledger.durable();
    const renewed = new Set(this.#unannounced);
    this.#unannounced.clear();
    for (const agent of ledger.state.agents.values()) {
      if (renewed.has(agent.policyId)) polls.wake(agent.id);
    }
  }

  views(): readonly PolicyView[] {
    const { state } = this.#core.ledger;
    const tokens = enrollmentTokens(state);
    const ids = new Set([...state.policies.keys(), ...this.#problems.keys()]);
    return [...ids].sort().map((id) => {
      const policy = state.policies.get(id);
      return {
        id,
        revision: policy?.revision ?? 0,
        saved_at: policy ? new Date(policy.savedAt).toISOString() : null,
        enrollment_token: tokens.find(({ policyId }) => policyId === id)?.token ?? null,
        problem: this.#problems.get(id) ?? null,
      };
    });
  }

  #complain(problems: Map<string, string>): void {
    const { ledger, log } = this.#core;
    for (const [id, problem] of problems) {
      if (this.#problems.get(id) === problem) continue;
      const revision = ledger.state.policies.get(id)?.revision;
      log(
        'warn',
        `policy ${id}: ${problem} (${revision ? `${id}:${revision} stays in force` : 'it has no revision yet'})`,
      );
    }
    for (const id of this.#problems.keys()) {
      if (!problems.has(id)) log('info', `policy ${id}: its file is in order again`);
    }
    this.#problems = problems;
  }
}

/** The path as a person in the working directory would type it. */
function shortened(file: string): string {
  const path = relative(process.cwd(), file);
  return path.startsWith('..') ? file : path;
}

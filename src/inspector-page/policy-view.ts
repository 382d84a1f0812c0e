/** The policy as a strip: received, applying, persisted, acked; what was rejected; the generations that are kept. */
import type { PolicyStatus, Status } from '../wire/control.ts';
import { html, nothing, type TemplateResult } from './lit.ts';
import { ago, shortHash } from './words.ts';

export interface PolicyActions {
  /** Shows how the second differs from the first. */
  compare(before: string, after: string): void;
}

interface Stage {
  readonly name: string;
  readonly policy: PolicyStatus | null;
  readonly state: 'done' | 'now' | 'ahead' | 'refused';
  readonly note: string;
}

export function policyView(status: Status | null, now: number, actions: PolicyActions): TemplateResult {
  if (status === null) return html`<p class="empty">No agent yet.</p>`;
  const { generations, rejected } = status.policy;
  const refusal = rejected[0];
  const lastGood = generations[0];
  const candidate = candidateOf(status);
  // Once Fleet has sent another one, or the same was made good after all, it is history.
  const isCurrent =
    refusal !== undefined && refusal.hash === status.policy.received?.hash && refusal.hash !== lastGood?.hash;
  return html`
    <ol class="stages" aria-label="The way of a policy">
      ${stagesOf(status, now).map(stageView)}
    </ol>
    <div class="rejected" data-current=${String(isCurrent)} ?hidden=${refusal === undefined}>
      ${
        refusal === undefined
          ? nothing
          : html`<h2>${isCurrent ? 'Rejected' : 'Rejected earlier'}</h2>
              <p class="name">${refusal.id}:${refusal.revision} <code title=${refusal.hash}>${shortHash(refusal.hash)}</code></p>
              <p class="reason" title=${refusal.reason}>${refusal.reason}</p>
              ${lastGood === undefined ? nothing : compareButton(actions, lastGood, refusal, 'rejected')}`
      }
    </div>
    <div class="generations">
      <h2>Generations</h2>
      ${generations.length === 0 ? html`<p class="empty">None is held.</p>` : nothing}
      <ol>
        ${generations.map(
          (one, index) => html`<li data-runs=${String(one.hash === status.policy.running?.hash)}>
            <span class="name">${one.id}:${one.revision}</span> <code title=${one.hash}>${shortHash(one.hash)}</code>
            <span class="note">${index === 0 ? 'last good' : ago(one.at, now)}${one.hash === status.policy.running?.hash ? ', runs' : ''}</span>
          </li>`,
        )}
      </ol>
      ${
        candidate !== null && lastGood !== undefined
          ? compareButton(actions, lastGood, candidate, 'candidate')
          : generations[1] !== undefined && lastGood !== undefined
            ? compareButton(actions, generations[1], lastGood, 'newest')
            : nothing
      }
    </div>
  `;
}

/** What was received and is neither good nor rejected yet. */
export function candidateOf({ policy }: Status): PolicyStatus | null {
  const { received, generations, rejected } = policy;
  if (received === null) return null;
  const isDecided = [...generations, ...rejected].some(({ hash }) => hash === received.hash);
  return isDecided ? null : received;
}

function stagesOf(status: Status, now: number): Stage[] {
  const { received, running, persisted, acked, rejected } = status.policy;
  const { policy: at = '' } = status.path;
  const refused =
    received !== null && rejected.some(({ hash }) => hash === received.hash) && received.hash !== persisted?.hash;
  const isApplying = at === 'apply' || status.state === 'replay';
  const applied = isApplying && at === 'apply' ? received : running;
  const stage = (name: string, policy: PolicyStatus | null, state: Stage['state'], note: string): Stage => ({
    name,
    policy,
    state,
    note,
  });
  const since = (policy: PolicyStatus | null) => (policy === null ? 'none yet' : ago(policy.at, now));
  return [
    stage('Received', received, received === null ? 'ahead' : 'done', since(received)),
    stage(
      isApplying ? 'Applying' : refused ? 'Applied' : 'Running',
      refused && !isApplying ? received : applied,
      isApplying || at === 'rollback' ? 'now' : refused ? 'refused' : applied === null ? 'ahead' : 'done',
      isApplying
        ? (status.awaiting ?? 'the plan is carried out')
        : at === 'rollback'
          ? 'being taken back'
          : refused
            ? 'rejected; taken back'
            : since(applied),
    ),
    stage('Persisted', persisted, at === 'persist' ? 'now' : persisted === null ? 'ahead' : 'done', since(persisted)),
    stage('Acked', acked, at === 'ack' ? 'now' : acked === null ? 'ahead' : 'done', since(acked)),
  ];
}

function stageView({ name, policy, state, note }: Stage): TemplateResult {
  return html`<li data-stage=${name.toLowerCase()} data-state=${state}>
    <h2>${name}</h2>
    <p class="name">${policy === null ? '–' : `${policy.id}:${policy.revision}`} ${policy === null ? nothing : html`<code title=${policy.hash}>${shortHash(policy.hash)}</code>`}</p>
    <p class="note" title=${note}>${note}</p>
  </li>`;
}

function compareButton(
  { compare }: PolicyActions,
  before: { readonly hash: string; readonly id: string; readonly revision: number },
  after: { readonly hash: string; readonly id: string; readonly revision: number },
  what: string,
): TemplateResult {
  return html`<button type="button" class="compare" data-compare=${what} title="Compare with ${before.id}:${before.revision}" @click=${() => compare(before.hash, after.hash)}>
    What ${after.id}:${after.revision} changes
  </button>`;
}

/** The actors, each below the one it belongs to, with the state it is in. Choosing one shows its chart. */
import { html, nothing, type TemplateResult } from './lit.ts';
import type { Model, TreeRow } from './model.ts';
import { localState, toneOfState } from './words.ts';

export function actorsView(model: Model, choose: (actor: string) => void): TemplateResult {
  const rows = model.tree();
  return html`
    <h2 id="actors-title">Actors <span class="count">${rows.length}</span></h2>
    <ul class="tree">
      ${rows.map((row) => rowView(row, model.shown?.id === row.actor.id, choose))}
    </ul>
    ${rows.length === 0 ? html`<p class="empty">None lives yet.</p>` : nothing}
  `;
}

function rowView({ actor, depth }: TreeRow, isShown: boolean, choose: (actor: string) => void): TemplateResult {
  const level = `depth-${Math.min(depth, 5)}`;
  if (actor.machine === null) {
    return html`<li class="${level} waits" data-actor=${actor.name}><span class="name">${actor.name}</span></li>`;
  }
  const state = actor.states.map((id) => localState(id)).join(', ') || actor.status;
  return html`<li class=${level} data-actor=${actor.name}>
    <button type="button" aria-pressed=${String(isShown)} @click=${() => choose(actor.id)}>
      <span class="name">${actor.name}</span>
      <span class="state" data-status=${actor.status} data-tone=${toneOfState(actor.states[0] ?? '')}>${state}</span>
    </button>
  </li>`;
}

/** What else there is to know, in tabs: components with their output, actions and acks, starts with their last moments, policies compared. */
import type { ComponentStatusLine, Status } from '../wire/control.ts';
import type { Recording, Standing } from '../wire/inspector.ts';
import { fetchLog, fetchOutput, fetchPolicy, fetchRecordings } from './connection.ts';
import { type DiffLine, diffLines } from './diff.ts';
import { html, nothing, render, type TemplateResult } from './lit.ts';
import { candidateOf } from './policy-view.ts';
import { ago, clockTime, eventInWords, localState, shortHash, sourceOf, toneOf } from './words.ts';

const TABS = ['components', 'plan', 'actions', 'starts', 'policies', 'log'] as const;
type Tab = (typeof TABS)[number];
const OUTPUT_EVERY_MS = 2_000;

export class DetailsPanel {
  readonly #section: HTMLElement;
  #tab: Tab = 'components';
  #standing: Standing | null = null;
  #output: { readonly component: string; readonly text: string | null } | null = null;
  #recordings: readonly Recording[] = [];
  #openStart: number | null = null;
  #log: string | null = null;
  #now = 0;
  #compared: Compared = { before: '', after: '', lines: null, note: '' };

  constructor(section: HTMLElement) {
    this.#section = section;
    setInterval(() => {
      void this.#refreshOutput();
      void this.#refreshLog();
    }, OUTPUT_EVERY_MS);
  }

  /** `now`: epoch ms. */
  draw(standing: Standing | null, now: number): void {
    this.#standing = standing;
    this.#now = now;
    this.#section.dataset.tab = this.#tab;
    const { status } = standing ?? { status: null };
    const counts: Readonly<Record<Tab, number | null>> = {
      log: null,
      plan: status?.plan?.length ?? 0,
      components: status?.components.length ?? 0,
      actions: (standing?.held.journal.length ?? 0) + (standing?.held.outbox.length ?? 0),
      starts: standing?.held.starts.length ?? 0,
      policies: status?.policy.generations.length ?? 0,
    };
    render(
      html`
        <div class="tabs" role="tablist" aria-label="Details" @keydown=${(event: KeyboardEvent) => this.#key(event)}>
          ${TABS.map(
            (
              tab,
            ) => html`<button type="button" role="tab" id="tab-${tab}" aria-controls="panel" aria-selected=${String(tab === this.#tab)}
              tabindex=${tab === this.#tab ? 0 : -1} @click=${() => this.open(tab)}>${tab} <span class="count">${counts[tab] ?? nothing}</span></button>`,
          )}
        </div>
        <div class="panel" id="panel" role="tabpanel" aria-labelledby="tab-${this.#tab}" tabindex="0">
          ${standing === null ? html`<p class="empty">No agent yet.</p>` : this.#panel(standing)}
        </div>
      `,
      this.#section,
    );
  }

  open(tab: Tab): void {
    this.#tab = tab;
    if (tab === 'starts') void this.reloadRecordings();
    if (tab === 'log') void this.#refreshLog();
    if (tab === 'policies' && this.#compared.before === '') this.#compareUsual();
    this.#redraw();
  }

  /** After another process has come up. */
  async reloadRecordings(): Promise<void> {
    this.#recordings = await fetchRecordings().catch(() => this.#recordings);
    this.#redraw();
  }

  async compare(before: string, after: string): Promise<void> {
    this.#tab = 'policies';
    this.#compared = { before, after, lines: null, note: 'reading both …' };
    this.#redraw();
    const [old, now] = await Promise.all([fetchPolicy(before), fetchPolicy(after)]);
    const lines = old === null || now === null ? null : diffLines(old, now);
    const note =
      old === null || now === null
        ? 'One of them is not held any more, so they cannot be compared.'
        : before === after
          ? 'This is one and the same policy.'
          : lines?.length === 0
            ? 'They differ in masked secrets alone.'
            : '';
    this.#compared = { before, after, lines, note };
    this.#redraw();
  }

  #redraw(): void {
    this.draw(this.#standing, this.#now);
  }

  #compareUsual(): void {
    const { status } = this.#standing ?? { status: null };
    if (status === null) return;
    const [lastGood, before] = status.policy.generations;
    const other = candidateOf(status) ?? status.policy.rejected[0];
    if (lastGood === undefined) return;
    if (other !== undefined) void this.compare(lastGood.hash, other.hash);
    else void this.compare((before ?? lastGood).hash, lastGood.hash);
  }

  #key(event: KeyboardEvent): void {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    const next = TABS[(TABS.indexOf(this.#tab) + step + TABS.length) % TABS.length] as Tab;
    this.open(next);
    this.#section.querySelector<HTMLElement>(`#tab-${next}`)?.focus();
    event.preventDefault();
  }

  #panel(standing: Standing): TemplateResult {
    switch (this.#tab) {
      case 'components':
        return this.#components(standing.status);
      case 'plan':
        return planView(standing.status);
      case 'log':
        return html`<pre class="log" tabindex="0" aria-label="The daemon's log, masked">${this.#log ?? 'reading …'}</pre>`;
      case 'actions':
        return actionsView(standing, this.#now);
      case 'starts':
        return this.#starts(standing);
      case 'policies':
        return this.#policies(standing.status);
    }
  }

  #components({ components }: Status): TemplateResult {
    if (components.length === 0) return html`<p class="empty">Nothing is managed.</p>`;
    return html`<table>
      <thead><tr><th scope="col">Component</th><th scope="col">Health</th><th scope="col">Pid</th><th scope="col">Restarts</th><th scope="col">Hash</th><th scope="col">Output</th></tr></thead>
      <tbody>
        ${components.map((one) => this.#component(one))}
      </tbody>
    </table>`;
  }

  #component(one: ComponentStatusLine): TemplateResult {
    const isOpen = this.#output?.component === one.id;
    return html`
      <tr data-component=${one.id}>
        <th scope="row">${one.id}</th>
        <td><span class="badge" data-tone=${toneOf(one.state)}>${one.state}</span> ${one.message}</td>
        <td class="number pid">${one.pid ?? '–'}</td>
        <td class="number">${one.restarts}</td>
        <td><code title=${one.hash}>${shortHash(one.hash)}</code></td>
        <td><button type="button" aria-expanded=${String(isOpen)} @click=${() => this.#toggleOutput(one.id)}>${isOpen ? 'hide' : 'show'}<span class="unseen"> the output of ${one.id}</span></button></td>
      </tr>
      ${
        isOpen
          ? html`<tr class="output"><td colspan="6"><pre tabindex="0" aria-label="Output of ${one.id}">${this.#output?.text ?? 'reading …'}</pre></td></tr>`
          : nothing
      }`;
  }

  #toggleOutput(component: string): void {
    this.#output = this.#output?.component === component ? null : { component, text: null };
    this.#redraw();
    void this.#refreshOutput();
  }

  async #refreshOutput(): Promise<void> {
    const component = this.#output?.component;
    if (component === undefined || this.#tab !== 'components') return;
    const text = await fetchOutput(component);
    if (this.#output?.component !== component) return;
    this.#output = { component, text: text === null || text === '' ? '(it has written nothing)' : text };
    this.#redraw();
  }

  /** Stays at its end, unless somebody has scrolled away from it. */
  async #refreshLog(): Promise<void> {
    if (this.#tab !== 'log') return;
    const text = await fetchLog();
    if (text === null || this.#tab !== 'log') return;
    const panel = this.#section.querySelector('.panel');
    const isAtEnd =
      this.#log === null || (panel !== null && panel.scrollTop + panel.clientHeight >= panel.scrollHeight - 4);
    this.#log = text === '' ? '(it is empty)' : text;
    this.#redraw();
    if (isAtEnd) panel?.scrollTo(0, panel.scrollHeight);
  }

  #starts({ held }: Standing): TemplateResult {
    const at = this.#now;
    return html`<table class="starts">
      <thead><tr><th scope="col">Start</th><th scope="col">Began</th><th scope="col">Ended</th><th scope="col">In flight then</th><th scope="col">Crashes in a row</th><th scope="col">Last moments</th></tr></thead>
      <tbody>
        ${held.starts.map((start, index) => this.#start(start, index === 0 ? null : (held.starts[index - 1] ?? null), at))}
      </tbody>
    </table>`;
  }

  #start(start: Row, next: Row | null, now: number): TemplateResult {
    const number = Number(start.number);
    // How a start ended is what the one after it found.
    const end = next === null ? 'running' : String(next.previous);
    const recording = this.#recordings.find((one) => one.start === number);
    const isOpen = this.#openStart === number;
    return html`
      <tr data-start=${number}>
        <th scope="row">${number}</th>
        <td>${ago(String(start.at), now)}</td>
        <td><span class="badge" data-tone=${toneOf(end)}>${end}</span></td>
        <td>${next === null ? '–' : (next.in_flight ?? 'nothing')}</td>
        <td class="number">${start.crashes}</td>
        <td>
          ${
            recording === undefined
              ? html`<span class="note">not kept</span>`
              : html`<button type="button" aria-expanded=${String(isOpen)} @click=${() => this.#toggleStart(number)}>${isOpen ? 'hide' : 'show'} ${recording.moments.length}<span class="unseen"> moments of start ${number}</span></button>`
          }
        </td>
      </tr>
      ${isOpen && recording !== undefined ? html`<tr class="output"><td colspan="6">${momentsView(recording)}</td></tr>` : nothing}`;
  }

  #toggleStart(number: number): void {
    this.#openStart = this.#openStart === number ? null : number;
    void this.reloadRecordings();
    this.#redraw();
  }

  #policies(status: Status): TemplateResult {
    const { generations, rejected } = status.policy;
    const candidate = candidateOf(status);
    const choices = [
      ...(candidate === null ? [] : [{ ...candidate, role: 'candidate' }]),
      ...generations.map((one, index) => ({ ...one, role: index === 0 ? 'last good' : `${index + 1}. generation` })),
      ...rejected.map((one) => ({ ...one, role: 'rejected' })),
    ];
    const select = (name: string, chosen: string, choose: (hash: string) => void) => html`<label>${name}
      <select @change=${(event: Event) => choose((event.target as HTMLSelectElement).value)}>
        ${choices.map((one) => html`<option value=${one.hash} .selected=${one.hash === chosen}>${one.id}:${one.revision} ${shortHash(one.hash)} (${one.role})</option>`)}
      </select></label>`;
    const { before, after, lines, note } = this.#compared;
    if (choices.length === 0) return html`<p class="empty">No policy is held.</p>`;
    return html`
      <div class="choice">
        ${select('From', before, (hash) => void this.compare(hash, after))}
        ${select('to', after, (hash) => void this.compare(before, hash))}
        <span class="note">secrets are masked</span>
      </div>
      ${note === '' ? nothing : html`<p class="note" role="status">${note}</p>`}
      ${lines === null || lines.length === 0 ? nothing : html`<div class="diff" role="group" aria-label="Difference" tabindex="0">${lines.map(diffLineView)}</div>`}
    `;
  }
}

interface Compared {
  readonly before: string;
  readonly after: string;
  readonly lines: readonly DiffLine[] | null;
  readonly note: string;
}

type Row = Readonly<Record<string, unknown>>;

function momentsView({ moments }: Recording): TemplateResult {
  return html`<ol class="moments" tabindex="0" aria-label="Last moments, the very last first">
    ${[...moments].reverse().map(
      (
        one,
      ) => html`<li data-repeats=${String(one.times !== undefined)}><time>${clockTime(one.at)}</time> <span class="who">${one.actor}</span> ${eventInWords(one.event)}:
        ${localState(sourceOf(one.transitions[0] ?? '')) || 'anywhere'} → <b>${one.states.map((id) => localState(id)).join(', ') || 'end'}</b>${one.times === undefined ? nothing : html` <span class="note">${one.times} times more</span>`}</li>`,
    )}
  </ol>`;
}

function planView({ plan, policy, pid }: Status): TemplateResult {
  if (plan == null || plan.length === 0) return html`<p class="empty">No plan has been made.</p>`;
  const of = policy.running ?? policy.persisted;
  return html`
    <h3>${pid === 0 ? 'What a start would do' : 'The plan in hand, or the last one'}${of === null || pid === 0 ? nothing : html`; ${of.id}:${of.revision} runs`}</h3>
    <table id="plan"><thead><tr><th scope="col">Step</th><th scope="col">State</th><th scope="col">For what, or what came of it</th></tr></thead>
      <tbody>${plan.map((step) => html`<tr data-step=${step.id}><th scope="row">${step.id}</th><td><span class="badge" data-tone=${toneOf(step.state)}>${step.state}</span></td><td>${step.note}</td></tr>`)}</tbody>
    </table>`;
}

function actionsView({ held }: Standing, at: number): TemplateResult {
  return html`
    <h3>Outbox: acks owed to Fleet</h3>
    ${
      held.outbox.length === 0
        ? html`<p class="empty" id="outbox-empty">None is owed.</p>`
        : html`<table id="outbox"><thead><tr><th scope="col">Action</th><th scope="col">Says</th><th scope="col">Owed since</th></tr></thead>
            <tbody>${held.outbox.map((ack) => html`<tr><th scope="row">${ack.action}</th><td>${ack.error ?? ack.message}</td><td>${ago(String(ack.owed_since), at)}</td></tr>`)}</tbody></table>`
    }
    <h3>Journal: actions received</h3>
    ${
      held.journal.length === 0
        ? html`<p class="empty">None yet.</p>`
        : html`<table id="journal"><thead><tr><th scope="col">Action</th><th scope="col">Type</th><th scope="col">State</th><th scope="col">Received</th><th scope="col">Outcome</th></tr></thead>
            <tbody>${[...held.journal]
              .sort((a, b) => Date.parse(String(b.received_at)) - Date.parse(String(a.received_at)))
              .map(
                (one) =>
                  html`<tr><th scope="row">${one.id}</th><td>${one.type}</td><td>${one.state}</td><td>${ago(String(one.received_at), at)}</td><td>${one.outcome ?? '–'}</td></tr>`,
              )}</tbody></table>`
    }
  `;
}

const SIGNS = { same: ' ', removed: '−', added: '+' } as const;

function diffLineView(line: DiffLine): TemplateResult {
  return line.kind === 'skipped'
    ? html`<div class="skipped">${line.lines} lines alike</div>`
    : html`<div class=${line.kind}><span class="sign">${SIGNS[line.kind]}</span>${line.text === '' ? ' ' : line.text}</div>`;
}

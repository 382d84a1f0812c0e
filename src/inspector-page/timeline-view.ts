/** The timeline: events and transitions as they happen; filtered, paused, and from each a way to the transition on the chart. */
import type { ChartIndex } from '../wire/inspector.ts';
import { EVERYTHING, type Filter, filtered } from './filter.ts';
import { html, nothing, render, type TemplateResult } from './lit.ts';
import type { Entry, Model } from './model.ts';
import { windowOf } from './window.ts';
import { clockTime, eventInWords, lastKey, localState, sourceOf } from './words.ts';

/** As the style sheet has it, in px. */
const ROW_HEIGHT = 26;

export interface TimelineActions {
  /** Shows the transition that this entry caused or is; false: it caused none. */
  jump(entry: Entry): boolean;
}

export class TimelinePanel {
  readonly #section: HTMLElement;
  readonly #model: Model;
  readonly #actions: TimelineActions;
  #index: ChartIndex = { views: [], transitions: {}, states: {} };
  /** What changes nothing is there for whoever asks: most of a timeline would be that. */
  #filter: Filter = { ...EVERYTHING, stays: false };
  #onlyChosen = false;
  #entries: readonly Entry[] = [];
  /** What was shown when it was paused; null: it goes on. */
  #paused: readonly Entry[] | null = null;
  #selected: Entry | null = null;
  #atEnd = true;

  constructor(section: HTMLElement, model: Model, actions: TimelineActions) {
    this.#section = section;
    this.#model = model;
    this.#actions = actions;
    this.#frame();
  }

  index(index: ChartIndex): void {
    this.#index = index;
  }

  /** After anything has changed. */
  draw(): void {
    const actor = this.#onlyChosen ? (this.#model.shown?.id ?? null) : null;
    this.#entries = filtered(this.#paused ?? this.#model.entries, { ...this.#filter, actor });
    this.#frame();
    if (this.#atEnd && this.#paused === null) this.#scrollToEnd();
    this.#rows();
  }

  #frame(): void {
    const total = this.#entries.length;
    const waiting = this.#paused === null ? 0 : (this.#model.entries.at(-1)?.n ?? 0) - (this.#paused.at(-1)?.n ?? 0);
    render(
      html`
        <div class="bar">
          <h2 id="timeline-title">Timeline <span class="count">${total.toLocaleString('en')}</span></h2>
          <button type="button" id="pause" aria-pressed=${String(this.#paused !== null)} @click=${() => this.#pause()}>
            ${this.#paused === null ? 'Pause' : `Resume${waiting > 0 ? ` (${waiting} new)` : ''}`}
          </button>
        </div>
        <div class="filter">
          <input type="search" id="filter" placeholder="Filter by words" aria-label="Filter the timeline by words"
            @input=${(event: Event) => this.#setFilter({ words: (event.target as HTMLInputElement).value })} />
          ${this.#check('events', this.#filter.events, (events) => this.#setFilter({ events }))}
          ${this.#check('transitions', this.#filter.transitions, (transitions) => this.#setFilter({ transitions }))}
          ${this.#check('stays', this.#filter.stays, (stays) => this.#setFilter({ stays }))}
          ${this.#check('this actor', this.#onlyChosen, (only) => {
            this.#onlyChosen = only;
            this.draw();
          })}
        </div>
        <div class="rows" role="listbox" tabindex="0" aria-label="Events and transitions"
          @scroll=${() => this.#scrolled()} @keydown=${(event: KeyboardEvent) => this.#key(event)}></div>
        <div class="selected" aria-live="polite">${this.#selected === null ? html`<p class="empty">Choose a line: arrow keys move, Enter shows its transition.</p>` : this.#details(this.#selected)}</div>
      `,
      this.#section,
    );
  }

  #check(name: string, value: boolean, set: (value: boolean) => void): TemplateResult {
    return html`<label><input type="checkbox" .checked=${value} @change=${(event: Event) => set((event.target as HTMLInputElement).checked)} /> ${name}</label>`;
  }

  #rows(): void {
    const list = this.#list();
    if (list === null) return;
    const part = windowOf({
      rows: this.#entries.length,
      rowHeight: ROW_HEIGHT,
      scrolled: list.scrollTop,
      visible: list.clientHeight,
    });
    render(
      html`
        <div class="space" role="presentation" .hidden=${part.aboveHeight === 0}></div>
        ${this.#entries.slice(part.from, part.to).map((entry, index) => this.#row(entry, part.from + index))}
        <div class="space" role="presentation" .hidden=${part.belowHeight === 0}></div>
      `,
      list,
    );
    // Only a row that is drawn can be the active one.
    const active = this.#selected === null ? null : list.querySelector(`#entry-${this.#selected.n}`);
    if (active === null) list.removeAttribute('aria-activedescendant');
    else list.setAttribute('aria-activedescendant', active.id);
    const [above, below] = list.querySelectorAll<HTMLElement>('.space');
    above?.style.setProperty('height', `${part.aboveHeight}px`);
    below?.style.setProperty('height', `${part.belowHeight}px`);
  }

  #row(entry: Entry, place: number): TemplateResult {
    const { record, n } = entry;
    return html`<div role="option" id="entry-${n}" class="row ${record.kind}" aria-selected=${String(n === this.#selected?.n)}
      aria-setsize=${this.#entries.length} aria-posinset=${place + 1}
      @click=${() => this.#select(entry)} @dblclick=${() => this.#actions.jump(entry)}>
      <time>${clockTime(record.at)}</time>${wordsOf(entry, this.#index)}
    </div>`;
  }

  #details(entry: Entry): TemplateResult {
    const { record } = entry;
    if (record.kind === 'gap' || record.kind === 'begin') return html`<p>${wordsOf(entry, this.#index)}</p>`;
    const caused = this.#model.transitionOf(entry);
    const taken = caused?.record.transitions ?? [];
    return html`
      <div class="bar">
        <h3>${record.kind === 'event' ? eventInWords(record.type) : `${record.name} on ${eventInWords(record.type)}`}</h3>
        <button type="button" id="jump" ?disabled=${caused === null} @click=${() => this.#actions.jump(entry)}>
          ${caused === null ? 'Took no transition' : 'Show on the chart'}
        </button>
      </div>
      ${record.kind === 'event' ? html`<p class="route">${record.from ?? 'outside'} → ${record.to}</p>` : nothing}
      ${taken.map((id) => this.#transition(id))}
      ${record.kind === 'event' && record.payload !== '' ? html`<pre tabindex="0" aria-label="Payload, masked">${pretty(record.payload)}</pre>` : nothing}
    `;
  }

  #transition(id: string): TemplateResult {
    const known = this.#index.transitions[id];
    const targets = (known?.targets ?? []).map((target) => localState(target)).join(', ');
    return html`<p class="taken">
      <b>${localState(sourceOf(id)) || sourceOf(id)}</b> ${targets === '' ? 'stays' : html`→ <b>${targets}</b>`}
      ${known?.guard ? html`<i>if ${known.guard}</i>` : nothing}
      ${known !== undefined && known.actions.length > 0 ? html`<span>then ${known.actions.join('; ')}</span>` : nothing}
    </p>`;
  }

  #setFilter(change: Partial<Filter>): void {
    this.#filter = { ...this.#filter, ...change };
    this.draw();
  }

  #pause(): void {
    this.#paused = this.#paused === null ? this.#model.entries.slice() : null;
    if (this.#paused === null) this.#atEnd = true;
    this.draw();
  }

  #list(): HTMLElement | null {
    return this.#section.querySelector('.rows');
  }

  #scrolled(): void {
    const list = this.#list();
    if (list === null) return;
    this.#atEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - ROW_HEIGHT;
    this.#rows();
  }

  #scrollToEnd(): void {
    const list = this.#list();
    if (list === null) return;
    // The rows are not drawn yet, so the height has to be known beforehand.
    this.#rows();
    list.scrollTop = this.#entries.length * ROW_HEIGHT;
  }

  #select(entry: Entry): void {
    this.#selected = entry;
    this.#frame();
    this.#rows();
  }

  #key(event: KeyboardEvent): void {
    const here = this.#entries.findIndex(({ n }) => n === this.#selected?.n);
    const list = this.#list();
    const page = Math.floor((list?.clientHeight ?? 0) / ROW_HEIGHT);
    const steps: Readonly<Record<string, number>> = {
      ArrowDown: here + 1,
      ArrowUp: here < 0 ? this.#entries.length - 1 : here - 1,
      PageDown: here + page,
      PageUp: here - page,
      Home: 0,
      End: this.#entries.length - 1,
    };
    const next = steps[event.key];
    if (event.key === 'Enter' && this.#selected !== null) this.#actions.jump(this.#selected);
    else if (next === undefined) return;
    else this.#moveTo(Math.min(this.#entries.length - 1, Math.max(0, next)));
    event.preventDefault();
  }

  #moveTo(place: number): void {
    const entry = this.#entries[place];
    const list = this.#list();
    if (entry === undefined || list === null) return;
    const top = place * ROW_HEIGHT;
    this.#atEnd = place === this.#entries.length - 1;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + ROW_HEIGHT > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW_HEIGHT - list.clientHeight;
    this.#select(entry);
  }
}

function wordsOf({ record }: Entry, index: ChartIndex): TemplateResult {
  switch (record.kind) {
    case 'event':
      return html`<span class="what"><span class="who">${record.from ?? 'outside'} → ${record.to}</span><span class="said">${eventInWords(record.type)}</span></span>`;
    case 'transition': {
      const [first = ''] = record.transitions;
      if (record.stays) {
        return html`<span class="what"><span class="who">${record.name} stays: ${eventInWords(record.type)}</span></span>`;
      }
      const targets = index.transitions[first]?.targets ?? [];
      // The innermost state says most; with several at once, those that were entered.
      const to = record.states.length === 1 ? record.states : targets.length > 0 ? targets : record.states;
      const from = sourceOf(first);
      const whole = `${localState(from) || 'anywhere'} → ${to.map((id) => localState(id)).join(', ') || 'end'}`;
      return html`<span class="what" title=${whole}><span class="who">${record.name}</span><span class="said">${from.includes('.') ? lastKey(from) : 'anywhere'} → ${to.map(lastKey).join(', ') || 'end'}</span></span>`;
    }
    case 'begin':
      return html`<span class="what">a new start begins</span>`;
    case 'gap':
      return html`<span class="what">${record.died ? 'the agent died; another process goes on' : 'some of what happened was not seen here'}</span>`;
  }
}

function pretty(payload: string): string {
  try {
    return JSON.stringify(JSON.parse(payload), null, 2);
  } catch {
    return payload; // it was cut
  }
}

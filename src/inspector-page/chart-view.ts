/** The chosen actor's chart: where it is is lit, a transition flashes as it is taken, and one that was asked for stays marked. */
import type { ActorView, ChartIndex, ChartView, TransitionRecord } from '../wire/inspector.ts';
import { fetchChart } from './connection.ts';
import { html, nothing, render } from './lit.ts';
import { localState, sourceOf, toneOfState } from './words.ts';

const FLASH_MS = 1_600;
/** In a burst of transitions only its end is seen. */
const FLASHES_AT_ONCE = 12;
const SCALES = [0.25, 0.35, 0.5, 0.65, 0.8, 1, 1.25, 1.6, 2];
/** At which a chart's words can be read; whoever wants to see it whole has `fit`. */
const READABLE = 0.8;

export class ChartPanel {
  readonly #section: HTMLElement;
  #index: ChartIndex = { views: [], transitions: {}, states: {} };
  #actor: ActorView | null = null;
  #view: ChartView | null = null;
  /** Which view was chosen for each machine. */
  readonly #views = new Map<string, string>();
  readonly #pictures = new Map<string, Promise<SVGSVGElement | null>>();
  #picture: SVGSVGElement | null = null;
  #shownView = '';
  #scale: number | 'fit' = READABLE;
  #follows = true;
  #lit = '';
  /** The innermost active box. */
  #sight: Element | null = null;
  /** Where a scroll that is under way will end: what is in sight now may not be then. */
  #goal: { readonly left: number; readonly top: number } | null = null;
  #watched: HTMLElement | null = null;

  constructor(section: HTMLElement) {
    this.#section = section;
  }

  index(index: ChartIndex): void {
    this.#index = index;
    this.#draw();
  }

  /** Asks again for what could not be had. */
  again(): void {
    if (this.#picture === null) this.#draw();
  }

  /** Shows this actor as it stands now. */
  show(actor: ActorView | null): void {
    const other = actor?.id !== this.#actor?.id;
    const moved = actor?.states.join() !== this.#actor?.states.join();
    this.#actor = actor;
    if (other) this.#view = null;
    if (!other && !moved && this.#view !== null) return;
    this.#draw();
  }

  /** These were taken just now, one after the other. */
  taken(records: readonly TransitionRecord[]): void {
    if (this.#picture === null) return;
    const own = records.filter(({ actor }) => actor === this.#actor?.id).slice(-FLASHES_AT_ONCE);
    const parts = own.flatMap((record) => this.#partsOf(record));
    // Whole regions that glow at every event that changes nothing would drown what does.
    flash(new Set(parts.filter((part) => !part.classList.contains('open'))));
  }

  /** Marks these transitions and brings them into sight; another view of the same chart is taken when this one does not have them. */
  async mark(record: TransitionRecord): Promise<void> {
    const views = this.#viewsOf(record.machine);
    const here = views.findIndex(({ name }) => name === this.#view?.name);
    const inOrder = here < 0 ? views : [views[here] as ChartView, ...views.filter((_, index) => index !== here)];
    for (const view of inOrder) {
      const picture = await this.#pictureOf(view.name);
      if (picture === null || arrowsOf(picture, record.transitions).length === 0) continue;
      await this.#choose(view);
      break;
    }
    if (this.#picture === null) return;
    this.#unmark();
    const parts = this.#partsOf(record);
    for (const part of parts) part.classList.add('marked');
    this.#drawFrame();
    flash(new Set(parts));
    const [first] = parts;
    if (first !== undefined) this.#bringIntoSight(first);
  }

  #unmark(): void {
    for (const picture of this.#section.querySelectorAll('svg')) {
      for (const old of picture.querySelectorAll('.marked')) old.classList.remove('marked');
    }
    this.#drawFrame();
  }

  get #machine(): string | null {
    return this.#actor?.machine ?? null;
  }

  #viewsOf(machine: string): ChartView[] {
    return this.#index.views.filter((view) => view.machine === machine);
  }

  async #choose(view: ChartView): Promise<void> {
    this.#views.set(view.machine, view.name);
    this.#view = view;
    this.#drawFrame();
    await this.#drawPicture();
  }

  #draw(): void {
    const machine = this.#machine;
    const views = machine === null ? [] : this.#viewsOf(machine);
    const wanted = machine === null ? undefined : this.#views.get(machine);
    this.#view ??= views.find(({ name }) => name === wanted) ?? views[0] ?? null;
    this.#drawFrame();
    void this.#drawPicture();
  }

  #drawFrame(): void {
    const actor = this.#actor;
    const views = this.#machine === null ? [] : this.#viewsOf(this.#machine);
    const where = (actor?.states ?? []).map((id) => localState(id)).join(', ');
    const isMarked = this.#section.querySelector('.marked') !== null;
    const tone = toneOfState(actor?.states[0] ?? '');
    const doing = (actor?.states ?? []).map((id) => this.#index.states[id] ?? '').find((text) => text !== '');
    render(
      html`
        <div class="bar">
          <h2 id="chart-title">${actor?.name ?? 'Chart'} <span class="where" data-tone=${tone}>${where}</span></h2>
          <button type="button" id="unmark" ?hidden=${!isMarked} @click=${() => this.#unmark()}>Clear the mark</button>
          <div class="views" role="group" aria-label="Part of the chart" ?hidden=${views.length < 2}>
            ${views.map(
              (
                view,
              ) => html`<button type="button" aria-pressed=${String(view.name === this.#view?.name)} title=${view.title}
                @click=${() => this.#choose(view)}>${view.name === view.machine ? 'whole' : view.name}</button>`,
            )}
          </div>
          <div class="zoom" role="group" aria-label="Size of the chart">
            <button type="button" aria-label="Smaller" @click=${() => this.#zoom(-1)}>−</button>
            <button type="button" aria-label="Fit" aria-pressed=${String(this.#scale === 'fit')} @click=${() => this.#fit()}>fit</button>
            <button type="button" aria-label="Larger" @click=${() => this.#zoom(1)}>+</button>
            <label><input type="checkbox" .checked=${this.#follows} @change=${(event: Event) => this.#follow(event)} /> follow</label>
          </div>
        </div>
        <p class="doing">${doing ?? nothing}</p>
        <div class="paper" tabindex="0" role="group" aria-label="Chart, scrolls"
          @keydown=${(event: KeyboardEvent) => event.key === 'Escape' && this.#unmark()}></div>
      `,
      this.#section,
    );
    this.#watch();
  }

  async #drawPicture(): Promise<void> {
    const view = this.#view;
    const paper = this.#paper();
    if (view === null) {
      paper?.replaceChildren();
      this.#picture = null;
      this.#shownView = '';
      return;
    }
    const picture = await this.#pictureOf(view.name);
    if (view !== this.#view) return;
    this.#picture = picture;
    if (this.#shownView !== view.name || picture?.parentElement !== paper) {
      this.#shownView = view.name;
      this.#lit = '';
      paper?.replaceChildren(...(picture === null ? [] : [picture]));
      paper?.scrollTo(0, 0);
      this.#resize();
    }
    this.#light();
  }

  #pictureOf(name: string): Promise<SVGSVGElement | null> {
    const known = this.#pictures.get(name);
    if (known !== undefined) return known;
    const loading = fetchChart(name).then((picture) => {
      if (picture === null) this.#pictures.delete(name);
      // The same picture is drawn for several actors; its own name would be read out before its content.
      picture?.removeAttribute('id');
      return picture;
    });
    this.#pictures.set(name, loading);
    return loading;
  }

  /** Follows the scrolls and sizes of the paper. */
  #watch(): void {
    const paper = this.#paper();
    if (paper === null || paper === this.#watched) return;
    this.#watched = paper;
    paper.addEventListener('scrollend', () => {
      const wasOurs = this.#goal !== null;
      this.#goal = null;
      if (wasOurs) this.#keepInSight();
    });
    // Whoever takes the paper into his own hands is not fought with.
    for (const taken of ['wheel', 'pointerdown', 'keydown', 'touchstart']) {
      paper.addEventListener(taken, () => {
        this.#goal = null;
      });
    }
    new ResizeObserver(() => this.resized()).observe(paper);
  }

  #keepInSight(): void {
    if (this.#sight !== null && this.#follows) this.#bringIntoSight(this.#sight);
  }

  #paper(): HTMLElement | null {
    return this.#section.querySelector('.paper');
  }

  /** Lights the active states: innermost boxes that are drawn, and faintly what is around them. */
  #light(): void {
    const picture = this.#picture;
    const states = this.#actor?.states ?? [];
    const lit = `${this.#actor?.id} ${states.join()}`;
    if (picture === null || lit === this.#lit) return;
    this.#lit = lit;
    for (const old of picture.querySelectorAll('.active')) {
      old.classList.remove('active', 'here');
      old.removeAttribute('data-tone');
    }
    let sight: Element | null = null;
    for (const state of states) {
      let isInnermost = true;
      for (const id of upwards(state)) {
        const box = picture.querySelector(`.box[data-state="${CSS.escape(id)}"]`);
        if (box === null || box.classList.contains('elsewhere')) continue;
        box.classList.add('active');
        if (isInnermost) {
          box.classList.add('here');
          box.setAttribute('data-tone', toneOfState(state));
          sight ??= box;
        }
        isInnermost = false;
      }
    }
    this.#sight = sight;
    this.#keepInSight();
  }

  /** The arrows of a record's transitions with their words; where there is no arrow, the box that stayed. */
  #partsOf({ transitions }: TransitionRecord): Element[] {
    const picture = this.#picture;
    if (picture === null) return [];
    return transitions.flatMap((transition) => {
      const arrows = arrowsOf(picture, [transition]);
      if (arrows.length > 0) {
        return arrows.flatMap((arrow) => [
          arrow,
          ...picture.querySelectorAll(`.words[data-arrow="${CSS.escape(arrow.id)}"]`),
        ]);
      }
      for (const id of upwards(sourceOf(transition))) {
        const box = picture.querySelector(`.box[data-state="${CSS.escape(id)}"]`);
        if (box !== null) return [box];
      }
      return [];
    });
  }

  #follow(event: Event): void {
    this.#follows = (event.target as HTMLInputElement).checked;
    this.#lit = '';
    this.#light();
  }

  #fit(): void {
    this.#scale = 'fit';
    this.#resize();
    this.#drawFrame();
  }

  #zoom(direction: 1 | -1): void {
    const now = this.#scaleNow();
    const further = direction > 0 ? SCALES.find((one) => one > now + 0.01) : SCALES.findLast((one) => one < now - 0.01);
    this.#scale = further ?? now;
    this.#resize();
    this.#drawFrame();
  }

  #scaleNow(): number {
    if (this.#scale !== 'fit') return this.#scale;
    const paper = this.#paper();
    const size = this.#picture?.viewBox.baseVal;
    if (paper === null || size === undefined) return 1;
    return Math.min(1, (paper.clientWidth - 4) / size.width, (paper.clientHeight - 4) / size.height);
  }

  /** To the size that is chosen, or that fits. */
  resized(): void {
    if (this.#scale === 'fit') this.#resize();
    this.#keepInSight();
  }

  #resize(): void {
    const picture = this.#picture;
    if (picture === null) return;
    const { width, height } = picture.viewBox.baseVal;
    const scale = this.#scaleNow();
    picture.setAttribute('width', String(Math.round(width * scale)));
    picture.setAttribute('height', String(Math.round(height * scale)));
  }

  #bringIntoSight(part: Element): void {
    const paper = this.#paper();
    if (paper === null) return;
    const at = part.getBoundingClientRect();
    const frame = paper.getBoundingClientRect();
    const { clientWidth: width, clientHeight: height } = paper;
    // In the coordinates of what is scrolled, so that a scroll that is under way does not matter.
    const x = paper.scrollLeft + at.left - frame.left;
    const y = paper.scrollTop + at.top - frame.top;
    const from = this.#goal ?? { left: paper.scrollLeft, top: paper.scrollTop };
    const isIn = (begin: number, size: number, shown: number, length: number) =>
      begin >= shown - 1 && begin + Math.min(size, length) <= shown + length + 1;
    if (isIn(x, at.width, from.left, width) && isIn(y, at.height, from.top, height)) return;
    const middle = (begin: number, size: number, length: number, whole: number) =>
      Math.max(0, Math.min(begin + Math.min(size, length) / 2 - length / 2, whole - length));
    const left = middle(x, at.width, width, paper.scrollWidth);
    const top = middle(y, at.height, height, paper.scrollHeight);
    const isThere = Math.abs(left - paper.scrollLeft) < 1 && Math.abs(top - paper.scrollTop) < 1;
    // A scroll to where one is already never says that it has ended.
    this.#goal = isThere ? null : { left, top };
    paper.scrollTo({ left, top, behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth' });
  }
}

function arrowsOf(picture: SVGSVGElement, transitions: readonly string[]): Element[] {
  return transitions.flatMap((one) => [...picture.querySelectorAll(`.arrow[data-transitions~="${CSS.escape(one)}"]`)]);
}

/** The state and those around it, innermost first. */
function upwards(id: string): string[] {
  const ids = [id];
  for (let dot = id.lastIndexOf('.'); dot > 0; dot = id.lastIndexOf('.', dot - 1)) ids.push(id.slice(0, dot));
  return ids;
}

const ends = new WeakMap<Element, number>();

/** Again from the start where it flashes already. */
function flash(parts: ReadonlySet<Element>): void {
  const [first] = parts;
  if (first === undefined) return;
  for (const part of parts) part.classList.remove('flash');
  // Once for all: an animation begins anew only when the browser has seen the part without it.
  first.getBoundingClientRect();
  for (const part of parts) {
    part.classList.add('flash');
    clearTimeout(ends.get(part));
    ends.set(
      part,
      window.setTimeout(() => part.classList.remove('flash'), FLASH_MS),
    );
  }
}

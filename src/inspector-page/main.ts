/** The page's beginning: hears from the agent, keeps what it hears in the model, and draws what has changed. */
import { actorsView } from './actors-view.ts';
import { ChartPanel } from './chart-view.ts';
import { fetchCharts, listen } from './connection.ts';
import { DetailsPanel } from './details-view.ts';
import { headView } from './head-view.ts';
import { render } from './lit.ts';
import { type Entry, Model } from './model.ts';
import { policyView } from './policy-view.ts';
import { TimelinePanel } from './timeline-view.ts';

/** So that `12 s ago` does not stand still. */
const TICK_MS = 5_000;

// The token has let the browser in; from now on the cookie does, and nobody needs to see it over a shoulder.
if (location.search !== '') history.replaceState(null, '', '/');

const section = (id: string) => document.getElementById(id) as HTMLElement;
const model = new Model();
const chart = new ChartPanel(section('chart'));
const details = new DetailsPanel(section('details'));
const timeline = new TimelinePanel(section('timeline'), model, { jump });

let scheduled = false;

/** At most once a frame, whatever has happened in it. */
function draw(): void {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    render(headView(model), section('head'));
    document.body.dataset.connection = model.archive === null ? model.connection : 'archive';
    const now = model.clock(Date.now());
    render(policyView(model.standing?.status ?? null, now, { compare }), section('policy'));
    render(actorsView(model, choose), section('actors'));
    chart.show(model.shown);
    details.draw(model.standing, now);
    timeline.draw();
  });
}

function choose(actor: string): void {
  model.chosen = actor;
  draw();
}

function compare(before: string, after: string): void {
  void details.compare(before, after);
}

/** Shows the transition of an entry on its actor's chart, if that actor still lives, and on the chart of its machine if not. */
function jump(entry: Entry): boolean {
  const found = model.transitionOf(entry);
  if (found === null) return false;
  const actor = model.actorOf(found.record);
  if (actor === null) return false;
  model.chosen = actor.id;
  chart.show(actor);
  void chart.mark(found.record);
  draw();
  return true;
}

listen({
  hello: (hello) => {
    const before = model.life;
    model.hello(hello, Date.now());
    if (before > 0 && model.life !== before) void details.reloadRecordings();
    chart.again();
    draw();
  },
  news: (news) => {
    model.news(news);
    chart.taken(news.records.filter((record) => record.kind === 'transition'));
    draw();
  },
  standing: (standing) => {
    model.standing = standing;
    draw();
  },
  lost: (why) => {
    model.lost(why, Date.now());
    draw();
  },
});

fetchCharts().then((index) => {
  chart.index(index);
  timeline.index(index);
  draw();
});
setInterval(draw, TICK_MS);
addEventListener('resize', () => {
  chart.resized();
  draw();
});
draw();

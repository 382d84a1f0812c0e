/** The head of the page: what the agent does, why it is not where it should be, and whether this page hears of it. */
import { html, nothing, type TemplateResult } from './lit.ts';
import type { Connection, Model } from './model.ts';

const CONNECTION: Readonly<Record<Connection, string>> = {
  connecting: 'connecting',
  live: 'live',
  lost: 'agent gone: waiting for it',
  refused: 'not let in',
};

export function headView(model: Model): TemplateResult {
  const { standing, connection } = model;
  const tone = connection === 'live' ? toneOfHealth(standing?.status.health) : 'calm';
  return html`
    <div class="brand"><img src="/assets/icon.svg" alt="" width="28" height="28" /><h1>Holdfast</h1></div>
    <div class="situation">
      <p class="sentence" data-tone=${tone} id="sentence">
        <span class="dot" aria-hidden="true"></span>${situation(model)}
      </p>
      <p class="why" id="why" data-converged=${String(standing?.convergence.converged ?? false)}>
        ${connection === 'live' ? why(model) : nothing}
      </p>
    </div>
    <dl class="facts">
      ${standing === null ? nothing : factsOf(model)}
      <div>
        <dt>Stream</dt>
        <dd><span role="status" id="connection" data-connection=${connection}>${CONNECTION[connection]}</span></dd>
      </div>
    </dl>
  `;
}

function situation({ connection, standing }: Model): string {
  if (connection === 'refused') {
    return 'This page is not let in any more. Open the URL that the agent printed when it started.';
  }
  if (connection === 'lost')
    return 'The agent does not answer. What it did last is below; this page goes on when it is back.';
  return standing?.sentence ?? 'Starting.';
}

function why({ standing }: Model): TemplateResult | typeof nothing {
  if (standing === null) return nothing;
  const { converged, sentence } = standing.convergence;
  return converged ? html`${sentence}` : html`<strong>Why is it not converged?</strong> ${sentence}`;
}

function factsOf({ standing, version }: Model): TemplateResult {
  const { status } = (standing ?? {}) as NonNullable<Model['standing']>;
  const facts: [string, string][] = [
    ['Start', `${status.start.number}${status.start.crashes > 0 ? ', after a crash' : ''}`],
    ['Pid', String(status.pid)],
    ['Link', status.fleet.state],
    ['Disk', status.store.failing === null ? `commit ${status.store.sequence}` : 'takes no writes'],
    ['Version', version],
  ];
  return html`${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}`;
}

function toneOfHealth(health: string | undefined): string {
  return { healthy: 'good', degraded: 'warn', failed: 'bad', starting: 'busy' }[health ?? ''] ?? 'calm';
}

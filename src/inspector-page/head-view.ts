/** The head of the page: what the agent does, why it is not where it should be, and whether this page hears of it. */
import { html, nothing, type TemplateResult } from './lit.ts';
import type { Connection, Model } from './model.ts';
import { clockTime, type Tone, toneOfLink } from './words.ts';

const CONNECTION: Readonly<Record<Connection, string>> = {
  connecting: 'connecting',
  live: 'live',
  lost: 'agent gone',
  refused: 'not let in',
};

export function headView(model: Model): TemplateResult {
  const { standing, connection, archive } = model;
  const stream = archive === null ? CONNECTION[connection] : connection === 'live' ? 'a file' : 'closed';
  return html`
    <div class="brand"><img src="/assets/icon.svg" alt="" width="28" height="28" /><h1>Holdfast</h1></div>
    <p class="sentence" data-tone=${toneOf(model)} id="sentence">
      <span class="dot" aria-hidden="true"></span>${situation(model)}
    </p>
    <dl class="facts">
      ${standing === null ? nothing : factsOf(model)}
      <div class="stream">
        <dt>Stream</dt>
        <dd><span role="status" id="connection" data-connection=${connection}>${stream}</span></dd>
      </div>
    </dl>
    <p class="why" id="why" data-converged=${String(standing?.convergence.converged ?? false)}>${why(model)}</p>
  `;
}

function situation({ connection, standing, archive }: Model): string {
  if (connection === 'refused') {
    return 'This page is not let in any more. Open the URL that was printed when the inspector was started.';
  }
  if (archive !== null)
    return connection === 'live'
      ? (standing?.sentence ?? 'The file has no status.')
      : 'The file is not shown any more.';
  if (connection === 'lost') return 'The agent does not answer.';
  return standing?.sentence ?? 'Starting.';
}

function why(model: Model): TemplateResult | typeof nothing {
  const { standing, connection, archive, lostAt } = model;
  if (archive !== null && connection === 'live') {
    const taken = html`<strong>${archive.file}</strong>, taken ${new Date(archive.takenAt).toLocaleString('en-GB')}: how it was then.`;
    return standing === null ? taken : html`${taken} ${reason(standing)}`;
  }
  if (connection === 'lost' && standing !== null) {
    return html`<strong>Since ${clockTime(lostAt ?? 0).slice(0, 8)} nobody answers.</strong> What is shown, in grey, is how it was just before; this
      page goes on when the agent is back.`;
  }
  return connection === 'live' && standing !== null ? reason(standing) : nothing;
}

function reason({ convergence }: NonNullable<Model['standing']>): TemplateResult {
  const { converged, sentence } = convergence;
  return converged ? html`${sentence}` : html`<strong>Why is it not converged?</strong> ${sentence}`;
}

function factsOf({ standing, version }: Model): TemplateResult {
  const { status } = (standing ?? {}) as NonNullable<Model['standing']>;
  const facts: [string, string, Tone | null][] = [
    [
      'Start',
      `${status.start.number}${status.start.crashes > 0 ? ', after a crash' : ''}`,
      status.start.crashes > 0 ? 'warn' : null,
    ],
    ['Pid', status.pid === 0 ? 'none' : String(status.pid), null],
    ['Link', status.fleet.state, toneOfLink(status.fleet.state)],
    [
      'Disk',
      status.store.failing === null ? `commit ${status.store.sequence}` : 'takes no writes',
      status.store.failing === null ? null : 'bad',
    ],
    ['Version', version, null],
  ];
  return html`${facts.map(([name, value, tone]) => html`<div class=${name.toLowerCase()}><dt>${name}</dt><dd data-tone=${tone ?? nothing}>${value}</dd></div>`)}`;
}

/** The worst of what is known: green is only what is where it should be, and well. */
function toneOf({ connection, standing, archive }: Model): Tone {
  if (archive === null && (connection === 'lost' || connection === 'refused')) return 'bad';
  if (standing === null) return 'calm';
  const { status, convergence } = standing;
  const { policy, path, fleet } = status;
  if (status.health === 'failed' || status.state === 'safeMode') return 'bad';
  if (
    policy.received !== null &&
    policy.rejected.some(({ hash }) => hash === policy.received?.hash) &&
    path.policy === 'checkin'
  )
    return 'bad';
  if (fleet.state === 'backing-off' || fleet.state === 'unauthorised' || policy.orphaned !== null) return 'warn';
  if (!convergence.converged) return status.pid === 0 ? 'calm' : 'busy';
  return status.health === 'healthy' ? 'good' : 'warn';
}

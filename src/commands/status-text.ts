/** `holdfast status` for people: the sentence, then what is worth knowing, aligned. */
import type { Status } from '../wire/control.ts';
import { ago, named, span, statusSentence, until } from './status-sentence.ts';

/** Letters of a hash that tell policies apart for people. */
const SHORT_HASH = 12;

/** The whole text at `nowMs` (epoch), with its last line break. */
export function statusText(status: Status, nowMs: number): string {
  const rows = [
    ['agent', agentLine(status)],
    ['Fleet', fleetLine(status, nowMs)],
    ['policy', policyLine(status, nowMs)],
    ...status.policy.rejected.slice(0, 3).map((rejected) => {
      const next = rejected.next_try ? `, next try ${until(rejected.next_try, nowMs)}` : '';
      return [
        'rejected',
        `${named(rejected)} ${rejected.hash.slice(0, SHORT_HASH)}, ${ago(rejected.rejected_at, nowMs)}${next}`,
      ];
    }),
    ['waiting', waitingLine(status)],
    ...status.actions.refused_acks
      .slice(0, 3)
      .map((refused) => ['not taken', `ack of ${refused.action}, ${ago(refused.at, nowMs)}: ${refused.reason}`]),
    ['disk', diskLine(status)],
  ].filter((row): row is [string, string] => Boolean(row[1]));
  const lines = rows.map(([name, text]) => `  ${name.padEnd(10)} ${text}`);
  return `${[statusSentence(status, nowMs), '', ...lines, ...componentLines(status)].join('\n')}\n`;
}

function agentLine({ agent, start, pid, uptime_s, version }: Status): string {
  const id = agent.id ?? 'not enrolled';
  if (pid === 0) return id;
  const how = start.previous === 'first' ? '' : `, the one before ended by ${ENDED[start.previous] ?? start.previous}`;
  return `${id}  (${version}, pid ${pid}, up ${span(uptime_s * 1000)}, start ${start.number}${how})`;
}

const ENDED: Readonly<Record<string, string>> = {
  goodbye: 'a goodbye',
  crashed: 'a crash',
  'host-rebooted': 'a reboot of the host',
};

function fleetLine({ fleet, pid, agent }: Status, nowMs: number): string {
  if (pid === 0 || !agent.enrolled) return '';
  const host = fleet.host ? ` to ${fleet.host}` : '';
  const last = fleet.last_checkin ? `, last check-in ${ago(fleet.last_checkin, nowMs)}` : '';
  switch (fleet.state) {
    case 'connected':
      return `connected${host}${last}${warningIn(fleet.message)}`;
    case 'damped':
      return `connected${host}${last}; ${fleet.message}`;
    case 'never':
      return fleet.message || 'not reached yet';
    default:
      return `${fleet.message || fleet.state}${last}`;
  }
}

/** What else the link says than that it is up. */
function warningIn(message: string): string {
  const at = message.indexOf('; Fleet warns: ');
  return at < 0 ? '' : message.slice(at);
}

function policyLine({ policy }: Status, nowMs: number): string {
  const kept = policy.running ?? policy.persisted;
  if (!kept) return '';
  const held = [policy.persisted, ...policy.generations].find((one) => one?.hash === kept.hash);
  const durable = held ? `held for ${span(Math.max(0, nowMs - Date.parse(held.at)))}` : 'not held yet';
  const place = policy.generations.findIndex(({ hash }) => hash === kept.hash);
  const newest = policy.generations[0];
  // What was passed over is what Fleet knows of; an older one was acked in its time.
  const passedOver = place > 0 && newest ? `in place of ${named(newest)}, which is held and ${ackOf(newest)}` : null;
  const olderKept = policy.generations.length - 1 - Math.max(0, place);
  const older = olderKept > 0 ? `, ${olderKept} older kept` : '';
  return `${named(kept)} ${kept.hash.slice(0, SHORT_HASH)}, ${durable}, ${passedOver ?? ackOf(kept)}${older}`;

  function ackOf({ hash }: { readonly hash: string }): string {
    return policy.acked?.hash === hash ? 'acked' : 'not acked yet';
  }
}

function waitingLine({ actions }: Status): string {
  const parts = [
    actions.journal > 0 ? count(actions.journal, 'action') : '',
    actions.scheduled > 0 ? `${actions.scheduled} of them scheduled` : '',
    actions.outbox > 0 ? `${count(actions.outbox, 'ack')} owed` : '',
  ];
  return parts.filter(Boolean).join(', ');
}

function diskLine({ store }: Status): string {
  const aside = store.quarantined > 0 ? `${count(store.quarantined, 'thing')} in quarantine` : '';
  return [store.failing ? `takes no writes: ${store.failing}` : '', aside].filter(Boolean).join(', ');
}

function componentLines({ components }: Status): string[] {
  if (components.length === 0) return [];
  const widest = (cells: readonly string[]) => Math.max(...cells.map(({ length }) => length));
  const idWidth = widest(components.map(({ id }) => id));
  const stateWidth = widest(components.map(({ state }) => state));
  return [
    '',
    '  components',
    ...components.flatMap((component) => {
      const pid = component.pid === null ? '' : `pid ${component.pid}`;
      const restarts = component.restarts > 0 ? count(component.restarts, 'restart') : '';
      const facts = [pid, restarts, component.message].filter(Boolean).join(', ');
      const line = `    ${component.id.padEnd(idWidth)}  ${component.state.padEnd(stateWidth)}  ${facts}`.trimEnd();
      const units = component.units
        .filter(({ state, message }) => state !== component.state && message)
        .map(({ id, state, message }) => `      ${id}: ${state}: ${message}`);
      return [line, ...units];
    }),
  ];
}

function count(number: number, thing: string): string {
  return `${number} ${thing}${number === 1 ? '' : 's'}`;
}

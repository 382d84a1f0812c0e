/** What the store is given to commit, small to large. */
import type { Facts } from '../../src/machines/facts.ts';
import { hashOf } from '../../src/services/store/frame.ts';
import type { Commit } from '../../src/services/store/store.ts';
import { factsAt, generation } from '../../test/support/facts.ts';

export interface Load {
  readonly name: string;
  /** What the `round`th commit makes true. */
  readonly commit: (round: number) => Commit;
}

export const LOADS: readonly Load[] = [
  {
    name: 'facts (an ack, a start)',
    commit: (round) => ({ facts: { ...factsAt(0), deliveryToken: `t${round}` }, policies: {} }),
  },
  {
    name: 'facts of 300 kB (a full journal)',
    commit: (round) => ({
      facts: { ...factsAt(0), deliveryToken: `t${round}`, outbox: Array.from({ length: 400 }, (_, at) => owed(at)) },
      policies: {},
    }),
  },
  { name: 'a policy of 20 kB', commit: delivery(20_000) },
  { name: 'a policy of 200 kB', commit: delivery(200_000) },
  { name: 'a policy of 1 MB', commit: delivery(1_000_000) },
];

function owed(at: number): Facts['outbox'][number] {
  return {
    actionId: `action-${at}`,
    actionType: 'X',
    message: 'm'.repeat(600),
    error: null,
    owedAt: at,
    notFound: 0,
    policy: null,
  };
}

/** A new policy in every round, which becomes last good. */
function delivery(bytes: number): Load['commit'] {
  return (round) => {
    const text = policyOf(bytes, round);
    const newest = { ...generation(round), hash: hashOf(text) };
    return { facts: { ...factsAt(0), generations: [newest] }, policies: { [newest.hash]: text } };
  };
}

function policyOf(bytes: number, revision: number): string {
  const inputs: unknown[] = [];
  for (let length = 0; length < bytes; length += JSON.stringify(inputs.at(-1)).length)
    inputs.push(inputOf(inputs.length));
  return JSON.stringify({ id: 'web', revision, outputs: { default: { type: 'elasticsearch' } }, inputs });
}

function inputOf(at: number) {
  return {
    id: `logfile-nginx-${at}`,
    type: 'filestream',
    data_stream: { namespace: 'default' },
    streams: ['access', 'error'].map((dataset) => ({
      id: `${dataset}-${at}`,
      data_stream: { dataset: `nginx.${dataset}`, type: 'logs' },
      paths: [`/var/log/site-${at}/${dataset}.log*`],
      exclude_files: ['\\.gz$'],
      processors: [{ add_locale: null }, { add_fields: { target: 'site', fields: { name: `site ${at}` } } }],
    })),
  };
}

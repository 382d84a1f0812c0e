/** The pictures there are: each machine whole, and the parts of the agent that are told one by one. */
import type { Chart, ChartTransition } from './chart.ts';
import { charts } from './machines.ts';
import type { View } from './view.ts';

const agent = charts.find(({ name }) => name === 'agent') as Chart;
const LAST_WORDS = 'xstate.after.last words.agent.draining.closingStore';
const fromAnywhere = ({ source }: ChartTransition) => source === 'agent';

/** Ways that are rarely gone: by their source and guard. */
export const ASIDE: readonly string[] = [
  'agent.replay [there is nothing to replay]',
  'agent.running.apply [a policy is due]',
  'agent.running.apply [the candidate is gone]',
  'agent.running.persist [the commit is "promoted"]',
  'agent.running.rollback.restoring [it is in safe mode]',
];

/** What the folded picture of the mission leaves out: failures of what is invoked, repeats, and ways that the charts of the parts show. */
function isAside({ kind, event, source, targets, guard }: ChartTransition): boolean {
  const ends = ['agent.unenrolled', 'agent.draining', 'agent.draining.closingStore', 'agent.stopped'];
  return (
    kind === 'error' ||
    ['facts.changed', 'store.unopenable', 'restart.requested', 'retry.requested', 'store.delayed', LAST_WORDS].includes(
      event,
    ) ||
    (targets.some((target) => ends.includes(target)) &&
      source !== 'agent' &&
      source !== 'agent.running' &&
      !source.startsWith('agent.draining')) ||
    ASIDE.includes(`${source} [${guard ?? ''}]`)
  );
}

/** In the order of the mission. */
export const views: readonly View[] = [
  {
    name: 'mission',
    title: 'The agent, from boot to its end',
    chart: agent,
    folded: ['agent.boot', 'agent.draining', 'agent.running.apply', 'agent.running.rollback', 'agent.running.orphaned'],
    without: isAside,
  },
  { name: 'boot', title: 'How a start begins', chart: agent, within: 'agent.boot', without: fromAnywhere },
  { name: 'policy', title: 'The life of a policy', chart: agent, within: 'agent.running', without: fromAnywhere },
  { name: 'draining', title: 'How a start ends', chart: agent, within: 'agent.draining' },
  ...charts.map((chart): View => ({ name: chart.name, title: `The machine ${chart.name}`, chart })),
];

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
  'agent.running.rollback.restoring [it is in safe mode and nothing was touched]',
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

const of = (name: string) => charts.find((one) => one.name === name) as Chart;
const components = of('components');
const component = of('component');
const ends = ['agent.draining', 'agent.stopped', 'agent.unenrolled'];

/** The ways that the mission is told by, in one breath. */
const MISSION: readonly (readonly [string, string])[] = [
  ['boot', 'restore'],
  ['boot', 'crashed'],
  ['boot', 'safeMode'],
  ['crashed', 'restore'],
  ['crashed', 'safeMode'],
  ['restore', 'replay'],
  ['replay', 'running'],
  ['safeMode', 'running'],
  ['running.checkin', 'running.apply'],
  ['running.apply', 'running.persist'],
  ['running.persist', 'running.ack'],
  ['running.ack', 'running.checkin'],
  ['running.apply', 'running.rollback'],
  ['running.rollback', 'running.checkin'],
  ['running.checkin', 'running.orphaned'],
  ['running.orphaned', 'running.apply'],
];

function isOfTheMission({ kind, source, targets }: ChartTransition): boolean {
  const isIn = (id: string, key: string) => id === `agent.${key}` || id.startsWith(`agent.${key}.`);
  return (
    kind !== 'error' && MISSION.some(([from, to]) => isIn(source, from) && targets.some((target) => isIn(target, to)))
  );
}

/** In the order of the mission. */
export const views: readonly View[] = [
  {
    name: 'glance',
    title: 'The agent at a glance',
    chart: agent,
    folded: ['agent.boot', 'agent.draining', 'agent.running.apply', 'agent.running.rollback', 'agent.running.orphaned'],
    without: (transition) => !isOfTheMission(transition),
    omitted: ends,
    direction: 'RIGHT',
    isSmall: true,
  },
  {
    name: 'mission',
    title: 'The agent, from boot to its end',
    chart: agent,
    folded: ['agent.boot', 'agent.draining', 'agent.running.apply', 'agent.running.rollback', 'agent.running.orphaned'],
    without: isAside,
  },
  { name: 'boot', title: 'How a start begins', chart: agent, within: 'agent.boot', without: fromAnywhere },
  {
    name: 'policy',
    title: 'The life of a policy',
    chart: agent,
    within: 'agent.running',
    folded: ['agent.running.apply', 'agent.running.rollback', 'agent.running.orphaned'],
    without: (transition) => fromAnywhere(transition) || isAside(transition),
  },
  {
    name: 'apply',
    title: 'How a policy is applied',
    chart: agent,
    within: 'agent.running.apply',
    without: fromAnywhere,
  },
  { name: 'rollback', title: 'The way back', chart: agent, within: 'agent.running.rollback', without: fromAnywhere },
  {
    name: 'orphaned',
    title: 'When less is held than Fleet believes',
    chart: agent,
    within: 'agent.running.orphaned',
    without: fromAnywhere,
  },
  { name: 'draining', title: 'How a start ends', chart: agent, within: 'agent.draining' },
  {
    name: 'plan',
    title: 'From a policy to programs',
    chart: components,
    folded: ['planning', 'changing', 'confirming', 'reverting', 'left', 'stopping'].map((key) => `components.${key}`),
  },
  { name: 'planning', title: 'How a plan is made', chart: components, within: 'components.planning' },
  { name: 'changing', title: 'How a plan is carried out', chart: components, within: 'components.changing' },
  { name: 'confirming', title: 'What a policy is worth', chart: components, within: 'components.confirming' },
  {
    name: 'program',
    title: 'One program',
    chart: component,
    folded: component.states.filter(({ parent }) => parent === 'component').map(({ id }) => id),
  },
  { name: 'up', title: 'While a program runs', chart: component, within: 'component.up' },
  ...charts.map((chart): View => ({ name: chart.name, title: `The machine ${chart.name}`, chart })),
];

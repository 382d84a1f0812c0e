/** Every state of every chart, and those that no scenario of the matrix comes to, each with the reason. */
import type { AnyStateMachine, AnyStateNode } from 'xstate';
import { ackerMachine } from '../../src/machines/acker.ts';
import { agentMachine } from '../../src/machines/agent.ts';
import { componentMachine } from '../../src/machines/component.ts';
import { componentsMachine } from '../../src/machines/components.ts';
import { dispatcherMachine } from '../../src/machines/dispatcher.ts';
import { enrollmentMachine } from '../../src/machines/enrollment.ts';
import { gatewayMachine } from '../../src/machines/gateway.ts';
import { storeMachine } from '../../src/machines/store.ts';

const CHARTS: readonly AnyStateMachine[] = [
  agentMachine,
  storeMachine,
  gatewayMachine,
  ackerMachine,
  dispatcherMachine,
  componentsMachine,
  componentMachine,
  enrollmentMachine,
];

const statesIn = (node: AnyStateNode): string[] =>
  Object.values(node.states).flatMap((state) => [state.id, ...statesIn(state)]);

/** By id. */
export const STATES: readonly string[] = CHARTS.flatMap((chart) => statesIn(chart.root));

export const NOT_COME_TO: Readonly<Record<string, string>> = {
  'gateway.opening': 'left before anything outside can see it',
  'dispatcher.open.quick.reconciling': 'no type of action is begun before it is done',
  'component.stopping.cornered': 'takes a process that survives SIGKILL',
  'enrollment.refused': 'ends the process with an error, and nothing is left to settle',
};

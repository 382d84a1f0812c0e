/** The machines that are drawn, in the order of the mission. */
import type { AnyStateMachine } from 'xstate';
import { ackerMachine } from '../../src/machines/acker.ts';
import { agentMachine } from '../../src/machines/agent.ts';
import { componentMachine } from '../../src/machines/component.ts';
import { componentsMachine } from '../../src/machines/components.ts';
import { dispatcherMachine } from '../../src/machines/dispatcher.ts';
import { enrollmentMachine } from '../../src/machines/enrollment.ts';
import { gatewayMachine } from '../../src/machines/gateway.ts';
import { storeMachine } from '../../src/machines/store.ts';
import { type Chart, chartOf } from './chart.ts';

/** By the name of their actor. */
export const machines: Readonly<Record<string, AnyStateMachine>> = {
  agent: agentMachine as unknown as AnyStateMachine,
  enrollment: enrollmentMachine as unknown as AnyStateMachine,
  gateway: gatewayMachine as unknown as AnyStateMachine,
  dispatcher: dispatcherMachine as unknown as AnyStateMachine,
  store: storeMachine as unknown as AnyStateMachine,
  components: componentsMachine as unknown as AnyStateMachine,
  component: componentMachine as unknown as AnyStateMachine,
  acker: ackerMachine as unknown as AnyStateMachine,
};

/** One chart a machine. */
export const charts: readonly Chart[] = Object.entries(machines).map(([name, machine]) => chartOf(name, machine));

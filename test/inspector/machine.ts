/** A small real machine with a child, for the observers to look at. */
import { type ActorRefFrom, createActor, fromPromise, type InspectionEvent, sendTo, setup } from 'xstate';

const door = setup({ types: { events: {} as { type: 'door.push' } | { type: 'door.look' } } }).createMachine({
  id: 'door',
  initial: 'shut',
  states: { shut: { on: { 'door.push': 'open' } }, open: { always: 'ajar' }, ajar: { on: { 'door.look': {} } } },
});

const house = setup({
  types: { events: {} as { type: 'house.enter'; [key: string]: unknown } | { type: 'house.leave' } },
  actors: { door, wait: fromPromise(() => new Promise<void>(() => {})) },
  actions: { push: sendTo('door', { type: 'door.push' }) },
}).createMachine({
  id: 'house',
  initial: 'outside',
  invoke: { src: 'door', id: 'door', systemId: 'front' },
  states: {
    outside: { on: { 'house.enter': { target: 'inside', actions: 'push' } } },
    inside: { invoke: { src: 'wait', id: 'wait' }, on: { 'house.leave': 'outside' } },
  },
});

/** Started, with `inspect` looking on. */
export function aHouse(inspect: (event: InspectionEvent) => void): ActorRefFrom<typeof house> {
  return createActor(house, { inspect }).start();
}

/** A machine with the parts of the agent's context that the flight recorder reads. `inspect` null: nobody looks on. */
export function anAgent(start: number, inspect: ((event: InspectionEvent) => void) | null) {
  const agent = setup({ types: { events: {} as { type: 'agent.go' } } }).createMachine({
    id: 'agent',
    initial: 'boot',
    context: { facts: { starts: [{ number: start }] } },
    states: {
      boot: { on: { 'agent.go': 'running' } },
      running: { on: { 'agent.go': 'resting' } },
      resting: { on: { 'agent.go': 'running' } },
    },
  });
  return createActor(agent, inspect === null ? {} : { inspect }).start();
}

/** A machine that comes and goes between two states, until it falls. */
export function aComponent(inspect: (event: InspectionEvent) => void) {
  const component = setup({ types: { events: {} as { type: 'probe' } | { type: 'fall' } } }).createMachine({
    id: 'component',
    initial: 'resting',
    on: { fall: '.fallen' },
    states: { resting: { on: { probe: 'probing' } }, probing: { on: { probe: 'resting' } }, fallen: {} },
  });
  return createActor(component, { inspect }).start();
}

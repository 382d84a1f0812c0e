/** The actor diagram is read off the sources, and nothing that the address book allows is missing in it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { eventsOf, messagesIn, systemDrawing, unlistedPorts } from '../../scripts/diagrams/actors.ts';

const ROOT = join(import.meta.dirname, '../..');
const system = readFileSync(join(ROOT, 'src/machines/system.ts'), 'utf8');
const messages = messagesIn(ROOT);

/** What an actor's inbox takes, unions within it resolved. */
function inboxOf(union: string): string[] {
  const text = system.slice(system.search(new RegExp(`type ${union} =`)));
  const declaration = text.slice(0, text.search(/;\n\n|;\nexport/));
  const named = [...declaration.matchAll(/\| (StoreReply|FactsChanged)\b|= (StoreReply|FactsChanged)\b/g)];
  return [...eventsOf(union, system), ...named.flatMap(([, one, other]) => eventsOf((one ?? other) as string, system))];
}

const INBOXES = {
  agent: 'AgentEvent',
  store: 'StoreEvent',
  dispatcher: 'DispatcherEvent',
  gateway: 'GatewayEvent',
  acker: 'AckerEvent',
  components: 'ComponentsEvent',
} as const;

it.each(Object.entries(INBOXES))(
  'each event that %s takes is told by somebody, and it is told nothing else',
  (to, union) => {
    const told = messages.filter((one) => one.to === to && one.from !== 'component').map(({ event }) => event);
    expect(inboxOf(union).length).toBeGreaterThan(0);
    expect(new Set(told)).toEqual(new Set(inboxOf(union)));
  },
);

it('a component is told what it takes, and answers', () => {
  const orders = messages.filter(({ to }) => to === 'component').map(({ event }) => event);
  expect(orders).toContain('component.restart');
  expect(messages).toContainEqual({ from: 'component', to: 'components', event: 'component.reported' });
});

it('every port of every machine stands in the table of what is used outside, and no other', () => {
  expect(unlistedPorts()).toEqual([]);
});

it('each message is an arrow between two boxes of the picture', () => {
  const { boxes, arrows } = systemDrawing(ROOT);
  const ids = boxes.map(({ id }) => id);
  expect(arrows.filter(({ from, to }) => !ids.includes(from) || !ids.includes(to))).toEqual([]);
  const shown = arrows.flatMap(({ from, to, words }) => words.map(({ text }) => `${from} ${to} ${text}`));
  expect(messages.filter(({ from, to, event }) => !shown.includes(`${from} ${to} ${event}`))).toEqual([]);
});

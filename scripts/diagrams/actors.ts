/** Who tells whom what, read off the sources, and what each actor uses of the world outside. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Arrow, Box, Drawing } from './drawing.ts';
import { charts } from './machines.ts';

/** One kind of message from one actor to another. */
export interface Message {
  readonly from: string;
  readonly to: string;
  readonly event: string;
}

/** What an actor is, in one sentence. Its key is its `systemId`, but for the components, of which there are many. */
export const ACTORS: Readonly<Record<string, string>> = {
  agent: 'Decides about policies: boot, restore, replay, then check in, apply, persist and ack, for ever.',
  store: 'The only writer of durable facts. Several waiting requests become one commit.',
  dispatcher: 'Makes what Fleet delivered durable, then hands it over.',
  gateway: 'The conversation with Fleet, one long poll at a time.',
  acker: 'Sends what is owed to Fleet until Fleet has given its verdict.',
  components: 'Makes a plan of a policy, carries it out, and says whether it worked.',
  component: 'One managed process. There is one of these for each.',
  enrollment: 'Gets an identity, once.',
};

/** What the actors meet outside, and the ports by which they do. Every port of every machine stands here or in {@link INNER_PORTS}. */
export const OUTSIDE: Readonly<
  Record<string, { readonly title: string; readonly ports: Readonly<Record<string, readonly string[]>> }>
> = {
  fleet: {
    title: 'Fleet Server',
    ports: { gateway: ['checkin', 'endPoll'], acker: ['sendAcks', 'tellUnenrolled'], enrollment: ['enroll'] },
  },
  disk: {
    title: 'disk',
    ports: {
      store: ['open', 'commit', 'close'],
      agent: ['readLadder', 'readPolicy', 'verifyHeld'],
      gateway: ['verifyHeld'],
      enrollment: ['prepare', 'adopt'],
    },
  },
  programs: {
    title: 'your programs',
    ports: {
      components: ['recorded', 'check', 'write', 'sweep'],
      component: ['claim', 'launch', 'watch', 'probe', 'confirm', 'reload', 'terminate', 'kill'],
    },
  },
};

/** Ports that compute and touch nothing outside. */
export const INNER_PORTS: readonly string[] = ['gateway.decode', 'components.prepare'];

/** Which actor a source file of `src/machines` speaks for. Files that are not here tell nobody anything. */
const SPEAKERS: readonly (readonly [RegExp, string])[] = [
  [/^(agent|agent-.*|running)\.ts$/, 'agent'],
  [/^store\.ts$/, 'store'],
  [/^dispatcher\.ts$/, 'dispatcher'],
  [/^gateway(-.*)?\.ts$/, 'gateway'],
  [/^acker\.ts$/, 'acker'],
  [/^components(-.*)?\.ts$/, 'components'],
];

/** Every message between actors, and from outside (`outside`), in the sources below `root`. */
export function messagesIn(root: string): readonly Message[] {
  const machines = join(root, 'src', 'machines');
  const told = readdirSync(machines)
    .sort()
    .flatMap((file) => {
      const from = SPEAKERS.find(([pattern]) => pattern.test(file))?.[1];
      return from === undefined
        ? []
        : tellings(readFileSync(join(machines, file), 'utf8')).map((one) => ({ from, ...one }));
    });
  const askers = [...new Set(told.filter(({ event }) => event === 'store.change').map(({ from }) => from))];
  const system = readFileSync(join(machines, 'system.ts'), 'utf8');
  // The store answers whoever asked, by name.
  const answers = eventsOf('StoreReply', system).flatMap((event) => askers.map((to) => ({ from: 'store', to, event })));
  const orders = eventsOf('ComponentEvent', readFileSync(join(machines, 'component-setup.ts'), 'utf8'));
  return unique([
    ...told,
    ...answers,
    ...orders.map((event) => ({ from: 'components', to: 'component', event })),
    { from: 'component', to: 'components', event: 'component.reported' },
    ...fromOutside(root).map((event) => ({ from: 'outside', to: 'agent', event })),
  ]);
}

/** What `tell` and its short forms say in a source: to whom, and the event. */
function tellings(source: string): { to: string; event: string }[] {
  const calls = [...source.matchAll(/\b(?:tell|say)(?:<[^>]*>)?\(\s*'(\w+)',/g)];
  return calls.flatMap((call, index) => {
    const end = calls[index + 1]?.index ?? source.length;
    const rest = source.slice(call.index + call[0].length, end);
    const variable = /^\s*(\w+)\)/.exec(rest)?.[1];
    const declared =
      variable === undefined ? null : new RegExp(`const ${variable} = \\{ type: '([\\w.]+)'`).exec(source);
    const event = (declared ?? /\btype: '([\w.]+)'/.exec(rest))?.[1];
    return event === undefined ? [] : [{ to: call[1] as string, event }];
  });
}

/** The event types of a union of events, by the union's name. */
export function eventsOf(union: string, source: string): string[] {
  const start = source.search(new RegExp(`\\b(type|interface) ${union}\\b`));
  if (start < 0) return [];
  const rest = source.slice(start);
  const end = rest.slice(1).search(/\n(export |const |interface |type |function |\/\*\*)/);
  return [...rest.slice(0, end < 0 ? undefined : end + 1).matchAll(/\btype: ((?:'[\w.]+'(?: \| )?)+)/g)].flatMap(
    ([, types = '']) => [...types.matchAll(/'([\w.]+)'/g)].map(([, type]) => type as string),
  );
}

/** What signals, the control socket and the host make the program say to the agent. */
function fromOutside(root: string): string[] {
  const sources = ['agent.ts', 'commands/run.ts'].map((file) => readFileSync(join(root, 'src', file), 'utf8'));
  return sources.flatMap((source) =>
    [...source.matchAll(/\.send\(\{ type: '([\w.]+)'/g)].map(([, event]) => event as string),
  );
}

function unique(messages: readonly Message[]): Message[] {
  const seen = new Map(messages.map((one) => [`${one.from} ${one.to} ${one.event}`, one]));
  return [...seen.values()];
}

/** The actors, what they tell each other, and what they use outside. */
export function systemDrawing(root: string): Drawing {
  const actors = Object.keys(ACTORS);
  const boxes: Box[] = [
    box(
      'outside',
      'you · the service manager · the host',
      'outside',
      'Signals, commands by the control socket, and the host that wakes up.',
    ),
    ...actors.map((name) =>
      box(name, name === 'component' ? 'component (one a program)' : name, 'actor', ACTORS[name] as string),
    ),
    ...Object.entries(OUTSIDE).map(([id, { title }]) => box(id, title, 'outside', '')),
  ];
  const messages = grouped(messagesIn(root), 'message');
  const calls = Object.entries(OUTSIDE).flatMap(([id, { ports }]) =>
    actors.flatMap((name) => (ports[name] ? [arrow(name, id, ports[name], 'call')] : [])),
  );
  return {
    name: 'system',
    title: 'The actors of Holdfast and what they tell each other',
    boxes,
    arrows: [...messages, ...calls],
    direction: 'DOWN',
    isSmall: false,
  };
}

function box(id: string, title: string, kind: 'actor' | 'outside', tooltip: string): Box {
  return { id, title, kind, tooltip, pills: [], boxes: [] };
}

function grouped(messages: readonly Message[], kind: 'message'): Arrow[] {
  const pairs = new Map<string, Message[]>();
  for (const one of messages) pairs.set(`${one.from} ${one.to}`, [...(pairs.get(`${one.from} ${one.to}`) ?? []), one]);
  return [...pairs.values()].map((all) => {
    const { from, to } = all[0] as Message;
    return arrow(
      from,
      to,
      all.map(({ event }) => event),
      kind,
    );
  });
}

function arrow(from: string, to: string, lines: readonly string[], kind: 'message' | 'call'): Arrow {
  return {
    id: `system--${from}--${to}`,
    kind,
    from,
    to,
    words: lines.map((text) => ({ text, isGuard: kind === 'call' })),
    tooltip: `${from} ${kind === 'call' ? 'uses' : 'tells'} ${to}: ${lines.join(', ')}`,
    transitions: [],
  };
}

/** Ports of a machine that are neither machines themselves nor listed: none, or the table above is out of date. */
export function unlistedPorts(): string[] {
  const machines = new Set(charts.map(({ name }) => name));
  const listed = new Set([
    ...INNER_PORTS,
    ...Object.values(OUTSIDE).flatMap(({ ports }) =>
      Object.entries(ports).flatMap(([name, all]) => all.map((port) => `${name}.${port}`)),
    ),
  ]);
  const used = charts.flatMap(({ name, states }) =>
    states
      .flatMap(({ invokes }) => invokes.map(({ src }) => src))
      .filter((src) => !machines.has(src))
      .map((src) => `${name}.${src}`),
  );
  return [
    ...new Set([...used.filter((port) => !listed.has(port)), ...[...listed].filter((port) => !used.includes(port))]),
  ];
}

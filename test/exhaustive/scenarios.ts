/** Every scenario of up to three deliveries that makes sense, each once. */
import type { Behaviour, Kind } from '../simulation/policies.ts';

/** One thing that Fleet brings. */
export type Delivery =
  /** A policy that works: the first, or a change. */
  | 'good'
  /** The same revision with other bytes. */
  | 'rekey'
  /** A policy that breaks what worked. */
  | 'bad'
  /** Another policy, with the action that says so. */
  | 'reassign'
  | 'action'
  | 'unenroll'
  /** The other ways in which a policy is bad. */
  | 'unparsable'
  | 'unrendered'
  | 'unchecked'
  | 'refuses'
  | 'hangs'
  | 'poison';

export const DELIVERIES: readonly Delivery[] = ['good', 'rekey', 'bad', 'reassign', 'action', 'unenroll'];
const BAD_IN_OTHER_WAYS: readonly Delivery[] = ['unparsable', 'unrendered', 'unchecked', 'refuses', 'hangs', 'poison'];

/** What a policy of this delivery truly is; null: the delivery brings none. */
export function kindOf(delivery: Delivery): { readonly kind: Kind; readonly breaks: Behaviour } | null {
  switch (delivery) {
    case 'good':
      return { kind: 'good', breaks: 'ok' };
    case 'bad':
      return { kind: 'breaking', breaks: 'crashes' };
    case 'refuses':
    case 'hangs':
      return { kind: 'breaking', breaks: delivery };
    case 'unparsable':
    case 'unrendered':
    case 'unchecked':
    case 'poison':
      return { kind: delivery, breaks: 'ok' };
    default:
      return null;
  }
}

/**
 * `calm`: each delivery comes when the world has settled on the one before. `hasty`: they come {@link HASTE_MS} apart, while the one before is being
 * received, tried or made durable.
 */
export type Tempo = 'calm' | 'hasty';
export const HASTE_MS = 300;

export interface Scenario {
  /** `good,bad` (calm), `good>bad` (hasty), `idle`. */
  readonly name: string;
  readonly tempo: Tempo;
  readonly deliveries: readonly Delivery[];
}

export function scenarioNamed(name: string): Scenario {
  if (name === 'idle') return { name, tempo: 'calm', deliveries: [] };
  const known: readonly string[] = [...DELIVERIES, ...BAD_IN_OTHER_WAYS];
  const tempo: Tempo = name.includes('>') ? 'hasty' : 'calm';
  const deliveries = name.split(/[,>]/);
  const stranger = deliveries.find((one) => !known.includes(one));
  if (stranger !== undefined) throw new Error(`no delivery ${stranger}; there are: ${known.join(', ')}`);
  return { name, tempo, deliveries: deliveries as Delivery[] };
}

/**
 * In a calm scenario only what happens from its last delivery on is crashed into: what comes before is a shorter scenario's. So every sequence is in
 * the list together with all its beginnings.
 */
export function scenarios(deliveriesMost: number): readonly Scenario[] {
  const sequences: Delivery[][] = [];
  const grow = (before: readonly Delivery[]) => {
    if (before.length === deliveriesMost) return;
    for (const next of DELIVERIES) {
      if (!makesSense(before, next)) continue;
      const sequence = [...before, next];
      sequences.push(sequence);
      grow(sequence);
    }
  };
  grow([]);
  for (const bad of BAD_IN_OTHER_WAYS) {
    if (deliveriesMost >= 1) sequences.push([bad]);
    if (deliveriesMost >= 2) sequences.push(['good', bad]);
  }
  const names = [
    'idle',
    ...sequences.toSorted((a, b) => a.length - b.length).map((one) => one.join(',')),
    ...sequences.filter((one) => one.length > 1).map((one) => one.join('>')),
  ];
  return names.map(scenarioNamed);
}

/** After the unenrollment nothing comes; other bytes need a revision that has some; two actions in a row are one delivery with two. */
function makesSense(before: readonly Delivery[], next: Delivery): boolean {
  if (before.at(-1) === 'unenroll') return false;
  if (next === 'action' && before.at(-1) === 'action') return false;
  return next !== 'rekey' || before.some((one) => ['good', 'bad', 'reassign'].includes(one));
}

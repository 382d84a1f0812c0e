/** What a start has spent attempts on, and how exactly that is given back (P10). */
import type { Facts, Generation, Start } from './facts.ts';

/** The attempt that this start spent on the generation it ran, given back. */
export function giveBackStart(facts: Facts): Facts {
  const hash = facts.starts[0]?.spent.generation;
  const index = facts.generations.findIndex((one) => one.hash === hash);
  const generation = facts.generations[index];
  if (generation === undefined) return facts;
  return noteSpent(withGeneration(facts, index, { ...generation, attempts: Math.max(0, generation.attempts - 1) }), {
    generation: null,
  });
}

/** Remembers what this start has spent, so that a goodbye gives back that and no more. */
export function noteSpent(facts: Facts, spent: Partial<Start['spent']>): Facts {
  const start = facts.starts[0];
  if (start === undefined) return facts;
  return { ...facts, starts: [{ ...start, spent: { ...start.spent, ...spent } }, ...facts.starts.slice(1)] };
}

export function withGeneration(facts: Facts, index: number, generation: Generation): Facts {
  return { ...facts, generations: facts.generations.map((one, at) => (at === index ? generation : one)) };
}

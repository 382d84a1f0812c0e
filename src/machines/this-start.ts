/** This start, whether the disk has taken a record of it or not (P9). */
import type { AgentContext } from './agent-context.ts';
import type { Start } from './facts.ts';
import { startAfter } from './rules-starts.ts';

/** Before the first commit of this process the newest start on record is the one before it. */
export function thisStart({ facts, factsProven, factsAt, settings }: AgentContext): Start {
  const recorded = factsProven ? facts.starts[0] : undefined;
  return recorded ?? startAfter(facts, settings.bootId, factsAt);
}

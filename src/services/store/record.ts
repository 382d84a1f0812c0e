/**
 * The root record's payload: the facts as JSON, with every long text moved out into an object, so that the record stays small whatever
 * an action brings with it.
 */
import { z } from 'zod';
import type { Facts } from '../../machines/facts.ts';
import { factsSchema } from './facts-schema.ts';
import { hashOf } from './frame.ts';

/**
 * What a slot is preallocated with. An idle record is a few kilobytes; a full journal (500 entries, each text of at most
 * {@link SPILL_ABOVE} characters, most of them far shorter) about 300 kB. One that needs more makes its slot grow.
 */
export const SLOT_BYTES = 512 * 1024;

/** A text longer than this (in characters) is an object of its own. */
const SPILL_ABOVE = 1024;

/** The keys whose values may be moved out: free text and bodies, never anything facts are found by. */
const SPILLABLE = new Set(['data', 'undecodable', 'message', 'error', 'reason', 'inFlight']);

const payloadSchema = z.object({
  facts: z.unknown(),
  /** `/`-separated place in the facts → hash of the object that holds its text. */
  spilled: z.record(z.string(), z.string()),
});

export interface Payload {
  readonly bytes: Buffer;
  /** Hash → text of what was moved out. */
  readonly spilled: ReadonlyMap<string, string>;
}

/** The facts as the payload of a root record. */
export function encodePayload(facts: Facts): Payload {
  const places: Record<string, string> = {};
  const spilled = new Map<string, string>();
  const short = walk(facts, [], (text, place) => {
    const hash = hashOf(text);
    places[place.join('/')] = hash;
    spilled.set(hash, text);
    return '';
  });
  return { bytes: Buffer.from(JSON.stringify({ facts: short, spilled: places }), 'utf8'), spilled };
}

function walk(
  value: unknown,
  place: readonly string[],
  spill: (text: string, place: readonly string[]) => string,
): unknown {
  if (typeof value === 'string') {
    return value.length > SPILL_ABOVE && SPILLABLE.has(place.at(-1) ?? '') ? spill(value, place) : value;
  }
  if (Array.isArray(value)) return value.map((item, index) => walk(item, [...place, String(index)], spill));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, walk(item, [...place, key], spill)]));
}

export interface Decoded {
  /** The facts, with `''` where a text was moved out. */
  readonly facts: Facts;
  /** Place → hash. */
  readonly spilled: Readonly<Record<string, string>>;
}

/** Reads a payload; a sentence when it is not one. */
export function decodePayload(bytes: Buffer): Decoded | { readonly why: string } {
  try {
    const { facts, spilled } = payloadSchema.parse(JSON.parse(bytes.toString('utf8')));
    return { facts: factsSchema.parse(facts), spilled };
  } catch (error) {
    // The parser's own words quote what they stumble over.
    const where =
      error instanceof z.ZodError ? error.issues.map((issue) => issue.path.join('.')).join(', ') : 'it is not JSON';
    return { why: `its content is not what this version writes (${where})` };
  }
}

/**
 * Puts the texts back that were moved out. Where one is lost the fact stays and says so: an action whose data is gone is one that cannot
 * be decoded, and is answered with an error instead of silently.
 */
export function restoreSpilled(decoded: Decoded, texts: ReadonlyMap<string, string>): Facts {
  const spilled = Object.entries(decoded.spilled);
  if (spilled.length === 0) return decoded.facts;
  const facts: unknown = structuredClone(decoded.facts);
  for (const [place, hash] of spilled) {
    const keys = place.split('/');
    const key = keys.pop() ?? '';
    const owner = keys.reduce<unknown>((at, step) => (at as Record<string, unknown> | undefined)?.[step], facts);
    if (typeof owner !== 'object' || owner === null || !(key in owner)) continue;
    const fields = owner as Record<string, unknown>;
    const text = texts.get(hash);
    if (text !== undefined) fields[key] = text;
    else if (key === 'data')
      Object.assign(fields, { data: null, undecodable: `its data could not be read back from disk (object ${hash})` });
    else fields[key] = `(this text could not be read back from disk: object ${hash})`;
  }
  return factsSchema.parse(facts);
}

/** Hashes of the objects that a record names. */
export function namesOf({ facts, spilled }: Decoded): ReadonlySet<string> {
  return new Set([...policiesNamed(facts), ...Object.values(spilled)]);
}

/** The policies whose bytes are kept: every generation, the candidate and the newest of the rejected, which is the first. */
export function policiesNamed(facts: Facts): readonly string[] {
  return [...new Set([...mustBeHeld(facts), ...facts.rejected.slice(0, 1).map((rejection) => rejection.hash)])];
}

/** The policies without whose bytes the facts would be a lie. */
export function mustBeHeld(facts: Facts): readonly string[] {
  return [
    ...facts.generations.map((generation) => generation.hash),
    ...(facts.candidate ? [facts.candidate.hash] : []),
  ];
}

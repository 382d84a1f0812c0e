/** What an event carries, for people: masked, bounded, and without the bodies of policies, actions and rendered files. */
import type { Secrets } from './secrets.ts';

/** Most characters of one payload. */
export const PAYLOAD_CHARACTERS = 2_000;
const TEXT_CHARACTERS = 300;
const ITEMS = 12;
const DEEPEST = 6;

/** Keys under which bodies stand: policies, actions' data, rendered commands and files, and what was written by programs. */
const BODIES = new Set(['text', 'data', 'content', 'body', 'bodies', 'daemon', 'files', 'env', 'args', 'variables']);

/** The event without its type, as JSON. Empty when there is nothing more to it. */
export function payloadOf(event: object, secrets: Secrets): string {
  const { type: _, ...rest } = event as { readonly type?: unknown };
  if (Object.keys(rest).length === 0) return '';
  const text = JSON.stringify(secrets.hideIn(short(rest, '', 0, secrets))) ?? '';
  return text.length > PAYLOAD_CHARACTERS ? `${text.slice(0, PAYLOAD_CHARACTERS - 1)}…` : text;
}

function short(value: unknown, key: string, depth: number, secrets: Secrets): unknown {
  if (typeof value === 'string') {
    if (BODIES.has(key)) return `‹${value.length} characters›`;
    return cut(value, secrets);
  }
  if (typeof value === 'bigint') return String(value);
  if (typeof value === 'function' || typeof value === 'symbol') return '‹not data›';
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Error) return shortError(value, secrets);
  if (typeof (value as { send?: unknown }).send === 'function') return '‹actor›';
  if (key === 'facts') return shortFacts(value);
  if (BODIES.has(key) && !isPolicyBody(value)) return '‹not shown›';
  if (depth >= DEEPEST) return '…';
  if (Array.isArray(value)) {
    const shown = value.slice(0, ITEMS).map((one) => short(one, key, depth + 1, secrets));
    return value.length > ITEMS ? [...shown, `‹${value.length - ITEMS} more›`] : shown;
  }
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [name, short(inner, name, depth + 1, secrets)]),
  );
}

/** `body: {id, revision, hash, text}`: its name is worth showing, its text is not. */
function isPolicyBody(value: object): boolean {
  return 'hash' in value && 'text' in value;
}

function shortError(error: Error, secrets: Secrets): Record<string, unknown> {
  const { code } = error as { readonly code?: unknown };
  return { ...(typeof code === 'string' ? { code } : {}), message: cut(error.message, secrets) };
}

/** Half a secret is not recognised as one, so that it is hidden first. */
function cut(text: string, secrets: Secrets): string {
  if (text.length <= TEXT_CHARACTERS) return text;
  const hidden = secrets.hide(text);
  return hidden.length > TEXT_CHARACTERS ? `${hidden.slice(0, TEXT_CHARACTERS - 1)}…` : hidden;
}

/** The durable facts in a few words: they are shown whole elsewhere, and carry the raw data of actions. */
function shortFacts(facts: object): unknown {
  const { generations, candidate, rejected, journal, outbox, starts } = facts as Record<string, unknown>;
  return {
    start: first(starts)?.number ?? null,
    lastGood: named(first(generations)),
    candidate: named(candidate as Named | null),
    rejected: listed(rejected),
    journal: listed(journal),
    outbox: listed(outbox),
  };
}

interface Named {
  readonly id?: string;
  readonly revision?: number;
  readonly number?: number;
}

function first(list: unknown): Named | null {
  return Array.isArray(list) ? ((list[0] as Named | undefined) ?? null) : null;
}

function named(policy: Named | null | undefined): string | null {
  return policy?.id === undefined ? null : `${policy.id}:${policy.revision}`;
}

function listed(list: unknown): number {
  return Array.isArray(list) ? list.length : 0;
}

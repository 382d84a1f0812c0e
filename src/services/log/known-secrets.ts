/**
 * The secrets of the policies and variables this process has come across, hidden in whatever it says: what a program answers to its check, and
 * what is wrong with a policy, may quote them. One for the process, since a secret is one whoever repeats it.
 */
import { maskText } from '../../policy/mask.ts';

/** Newest first to be forgotten last: last good, the generations before it, a candidate, some that were rejected, the variables. */
const KEPT = 16;

const known = new Map<string, readonly string[]>();
let all: readonly string[] = [];

/** From now on `secrets` are hidden; `source` names what they came with, and what it had before is forgotten. */
export function learnSecrets(source: string, secrets: readonly string[]): void {
  known.delete(source);
  known.set(source, secrets);
  for (const oldest of known.keys()) {
    if (known.size <= KEPT) break;
    known.delete(oldest);
  }
  all = [...new Set([...known.values()].flat())].toSorted((a, b) => b.length - a.length);
}

/** `text` without any secret that is known, any password in a URL and any private key. */
export function hideSecrets(text: string): string {
  return maskText(text, all);
}

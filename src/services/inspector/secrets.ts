/** Learns the secrets of every policy that passes through the actors, so that nothing the inspector shows carries one of them. */
import { parseJson } from '../../policy/json.ts';
import { maskText as maskKnown, secretsIn } from '../../policy/mask.ts';
import { maskSecrets, maskText } from '../log/mask.ts';

/** Policies whose secrets are remembered: those that are held, and some that were. */
const POLICIES_KEPT = 16;
const DEEPEST = 6;

export class Secrets {
  readonly #byPolicy = new Map<string, readonly string[]>();
  #all: readonly string[] = [];

  /** Takes note of every policy body (`hash` beside `text`) in `value`. */
  learn(value: unknown, depth = 0): void {
    if (typeof value !== 'object' || value === null || depth > DEEPEST) return;
    const { hash, text } = value as { readonly hash?: unknown; readonly text?: unknown };
    if (typeof hash === 'string' && typeof text === 'string') this.#learnPolicy(hash, text);
    for (const inner of Object.values(value)) this.learn(inner, depth + 1);
  }

  /** A text without any secret that is known or looks like one. */
  hide(text: string): string {
    return maskText(maskKnown(text, this.#all));
  }

  /** A copy of a plain value without secrets: neither under keys that name one, nor in its texts. */
  hideIn<T>(value: T): T {
    return this.#texts(maskSecrets(value)) as T;
  }

  #texts(value: unknown): unknown {
    if (typeof value === 'string') return this.hide(value);
    if (Array.isArray(value)) return value.map((one) => this.#texts(one));
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, this.#texts(one)]));
  }

  #learnPolicy(hash: string, text: string): void {
    if (this.#byPolicy.has(hash)) return;
    try {
      this.#byPolicy.set(hash, secretsIn(parseJson(text)));
    } catch {
      // What is not JSON is refused as a policy, and its body is never shown.
      this.#byPolicy.set(hash, []);
    }
    const [oldest] = this.#byPolicy.keys();
    if (this.#byPolicy.size > POLICIES_KEPT && oldest !== undefined) this.#byPolicy.delete(oldest);
    this.#all = [...new Set([...this.#byPolicy.values()].flat())].sort((a, b) => b.length - a.length);
  }
}

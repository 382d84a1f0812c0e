/**
 * Recognises secrets of policies that are not held any more, in what programs have written since: by keyed digests and lengths, never by the
 * secrets themselves. A program's output outlives the policy whose key it repeated.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { AnyActorRef, InspectionEvent } from 'xstate';
import { parseJson } from '../../policy/json.ts';
import { MASK, secretsIn } from '../../policy/mask.ts';
import { readRegularSync, replaceFile } from '../durable-file.ts';

const NAME = 'known-secrets';
/** The newest are kept. */
const KEPT = 256;
/** Longer ones are private keys and the like, which are recognised by what they look like. */
const LENGTH_MOST = 4_096;
const FILE_BYTES = 256 * 1024;
const DIGEST_BYTES = 16;

interface Known {
  readonly length: number;
  /** Of the rolling kind, to find candidates quickly. */
  readonly sum: number;
  readonly digest: string;
}

export class EarlierSecrets {
  readonly #salt: string;
  readonly #base: number;
  /** Newest last. */
  #known: readonly Known[];

  private constructor(salt: string, known: readonly Known[]) {
    this.#salt = salt;
    this.#base = Number.parseInt(salt.slice(0, 8), 16) | 1;
    this.#known = known;
  }

  /** What a home remembers; nothing where there is nothing, or nothing readable. Never throws. */
  static read(home: string): EarlierSecrets {
    try {
      const read = JSON.parse(readRegularSync(join(home, NAME), FILE_BYTES).toString('utf8')) as Partial<Kept>;
      const known = (Array.isArray(read.known) ? read.known : []).filter(isKnown).slice(-KEPT);
      if (typeof read.salt === 'string' && /^[0-9a-f]{64}$/.test(read.salt))
        return new EarlierSecrets(read.salt, known);
    } catch {
      // There is none, or it cannot be read: it begins anew.
    }
    return new EarlierSecrets(randomBytes(32).toString('hex'), []);
  }

  /** Length of the longest, in characters. */
  get longest(): number {
    return this.#known.reduce((most, { length }) => Math.max(most, length), 0);
  }

  /** False: nothing of it is new. */
  learn(secrets: readonly string[]): boolean {
    const now = new Map(this.#known.map((one) => [one.digest, one]));
    for (const secret of secrets) {
      if (secret.length > LENGTH_MOST) continue;
      const known = { length: secret.length, sum: this.#sum(secret), digest: this.#digest(secret) };
      now.set(known.digest, known);
    }
    if (now.size === this.#known.length) return false;
    this.#known = [...now.values()].slice(-KEPT);
    return true;
  }

  /** For the file, which is the user's alone. */
  text(): string {
    return `${JSON.stringify({ salt: this.#salt, known: this.#known } satisfies Kept)}\n`;
  }

  /** A text without any of them. */
  hide(text: string): string {
    const lengths = new Set(this.#known.map(({ length }) => length));
    const found = [...lengths].flatMap((length) =>
      this.#find(
        text,
        length,
        this.#known.filter((one) => one.length === length),
      ),
    );
    if (found.length === 0) return text;
    found.sort((a, b) => a.from - b.from);
    let hidden = '';
    let at = 0;
    for (const { from, to } of found) {
      if (from >= at) hidden += text.slice(at, from) + MASK;
      at = Math.max(at, to);
    }
    return hidden + text.slice(at);
  }

  /** In linear time, however many are known of that length. */
  #find(text: string, length: number, known: readonly Known[]): { readonly from: number; readonly to: number }[] {
    if (text.length < length) return [];
    const sums = new Set(known.map((one) => one.sum));
    const digests = new Set(known.map(({ digest }) => digest));
    let leaving = 1;
    for (let power = 1; power < length; power += 1) leaving = Math.imul(leaving, this.#base);
    const found = [];
    let sum = this.#sum(text.slice(0, length));
    for (let from = 0; ; from += 1) {
      if (sums.has(sum) && digests.has(this.#digest(text.slice(from, from + length)))) {
        found.push({ from, to: from + length });
      }
      if (from + length >= text.length) return found;
      const without = (sum - Math.imul(text.charCodeAt(from), leaving)) | 0;
      sum = (Math.imul(without, this.#base) + text.charCodeAt(from + length)) | 0;
    }
  }

  #sum(text: string): number {
    let sum = 0;
    for (let at = 0; at < text.length; at += 1) sum = (Math.imul(sum, this.#base) + text.charCodeAt(at)) | 0;
    return sum;
  }

  #digest(text: string): string {
    return createHmac('sha256', this.#salt)
      .update(text)
      .digest('hex')
      .slice(0, DIGEST_BYTES * 2);
  }
}

interface Kept {
  readonly salt: string;
  readonly known: readonly Known[];
}

function isKnown(value: unknown): value is Known {
  const { length, sum, digest } = (value ?? {}) as Partial<Known>;
  return Number.isInteger(length) && (length ?? 0) > 0 && Number.isInteger(sum) && typeof digest === 'string';
}

/** Keeps the digests of every policy that a daemon brings to its components; off the path of every commit. */
export class SecretKeeper {
  readonly #home: string;
  #secrets: EarlierSecrets | null = null;
  #writing: Promise<void> = Promise.resolve();

  constructor(home: string) {
    this.#home = home;
  }

  /** Resolves when what was seen so far is written, or could not be. */
  settled(): Promise<void> {
    return this.#writing;
  }

  /** Never throws. The components are told of a policy only after boot: before, the home may be another daemon's. */
  readonly observe = (event: InspectionEvent): void => {
    if (event.type !== '@xstate.event' || event.event.type !== 'components.apply') return;
    if ((event.actorRef as AnyActorRef).id !== 'components') return;
    try {
      const { policy } = event.event as unknown as { readonly policy: { readonly text: string } };
      this.#secrets ??= EarlierSecrets.read(this.#home);
      if (!this.#secrets.learn(secretsIn(parseJson(policy.text)))) return;
      const text = this.#secrets.text();
      this.#writing = this.#writing.then(() => replaceFile(join(this.#home, NAME), text)).catch(() => undefined);
    } catch {
      // What is not JSON is refused as a policy, and never reaches a program.
    }
  };
}

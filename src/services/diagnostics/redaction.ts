/** Hides secrets in what leaves the host: those that were learnt of the home, and whatever stands beside a name that means one. */
import { isSecretKey, MASK } from '../../policy/mask.ts';
import { learnSecrets } from '../log/known-secrets.ts';
import { maskSecrets, maskText } from '../log/mask.ts';

/** As the policy's own masking has it: shorter ones would hit innocent words. */
const MIN_SOUGHT_LENGTH = 6;

/**
 * `name: value`, `name=value`, `"name": "value"`, also with the escaped quotes of JSON inside JSON. Every repetition is bounded, and a match
 * begins where a word does, so that no text takes more than linear time.
 */
const PAIR =
  /(?<![\w.-])(\\{0,3}["']?)([\w.-]{1,64})\1([ \t]{0,8}[:=][ \t]{0,8})(\\{1,3}"[^"\n]{0,8192}"|"(?:[^"\\\n]|\\.){0,8192}"|'[^'\n]{0,8192}'|[^\s,;&"'}\])]{1,8192})/g;

const TELLS_NOTHING = /^\\{0,3}["']?(true|false|null|undefined|)\\{0,3}["']?$/;

/** A secret longer than this is not waited for at the beginning of what was cut off. */
const LONGEST_HALVED = 32 * 1024;

/** From here on `secrets` are hidden in everything this process says. Returns the length of the longest that a cut may halve, in characters. */
export function learnForDiagnostics(secrets: Iterable<string>): number {
  const forms = [...secrets].flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1)]);
  const sought = [...new Set(forms)].filter((secret) => secret.length >= MIN_SOUGHT_LENGTH);
  learnSecrets('diagnostics', sought);
  const longest = sought.reduce((most, secret) => Math.max(most, secret.length), 0);
  return Math.min(longest, LONGEST_HALVED);
}

/** What stands beside a name that means a secret, in text of any form: for files that are too damaged to be parsed. */
export function secretsInText(text: string): string[] {
  return [...text.matchAll(PAIR)].flatMap(([, , key = '', , value = '']) => {
    if (!isSecretKey(key) || TELLS_NOTHING.test(value)) return [];
    const bare = value.replace(/^\\*["']|\\*["']$/g, '');
    return [bare, ...unescaped(bare)];
  });
}

function unescaped(text: string): string[] {
  try {
    const value: unknown = JSON.parse(`"${text}"`);
    return typeof value === 'string' ? [value] : [];
  } catch {
    return [];
  }
}

/** A text of any form without secrets. */
export function hiddenText(text: string): string {
  return maskText(text).replace(PAIR, (pair, quote: string, key: string, between: string, value: string) =>
    !isSecretKey(key) || value.includes(MASK) || TELLS_NOTHING.test(value)
      ? pair
      : `${quote}${key}${quote}${between}${MASK}`,
  );
}

/** A copy of a value without secrets: under keys that name one, in its texts, its numbers and its keys. */
export function hiddenValue(value: unknown): unknown {
  return inTexts(maskSecrets(value));
}

function inTexts(value: unknown): unknown {
  if (typeof value === 'string') return hiddenText(value);
  if (typeof value === 'number') return maskText(String(value)) === String(value) ? value : MASK;
  if (Array.isArray(value)) return value.map(inTexts);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [maskText(key), inTexts(inner)]));
}

/** Lines of JSON (or what a death left of one) without secrets, each a line of JSON still. */
export function hiddenLines(text: string): string {
  return text
    .split('\n')
    .map((line) => {
      try {
        return line.trim() === '' ? line : JSON.stringify(hiddenValue(JSON.parse(line)));
      } catch {
        return hiddenText(line);
      }
    })
    .join('\n');
}

/**
 * What remains of a masked text whose beginning was cut off when whatever a cut may have halved is left out: up to `longest` characters of a
 * secret, a private key without its first line, and the first line.
 */
export function withoutHalves(masked: string, longest: number): string {
  const end = /-----END [A-Z ]{0,40}PRIVATE KEY-----/.exec(masked);
  const isHalved = end !== null && !masked.slice(0, end.index).includes('-----BEGIN ');
  const begin = Math.max(longest, isHalved ? end.index + end[0].length : 0);
  const rest = masked.slice(begin);
  const lineBreak = rest.indexOf('\n');
  return lineBreak < 0 ? rest : rest.slice(lineBreak + 1);
}

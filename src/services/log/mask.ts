/** Hides secrets in anything that is about to be shown to people: by key name, and in texts that carry credentials. */

import { isSecretKey, MASK } from '../../policy/mask.ts';
import { hideSecrets } from './known-secrets.ts';

/** Values deeper than this are not looked into and not shown. */
const DEEPEST = 32;

/** A copy of `value` with every secret replaced by {@link MASK}. Cycles and values deeper than 32 levels become a note. */
export function maskSecrets(value: unknown): unknown {
  return mask(value, 0, []);
}

function mask(value: unknown, depth: number, above: readonly unknown[]): unknown {
  if (typeof value === 'string') return maskText(value);
  if (typeof value === 'bigint') return value.toString();
  if (typeof value !== 'object' || value === null) return value;
  if (above.includes(value)) return '<cycle>';
  if (depth >= DEEPEST) return '<too deep>';
  const path = [...above, value];
  if (Array.isArray(value)) return value.map((item) => mask(item, depth + 1, path));
  if (value instanceof Error) return maskedError(value);
  if (value instanceof Date) return value.toISOString();
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => {
      const hidden =
        isSecretKey(key) && inner !== null && inner !== undefined && inner !== '' && typeof inner !== 'boolean';
      return [key, hidden ? MASK : mask(inner, depth + 1, path)];
    }),
  );
}

/** The same error to a reader: its class's name, its code, its words and where it was raised. */
function maskedError(error: Error): Error {
  const masked = new Error(maskText(error.message));
  masked.name = error.name;
  if (error.stack !== undefined) masked.stack = maskText(error.stack);
  return Object.assign(masked, 'code' in error ? { code: error.code } : {});
}

/** Hides known secrets and the credentials of `Authorization` headers, of URLs and of PEM keys inside a text. */
export function maskText(text: string): string {
  return hideSecrets(text).replace(/\b(ApiKey|Bearer|Basic)\s+[\w+/=.~-]{6,}/g, `$1 ${MASK}`);
}

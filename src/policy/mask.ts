/** Secrets hidden from people: by the policy's own `secret_paths`, by what a key is called, and wherever else their value occurs. */
import { writeYaml } from './document.ts';
import { getOwn, isArray, isObject, type JsonObject, type JsonValue, parseJson, setOwn } from './json.ts';

/** What stands in a secret's place. */
export const MASK = '<REDACTED>';
/** Shorter secrets are hidden where they stand, but not looked for in other text: they would hit innocent words. */
const MIN_SOUGHT_LENGTH = 6;

/** A value with its secrets masked: by `secretPaths` (dot paths with list indexes), by key name, and their copies in other strings. */
export function mask(value: JsonValue, secretPaths: readonly string[] = pathsIn(value)): JsonValue {
  const found = new Set<string>();
  const marked = markPaths(value, secretPaths, found);
  return hideCopies(markKeys(marked, false, found), sought(found));
}

/** The secret strings in a policy, longest first; for {@link maskText} of logs and program output. */
export function secretsIn(value: JsonValue, secretPaths: readonly string[] = pathsIn(value)): string[] {
  const found = new Set<string>();
  markKeys(markPaths(value, secretPaths, found), false, found);
  return sought(found);
}

/** A text with known secrets, URL passwords and private keys masked. */
export function maskText(text: string, secrets: readonly string[]): string {
  let masked = text;
  for (const secret of secrets) masked = masked.replaceAll(secret, MASK);
  return maskPatterns(masked);
}

/** A policy's JSON text as masked YAML for people to read. It is derived, and never read back. */
export function policyYaml(jsonText: string): string {
  const heading =
    '# The last good policy, for people to read: secrets are masked, and Holdfast never reads this file.\n';
  let value: JsonValue;
  try {
    value = parseJson(jsonText);
  } catch {
    return `${heading}# (it cannot be shown: it is not JSON)\n`;
  }
  return heading + writeYaml(mask(value));
}

/** True when what stands under a key of that name is a secret. Names of places, ids and switches are not. */
export function isSecretKey(key: string): boolean {
  const words = key
    .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== '');
  const last = words.at(-1) ?? '';
  if (HARMLESS_ENDINGS.has(last)) return false;
  if (words.some((word) => SECRET_WORD.test(word))) return true;
  // `key` means a secret in api_key, ssl.key and the like, and a name in routing_key.
  return /^keys?$/.test(last) && !words.some((word) => HARMLESS_KEYS.has(word));
}

const SECRET_WORD =
  /passw(or)?ds?$|passphrase|secrets?$|tokens?$|credential|apikey|privatekey|accesskey|secretkey|^pass$|^pwd$|^auth$|^authorization$|^cookies?$|^bearer$|^psk$|connectionstring/;
const HARMLESS_ENDINGS = new Set(
  'id ids name names path paths file files url uri endpoint type version enabled expiry expiration expires ttl timeout length size count field fields header mode policy'.split(
    ' ',
  ),
);
const HARMLESS_KEYS = new Set(
  'public routing route partition primary sort foreign row cache group fields field join'.split(' '),
);

function pathsIn(value: JsonValue): string[] {
  const paths = isObject(value) ? getOwn(value, 'secret_paths') : undefined;
  return isArray(paths) ? paths.filter((path): path is string => typeof path === 'string') : [];
}

/** Masks whatever stands at the paths. A key may hold dots itself, so each path is tried at every split. */
function markPaths(value: JsonValue, paths: readonly string[], found: Set<string>): JsonValue {
  if (paths.length === 0) return value;
  if (isArray(value)) {
    return value.map((item, index) => markChild(item, String(index), paths, found));
  }
  if (!isObject(value)) return value;
  const copy: Record<string, JsonValue> = {};
  for (const key of Object.keys(value)) setOwn(copy, key, markChild(value[key] as JsonValue, key, paths, found));
  return copy;
}

function markChild(child: JsonValue, key: string, paths: readonly string[], found: Set<string>): JsonValue {
  if (paths.includes(key)) return markKeys(child, true, found);
  const below = paths.filter((path) => path.startsWith(`${key}.`)).map((path) => path.slice(key.length + 1));
  return markPaths(child, below, found);
}

/** Masks what stands under secret keys, and every scalar when `secret` already holds for the whole value. */
function markKeys(value: JsonValue, secret: boolean, found: Set<string>): JsonValue {
  if (isArray(value)) return value.map((item) => markKeys(item, secret, found));
  if (isObject(value)) {
    const copy: Record<string, JsonValue> = {};
    for (const key of Object.keys(value)) {
      const named = key !== 'secret_paths' && !isShellsDirectory(value, key) && isSecretKey(key);
      const isSecret = secret || named || isPairOfSecret(value, key);
      setOwn(copy, key, markKeys(value[key] as JsonValue, isSecret, found));
    }
    return copy;
  }
  // Switches and absent values tell nothing and are worth seeing.
  if (!secret || value === null || typeof value === 'boolean' || value === '' || value === MASK) return value;
  found.add(String(value));
  return MASK;
}

/** `PWD` of a shell's environment is where it was started, not a password, and stands in most paths that are shown. */
function isShellsDirectory(object: JsonObject, key: string): boolean {
  const value = key === 'PWD' ? getOwn(object, key) : undefined;
  return typeof value === 'string' && value.startsWith('/');
}

/** `{name: Authorization, value: …}`: the secret stands beside its name. */
function isPairOfSecret(pair: JsonObject, key: string): boolean {
  if (key !== 'value' && key !== 'values') return false;
  const name = getOwn(pair, 'name') ?? getOwn(pair, 'key');
  return typeof name === 'string' && isSecretKey(name);
}

function hideCopies(value: JsonValue, secrets: readonly string[]): JsonValue {
  if (typeof value === 'string') return maskText(value, secrets);
  if (isArray(value)) return value.map((item) => hideCopies(item, secrets));
  if (!isObject(value)) return secrets.includes(String(value)) ? MASK : value;
  const copy: Record<string, JsonValue> = {};
  for (const key of Object.keys(value)) setOwn(copy, key, hideCopies(value[key] as JsonValue, secrets));
  return copy;
}

function sought(found: ReadonlySet<string>): string[] {
  // Where a string was put into JSON text, it stands there with its escapes; where a text was cut or trimmed, without its ends or line by line.
  const forms = [...found].flatMap((secret) => [
    secret,
    JSON.stringify(secret).slice(1, -1),
    ...(/\s/.test(secret) ? [secret.trim()] : []),
    ...(secret.includes('\n') ? linesOf(secret) : []),
  ]);
  return [...new Set(forms)].filter((secret) => secret.length >= MIN_SOUGHT_LENGTH).sort((a, b) => b.length - a.length);
}

/** But for those that begin and end a key: they are no secret, and by them every other key is known. */
function linesOf(secret: string): string[] {
  return secret
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => !/^-----(BEGIN|END) [A-Z ]{0,60}-----$/.test(line));
}

function maskPatterns(text: string): string {
  return text
    .replace(/([a-z][a-z0-9+.-]{0,30}:\/\/[^\s/:@]{0,256}:)[^\s/@]{1,1024}@/gi, `$1${MASK}@`)
    .replace(/-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]{0,40}PRIVATE KEY-----|$)/g, MASK);
}

/** Which policy is which: identity is the hash of the bytes, the id and revision are what Fleet matches (design, section 3). */
import { canonicalJson, sha256 } from './canonical.ts';
import { getOwn, isObject, type JsonValue, parseJson } from './json.ts';

/** A policy as Holdfast names it. */
export interface PolicyRef {
  /** Policy id of the action id it came in, else the body's. */
  readonly id: string;
  readonly revision: number;
  /** SHA-256 (hex) of the canonical JSON. */
  readonly hash: string;
  /** The action it came in, `policy:<id>:<revision>` on a stock Fleet Server. */
  readonly actionId: string;
}

/** A policy with its bytes. */
export interface PolicyBody extends PolicyRef {
  /** Canonical JSON: keys sorted, no white space, every integer with all its digits. */
  readonly text: string;
}

/**
 * Names a policy that was received. A string is taken as JSON text (a policy is never a JSON string), anything else as a parsed
 * value. Never throws: what is not usable JSON keeps its bytes as they are and is refused when it is rendered, so that it can
 * be rejected, remembered and reported like any other bad policy.
 */
export function policyBody(value: unknown, action: { readonly id: string } | null): PolicyBody {
  const { text, parsed } = typeof value === 'string' ? readText(value) : { text: canonicalJson(value), parsed: value };
  const named = nameOf(action?.id ?? '') ?? nameInBody(parsed);
  return { id: named.id, revision: named.revision, hash: sha256(text), actionId: action?.id ?? '', text };
}

/** The reference alone, for facts and messages. */
export function policyRef(policy: PolicyRef): PolicyRef {
  return { id: policy.id, revision: policy.revision, hash: policy.hash, actionId: policy.actionId };
}

function readText(text: string): { text: string; parsed: unknown } {
  try {
    const parsed: JsonValue = parseJson(text);
    return { text: canonicalJson(parsed), parsed };
  } catch {
    return { text, parsed: null };
  }
}

/** `policy:<id>:<revision>`, or the form before 8.15 with a coordinator index behind it. Ids hold no colon but may hold `#`. */
function nameOf(actionId: string): { id: string; revision: number } | null {
  const match = /^policy:([^:]+):(\d{1,15})(?::\d+)?$/.exec(actionId);
  return match ? { id: match[1] as string, revision: Number(match[2]) } : null;
}

function nameInBody(body: unknown): { id: string; revision: number } {
  if (!isObject(body)) return { id: '', revision: 0 };
  const id = getOwn(body, 'id');
  const revision = getOwn(body, 'revision');
  return {
    id: typeof id === 'string' ? id : '',
    revision: typeof revision === 'number' && Number.isSafeInteger(revision) && revision > 0 ? revision : 0,
  };
}

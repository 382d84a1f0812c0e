/** How messages name a policy. */
import type { PolicyRef } from '../policy/identity.ts';

/** `<id>:<revision>`. */
export function nameOf(ref: PolicyRef): string {
  return `${ref.id}:${ref.revision}`;
}

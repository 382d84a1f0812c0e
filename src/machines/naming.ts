/** How messages name a policy, and count. */
import type { PolicyRef } from '../policy/identity.ts';

/** How often: `once`, `3 times`. */
export function timesOf(count: number): string {
  return count === 1 ? 'once' : `${count} times`;
}

/** `<id>:<revision>`. */
export function nameOf(ref: PolicyRef): string {
  return `${ref.id}:${ref.revision}`;
}

/** How an agent stands, for the inspector's page: its status with the sentences that are said of it. */
import type { Status } from '../wire/control.ts';
import type { Standing } from '../wire/inspector.ts';
import { convergence } from './convergence.ts';
import { statusSentence } from './status-sentence.ts';

/** Pure. `at`: epoch ms. */
export function standingOf(status: Status, held: Standing['held'], at: number): Standing {
  return {
    status,
    // What is not as it should be is said beside it, as the reason why the agent is not converged.
    sentence: /^.+?[.!?…](?=\s|$)/.exec(statusSentence(status, at))?.[0] ?? '',
    convergence: convergence(status, at),
    held,
    at,
  };
}

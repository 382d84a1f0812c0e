/** Follows the agent of a home over its control socket, whichever process answers there. */
import { controlClient } from '../../services/control/client.ts';
import type { Environment } from '../../services/settings/load.ts';
import type { Status } from '../../wire/control.ts';

/** Between two tries to reach a socket that is not there yet. */
const TRY_AGAIN_MS = 100;

/** Resolves when `signal` is aborted. */
export async function followAgent(
  home: string,
  env: Environment,
  signal: AbortSignal,
  onStatus: (status: Status) => void,
): Promise<void> {
  const client = controlClient(home, env);
  while (!signal.aborted) {
    try {
      for await (const status of client.watch(signal)) onStatus(status);
    } catch {
      // Not up yet, or gone: its next process answers on the same socket.
    }
    if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, TRY_AGAIN_MS));
  }
}

/** How a command talks to the running server of a state directory. */
import { z } from 'zod';
import { HoldfastError } from '../errors.ts';
import { HEADER, parseErrorBody } from '../wire/fleet.ts';
import type { Sent } from './actions.ts';
import { ADMIN_PATH, type Listing, type SendRequest } from './admin.ts';
import { readAdminFile } from './server.ts';

const ANSWER_WITHIN_MS = 10_000;

/** Agents and policies as the server sees them now. */
export async function fetchListing(stateDir: string): Promise<Listing> {
  return (await ask(stateDir, 'GET', '/agents')) as Listing;
}

/** Sends an action; resolves when it is durable. */
export async function requestSend(stateDir: string, request: SendRequest): Promise<Sent> {
  return (await ask(stateDir, 'POST', '/actions', request)) as Sent;
}

async function ask(stateDir: string, method: string, path: string, body?: unknown): Promise<unknown> {
  const admin = await readAdminFile(stateDir).catch((error: Error) => {
    const message = `the state directory of the Fleet server cannot be read: ${error.message}`;
    throw new HoldfastError('SERVER_STATE', message, { cause: error });
  });
  if (!admin)
    throw new HoldfastError('SERVER_NOT_RUNNING', `no Fleet server has run with the state directory ${stateDir}`);
  const response = await fetch(`${admin.url}${ADMIN_PATH}${path}`, {
    method,
    headers: { [HEADER.authorization]: `Bearer ${admin.secret}`, [HEADER.contentType]: 'application/json' },
    signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  }).catch((error: unknown) => {
    throw new HoldfastError('SERVER_NOT_RUNNING', `no Fleet server answers on ${admin.url}`, { cause: error });
  });
  const value: unknown = await response.json().catch(() => null);
  if (response.ok && z.object({}).safeParse(value).success) return value;
  const error = parseErrorBody(value);
  // Something else has taken the port of a server that is gone.
  if (!error || response.status === 401 || response.status === 404) {
    throw new HoldfastError('SERVER_NOT_RUNNING', `what answers on ${admin.url} is not the server of ${stateDir}`);
  }
  throw new HoldfastError(error.error === 'USAGE' ? 'USAGE' : 'SERVER_REFUSED', error.message ?? error.error);
}

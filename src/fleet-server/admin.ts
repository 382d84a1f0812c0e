/** The admin API behind `holdfast fleet agents` and `holdfast fleet send`: same listener, loopback only, with the secret of the state directory. */
import { Hono } from 'hono';
import { z } from 'zod';
import { HoldfastError } from '../errors.ts';
import { ACTION_TYPES, HEADER } from '../wire/fleet.ts';
import { type SendOptions, type Sent, sendAction } from './actions.ts';
import type { Core } from './core.ts';
import { Fault } from './fault.ts';
import { answerFault, type HttpEnv, readJson } from './http.ts';
import { hashSecret, sameSecret } from './keys.ts';
import type { Policies } from './policies.ts';
import { type AgentView, agentView, type PolicyView } from './views.ts';

/** Below which path the admin API lives. */
export const ADMIN_PATH = '/holdfast';
const BODY_LIMIT_BYTES = 1024 * 1024;

/** What `GET /holdfast/agents` answers. */
export interface Listing {
  readonly policies: readonly PolicyView[];
  readonly agents: readonly AgentView[];
}

/** Where a running server is found and what opens it: `admin.json` in its state directory. */
export const adminFileSchema = z.object({ url: z.string(), secret: z.string(), pid: z.number() });
export type AdminFile = z.infer<typeof adminFileSchema>;

const sendRequestSchema = z.object({
  agent: z.string().min(1),
  type: z.string().regex(/^\w+$/, 'an action type is one word, such as SETTINGS'),
  /** JSON text. */
  data: z.string().optional(),
  input_type: z.string().optional(),
});
/** `POLICY_CHANGE` is refused further on, with what to do instead. */
const SENDABLE: readonly string[] = [...ACTION_TYPES, 'FORCE_UNENROLL', 'POLICY_CHANGE'];
export type SendRequest = z.input<typeof sendRequestSchema>;

export function listing(core: Core, policies: Policies): Listing {
  return {
    policies: policies.views(),
    agents: [...core.ledger.state.agents.values()].map((agent) => agentView(core, agent)),
  };
}

export function adminApi(core: Core, policies: Policies): Hono<HttpEnv> {
  const app = new Hono<HttpEnv>();
  const secretHash = hashSecret(core.ledger.state.adminSecret);

  app.use('*', async (c, next) => {
    const address = c.env.incoming.socket.remoteAddress ?? '';
    if (!/^(::ffff:)?127\.|^::1$/.test(address)) return c.text('404 page not found\n', 404);
    const secret = /^Bearer (.+)$/.exec(c.req.header(HEADER.authorization) ?? '')?.[1];
    if (secret === undefined || !sameSecret(secret, secretHash))
      throw new Fault(401, 'Unauthorized', 'wrong admin secret');
    return next();
  });
  app.get('/agents', (c) => c.json(listing(core, policies)));
  app.post('/actions', async (c) => {
    const { agent, type, data, input_type } = await readJson(c, sendRequestSchema, { wireBytes: BODY_LIMIT_BYTES });
    if (!SENDABLE.includes(type)) {
      throw new HoldfastError(
        'USAGE',
        `no agent is ever sent an action of type ${type}; there are ${SENDABLE.join(', ')}`,
      );
    }
    const options: SendOptions = {
      ...(data === undefined ? {} : { data }),
      ...(input_type === undefined ? {} : { inputType: input_type }),
    };
    const sent: Sent = await sendAction(core, agent, type, options);
    return c.json(sent);
  });
  app.onError((error, c) => {
    if (error instanceof Fault) return answerFault(c, error);
    const code = error instanceof HoldfastError ? error.code : 'INTERNAL';
    return answerFault(c, new Fault(code === 'INTERNAL' ? 500 : 422, code, error.message));
  });
  return app;
}

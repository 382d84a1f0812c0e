/** The Fleet API: which request is checked for what, in which order, and handed to whom. */
import { Hono } from 'hono';
import {
  API_VERSION,
  acksRequestSchema,
  auditUnenrollRequestSchema,
  checkinRequestSchema,
  enrollRequestSchema,
  HEADER,
  LIMIT,
} from '../wire/fleet.ts';
import { acks } from './acks.ts';
import { checkin } from './checkin.ts';
import type { Core } from './core.ts';
import { Enrollment, policyOfToken } from './enrollment.ts';
import { Fault, unauthorized } from './fault.ts';
import { answerFault, answerJson, type HttpContext, type HttpEnv, readJson } from './http.ts';
import { decodeKey, readApiKeyHeader, sameSecret } from './keys.ts';
import type { StoredAgent } from './state.ts';

export function fleetApi(core: Core): Hono<HttpEnv> {
  const app = new Hono<HttpEnv>();
  const enrollment = new Enrollment(core);

  app.get('/api/status', async (c) => {
    checkApiVersion(c);
    return answerJson(c, 200, '{"name":"fleet-server","status":"HEALTHY"}');
  });

  app.post('/api/fleet/agents/enroll', async (c) => {
    requireUserAgent(c);
    checkApiVersion(c);
    const policyId = policyOfToken(core.ledger.state, readApiKeyHeader(c.req.header(HEADER.authorization)));
    checkUserAgent(c);
    const body = await readJson(c, enrollRequestSchema, { wireBytes: LIMIT.enrollBodyBytes });
    return answerJson(c, 200, await enrollment.enroll(policyId, body));
  });

  app.post('/api/fleet/agents/:id/checkin', async (c) => {
    requireUserAgent(c);
    checkApiVersion(c);
    const agent = authenticate(core, c);
    checkUserAgent(c);
    const body = await readJson(c, checkinRequestSchema, {
      wireBytes: LIMIT.checkinBodyBytes,
      inflatedBytes: LIMIT.checkinInflatedBytes,
    });
    const gone = new AbortController();
    const leave = (): void => gone.abort();
    c.env.outgoing.once('close', leave);
    try {
      return await answerJson(c, 200, await checkin(core, agent, body, gone.signal));
    } finally {
      c.env.outgoing.off('close', leave);
    }
  });

  app.post('/api/fleet/agents/:id/acks', async (c) => {
    checkApiVersion(c);
    const agent = authenticate(core, c);
    const body = await readJson(c, acksRequestSchema, { wireBytes: LIMIT.acksBodyBytes });
    const { status, text } = await acks(core, agent, body);
    return answerJson(c, status, text);
  });

  app.post('/api/fleet/agents/:id/audit/unenroll', async (c) => {
    checkApiVersion(c);
    const agent = authenticate(core, c);
    const { reason } = await readJson(c, auditUnenrollRequestSchema, { wireBytes: LIMIT.auditBodyBytes });
    if (agent.audit?.reason === 'orphaned')
      throw new Fault(409, 'ErrAuditReasonConflict', 'agent document contains audit_unenroll_reason: orphaned');
    agent.audit = { reason, at: core.clock.now() };
    core.ledger.changed();
    await core.ledger.durable();
    return c.body(null, 200);
  });

  for (const path of ['enroll', ':id/checkin', ':id/acks', ':id/audit/unenroll']) {
    app.all(`/api/fleet/agents/${path}`, (c) => c.body(null, 405));
  }
  app.all('/api/status', (c) => c.body(null, 405));
  app.notFound((c) => c.text('404 page not found\n', 404));
  app.onError((error, c) => {
    if (error instanceof Fault) return answerFault(c, error);
    core.log('error', `${c.req.method} ${c.req.path}: ${error.message}`);
    // Nothing of this kind is the request's fault; 503 is what agents try again.
    return answerFault(c, new Fault(503, 'ServiceUnavailable', error.message));
  });
  return app;
}

function checkApiVersion(c: HttpContext): void {
  c.header(HEADER.apiVersion, API_VERSION);
  const version = c.req.header(HEADER.apiVersion);
  if (version === undefined || version === API_VERSION) return;
  if (!/^\d{4}-\d{2}-\d{2}$/.test(version)) {
    throw new Fault(400, 'ErrInvalidAPIVersionFormat', `invalid version format: ${version}`);
  }
  throw new Fault(400, 'ErrUnsupportedAPIVersion', `version ${version} is not supported, only ${API_VERSION} is`);
}

/** Fleet Server answers a missing User-Agent with 500, before anything else. */
function requireUserAgent(c: HttpContext): void {
  if (c.req.header(HEADER.userAgent)) return;
  throw new Fault(500, 'BadRequest', 'Header parameter User-Agent is required, but not found');
}

function checkUserAgent(c: HttpContext): void {
  const userAgent = (c.req.header(HEADER.userAgent) ?? '').toLowerCase();
  if (!userAgent.startsWith('elastic agent ')) throw new Fault(400, 'InvalidUserAgent', 'user-agent is invalid');
  const version = userAgent.slice('elastic agent '.length).trim().replace(/^v/, '').split('-')[0] ?? '';
  const [, major, minor] = /^(\d+)\.(\d+)(?:\.\d+)?$/.exec(version) ?? [];
  if (major === undefined) throw new Fault(400, 'InvalidUserAgent', 'user-agent is invalid');
  // This server follows no version of its own, so there is a lower bound only.
  if (Number(major) < 7 || (Number(major) === 7 && Number(minor) < 13)) {
    throw new Fault(400, 'UnsupportedVersion', 'version is not supported');
  }
}

/** The agent of the path, when the key is its own and it is active. */
function authenticate(core: Core, c: HttpContext): StoredAgent {
  const key = decodeKey(readApiKeyHeader(c.req.header(HEADER.authorization)));
  const { agents } = core.ledger.state;
  const addressed = agents.get(c.req.param('id') ?? '');
  const owner =
    addressed?.accessKeyId === key.id ? addressed : [...agents.values()].find((agent) => agent.accessKeyId === key.id);
  if (!owner || !sameSecret(key.secret, owner.accessKeyHash)) throw unauthorized();
  if (owner !== addressed) throw new Fault(403, 'ErrAgentIdentity', 'Agent header contains wrong identifier');
  if (!owner.active) throw new Fault(401, 'ErrAgentInactive', 'Agent inactive');
  return owner;
}

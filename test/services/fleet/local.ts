/** Host facts, settings and requests for the tests of the Fleet client. */
import type { PollRequest } from '../../../src/machines/gateway-context.ts';
import type { LocalFacts } from '../../../src/services/fleet/bodies.ts';
import { type FleetPortsOptions, fleetPorts } from '../../../src/services/fleet/ports.ts';
import { systemClock } from '../../../src/services/host/clock.ts';
import { report } from '../../machines/link-fixtures.ts';

export const local: LocalFacts = {
  host: {
    host: { architecture: 'x86_64', hostname: 'h', name: 'h', id: 'machine', ip: ['10.0.0.1/24'], mac: [] },
    os: { family: 'debian', kernel: '6.1', platform: 'debian', version: '12', name: 'Debian', full: 'Debian 12' },
  },
  agentVersion: '9.2.0',
  version: '0.1.0',
  logLevel: 'info',
  unprivileged: false,
};

export const settings: FleetPortsOptions['settings'] = {
  agentVersion: '9.2.0',
  ssl: { certificateAuthorities: [], certificate: null, key: null, verificationMode: 'full' },
  proxyUrl: null,
  environmentProxy: { https: null, http: null, no: null },
  checkin: { pollTimeoutMs: 420_000 },
};

export function ports(changed: Partial<FleetPortsOptions> = {}) {
  return fleetPorts({
    settings,
    clock: systemClock,
    local: () => local,
    accessKey: 'a2V5OnNlY3JldA==',
    verifyHeld: async () => null,
    readPolicy: async () => ({ text: '{}' }),
    ...changed,
  });
}

export function poll(host: string, changed: Partial<PollRequest> = {}): PollRequest {
  return { agentId: 'agent-1', host, token: '', policyId: '', revision: 0, report, ...changed };
}

/** How Fleet is reached: the settings, and where they say nothing the way it was reached at enrollment. */
import type { Identity } from '../store/identity.ts';
import type { FleetSettings } from './settings.ts';

type Enrolled = Pick<Identity, 'hosts' | 'insecure' | 'certificateAuthorities'>;

/**
 * `--insecure` at enrollment was said about the hosts enrolled with, and about nothing else: certificates stay unverified only for those, and only
 * while neither `fleet.ssl.verification_mode` nor `fleet.insecure` is set. For any other host, or once either is set, the safe reading holds.
 */
export function withIdentity(fleet: FleetSettings, identity: Enrolled | null): FleetSettings {
  const { certificateAuthorities, verificationMode } = fleet.ssl;
  const stored = identity?.certificateAuthorities ?? [];
  return {
    ...fleet,
    ssl: {
      ...fleet.ssl,
      certificateAuthorities: certificateAuthorities.length > 0 ? certificateAuthorities : stored,
      verificationMode: verificationMode ?? (identity !== null && isStillInsecure(fleet, identity) ? 'none' : 'full'),
    },
  };
}

function isStillInsecure({ hosts }: FleetSettings, identity: Enrolled): boolean {
  return identity.insecure && hosts.every((host) => identity.hosts.includes(host));
}

/** Said at each start while certificates are not verified because of how the agent was enrolled; null: they are, or the settings say so. */
export function insecureWarning(fleet: FleetSettings, identity: Enrolled | null): string | null {
  const hosts = fleet.hosts.length > 0 ? fleet.hosts : (identity?.hosts ?? []);
  const secure = hosts.filter((host) => /^https:/i.test(host));
  if (fleet.ssl.verificationMode !== null || secure.length === 0) return null;
  if (withIdentity(fleet, identity).ssl.verificationMode !== 'none') return null;
  return (
    `the certificate of ${secure.join(', ')} is not verified, since this agent was enrolled with --insecure; ` +
    'set fleet.ssl.verification_mode: full to verify it'
  );
}

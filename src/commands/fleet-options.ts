/** The options that say which Fleet to enroll with, shared by `enroll` and `run`. */
import type { Command } from 'commander';
import { absolutePem } from '../services/fleet/pem.ts';
import type { Flag } from '../services/settings/read.ts';
import { collect } from './options.ts';

export interface FleetOptions {
  readonly url?: readonly string[];
  readonly enrollmentToken?: string;
  readonly insecure?: boolean;
  readonly ca?: readonly string[];
  readonly tag?: readonly string[];
}

export function addFleetOptions(command: Command): Command {
  return command
    .option('--url <url>', 'URL of a Fleet Server (FLEET_URL); may be repeated', collect)
    .option('--enrollment-token <token>', 'enrollment token (FLEET_ENROLLMENT_TOKEN)')
    .option(
      '--insecure',
      'allow http://, and do not verify the certificates of these URLs unless fleet.ssl.verification_mode is set (FLEET_INSECURE)',
    )
    .option('--ca <file>', 'certificate authority to trust (FLEET_CA); may be repeated', collect)
    .option('--tag <tag>', 'tag of this agent in Fleet; may be repeated', collect);
}

export function fleetFlags(options: FleetOptions): Flag[] {
  return [
    { option: '--url', key: 'fleet.hosts', value: options.url },
    { option: '--enrollment-token', key: 'fleet.enrollment_token', value: options.enrollmentToken },
    { option: '--insecure', key: 'fleet.insecure', value: options.insecure },
    { option: '--ca', key: 'fleet.ssl.certificate_authorities', value: options.ca?.map(absolutePem) },
    { option: '--tag', key: 'fleet.tags', value: options.tag },
  ];
}

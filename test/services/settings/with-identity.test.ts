import { describe, expect, it } from 'vitest';
import { readSettings } from '../../../src/services/settings/read.ts';
import { insecureWarning, withIdentity } from '../../../src/services/settings/with-identity.ts';

const settings = (text: string, env: Record<string, string> = {}) =>
  readSettings({ file: { path: 'holdfast.yml', text }, env, flags: [] }).settings.fleet;
const identity = { hosts: ['https://a:8220'], insecure: true, certificateAuthorities: ['/etc/ca.pem'] };
const mode = (text: string, from: typeof identity | null = identity) =>
  withIdentity(settings(text), from).ssl.verificationMode;

describe('the certificates of Fleet', () => {
  it('stay unverified after --insecure at enrollment, for the hosts enrolled with', () => {
    expect(mode('')).toBe('none');
    expect(mode('fleet.hosts: [https://a:8220/]')).toBe('none');
  });

  it('are verified as soon as the settings say so, however the agent was enrolled', () => {
    expect(mode('fleet.ssl.verification_mode: full')).toBe('full');
    expect(mode('fleet.ssl.verification_mode: certificate')).toBe('certificate');
    expect(mode('fleet.insecure: false')).toBe('full');
    expect(mode('fleet: {insecure: true, ssl.verification_mode: full}')).toBe('full');
  });

  it('are verified for a host that was not enrolled with', () => {
    expect(mode('fleet.hosts: [https://b:8220]')).toBe('full');
    expect(mode('fleet.hosts: [https://a:8220, https://b:8220]')).toBe('full');
    expect(mode('fleet.hosts: [https://a:8220]', { ...identity, hosts: ['http://a:8220'] })).toBe('full');
  });

  it('are verified when nothing was ever said', () => {
    expect(mode('', { ...identity, insecure: false })).toBe('full');
    expect(mode('', null)).toBe('full');
  });

  it('are not verified when the settings say that', () => {
    expect(mode('fleet.ssl.verification_mode: none', { ...identity, insecure: false })).toBe('none');
    expect(mode('fleet.insecure: true', null)).toBe('none');
  });

  it('are said not to be verified, with the setting that ends it, where only the enrollment is the reason', () => {
    expect(insecureWarning(settings(''), identity)).toMatch(/https:\/\/a:8220.*fleet\.ssl\.verification_mode: full/);
    expect(insecureWarning(settings('fleet.insecure: true'), identity)).toBeNull();
    expect(insecureWarning(settings(''), { ...identity, hosts: ['http://a:8220'] })).toBeNull();
    expect(insecureWarning(settings(''), { ...identity, insecure: false })).toBeNull();
  });
});

describe('the authorities of Fleet', () => {
  it('are those of the enrollment until the settings name others', () => {
    expect(withIdentity(settings(''), identity).ssl.certificateAuthorities).toEqual(['/etc/ca.pem']);
    const named = settings('fleet.ssl.certificate_authorities: [/other.pem]');
    expect(withIdentity(named, identity).ssl.certificateAuthorities).toEqual(['/other.pem']);
  });
});

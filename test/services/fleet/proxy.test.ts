import { describe, expect, it } from 'vitest';
import { type ProxySettings, proxyFor, UnusableProxy } from '../../../src/services/fleet/proxy.ts';

const none: ProxySettings = { proxyUrl: null, environmentProxy: { https: null, http: null, no: null } };

function through(host: string, environment: Partial<ProxySettings['environmentProxy']>): string | null {
  return proxyFor(host, { ...none, environmentProxy: { ...none.environmentProxy, ...environment } })?.href ?? null;
}

describe('the proxy of the environment', () => {
  it('is HTTPS_PROXY for https hosts and HTTP_PROXY for http hosts, and neither stands in for the other', () => {
    const both = { https: 'http://secure:1', http: 'http://plain:2' };
    expect(through('https://fleet.example', both)).toBe('http://secure:1/');
    expect(through('http://fleet.example', both)).toBe('http://plain:2/');
    expect(through('https://fleet.example', { http: both.http })).toBeNull();
    expect(through('http://fleet.example', { https: both.https })).toBeNull();
  });

  it('may be given without a scheme, which means http', () => {
    expect(through('http://fleet.example', { http: 'proxy.corp:3128' })).toBe('http://proxy.corp:3128/');
    expect(through('https://fleet.example', { https: 'user:pass@10.0.0.1:8080' })).toBe(
      'http://user:pass@10.0.0.1:8080/',
    );
  });

  it('is refused when nothing can be made of it, without its password in the message', () => {
    expect(() => through('https://fleet.example', { https: 'ftp://user:secret@proxy:1' })).toThrow(UnusableProxy);
    expect(() => through('https://fleet.example', { https: 'ftp://user:secret@proxy:1' })).toThrow(/^HTTPS_PROXY/);
    expect(() => through('https://fleet.example', { https: 'ftp://user:secret@proxy:1' })).not.toThrow(/secret/);
  });

  it.each(['https://localhost:8220', 'https://127.0.0.1:8220', 'https://127.9.9.9', 'https://[::1]:8220'])(
    'is never used for this host itself: %s',
    (host) => {
      expect(through(host, { https: 'http://proxy:1' })).toBeNull();
    },
  );

  it.each([
    ['*', 'fleet.example', true],
    ['fleet.example', 'fleet.example', true],
    ['fleet.example', 'a.fleet.example', true],
    ['fleet.example', 'myfleet.example', false],
    ['.fleet.example', 'fleet.example', false],
    ['.fleet.example', 'a.fleet.example', true],
    ['*.fleet.example', 'fleet.example', false],
    ['*.fleet.example', 'a.fleet.example', true],
    ['FLEET.example', 'fleet.EXAMPLE', true],
    ['fleet.example:8220', 'fleet.example:8220', true],
    ['fleet.example:8221', 'fleet.example:8220', false],
    ['fleet.example:443', 'fleet.example', true],
    ['10.0.0.1', '10.0.0.1:8220', true],
    ['10.0.0.1:8221', '10.0.0.1:8220', false],
    ['10.0.0.0/8', '10.1.2.3:8220', true],
    ['10.0.0.0/8', '11.1.2.3:8220', false],
    ['10.0.0.0/8', 'fleet.example', false],
    ['fd00::/8', '[fd00::1]:8220', true],
    ['fd00::1', '[fd00:0:0::1]:8220', true],
    ['[fd00::1]:8220', '[fd00::1]:8220', true],
    ['[fd00::1]:1', '[fd00::1]:8220', false],
    ['other.example , fleet.example', 'fleet.example', true],
    ['', 'fleet.example', false],
  ])('NO_PROXY=%s lets %s by: %s', (no, host, direct) => {
    expect(through(`https://${host}`, { https: 'http://proxy:1', no })).toBe(direct ? null : 'http://proxy:1/');
  });
});

describe('the proxy of the settings', () => {
  it('is used for every host, whatever the environment says', () => {
    const settings = { proxyUrl: 'http://own:1', environmentProxy: { https: 'http://p:2', http: null, no: '*' } };
    expect(proxyFor('https://fleet.example', settings)?.href).toBe('http://own:1/');
    expect(proxyFor('http://127.0.0.1:8220', settings)?.href).toBe('http://own:1/');
  });
});

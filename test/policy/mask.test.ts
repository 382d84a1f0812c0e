// Secrets stay out of everything people read.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parse as parseYaml } from 'yaml';
import { canonicalJson } from '../../src/policy/canonical.ts';
import { isObject, type JsonValue } from '../../src/policy/json.ts';
import { isSecretKey, MASK, mask, maskText, policyYaml, secretsIn } from '../../src/policy/mask.ts';
import { json, objectOf } from './arbitraries.ts';

const secret = fc.stringMatching(/^[0-9a-f]{20,40}$/);
const secretKey = fc.constantFrom(
  'password',
  'api_key',
  'apiKey',
  'Token',
  'ssl.key',
  'key_passphrase',
  'client_secret',
  'Authorization',
  'X-Api-Key',
  'secrets',
  'bind_password',
);

describe('a masked policy', () => {
  test('never holds a secret that stands under a secret key, at any depth, also where it is repeated', () => {
    fc.assert(
      fc.property(json, secretKey, secret, fc.nat(3), (around, key, planted, depth) => {
        let value: JsonValue = { [key]: planted, list: [{ [key]: [planted, { deep: planted }] }] };
        for (let i = 0; i < depth; i++) value = [{ inner: value, config: `pass=${planted};` }];
        const policy = { around, value, note: `before ${planted} after` };
        expect(canonicalJson(mask(policy))).not.toContain(planted);
        expect(policyYaml(canonicalJson(policy))).not.toContain(planted);
        expect(secretsIn(policy)).toContain(planted);
      }),
    );
  });

  test('shows the directory of a shell, and hides a password under the same name', () => {
    const variables = { env: { PWD: '/srv/agent' }, path: { home: '/srv/agent/home' } };
    expect(mask(variables)).toEqual(variables);
    expect(secretsIn(variables)).toEqual([]);
    expect(mask({ PWD: 'hunter22', pwd: '/hunter22' })).toEqual({ PWD: MASK, pwd: MASK });
  });

  test('never holds what its secret_paths name', () => {
    fc.assert(
      fc.property(json, secret, secret, (around, one, two) => {
        const policy = {
          secret_paths: ['inputs.0.streams.1.config', 'outputs.default.ssl.pin.code', 'around'],
          inputs: [{ streams: [{ around }, { config: one, url: `http://x/?k=${one}` }] }],
          outputs: { default: { ssl: { 'pin.code': { nested: [two] } } } },
        };
        const masked = canonicalJson(mask(policy));
        expect(masked).not.toContain(one);
        expect(masked).not.toContain(two);
      }),
    );
  });

  test('keeps everything else as it was', () => {
    const policy = {
      id: 'p',
      revision: 3,
      inputs: [{ id: 'a', type: 'nginx', routing_key: 'x', key_id: 'kid', token_url: 'https://t', streams: [] }],
      secret_paths: ['inputs.0.gone'],
    };
    expect(mask(policy)).toEqual(policy);
  });

  test('has the shape it had', () => {
    const shape = (value: JsonValue): unknown =>
      Array.isArray(value)
        ? value.map(shape)
        : isObject(value)
          ? objectOf(Object.entries(value).map(([k, v]) => [k, shape(v) as JsonValue]))
          : '·';
    fc.assert(
      fc.property(json, (value) => {
        expect(canonicalJson(shape(mask(value)))).toBe(canonicalJson(shape(value)));
      }),
    );
  });

  test('masks short secrets and numbers where they stand, and switches not at all', () => {
    expect(mask({ password: 'x', pin: 'x', token: 123456789, secret: true, api_key: null, key: '' })).toEqual({
      password: MASK,
      pin: 'x',
      token: MASK,
      secret: true,
      api_key: null,
      key: '',
    });
  });

  test('masks the value beside a secret name', () => {
    expect(
      mask([
        { name: 'X-Auth-Token', value: 'abc' },
        { name: 'Accept', value: 'abc' },
      ]),
    ).toEqual([
      { name: 'X-Auth-Token', value: MASK },
      { name: 'Accept', value: 'abc' },
    ]);
  });

  test('hides a private key that nobody knows beside one that is known', () => {
    const pem = (body: string) => `-----BEGIN PRIVATE KEY-----\n${body}\n-----END PRIVATE KEY-----`;
    const secrets = secretsIn({ ssl: { key: pem('the-known-one') } });
    expect(maskText(pem('another'), secrets)).toBe(MASK);
    expect(maskText('its middle is the-known-one', secrets)).toBe(`its middle is ${MASK}`);
  });

  test('masks passwords in URLs and private keys in text', () => {
    expect(maskText('to https://user:hunter22@host:9200/x', [])).toBe(`to https://user:${MASK}@host:9200/x`);
    expect(maskText('a\n-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nb', [])).toBe(
      `a\n${MASK}\nb`,
    );
    expect(maskText('said s3cr3t-value twice: s3cr3t-value', ['s3cr3t-value'])).toBe(`said ${MASK} twice: ${MASK}`);
  });
});

test.each([
  ['password', true],
  ['ES_PASSWORD', true],
  ['apiKey', true],
  ['api_key', true],
  ['ssl.key', true],
  ['key', true],
  ['private-key', true],
  ['enrollment_token', true],
  ['uninstall_token_hash', true],
  ['passphrase', true],
  ['Authorization', true],
  ['service_token', true],
  ['certificate_key', true],
  ['secret', true],
  ['aws.credentials', true],
  ['id', false],
  ['key_id', false],
  ['routing_key', false],
  ['public_key', false],
  ['keyword', false],
  ['keystore', false],
  ['tokenizer', false],
  ['token_url', false],
  ['secret_paths', false],
  ['password_file', false],
  ['monkey', false],
  ['hosts', false],
  ['compass', false],
  ['author', false],
])('the key %s is secret: %s', (name, expected) => {
  expect(isSecretKey(name)).toBe(expected);
});

test('policy.yml is YAML that says it is derived, with all digits', () => {
  const yaml = policyYaml(
    '{"id":"web","big":12345678901234567890,"exact":1.0000000000000000000001,"password":"abcdefgh"}',
  );
  expect(yaml).toMatch(/^# The last good policy, for people to read/);
  expect(yaml).toContain('big: 12345678901234567890');
  expect(yaml).toContain('exact: 1.0000000000000000000001');
  expect(parseYaml(yaml)).toMatchObject({ id: 'web', password: MASK });
  expect(policyYaml('{')).toContain('it is not JSON');
});

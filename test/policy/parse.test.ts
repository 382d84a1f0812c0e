// Typed policies: what a stock Fleet Server sends is taken, and every complaint names its place.
import { describe, expect, test } from 'vitest';
import { canonicalJson } from '../../src/policy/canonical.ts';
import { parsePolicy, parsePolicyYaml } from '../../src/policy/parse.ts';
import { OUTPUTS } from './support.ts';

const complaint = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    expect(error).toMatchObject({ name: 'HoldfastError', code: 'POLICY_UNPARSABLE' });
    return (error as Error).message;
  }
  throw new Error('nothing was thrown');
};

describe('a policy', () => {
  test('as a stock Fleet Server sends it is taken whole', () => {
    const stock = {
      id: 'p1',
      revision: 3,
      outputs: { default: { type: 'elasticsearch', hosts: ['https://es:9200'], api_key: 'id:key' } },
      output_permissions: { default: {} },
      inputs: [
        {
          id: 'in-1',
          name: 'in-1',
          type: 'filestream',
          revision: 1,
          use_output: 'default',
          data_stream: { namespace: 'default' },
          meta: { package: { name: 'x', version: '1' } },
          streams: [],
        },
      ],
      agent: { monitoring: { enabled: false }, features: {}, protection: { enabled: false, signing_key: 'x' } },
      fleet: { hosts: ['https://fleet:8220'] },
      secret_paths: ['inputs.0.streams.0.password'],
      signed: { data: 'x', signature: 'y' },
    };
    expect(parsePolicy(canonicalJson(stock))).toMatchObject({
      empty: false,
      id: 'p1',
      revision: 3,
      secretPaths: stock.secret_paths,
      body: stock,
    });
  });

  test('with inputs null or absent has none, and {} is the empty one', () => {
    expect(parsePolicy('{"inputs":null,"outputs":null}')).toMatchObject({ empty: false, inputs: [] });
    expect(parsePolicy('{}')).toMatchObject({ empty: true, inputs: [], id: '', revision: 0 });
  });

  test.each<[unknown, string]>([
    [null, '(the whole document) is null, not an object'],
    [[], '(the whole document) is a list, not an object'],
    [{ inputs: {} }, 'inputs must be a list'],
    [{ inputs: [3] }, 'inputs[0] must be of type object'],
    [{ outputs: OUTPUTS, inputs: [{ id: 'a', type: 'x' }, { id: 'b' }] }, 'inputs[1].type is missing'],
    [
      { outputs: OUTPUTS, inputs: [{ type: 'x', streams: [{}, { id: 4 }] }] },
      'inputs[0].streams[1].id must be of type string',
    ],
    [{ outputs: OUTPUTS, inputs: [{ type: 'x', streams: 'all' }] }, 'inputs[0].streams must be a list'],
    [{ outputs: OUTPUTS, inputs: [{ type: 'x', enabled: 'yes' }] }, 'inputs[0].enabled must be true or false'],
    [{ outputs: { default: {} } }, 'outputs.default.type is missing'],
    [
      { outputs: OUTPUTS, inputs: [{ type: 'x', use_output: 'other' }] },
      'inputs[0].use_output names the output "other", which the policy does not have (it has: default)',
    ],
    [
      {
        outputs: OUTPUTS,
        inputs: [
          { id: 'a', type: 'x' },
          { id: 'a', type: 'y' },
        ],
      },
      'inputs[1].id is "a" like inputs[0].id',
    ],
    [
      { outputs: OUTPUTS, inputs: [{ type: 'x' }, { type: 'x' }] },
      'inputs[1].id is "x" like inputs[0].id (an input without id takes its type as id)',
    ],
    [{ secret_paths: [1] }, 'secret_paths[0] must be of type string'],
    [{ agent: [] }, 'agent must be of type object'],
    [{ revision: 1.5 }, 'revision'],
  ])('%j is refused: %s', (value, why) => {
    expect(complaint(() => parsePolicy(canonicalJson(value)))).toContain(why);
  });

  test('with a __proto__ key anywhere is refused by its path', () => {
    expect(complaint(() => parsePolicy('{"agent":{"a":[{"__proto__":1}]}}'))).toContain(
      'agent.a[0].__proto__ is a key that no policy may have',
    );
  });
});

describe('a policy file', () => {
  test('has the canonical text of what it says, big integers included', () => {
    const { policy, text } = parsePolicyYaml(
      'id: web\nbig: 12345678901234567890\nbase: &b {x: 1}\nuse: {<<: *b, y: 2}\n',
      'web.yml',
    );
    expect(text).toBe('{"base":{"x":1},"big":12345678901234567890,"id":"web","use":{"x":1,"y":2}}');
    expect(policy.id).toBe('web');
  });

  test.each([
    [
      'outputs:\n  default: {type: e}\ninputs:\n  - id: a\n    type: x\n    use_output: z\n',
      'web.yml:6:5: inputs[0].use_output names the output "z"',
    ],
    ['inputs:\n  - id: a\n', 'web.yml:2:5: inputs[0].type is missing'],
    ['id: a\nid: b\n', 'web.yml:2:1: Map keys must be unique'],
    ['id: [1, 2\nx: 3', 'web.yml:2:1'],
    ['a: !custom x', 'web.yml:1:4: a tag is not known'],
    ['a: .inf', 'web.yml:1:4: .inf is not a number that JSON knows'],
    ['? [1]\n: 2', 'web.yml:1:3: a key must be plain text'],
    ['a: 1\n---\nb: 1', 'web.yml:2:1: a second document begins here'],
    ['a: *nowhere', 'web.yml'],
    [`a: ${'['.repeat(5_000)}${']'.repeat(5_000)}`, 'nested more than 128 deep'],
    [`a: ${'['.repeat(150)}${']'.repeat(150)}`, 'nested more than 128 deep'],
    ['', 'web.yml:1:1: (the whole document) is null'],
  ])('%j is refused with line, column and path', (text, why) => {
    expect(complaint(() => parsePolicyYaml(text, 'web.yml'))).toContain(why);
  });

  test('with aliases that multiply is refused before they fill the memory', () => {
    const line = (name: string, of: string): string => `${name}: &${name} [${Array(9).fill(of).join(',')}]`;
    const bomb = [
      line('a', 'x'),
      ...['b', 'c', 'd', 'e', 'f', 'g', 'h'].map((name, i) => line(name, `*${'abcdefg'[i]}`)),
    ].join('\n');
    expect(complaint(() => parsePolicyYaml(bomb, 'web.yml'))).toContain('Excessive alias count');
  });
});

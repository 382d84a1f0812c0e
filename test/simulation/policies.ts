/** The policies of the simulated fleet: what each of them truly is, so that the oracle need not believe the agent. */
import { canonicalJson, sha256 } from '../../src/policy/canonical.ts';
import type { Rendering } from '../../src/policy/component.ts';
import type { JsonValue } from '../../src/policy/json.ts';
import { render } from '../../src/policy/render.ts';
import { parseSpec } from '../../src/policy/spec.ts';
import { variablesFor } from '../../src/policy/variables.ts';

export const HOME = '/home';

/** How a program behaves with its configuration. */
export type Behaviour =
  | 'ok'
  /** The launch itself fails. */
  | 'refuses'
  | 'crashes'
  | 'crashesLater'
  /** It runs and never becomes ready. */
  | 'hangs'
  /** Its own check says no. */
  | 'unchecked'
  /** It runs, and only SIGKILL ends it. */
  | 'stubborn'
  /** Whoever starts it dies of it. */
  | 'poison';

export type Kind =
  | 'good'
  /** Refused before anything is touched. */
  | 'unparsable'
  | 'unrendered'
  | 'unchecked'
  /** Breaks a component; refused where that one worked before. */
  | 'breaking'
  | 'poison'
  /** An input without a spec here: accepted, degraded. */
  | 'unsupported';

export interface SimPolicy {
  readonly id: string;
  readonly revision: number;
  readonly kind: Kind;
  /** As it stands in the answer, under `data.policy`. */
  readonly body: JsonValue;
  /** As the agent names it. */
  readonly hash: string;
  /** What each component does; by component id. */
  readonly behaviours: Readonly<Record<string, Behaviour>>;
}

export interface Wish {
  readonly id: string;
  readonly revision: number;
  readonly kind: Kind;
  /** Ids of its inputs of type `web`, `job` ones following. */
  readonly webs: readonly string[];
  readonly jobs: readonly string[];
  /** Changes the bytes and nothing else. */
  readonly key: string;
  /** What the first input does in a breaking policy. */
  readonly breaks: Behaviour;
  readonly stubborn: boolean;
  /** Says another id in the body than in the action. */
  readonly contradicts: boolean;
}

const SPEC = `
version: 2
inputs:
  - name: web
    description: a server
    platforms: [linux/amd64]
    outputs: ["*"]
    daemon:
      command: web
      args: ["\${component.dir}/web.conf"]
      files: [{ path: web.conf, from: config }]
      check: { args: ["-t"], timeout: 2s }
      reload: { signal: SIGHUP, confirm: { output: reloaded } }
      ready: { output: ready, timeout: 2s }
      stop: { signal: SIGTERM, grace: 1s }
      restart: { initial: 500ms, max: 4s, give_up_after: 3 }
  - name: job
    description: a worker
    platforms: [linux/amd64]
    outputs: ["*"]
    daemon:
      command: job
      files: [{ path: job.conf, from: config }]
      ready: { after: 100ms, timeout: 2s }
      health: { tcp: "127.0.0.1:80", every: 60s, fail_after: 2 }
      stop: { signal: SIGTERM, grace: 1s }
      restart: { initial: 500ms, max: 4s, give_up_after: 3 }
`;

export const SPECS = [parseSpec(SPEC, '/home/specs/sim.spec.yml', {})];

export const VARIABLES = variablesFor({
  env: {},
  host: { id: 'machine', name: 'host', platform: 'linux', architecture: 'amd64', ip: [], mac: [] },
  agent: { id: 'agent', version: '9.2.0' },
  path: {
    home: HOME,
    data: `${HOME}/components`,
    logs: `${HOME}/logs`,
    config: HOME,
    examples: '/examples',
    node: '/node',
  },
  local: {},
});

const rendered = new Map<string, Rendering | Error>();

/** The real renderer over the specs of the simulated host, each policy once. Throws what it threw. */
export function renderHere(text: string): Rendering {
  let result = rendered.get(text);
  if (result === undefined) {
    try {
      result = render(text, {
        specs: SPECS,
        variables: VARIABLES,
        paths: { componentsDir: `${HOME}/components` },
        platform: 'linux/amd64',
        unsupported: 'degrade',
      });
    } catch (error) {
      result = error as Error;
    }
    if (rendered.size > 500) rendered.clear();
    rendered.set(text, result);
  }
  if (result instanceof Error) throw result;
  return result;
}

/** What the program reads in its rendered configuration. */
export function behaviourIn(files: readonly { readonly content: string }[]): Behaviour {
  return (/^behave (\w+)$/m.exec(files[0]?.content ?? '')?.[1] as Behaviour | undefined) ?? 'ok';
}

/** The key with which its components write to their output. */
export function outputKeyOf({ body }: SimPolicy): string {
  const { outputs } = body as { readonly outputs: { readonly default: { readonly api_key: string } } };
  return outputs.default.api_key;
}

export function policyOf(wish: Wish): SimPolicy {
  const { id, revision, kind, webs, jobs, key } = wish;
  const behaviours: Record<string, Behaviour> = {};
  const input = (type: string, name: string, at: number): JsonValue => {
    const first = at === 0 && type === (webs.length > 0 ? 'web' : 'job');
    const behaviour: Behaviour =
      first && kind === 'breaking'
        ? wish.breaks
        : first && kind === 'unchecked'
          ? 'unchecked'
          : first && kind === 'poison'
            ? 'poison'
            : wish.stubborn
              ? 'stubborn'
              : 'ok';
    behaviours[`${type}-default-${name}`] = behaviour;
    return {
      id: name,
      type,
      use_output: 'default',
      ...(first && kind === 'unrendered' ? {} : { config: `behave ${behaviour}\nrevision ${id} ${revision}\n` }),
    };
  };
  const inputs: JsonValue[] = [
    ...webs.map((name, at) => input('web', name, at)),
    ...jobs.map((name, at) => input('job', name, at)),
  ];
  if (kind === 'unsupported') inputs.push({ id: 'else', type: 'elsewhere', use_output: 'default' });
  const body: JsonValue = {
    id: wish.contradicts ? `${id}-copy` : id,
    revision: wish.contradicts ? revision + 7 : revision,
    outputs: { default: { type: 'elasticsearch', hosts: ['https://es:9200'], api_key: key } },
    inputs: kind === 'unparsable' ? 5 : inputs,
  };
  return { id, revision, kind, body, hash: sha256(canonicalJson(body)), behaviours };
}

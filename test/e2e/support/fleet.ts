/** The embedded Fleet server on a loopback port, with every request seen, and each one held, dropped or answered as a test wants it. */
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../../../src/fleet-server/clock.ts';
import type { Interception, SeenRequest } from '../../../src/fleet-server/interception.ts';
import { createFleetServer, type FleetServer } from '../../../src/fleet-server/server.ts';
import type { AgentView } from '../../../src/fleet-server/views.ts';
import { Signal } from './waiting.ts';

export const TOKEN = 'e2e';
export const POLICY_ID = 'web';

export type { Interception, SeenRequest };

type Match = (request: SeenRequest) => boolean;

/** A request that waits for the test. */
export interface Held {
  readonly request: SeenRequest;
  /** Lets it go on as `fate` says; nothing: as if it had never been held. */
  release(fate?: Interception): void;
}

/** An input of a policy. `config` goes to the program as it is. */
export interface PolicyInput {
  readonly id: string;
  readonly type: string;
  readonly config?: string;
  readonly [key: string]: unknown;
}

export class TestFleet {
  /** Every request, in the order of arrival, over all lives of the server. */
  readonly requests: SeenRequest[] = [];
  readonly #directory: string;
  readonly #pollMs: number;
  readonly #signal = new Signal();
  readonly #interceptors: ((request: SeenRequest) => Interception | Promise<Interception>)[] = [];
  #server: FleetServer | null = null;
  #address = '127.0.0.1:0';

  private constructor(directory: string, pollMs: number) {
    this.#directory = directory;
    this.#pollMs = pollMs;
  }

  /** A server on `directory`; `pollMs`: how long an idle poll is held. */
  static async start(directory: string, pollMs: number): Promise<TestFleet> {
    await mkdir(join(directory, 'policies'), { recursive: true });
    const fleet = new TestFleet(directory, pollMs);
    await fleet.save('inputs: []');
    await fleet.start();
    return fleet;
  }

  /** A server on a directory that one has run on; on an empty one it begins like {@link TestFleet.start}. */
  static async resume(directory: string, pollMs: number): Promise<TestFleet> {
    if (!existsSync(join(directory, 'policies'))) return TestFleet.start(directory, pollMs);
    const fleet = new TestFleet(directory, pollMs);
    await fleet.start();
    return fleet;
  }

  get url(): string {
    return `http://${this.#address}`;
  }

  get server(): FleetServer {
    if (this.#server === null) throw new Error('the Fleet server does not run');
    return this.#server;
  }

  /** Starts it again where it was: same port, same state. */
  async start(): Promise<void> {
    const seen = this.requests;
    const changed = () => this.#signal.changed();
    this.#server = await createFleetServer({
      policiesDir: join(this.#directory, 'policies'),
      stateDir: join(this.#directory, 'state'),
      listen: this.#address,
      token: TOKEN,
      random: () => 0,
      // The server sets a timer whenever it has taken note of something, or begins to hold a poll: that is when there is something new to see.
      clock: {
        ...systemClock,
        setTimeout: (callback, ms) => {
          queueMicrotask(changed);
          return systemClock.setTimeout(callback, ms);
        },
      },
      poll: { defaultMs: this.#pollMs, jitterMs: 0, marginMs: 0, minMs: 1, maxMs: this.#pollMs },
      folder: { debounceMs: 10, rescanMs: 3_600_000 },
      hooks: {
        intercept: async (request) => {
          seen.push(tellOfAnswer(request, changed));
          changed();
          for (const interceptor of this.#interceptors) {
            const fate = await interceptor(request);
            if (fate !== undefined) return fate;
          }
          return undefined;
        },
      },
    });
    this.#address = new URL(this.#server.url).host;
  }

  async stop(): Promise<void> {
    await this.#server?.close();
    this.#server = null;
  }

  /** As SIGKILL would end it. */
  async kill(): Promise<void> {
    await this.#server?.kill();
    this.#server = null;
  }

  /** Makes a new revision of the policy that the agent has; resolves with its number when the server has it. */
  async policy(inputs: readonly PolicyInput[], more: Readonly<Record<string, unknown>> = {}): Promise<number> {
    const outputs = { default: { type: 'none' } };
    // JSON is YAML.
    return this.policyText(JSON.stringify({ outputs, inputs, ...more }));
  }

  /** The same with the text of the file, and of any policy. */
  async policyText(yaml: string, policyId = POLICY_ID): Promise<number> {
    await this.save(yaml, policyId);
    await this.#server?.rescan();
    return this.#server?.policies().find(({ id }) => id === policyId)?.revision ?? 0;
  }

  private async save(yaml: string, policyId = POLICY_ID): Promise<void> {
    await writeFile(join(this.#directory, 'policies', `${policyId}.yml`), yaml);
  }

  /** The agent, as the server knows it. */
  agent(): AgentView {
    const [agent] = this.server.agents();
    if (agent === undefined) throw new Error('no agent has enrolled');
    return agent;
  }

  /** Resolves when what the server knows of the agent fits, looked at after every request and answer. */
  until(matches: (agent: AgentView) => boolean, what: string): Promise<AgentView> {
    return this.#signal.until(
      () => this.#server?.agents().find(matches),
      `Fleet to know of the agent: ${what}`,
      () => JSON.stringify(this.#server?.agents(), null, 1),
    );
  }

  /** Resolves with the first request that fits, among those from number `from` on (0: ever). */
  request(matches: Match, what: string, from = 0): Promise<SeenRequest> {
    return this.#signal.until(
      () => this.requests.slice(from).find(matches),
      `a request: ${what}`,
      () => this.requests.map(inOneLine).join('\n'),
    );
  }

  /** Asked for every request from now on, before those asked earlier; the returned function ends that. */
  intercept(interceptor: (request: SeenRequest) => Interception | Promise<Interception>): () => void {
    this.#interceptors.unshift(interceptor);
    return () => {
      const at = this.#interceptors.indexOf(interceptor);
      if (at >= 0) this.#interceptors.splice(at, 1);
    };
  }

  /** Holds the next request that fits, before it has any effect. */
  hold(matches: Match): Promise<Held> {
    return new Promise((arrived) => {
      const end = this.intercept((request) => {
        if (!matches(request)) return undefined;
        end();
        return new Promise<Interception>((decide) => {
          arrived({ request, release: (fate) => decide(fate) });
        });
      });
    });
  }

  /** Answers the next `times` requests that fit in the server's place. */
  answer(matches: Match, answer: () => Interception, times = 1): void {
    let left = times;
    const end = this.intercept((request) => {
      if (!matches(request)) return undefined;
      left -= 1;
      if (left <= 0) end();
      return answer();
    });
  }
}

export const isCheckin: Match = ({ kind }) => kind === 'checkin';
export const isEnroll: Match = ({ kind }) => kind === 'enroll';
export const isAck: Match = ({ kind }) => kind === 'acks';

/** An ack that names the policy of this revision. */
export const acks =
  (revision: number): Match =>
  (request) =>
    isAck(request) && request.body.includes(`"policy:${POLICY_ID}:${revision}"`);

/** A check-in that says that this revision is held. */
export const reports =
  (revision: number): Match =>
  (request) =>
    isCheckin(request) && JSON.parse(request.body).policy_revision_idx === revision;

/** A 200 to a check-in with these actions, which no real server would send so. */
export function actionsAnswer(...actions: readonly Record<string, unknown>[]): Response {
  return Response.json({ action: 'checkin', ack_token: '', actions });
}

/** The hooks set status and answer when they are known; whoever waits is told. */
function tellOfAnswer(request: SeenRequest, changed: () => void): SeenRequest {
  let { answer } = request;
  Object.defineProperty(request, 'answer', {
    enumerable: true,
    get: () => answer,
    set: (text: string | null) => {
      answer = text;
      changed();
    },
  });
  return request;
}

function inOneLine({ kind, status, body, answer }: SeenRequest): string {
  return `${kind} ${status} ${body.slice(0, 300)} → ${answer?.slice(0, 200)}`;
}

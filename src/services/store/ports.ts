/** The ports of the store and of the agent on the state directory: open, commit, read back, verify, close. */
import { fromPromise } from 'xstate';
import { asProblem, HoldfastError, type Problem } from '../../errors.ts';
import type { Ladder } from '../../machines/agent-setup.ts';
import type { DeliveryNews, Facts, Generation } from '../../machines/facts.ts';
import type { StoreCommitted, StoreOpened, StoreRequest } from '../../machines/store.ts';
import type { HeldVerdict } from '../../machines/system.ts';
import type { PolicyBody, PolicyRef } from '../../policy/identity.ts';
import { policyYaml } from '../../policy/mask.ts';
import type { HostClock } from '../host/clock.ts';
import type { Logger } from '../log/logger.ts';
import type { EncryptionSettings } from '../settings/settings.ts';
import type { Files } from './files.ts';
import type { IdentityRead } from './identity.ts';
import { readKeyring } from './keyring.ts';
import type { HomeLock } from './lock.ts';
import { type Opened, openStore, type Store, type StoreStatus } from './store.ts';

/**
 * Commits that are refused because something could not be read at the start that may be readable later, before it is set aside. With the store's
 * delays (1 s, doubling, at most a minute) that is some four minutes.
 */
const LOOKS_MOST = 10;

/** What a commit is to make true: the rules' answer to the requests it holds. */
export interface Decided {
  readonly facts: Facts;
  /** Canonical text of policies that arrived, by hash. */
  readonly bodies: Readonly<Record<string, string>>;
  /** One entry a request. */
  readonly news: readonly (DeliveryNews | null)[];
}

export interface StorePortsOptions {
  readonly home: string;
  readonly files: Files;
  readonly clock: HostClock;
  readonly log: Logger;
  readonly lock: (home: string) => Promise<HomeLock>;
  readonly encryption: EncryptionSettings;
  /** As it was read for this start. */
  readonly identity: IdentityRead;
  readonly readIdentity: () => Promise<IdentityRead>;
  /** What an agent that never had a record begins with; null when it had one, so that a missing one was lost. */
  readonly beginWith: Facts | null;
  /** The rules of the facts; decides, while this only writes. `now` is epoch ms. */
  readonly decide: (facts: Facts, requests: readonly StoreRequest[], now: number) => Decided;
}

export function storePorts(options: StorePortsOptions) {
  const { home, files, clock, log, identity } = options;
  let lock: HomeLock | null = null;
  let store: Store | null = null;
  let agentId = identity.identity?.agentId ?? '';
  /** Last good as `policy.yml` shows it. */
  let shown: string | null = null;
  /** What the disk did not let be read at the start: nothing is written before it has been looked at again. */
  let unread: { readonly found: string; looks: number } | null = null;
  let status: StoreStatus = { sequence: 0, encrypted: false, quarantined: 0, torn: 0 };

  const opened = (): Store => {
    if (store === null) throw new HoldfastError('INTERNAL', 'the store is not open');
    return store;
  };

  async function open(): Promise<StoreOpened> {
    lock = await options.lock(home);
    const { result, refused } = await look(identity, false);
    if (identity.mayPass || result.unread !== null || refused)
      unread = { found: JSON.stringify(result.facts), looks: 0 };
    store = result.store;
    status = await store.status();
    agentId = result.facts?.agentId ?? agentId;
    const findings = result.findings.map((finding) => finding.message);
    if (identity.problem !== null) findings.push(identity.problem.message);
    for (const finding of findings) log.warning(finding);
    // A record that cannot be opened is one that this agent had.
    const begun = result.locked.length > 0 ? null : options.beginWith;
    return { facts: result.facts ?? begun, findings, at: clock.wallMs() };
  }

  async function look(known: IdentityRead, abandonUnread: boolean): Promise<{ result: Opened; refused: boolean }> {
    const keys = await readKeyring({ files, home, settings: options.encryption, generate: true });
    const knownAs = known.problem === null ? (known.identity?.agentId ?? '') : null;
    const result = await openStore({ files, home, agentId: knownAs, now: clock.wallMs, keys, abandonUnread });
    return { result, refused: keys.refusal !== null };
  }

  /**
   * An error of the disk may pass, and a key may be put back: writing now would put a record that knows nothing over one that cannot be read (P11).
   * When there is more than this start knew it must begin anew; when there is not, or what cannot be read is given up, this start goes on (P12).
   */
  async function lookAgain(before: { readonly found: string; looks: number }): Promise<void> {
    before.looks += 1;
    const abandon = before.looks >= LOOKS_MOST;
    const known = identity.problem === null ? identity : await options.readIdentity();
    const { result, refused } = await look(known, abandon);
    const hidden = result.unread ?? (known.mayPass && !abandon ? known.problem?.message : undefined);
    if (hidden !== undefined) throw new HoldfastError('STORE_READ_FAILED', hidden);
    const isMore = known.problem === null && identity.problem !== null;
    if (isMore || JSON.stringify(result.facts) !== before.found) {
      const message = `${home} can be read again, and holds more than this start knew`;
      throw new HoldfastError('STORE_READABLE_AGAIN', message);
    }
    store = result.store;
    if (!refused) unread = null;
    for (const finding of result.findings) log.warning(finding.message);
  }

  /**
   * What the requests come to. A rejected policy whose bytes the disk has lost cannot be tried again, whoever asks: as a candidate it could not be
   * made durable, and this commit would be refused for ever, with all that waits behind it.
   */
  async function decided(before: Facts, requests: readonly StoreRequest[], at: number): Promise<Decided> {
    const wanted = options.decide(before, requests, at);
    const hash = wanted.facts.candidate?.hash;
    if (hash === undefined || hash === before.candidate?.hash || wanted.bodies[hash] !== undefined) return wanted;
    if (opened().remembered(hash) !== null || 'text' in (await opened().readPolicy(hash))) return wanted;
    log.warning(`policy ${hash} is not tried again: the disk does not hold its bytes any more`);
    const confession: StoreRequest = { from: 'store', id: 'lost', changes: [{ type: 'held.lost', hashes: [hash] }] };
    const without = options.decide(before, [...requests, confession], at);
    return { ...without, news: without.news.slice(0, requests.length) };
  }

  async function commit(before: Facts, requests: readonly StoreRequest[]): Promise<StoreCommitted> {
    if (unread !== null) await lookAgain(unread);
    const at = clock.wallMs();
    const { facts, bodies, news } = await decided(before, requests, at);
    const lastGood = facts.generations[0]?.hash ?? null;
    const text = lastGood === null ? null : (bodies[lastGood] ?? opened().remembered(lastGood));
    const display = lastGood === shown ? {} : { policyYml: text === null ? null : policyYaml(text) };
    const { findings } = await opened().commit({ facts, policies: bodies, ...display });
    shown = lastGood;
    status = await opened().status();
    for (const finding of findings) log.warning(finding.message);
    return { facts, at, news };
  }

  async function read(ref: PolicyRef): Promise<PolicyBody> {
    const found = await opened().readPolicy(ref.hash);
    if ('problem' in found) throw new HoldfastError(found.problem.code, found.problem.message);
    return { ...ref, text: found.text };
  }

  async function readLadder(generations: readonly Generation[]): Promise<Ladder> {
    const lost: { hash: string; problem: Problem }[] = [];
    for (const generation of generations) {
      try {
        return { body: await read(generation), lost };
      } catch (error) {
        lost.push({ hash: generation.hash, problem: asProblem(error) });
      }
    }
    return { body: null, lost };
  }

  async function release(): Promise<void> {
    await store?.close();
    await lock?.release();
    lock = null;
  }

  return {
    /** For `storeMachine.provide({ actors })`. */
    store: {
      open: fromPromise<StoreOpened, { agentId: string }>(open),
      commit: fromPromise<StoreCommitted, { facts: Facts; requests: readonly StoreRequest[] }>(({ input }) =>
        commit(input.facts, input.requests),
      ),
      close: fromPromise<void, void>(release),
    },
    /** For `agentMachine.provide({ actors })`. */
    agent: {
      readLadder: fromPromise<Ladder, { generations: readonly Generation[] }>(({ input }) =>
        readLadder(input.generations),
      ),
      readPolicy: fromPromise<PolicyBody, { ref: PolicyRef }>(({ input }) => read(input.ref)),
      verifyHeld: fromPromise<HeldVerdict, { ref: PolicyRef }>(async ({ input }) => ({
        hash: input.ref.hash,
        problem: await opened().verifyHeld(input.ref.hash),
      })),
    },
    verifyHeld: (hash: string) => opened().verifyHeld(hash),
    readPolicy: (hash: string) => opened().readPolicy(hash),
    /** The text of a policy that the facts name, as memory has it. */
    remembered: (hash: string) => store?.remembered(hash) ?? null,
    agentId: () => agentId,
    status: () => status,
    /** Gives the lock back; may be called again. */
    release,
  };
}

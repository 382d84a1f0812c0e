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
import { takesFiles } from './disk-check.ts';
import type { Files } from './files.ts';
import type { IdentityRead } from './identity.ts';
import { readKeyring } from './keyring.ts';
import type { HomeLock } from './lock.ts';
import { type Opened, openStore, type Store, type StoreStatus } from './store.ts';

/**
 * Commits that are refused because something could not be read at the start that may be readable later, before it is set aside. With the store's
 * delays (1 s, doubling, at most a minute) that is some four minutes; longer where no other file can be written and read either.
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
    const found = await look(identity, false);
    if (identity.mayPass || found.unread !== null || found.refused)
      unread = { found: JSON.stringify(found.facts), looks: 0 };
    store = found.store;
    status = await store.status();
    agentId = found.facts?.agentId ?? agentId;
    const findings = found.findings.map((finding) => finding.message);
    if (identity.problem !== null) findings.push(identity.problem.message);
    for (const finding of findings) log.warning(finding);
    // A record that cannot be opened is one that this agent had.
    const begun = found.locked.length > 0 ? null : options.beginWith;
    return { facts: found.facts ?? begun, findings, at: clock.wallMs() };
  }

  async function look(known: IdentityRead, abandonUnread: boolean): Promise<Opened & { readonly refused: boolean }> {
    const keys = await readKeyring({ files, home, settings: options.encryption, generate: true });
    const knownAs = known.problem === null ? (known.identity?.agentId ?? '') : null;
    const found = await openStore({ files, home, agentId: knownAs, now: clock.wallMs, keys, abandonUnread });
    return { ...found, refused: keys.refusal !== null };
  }

  /**
   * An error of the disk may pass, and a key may be put back: writing now would put a record that knows nothing over one that cannot be read (P11).
   * When there is more than this start knew it must begin anew; when there is not, or what cannot be read is given up, this start goes on (P12).
   */
  async function lookAgain(before: { readonly found: string; looks: number }): Promise<void> {
    before.looks += 1;
    const known = identity.problem === null ? identity : await options.readIdentity();
    const seen = await look(known, false);
    const hidden = seen.unread ?? (known.mayPass ? known.problem?.message : undefined);
    if (hidden === undefined && (isBack(known) || JSON.stringify(seen.facts) !== before.found)) throw readableAgain();
    if (hidden !== undefined && (before.looks < LOOKS_MOST || !(await takesFiles(files, home))))
      throw new HoldfastError('STORE_READ_FAILED', hidden);
    // Given up for this commit alone: when that fails too, the disk is looked at once more.
    const { store: usable, findings } = hidden === undefined ? seen : await look(known, true);
    store = usable;
    for (const finding of findings) log.warning(finding.message);
  }

  const isBack = (known: IdentityRead) => identity.problem !== null && known.problem === null;
  const readableAgain = () =>
    new HoldfastError('STORE_READABLE_AGAIN', `${home} can be read again, and holds more than this start knew`);

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
    // It was given up, and all the same it is who this agent is to Fleet.
    else if (identity.mayPass && isBack(await options.readIdentity())) throw readableAgain();
    const at = clock.wallMs();
    const { facts, bodies, news } = await decided(before, requests, at);
    const lastGood = facts.generations[0]?.hash ?? null;
    const text = lastGood === null ? null : (bodies[lastGood] ?? opened().remembered(lastGood));
    const display = lastGood === shown ? {} : { policyYml: text === null ? null : policyYaml(text) };
    const { findings } = await opened().commit({ facts, policies: bodies, ...display });
    unread = null;
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

/**
 * The twelve promises (design, section 2) as predicates over a world: what the server has seen and believes, what the disk holds when it is
 * read back, what runs, and what was said. It believes nothing the agent says of itself unless the disk or the server bears it out.
 */
import type { AgentContext } from '../../src/machines/agent-context.ts';
import { type Facts, JOURNAL_KEPT, type Start } from '../../src/machines/facts.ts';
import { canonicalJson } from '../../src/policy/canonical.ts';
import type { Rendering } from '../../src/policy/component.ts';
import type { Exchange } from '../../src/services/fleet/transport.ts';
import type { Incarnation } from './incarnation.ts';
import { outputKeyOf, renderHere, type SimPolicy } from './policies.ts';
import type { Reading } from './reading.ts';
import { type AckSeen, type CheckinSeen, type SimAction, seenIn } from './sim-fleet.ts';

export type PromiseName = 'P1' | 'P2' | 'P3' | 'P4' | 'P5' | 'P6' | 'P7' | 'P8' | 'P9' | 'P10' | 'P11' | 'P12';

export const PROMISES: readonly PromiseName[] = [
  'P1',
  'P2',
  'P3',
  'P4',
  'P5',
  'P6',
  'P7',
  'P8',
  'P9',
  'P10',
  'P11',
  'P12',
];

export interface Violation {
  readonly promise: PromiseName;
  readonly atMs: number;
  readonly message: string;
}

/** What the oracle looks at. */
export interface Observed {
  readonly nowMs: number;
  readonly wallMs: number;
  readonly bootId: string;
  /** What would survive a power cut now. */
  durable(): Promise<Reading>;
  /** Components whose process lives and is ready, with what it runs. */
  readyComponents(): ReadonlyMap<string, Ready>;
  readonly attemptLimit: number;
}

/** What a person has asked for waits for a disk that takes no writes, and no disk does so for longer. */
const ASKED_FOR_MS = 260_000;
/** Of being well, and some moments to become so (COMPONENT_TIMING.steadyMs). */
const FORGOTTEN_AFTER_MS = 65_000;
/** The longest that a trial and the way back from it take. */
const WAY_BACK_MS = 60_000;

/** Refused before anything that runs is touched. */
const UNTOUCHING: ReadonlySet<SimPolicy['kind']> = new Set(['unparsable', 'unrendered', 'unchecked']);
/** Within this long a probe has told what a program is again (`every` of the job in policies.ts, and some moments). */
const HEALTH_SEEN_MS = 65_000;
/** The longest that a component is on its way for the first time: a reload that does not take, its end, and the time it has to be ready. */
const ON_ITS_WAY_MS = 10_000;

export interface Ready {
  readonly hash: string;
  /** Its record says so too: the agent has seen it ready with this hash. */
  readonly confirmed: boolean;
}

type Held = Pick<Reading, 'facts' | 'readable'>;

/** What an oracle remembers of a world in which no process runs. */
export interface Memory {
  readonly facts: Facts | null;
  readonly proven: { readonly facts: Facts; readonly sequence: number } | null;
  readonly deliveries: readonly string[];
  readonly dispatched: readonly string[];
  readonly acked: string | null;
  readonly ackedActions: readonly (readonly [string, AckSeen])[];
  readonly verdicts: readonly (readonly [string, readonly number[]])[];
  readonly deaths: readonly (readonly [string, number])[];
  readonly ends: readonly (readonly [number, string])[];
  readonly workedBefore: readonly string[];
}

/** How a start ended, as far as the world knows. */
type End = 'killed' | 'goodbye' | 'ended';

/** Why what runs may be touched: the policy that the components were told to run, and the one to go back to while that is on trial. */
interface Reasons {
  readonly told: string | null;
  readonly back: string | null;
}

interface Life {
  readonly incarnation: Incarnation;
  /** What its disk held when it began, in the page cache. */
  readonly found: Reading;
  firstSend: boolean;
  /** Components of which a step was issued. */
  readonly claimed: Set<string>;
  /** Number of its start record, once that is durable. */
  start: number | null;
  readonly applied: Set<string>;
  /** What the components were last told to run. */
  told: { readonly hash: string; readonly onTrial: boolean } | null;
  /** Components that began since a replay or the way back was issued, and those that had to begin again since. */
  readonly begun: Set<string>;
  readonly begunAgain: Set<string>;
  /** When each of them began, in ms of the world, oldest first. */
  readonly begins: Map<string, readonly number[]>;
  /** When a replay or the way back was issued last. */
  broughtAtMs: number;
  context: AgentContext | null;
  leaving: boolean;
}

export class Oracle {
  readonly violations: Violation[] = [];
  readonly checks = new Map<PromiseName, number>();
  readonly #world: Observed;
  /** Checks that read the disk, done when everything has come to rest. */
  #pending: (() => Promise<void>)[] = [];
  #life: Life | null = null;
  /** As the newest commit that was answered left them. */
  #facts: Facts | null = null;
  /** The newest commit that was told of, by any process. */
  #told: Facts | null = null;
  /** The newest commit that was seen on the platter. */
  #proven: { readonly facts: Facts; readonly sequence: number } | null = null;

  // What the server knows
  #deliveries: { readonly policy: SimPolicy; readonly actionId: string }[] = [];
  readonly #dispatched = new Map<string, readonly SimAction[]>();
  readonly #sentActions = new Set<string>();
  readonly #ackedPolicies: { readonly actionId: string; readonly atMs: number }[] = [];
  readonly #ackedActions = new Map<string, AckSeen>();
  readonly #verdicts = new Map<string, number[]>();

  // What befell it
  #tamperedAtMs = Number.NEGATIVE_INFINITY;
  #readErrorsUntilMs = Number.NEGATIVE_INFINITY;
  /** The disk holds what was committed, as far as the oracle can know: not while it is tampered with, and not before it has been seen whole again. */
  #trustsDisk = true;
  #programsFailed = false;
  #sickUntilMs = Number.NEGATIVE_INFINITY;
  #clockJumped = false;
  #serverForgot = false;
  #askedAtMs = Number.NEGATIVE_INFINITY;
  /** No reason to touch what runs was given since the state was tampered with; those given before are these policies. */
  #mustKeep: Reasons | null = null;
  readonly #promotedAtMs = new Map<string, number>();
  readonly #ends = new Map<number, End>();
  /** Lives that applied something and died, by what they applied. */
  readonly #deaths = new Map<string, number>();
  /** The process that died last, and for what that counts. */
  #lastDeath: { readonly start: number | null; readonly keys: readonly string[] } | null = null;
  readonly #trials = new Map<string, ReadonlyMap<string, string>>();
  /** What worked, or may have, before the candidates since the last one that was made good, and when the newest of them was tried. */
  #workedBefore: { readonly ids: ReadonlySet<string>; readonly atMs: number } = { ids: new Set(), atMs: 0 };
  /** Every policy there ever was, by hash. */
  readonly known = new Map<string, SimPolicy>();

  constructor(world: Observed) {
    this.#world = world;
  }

  /**
   * An oracle that remembers the same, of a world that branches off here because its process dies. It must copy every field that outlives a
   * process; {@link lookBack} completes it.
   */
  copy(world: Observed): Oracle {
    const copy = new Oracle(world);
    copy.#facts = this.#facts;
    copy.#told = this.#told;
    copy.#proven = this.#proven;
    copy.#deliveries = [...this.#deliveries];
    for (const [key, value] of this.#dispatched) copy.#dispatched.set(key, value);
    for (const id of this.#sentActions) copy.#sentActions.add(id);
    copy.#ackedPolicies.push(...this.#ackedPolicies);
    for (const [key, value] of this.#ackedActions) copy.#ackedActions.set(key, value);
    for (const [key, value] of this.#verdicts) copy.#verdicts.set(key, value);
    copy.#tamperedAtMs = this.#tamperedAtMs;
    copy.#readErrorsUntilMs = this.#readErrorsUntilMs;
    copy.#trustsDisk = this.#trustsDisk;
    copy.#programsFailed = this.#programsFailed;
    copy.#sickUntilMs = this.#sickUntilMs;
    copy.#clockJumped = this.#clockJumped;
    copy.#serverForgot = this.#serverForgot;
    copy.#askedAtMs = this.#askedAtMs;
    for (const [key, value] of this.#promotedAtMs) copy.#promotedAtMs.set(key, value);
    for (const [key, value] of this.#ends) copy.#ends.set(key, value);
    for (const [key, value] of this.#deaths) copy.#deaths.set(key, value);
    copy.#lastDeath = this.#lastDeath;
    for (const [key, value] of this.#trials) copy.#trials.set(key, value);
    copy.#workedBefore = this.#workedBefore;
    for (const [key, value] of this.known) copy.known.set(key, value);
    if (this.#life !== null) {
      copy.#life = { ...this.#life, applied: new Set(this.#life.applied) };
      copy.ended(this.#life.incarnation, 'died');
    }
    return copy;
  }

  /** A commit that was told of at the very step at which the process died, and would have been looked for on the platter after it. */
  async lookBack(): Promise<void> {
    const facts = this.#told;
    if (facts === null || this.#proven?.facts === facts) return;
    const held = await this.#world.durable();
    this.#proven = { facts, sequence: held.sequence };
    this.#hold(
      'P4',
      held.facts !== null && same(held.facts, facts),
      () => 'a commit is told of, and a power cut would undo it',
    );
  }

  /** What its judgement of the next processes depends on. */
  memory(): Memory {
    return {
      facts: this.#facts,
      proven: this.#proven,
      deliveries: this.#deliveries.map(({ policy, actionId }) => `${actionId} ${policy.hash}`),
      dispatched: [...this.#dispatched.keys()],
      acked: this.#ackedPolicies.at(-1)?.actionId ?? null,
      ackedActions: [...this.#ackedActions],
      verdicts: [...this.#verdicts],
      deaths: [...this.#deaths],
      ends: [...this.#ends],
      workedBefore: [...this.#workedBefore.ids],
    };
  }

  /** Does what was put off; to be called when the world has come to rest. */
  async look(): Promise<void> {
    while (this.#pending.length > 0) {
      const checks = this.#pending;
      this.#pending = [];
      for (const check of checks) await check();
    }
  }

  #hold(promise: PromiseName, holds: boolean, message: () => string): void {
    this.checks.set(promise, (this.checks.get(promise) ?? 0) + 1);
    if (holds) return;
    this.violations.push({ promise, atMs: this.#world.nowMs, message: message() });
  }

  // ---- what befalls the world ----

  knows(policy: SimPolicy): void {
    this.known.set(policy.hash, policy);
  }

  tampered(whileRunning: boolean): void {
    this.#tamperedAtMs = this.#world.nowMs;
    this.#trustsDisk = false;
    // What was spent may be gone with it.
    this.#deaths.clear();
    const life = this.#life;
    const mustKeep = whileRunning && life?.context?.facts.safeMode === null;
    const lastGood = this.#facts?.generations[this.#facts.runs]?.hash ?? null;
    const back = life?.told?.onTrial ? lastGood : null;
    this.#mustKeep = mustKeep ? { told: life.told?.hash ?? null, back } : null;
  }

  readsFailUntil(ms: number): void {
    this.#readErrorsUntilMs = Math.max(this.#readErrorsUntilMs, ms);
    this.#trustsDisk = false;
  }

  programFailed(): void {
    this.#programsFailed = true;
    this.#mustKeep = null;
  }

  programsAreSick(untilMs: number): void {
    this.#sickUntilMs = Math.max(this.#sickUntilMs, untilMs + HEALTH_SEEN_MS);
  }

  clockJumped(): void {
    this.#clockJumped = true;
  }

  serverForgot(): void {
    this.#serverForgot = true;
  }

  asked(what: string): void {
    this.#askedAtMs = this.#world.nowMs;
    this.#mustKeep = null;
    if (what !== 'retry.requested' && this.#life) this.#life.leaving = true;
  }

  // ---- the life of a process ----

  began(incarnation: Incarnation, found: Reading): void {
    this.#life = {
      incarnation,
      found,
      firstSend: true,
      claimed: new Set(),
      start: null,
      applied: new Set(),
      told: null,
      begun: new Set(),
      begunAgain: new Set(),
      begins: new Map(),
      broughtAtMs: Number.NEGATIVE_INFINITY,
      context: null,
      leaving: false,
    };
    this.#mustKeep = null;
    // It died in the very commit of its goodbye, which is there all the same: nobody was told, and yet it is not what it died of.
    const last = found.facts?.starts[0];
    if (last?.goodbye && last.number === this.#lastDeath?.start) {
      this.#countDeath(-1);
      this.#lastDeath = null;
    }
    // What was committed last may have been tampered with since.
    this.#facts = found.facts;
    const untouched = !this.#tamperedSince(incarnation.startedAtMs - 1) && this.#trustsDisk;
    const proven = this.#proven;
    if (untouched && proven !== null) {
      const lost = `a commit was lost: it had sequence ${proven.sequence}; the disk has ${found.facts === null ? 'no record' : found.sequence}`;
      this.#hold('P4', found.facts !== null && found.sequence >= proven.sequence, () => lost);
      const other = found.sequence === proven.sequence && !same(found.facts, proven.facts);
      this.#hold('P4', !other, () => 'the disk holds other facts than those that were committed');
    }
    // A confirmation that was only in the page cache and survived there.
    for (const { hash, attempts } of found.facts?.generations ?? []) {
      if (attempts === 0) this.#deaths.delete(`replay ${hash}`);
    }
    this.#holdsAcked(found, 'what a start finds');
  }

  /** What a start would find had the power gone at this instant, with any of the un-synced data. */
  mightFind(read: () => Promise<Reading>): void {
    const proven = this.#proven;
    if (!this.#trustsDisk || proven === null) return;
    this.#pending.push(async () => {
      const found = await read();
      const held = found.facts !== null && found.sequence >= proven.sequence;
      this.#hold(
        'P4',
        held,
        () =>
          `a power cut could have lost the commit ${proven.sequence}: the disk would hold ${found.facts === null ? 'no record' : found.sequence}`,
      );
      this.#holdsAcked(found, 'a power cut at this instant could have left what');
    });
  }

  /** It ended, by death or by itself. */
  ended(incarnation: Incarnation, how: 'died' | 'ended'): void {
    const life = this.#life;
    if (life?.incarnation !== incarnation) return;
    if (life.start !== null) this.#ends.set(life.start, how === 'died' ? 'killed' : 'ended');
    const said = this.#facts?.starts[0];
    if (said?.number === life.start && said?.goodbye) this.#ends.set(said.number, 'goodbye');
    if (how === 'died' || !said?.goodbye) {
      this.#lastDeath = { start: life.start, keys: [...life.applied] };
      this.#countDeath(1);
    }
    this.#life = null;
  }

  #countDeath(by: 1 | -1): void {
    for (const key of this.#lastDeath?.keys ?? [])
      this.#deaths.set(key, Math.max(0, (this.#deaths.get(key) ?? 0) + by));
  }

  // ---- what the agent does ----

  /** P11: what cannot be read is named. `warnings`: all that this life has said so far; `clean`: its disk has had no error. */
  opened(incarnation: Incarnation, warnings: readonly string[], clean: boolean): void {
    const life = this.#life;
    if (life?.incarnation !== incarnation || !clean || this.#tamperedSince(incarnation.startedAtMs)) return;
    for (const finding of life.found.findings) {
      this.#hold('P11', warnings.includes(finding), () => `nothing is said of what the start found: ${finding}`);
    }
  }

  /** P10: in safe mode nothing is started, stopped or changed. */
  touchedInSafeMode(component: string, what: string): void {
    this.#hold('P10', false, () => `${component}: ${what} in safe mode`);
  }

  sees(incarnation: Incarnation, context: AgentContext): void {
    if (this.#life?.incarnation === incarnation) this.#life.context = context;
  }

  committed(incarnation: Incarnation, facts: Facts): void {
    const life = this.#life;
    if (life?.incarnation !== incarnation || this.#facts === facts) return;
    const before = this.#facts ?? life.found.facts;
    const continuous = before !== null && !this.#tamperedSince(incarnation.startedAtMs);
    this.#facts = facts;
    this.#told = facts;
    const begunAtMs = this.#world.nowMs;
    this.#pending.push(async () => {
      const held = await this.#world.durable();
      // A process that died meanwhile may have taken the power with it: what is left then is looked at when the next one begins.
      // A file that was taken away while it was being written is noticed at the next look.
      if (this.#tamperedSince(begunAtMs - 10_000) || this.#life !== life) return;
      this.#proven = { facts, sequence: held.sequence };
      const isThere = held.facts !== null && same(held.facts, facts);
      this.#hold('P4', isThere, () => 'a commit is told of, and a power cut would undo it');
      if (isThere && !this.#trustsDisk) this.#trustAgain(held);
    });
    const start = facts.starts[0];
    if (life.start === null && start !== undefined) {
      life.start = start.number;
      this.#judgeStart(life, facts);
    }
    if (!continuous || before === null) {
      this.#notePromotion(null, facts);
      return;
    }
    this.#judgeJournal(before, facts);
    this.#judgeOutbox(before, facts);
    this.#judgePolicies(before, facts);
    this.#notePromotion(before, facts);
  }

  /** P9. */
  #judgeStart(life: Life, facts: Facts): void {
    const [start] = facts.starts;
    const last = life.found.facts?.starts[0];
    if (start === undefined || life.found.facts === null) {
      if (start !== undefined)
        this.#hold('P9', start.previous === 'first', () => `called ${start.previous} with nothing on disk`);
      return;
    }
    if (this.#tamperedSince(life.incarnation.startedAtMs)) return;
    if (last === undefined) {
      this.#hold('P9', start.previous === 'first', () => `the first start is called ${start.previous}`);
      return;
    }
    const wanted = this.#endOf(last);
    this.#hold('P9', start.number === last.number + 1, () => `start ${start.number} follows start ${last.number}`);
    this.#hold(
      'P9',
      start.previous === wanted,
      () => `start ${start.number} calls the end before it ${start.previous}; it was ${wanted}`,
    );
    const { candidate, answerInFlight, journal } = life.found.facts;
    const wasBusy = candidate !== null || answerInFlight || journal.some(({ state }) => state === 'started');
    if (wanted !== 'goodbye' && wasBusy) {
      this.#hold(
        'P9',
        start.inFlight !== null,
        () => `start ${start.number} does not say what was in flight before it`,
      );
    }
    const end = this.#ends.get(last.number);
    if (end !== undefined && this.#trustsDisk) {
      this.#hold(
        'P9',
        // A goodbye that failed may be there all the same: a commit that fails may still be what the next start finds.
        last.goodbye || end !== 'goodbye',
        () => `start ${last.number} ended by ${end}, the disk says ${last.goodbye ? 'goodbye' : 'none'}`,
      );
    }
    const crashes = wanted === 'crashed' ? (last.confirmed ? 0 : last.crashes) + 1 : null;
    if (crashes !== null)
      this.#hold(
        'P9',
        start.crashes === crashes,
        () => `${start.crashes} crashes are counted; there were ${crashes} in a row`,
      );
  }

  #endOf(last: Start): Start['previous'] {
    return last.goodbye ? 'goodbye' : last.bootId === this.#world.bootId ? 'crashed' : 'host-rebooted';
  }

  /** P5. */
  #judgeJournal(before: Facts, after: Facts): void {
    const now = new Map(after.journal.map((entry) => [entry.id, entry]));
    for (const entry of before.journal) {
      if (entry.state !== 'done') continue;
      const later = now.get(entry.id);
      if (later === undefined) continue;
      this.#hold(
        'P5',
        later.state === 'done' && later.doneAt === entry.doneAt && same(later.outcome, entry.outcome),
        () => `action ${entry.id} was done and is ${later.state} now, with another result`,
      );
    }
  }

  /** It could not be read when this life began, and Fleet has sent none since. */
  #isLost(hash: string): boolean {
    const found = this.#life?.found;
    const received = this.#life?.context?.facts.received?.at ?? null;
    return found !== undefined && !found.readable.has(hash) && (found.facts?.received?.at ?? null) === received;
  }

  /** P6. */
  #judgeOutbox(before: Facts, after: Facts): void {
    const owed = new Set(after.outbox.map(({ actionId }) => actionId));
    const wasDone = new Set(before.journal.filter(({ state }) => state === 'done').map(({ id }) => id));
    for (const entry of after.journal) {
      if (entry.state !== 'done' || wasDone.has(entry.id)) continue;
      this.#hold(
        'P6',
        owed.has(entry.id),
        () => `action ${entry.id} is done and its ack is not owed in the same commit`,
      );
    }
    const [good] = after.generations;
    if (
      good !== undefined &&
      good.hash !== before.generations[0]?.hash &&
      after.candidate === null &&
      before.candidate?.hash === good.hash
    ) {
      this.#hold(
        'P6',
        owed.has(good.actionId),
        () => `${good.actionId} became last good and its ack is not owed in the same commit`,
      );
    }
    for (const ack of before.outbox) {
      if (owed.has(ack.actionId)) continue;
      // What is lost is not acked any more; Fleet sends it again.
      const { policy } = ack;
      if (policy !== null && !after.generations.some(({ hash }) => hash === policy.hash) && this.#isLost(policy.hash))
        continue;
      const verdicts = this.#verdicts.get(ack.actionId) ?? [];
      const missing = verdicts.filter((status) => status === 404).length;
      const refusals = after.unenrolled === null ? [400, 409, 413] : [400, 401, 403, 409, 413];
      const final = verdicts.some((status) => status < 300 || refusals.includes(status)) || missing >= 10;
      this.#hold(
        'P6',
        final,
        () => `the ack of ${ack.actionId} is owed no more; the server has said ${verdicts.join(', ') || 'nothing'}`,
      );
    }
  }

  /** P3, and the thrashing part of it. */
  #judgePolicies(before: Facts, after: Facts): void {
    const good = after.generations[0];
    const promoted =
      good !== undefined && before.candidate?.hash === good.hash && before.generations[0]?.hash !== good.hash;
    if (promoted) {
      const policy = this.known.get(good.hash);
      const hopeless =
        policy && (['unparsable', 'unrendered', 'unchecked', 'poison'] as const).find((kind) => kind === policy.kind);
      this.#hold('P3', hopeless === undefined, () => `${good.actionId} became last good and is ${hopeless}`);
      const worked = this.#trials.get(good.hash);
      if (policy?.kind === 'breaking' && worked && !this.#programsFailed) {
        const broken = [...worked.keys()].find((id) => !['ok', 'stubborn'].includes(policy.behaviours[id] ?? 'ok'));
        this.#hold(
          'P3',
          broken === undefined,
          () => `${good.actionId} became last good and breaks ${broken}, which worked`,
        );
      }
    }
    this.#judgeRejection(before, after);
    const { candidate } = after;
    if (candidate === null || candidate.hash === before.candidate?.hash) return;
    const rejection = before.rejected.find((one) => one.hash === candidate.hash);
    if (rejection === undefined || this.#clockJumped) return;
    const waited = rejection.retry !== null && rejection.retry.at <= this.#world.wallMs + 50;
    const asked = this.#world.nowMs - this.#askedAtMs < ASKED_FOR_MS;
    this.#hold(
      'P3',
      waited || asked,
      () => `${candidate.actionId} was rejected (${rejection.kind}) and is tried again before its time`,
    );
  }

  /** P3: health refuses a policy for what worked before it only. */
  #judgeRejection(before: Facts, { rejected: [newest] }: Facts): void {
    if (newest === undefined || newest.kind !== 'health' || newest.hash !== before.candidate?.hash) return;
    // One that is tried again stands here as rejected already; only another rejection counts.
    const times = before.rejected.find(({ hash }) => hash === newest.hash)?.times ?? 0;
    if (newest.times === times) return;
    const worked = this.#trials.get(newest.hash);
    const policy = this.known.get(newest.hash);
    if (worked === undefined || policy === undefined || this.#programsFailed) return;
    const broken = [...this.#workedBefore.ids].some(
      (id) => !['ok', 'stubborn'].includes(policy.behaviours[id] ?? 'ok'),
    );
    this.#hold('P3', broken, () => `${newest.actionId} is rejected (${newest.reason}) and breaks nothing that worked`);
  }

  #notePromotion(before: Facts | null, after: Facts): void {
    // A confirmation gives back what this start had spent, whichever policy it was spent on.
    if (after.starts[0]?.confirmed && after.starts[0].number === this.#life?.start) {
      for (const key of this.#life.applied) if (key.startsWith('replay ')) this.#life.applied.delete(key);
    }
    for (const generation of after.generations) {
      if (!this.#promotedAtMs.has(generation.hash)) this.#promotedAtMs.set(generation.hash, this.#world.nowMs);
    }
    for (const [at, generation] of after.generations.entries()) {
      const old = before?.generations[at];
      // Given back by a confirmation.
      if (generation.attempts > 0 || (old?.attempts ?? 1) === 0) continue;
      this.#deaths.delete(`replay ${generation.hash}`);
      this.#life?.applied.delete(`replay ${generation.hash}`);
    }
  }

  /** `components.apply` reaches the components. */
  applies(incarnation: Incarnation, mode: string, hash: string): void {
    const life = this.#life;
    if (life?.incarnation !== incarnation) return;
    const { attemptLimit } = this.#world;
    life.told = { hash, onTrial: mode === 'fresh' };
    if (mode !== 'fresh') {
      // Its restarts are counted from here on.
      life.begun.clear();
      life.begunAgain.clear();
      life.broughtAtMs = this.#world.nowMs;
    }
    if (mode === 'fresh') {
      const candidate = this.#facts?.candidate;
      const key = `fresh ${hash} ${candidate?.receivedAt}`;
      const deaths = this.#deaths.get(key) ?? 0;
      life.applied.add(key);
      this.#mustKeep = null;
      this.#noteTrial(hash);
      if (this.#tamperedSince(incarnation.startedAtMs)) return;
      this.#hold(
        'P10',
        deaths < attemptLimit,
        () => `attempt ${deaths + 1} is made on ${hash.slice(0, 8)}, which has ${attemptLimit}`,
      );
      this.#pending.push(async () => {
        const held = (await this.#world.durable()).facts?.candidate;
        if (held?.hash !== hash) {
          this.#hold(
            'P10',
            held !== null && held !== undefined,
            () => `${hash.slice(0, 8)} is tried and is no durable candidate`,
          );
          return;
        }
        this.#hold(
          'P10',
          held.attempts >= Math.min(deaths + 1, attemptLimit),
          () =>
            `${deaths} lives died on ${hash.slice(0, 8)}, another try is made, and the disk says ${held.attempts} attempts`,
        );
      });
      return;
    }
    if (mode === 'revert') this.#judgeWayBack(life);
    if (mode !== 'replay' || life.start === null || life.applied.size > 0) return;
    const key = `replay ${hash}`;
    const deaths = this.#deaths.get(key) ?? 0;
    life.applied.add(key);
    if (!this.#trustsDisk) return;
    // Only what was passed over or given up before is tried beyond its attempts, once a delay.
    const facts = life.found.facts;
    const isRetry = facts !== null && (facts.passedOver !== null || facts.safeModeTimes > 0);
    this.#hold(
      'P10',
      deaths < attemptLimit || isRetry,
      () => `${deaths} lives died replaying ${hash.slice(0, 8)}, and another does`,
    );
    this.#pending.push(async () => {
      const held = (await this.#world.durable()).facts?.generations.find((one) => one.hash === hash);
      if (held === undefined) return;
      this.#hold(
        'P10',
        held.attempts >= Math.min(deaths + 1, attemptLimit),
        () =>
          `${deaths} lives died replaying ${hash.slice(0, 8)}, another replays it, and the disk says ${held.attempts} attempts`,
      );
    });
  }

  /** P3: the verdict is durable before the first step back, unless the disk takes none. */
  #judgeWayBack({ context }: Life): void {
    if (context === null || context.refusal === null || context.applying === null || context.storeProblem !== null)
      return;
    const { hash } = context.applying;
    this.#pending.push(async () => {
      const { facts } = await this.#world.durable();
      this.#hold(
        'P3',
        facts?.rejected.some((one) => one.hash === hash) === true,
        () => `the way back from ${hash.slice(0, 8)} begins and its rejection is not durable`,
      );
    });
  }

  /** What of last good works at the moment a candidate is tried. */
  #noteTrial(hash: string): void {
    const [good] = this.#facts?.generations ?? [];
    const policy = good && this.known.get(good.hash);
    if (policy === undefined || this.#facts?.runs !== 0) {
      this.#trials.delete(hash);
      return;
    }
    const ready = this.#world.readyComponents();
    const wanted = renderHere(canonicalJson(policy.body)).components;
    const working = wanted.filter((one) => ready.get(one.id)?.hash === one.hash);
    // What fell and is up again is well only once that was seen: until then it is one that was unhealthy before. What is ready for the first
    // time counts at once, seen or not. What a start before this one left, and safe mode leaves alone, is known by its record only.
    const isFirst = (id: string) => this.#life?.begun.has(id) === true && !this.#life.begunAgain.has(id);
    // What falls again and again is up in between only.
    const worked = working.filter(
      ({ id }) => isFirst(id) || (ready.get(id)?.confirmed === true && !this.#fallsAgainAndAgain(id)),
    );
    // What may be unwell worked or did not, by when it was asked.
    const mayBeSick = this.#world.nowMs < this.#sickUntilMs;
    const certain = worked.filter(({ daemon }) => !mayBeSick || daemon.health === null);
    this.#trials.set(hash, new Map(certain.map((one) => [one.id, one.hash])));
    // What a replay or the way back has just started may be refused for until it stumbles: a policy must not gain by coming early. The time
    // counts from the step, and up to the trial: an agent that begins anew is the same process, and a verdict may come much later.
    const isOnItsWay = this.#world.nowMs - (this.#life?.broughtAtMs ?? Number.NEGATIVE_INFINITY) < ON_ITS_WAY_MS;
    const onTheirWay = isOnItsWay ? wanted.filter(({ id }) => !this.#life?.begunAgain.has(id)) : [];
    // One that supersedes another, or comes while the way back is under way, is held against what worked before both.
    const { nowMs } = this.#world;
    const before = nowMs - this.#workedBefore.atMs < WAY_BACK_MS ? this.#workedBefore.ids : [];
    this.#workedBefore = { ids: new Set([...before, ...[...working, ...onTheirWay].map(({ id }) => id)]), atMs: nowMs };
  }

  claims(incarnation: Incarnation, component: string): void {
    if (this.#life?.incarnation === incarnation) this.#life.claimed.add(component);
  }

  /** A start of it begins, by adopting what runs or by a launch. */
  begins(incarnation: Incarnation, component: string): void {
    const life = this.#life;
    if (life?.incarnation !== incarnation) return;
    life.claimed.add(component);
    if (life.begun.has(component)) life.begunAgain.add(component);
    life.begun.add(component);
    life.begins.set(component, [...(life.begins.get(component) ?? []), this.#world.nowMs]);
  }

  /** It began for the third time, or more, and that was too lately to be forgotten. */
  #fallsAgainAndAgain(component: string): boolean {
    const begins = this.#life?.begins.get(component) ?? [];
    return begins.length > 2 && this.#world.nowMs - (begins.at(-1) ?? 0) < FORGOTTEN_AFTER_MS;
  }

  /** Never two of one component. */
  launched(component: string, others: number): void {
    this.#hold('P3', others === 0, () => `${component} is started while another process of it lives`);
  }

  /**
   * P8: the best it has goes on. `runs`: the configuration its process has, null without one. The way to a policy, and from one on trial back to
   * last good, may have been begun before the state was tampered with: it goes on, and stops what one of the two wants otherwise, or not at all.
   */
  stops(component: string, runs: string | null): void {
    if (this.#mustKeep === null) return;
    const { told, back } = this.#mustKeep;
    // Once it is last good, nothing leads back from it.
    const isGood = told === this.#facts?.generations[0]?.hash;
    const wanted = [told, isGood ? null : back].flatMap((hash) => this.#wantedOf(hash, component));
    const isKept = wanted.every((one) => one === (runs ?? wanted[0]));
    this.#hold('P8', !isKept, () => `${component} is stopped because the state directory was tampered with`);
  }

  /** What a policy wants a component to run, null for nothing; no answer where there is no policy, or one that is refused before it touches any. */
  #wantedOf(hash: string | null, component: string): (string | null)[] {
    const policy = hash === null ? undefined : this.known.get(hash);
    if (policy === undefined || UNTOUCHING.has(policy.kind)) return [];
    return [componentsIn(policy).find(({ id }) => id === component)?.hash ?? null];
  }

  // ---- what is said ----

  /** A request leaves the agent. */
  sends(incarnation: Incarnation, { path, body }: Exchange): void {
    const life = this.#life;
    if (life?.incarnation !== incarnation) return;
    if (life.firstSend) this.#judgeFirstSend(life);
    life.firstSend = false;
    const parsed = JSON.parse(body) as Record<string, unknown>;
    if (path.endsWith('/checkin')) this.#judgeCheckin(life, seenIn(parsed));
    else if (path.endsWith('/acks'))
      this.#judgeAcks((parsed.events ?? []) as readonly { action_id: string; error?: string }[]);
  }

  /** P2. */
  #judgeFirstSend(life: Life): void {
    const { context, found } = life;
    // The newest commit, which the agent's snapshot may not show yet.
    const facts = life.start === null ? context?.facts : this.#facts;
    if (!facts || facts.safeMode !== null || facts.unenrolled !== null) return;
    if (this.#tamperedSince(life.incarnation.startedAtMs - 1) || life.leaving) return;
    const generation = (facts.generations.length > 0 ? facts : found.facts)?.generations[facts.runs];
    const policy = generation && this.known.get(generation.hash);
    if (policy === undefined || !found.readable.has(policy.hash)) return;
    const missing = componentsOf(policy).filter((id) => !life.claimed.has(id));
    this.#hold(
      'P2',
      missing.length === 0,
      () => `the first request leaves before ${missing.join(', ')} of last good had its step`,
    );
  }

  #judgeCheckin(life: Life, said: CheckinSeen): void {
    const { context } = life;
    // P9: count and cause reach Fleet.
    if (life.start !== null && context?.facts.starts[0] !== undefined) {
      const [start] = context.facts.starts;
      this.#hold(
        'P9',
        said.metadata.start === start.number &&
          said.metadata.previous === start.previous &&
          said.metadata.crashes === start.crashes,
        () =>
          `Fleet is told start ${said.metadata.start} after ${said.metadata.previous}, ${said.metadata.crashes} crashes; it is ${start.number} after ${start.previous}, ${start.crashes}`,
      );
    }
    // P9: also of a start that the disk takes no record of.
    const last = life.found.facts?.starts[0];
    if (life.start === null && last !== undefined && !this.#tamperedSince(life.incarnation.startedAtMs)) {
      const wanted = this.#endOf(last);
      this.#hold(
        'P9',
        said.metadata.start === last.number + 1 && said.metadata.previous === wanted,
        () =>
          `Fleet is told start ${said.metadata.start} after ${said.metadata.previous}; it is not on record, and is ${last.number + 1} after ${wanted}`,
      );
    }
    // P8: with nothing on disk and an ack at Fleet, it says so.
    const neverHeld = life.found.facts === null && this.#ackedPolicies.length > 0;
    const healed = context !== null && context.facts.received !== null;
    if (neverHeld && !healed && context?.storeProblem === null && context.facts.unenrolled === null) {
      this.#hold(
        'P8',
        said.message.startsWith('holds ') && said.policyId === '' && said.revision === 0,
        () => `it holds nothing and says "${said.message}", ${said.policyId}:${said.revision}`,
      );
    }
    // P8: nor when the bytes of its last good were gone when it began.
    const [good] = life.found.facts?.generations ?? [];
    const isTorn = good !== undefined && life.start !== null && !life.found.readable.has(good.hash);
    const since = context?.facts;
    // Neither has Fleet sent a policy since, nor has one that it had sent before become last good.
    const untouched =
      since !== undefined &&
      since.received?.at === life.found.facts?.received?.at &&
      since.generations.every(({ hash }) => life.found.facts?.generations.some((one) => one.hash === hash));
    if (isTorn && untouched && since.unenrolled === null && since.safeMode === null && context?.storeProblem === null) {
      this.#hold(
        'P8',
        said.message.startsWith('holds ') && said.revision === 0,
        () => `the bytes of its last good are lost, and it says "${said.message}", ${said.policyId}:${said.revision}`,
      );
    }
    this.#hold(
      'P7',
      said.policyId !== undefined && said.revision !== undefined,
      () => 'policy id or revision is left out',
    );
    this.#pending.push(async () => {
      const { facts, readable } = await this.#world.durable();
      // P7
      if (said.policyId !== '' && !this.#tamperedSince(this.#world.nowMs - 5_000)) {
        // It was verified a moment before it is said, and may have been overtaken since.
        const names = (facts?.generations ?? []).filter(({ hash }, at, all) => {
          const newer = all[at - 1];
          const overtaken = newer === undefined ? 0 : (this.#promotedAtMs.get(newer.hash) ?? 0);
          return readable.has(hash) && (at === 0 || (at === 1 && this.#world.nowMs - overtaken < 5_000));
        });
        const held = names.some(
          ({ id, revision }) => id === said.policyId && (revision === said.revision || said.revision === 0),
        );
        this.#hold(
          'P7',
          held,
          () =>
            `reports ${said.policyId}:${said.revision}; the disk holds ${names.map((one) => `${one.id}:${one.revision}`).join(', ') || 'nothing'}`,
        );
      } else if (said.policyId === '')
        this.#hold('P7', said.revision === 0, () => `reports no id and revision ${said.revision}`);
      // P4
      const covered = this.#dispatched.get(said.token);
      if (covered !== undefined && this.#trustsDisk && this.#sentActions.size < JOURNAL_KEPT) {
        const journal = new Set(facts?.journal.map(({ id }) => id));
        const lost = covered.filter(({ id }) => !journal.has(id)).map(({ id }) => id);
        this.#hold(
          'P4',
          lost.length === 0 || this.#clockJumped,
          () => `the token ${said.token} is sent and the disk does not hold ${lost.join(', ')}`,
        );
      }
      this.#holdsAcked({ facts, readable }, 'what a power cut would leave');
    });
  }

  #judgeAcks(events: readonly { action_id: string; error?: string }[]): void {
    for (const { action_id: id, error } of events) {
      const owed = this.#life?.found.facts?.outbox.find(({ actionId }) => actionId === id);
      if (error !== undefined || owed === undefined || owed.policy === null) continue;
      const { hash } = owed.policy;
      this.#hold('P1', !this.#isLost(hash), () => `${id} is acked, and was found lost when this start began`);
    }
    this.#pending.push(async () => {
      if (!this.#trustsDisk) return;
      const { facts, readable } = await this.#world.durable();
      const owed = new Set(facts?.outbox.map(({ actionId }) => actionId));
      for (const { action_id: id, error } of events) {
        this.#hold('P6', owed.has(id), () => `the ack of ${id} is sent and is not durably owed`);
        if (id.startsWith('policy:')) {
          if (error === undefined) this.#holdsOne(id, { facts, readable }, 'at the sending of its ack');
          continue;
        }
        const entry = facts?.journal.find((one) => one.id === id);
        const right = entry?.state === 'done' && (entry.outcome?.ok === false) === (error !== undefined);
        this.#hold(
          'P4',
          entry !== undefined && right,
          () => `the ack of ${id} is sent; on disk the action is ${entry?.state ?? 'missing'}`,
        );
      }
    });
  }

  // ---- what the server sees ----

  delivered(policy: SimPolicy): void {
    this.#deliveries.push({ policy, actionId: `policy:${policy.id}:${policy.revision}` });
    this.#mustKeep = null;
  }

  dispatched(token: string, actions: readonly SimAction[]): void {
    this.#dispatched.set(token, actions);
    for (const { id } of actions) this.#sentActions.add(id);
    this.#mustKeep = null;
  }

  acked(acks: readonly AckSeen[], statuses: readonly number[]): void {
    for (const [at, ack] of acks.entries()) {
      const status = statuses[at] ?? 0;
      this.#verdicts.set(ack.actionId, [...(this.#verdicts.get(ack.actionId) ?? []), status]);
      if (status !== 200) continue;
      if (ack.actionId.startsWith('policy:')) {
        if (ack.error === '') this.#ackedPolicies.push({ actionId: ack.actionId, atMs: this.#world.nowMs });
        continue;
      }
      const first = this.#ackedActions.get(ack.actionId);
      if (first === undefined) this.#ackedActions.set(ack.actionId, ack);
      else if (this.#trustsDisk) {
        this.#hold(
          'P5',
          first.error === ack.error && first.message === ack.message,
          () =>
            `action ${ack.actionId} is acked again with another result: "${ack.error || ack.message}" after "${first.error || first.message}"`,
        );
      }
    }
  }

  /** P1 and P8 by their price: what the server believes to be held lets it take the keys of what is. */
  retired(keys: readonly string[], believed: { readonly id: string; readonly revision: number }): void {
    // A server that is restored gives a revision to another policy than the agent knows by it, and takes an ack on its way for one of that.
    if (this.#serverForgot) return;
    this.#pending.push(async () => {
      if (!this.#trustsDisk) return;
      const [good] = (await this.#world.durable()).facts?.generations ?? [];
      const policy = good && this.known.get(good.hash);
      if (good === undefined || policy === undefined) return;
      const isHeld = good.id === believed.id && good.revision >= believed.revision;
      this.#hold(
        'P1',
        isHeld || !keys.includes(outputKeyOf(policy)),
        () =>
          `the key of ${good.actionId}, which is held, is retired: Fleet believes ${believed.id}:${believed.revision}`,
      );
    });
  }

  /** A whole request was answered with this status, and nothing looked into. */
  refused(path: string, body: string, status: number): void {
    if (!path.endsWith('/acks')) return;
    for (const { action_id: id } of (JSON.parse(body) as { events: { action_id: string }[] }).events) {
      this.#verdicts.set(id, [...(this.#verdicts.get(id) ?? []), status]);
    }
  }

  // ---- P1 ----

  /** The policy of the newest ack, or a newer one, is held. */
  #holdsAcked(reading: Held, where: string): void {
    const newest = this.#ackedPolicies.at(-1);
    if (newest !== undefined) this.#holdsOne(newest.actionId, reading, where);
  }

  #holdsOne(actionId: string, held: Held, where: string): void {
    if (!this.#trustsDisk || !this.#deliveries.some((one) => one.actionId === actionId)) return;
    const holds = this.#isHeld(actionId, held);
    this.#hold('P1', holds, () => `${actionId} is acked, and ${where} holds neither it nor a newer one`);
  }

  #isHeld(actionId: string, { facts, readable }: Held): boolean {
    const first = this.#deliveries.findIndex((one) => one.actionId === actionId);
    const bytes = new Set(this.#deliveries.filter((one) => one.actionId === actionId).map((one) => one.policy.hash));
    return (facts?.generations ?? []).some(({ hash }) => {
      if (!readable.has(hash)) return false;
      return bytes.has(hash) || this.#deliveries.findLastIndex((one) => one.policy.hash === hash) > first;
    });
  }

  // ---- P11 and P12, asked by the world ----

  promise(promise: PromiseName, holds: boolean, message: () => string): void {
    this.#hold(promise, holds, message);
  }

  get serverHasForgotten(): boolean {
    return this.#serverForgot;
  }

  /** Bytes that cannot be read are as good as other bytes, and stay so to the end of that time, whatever else is done to them meanwhile. */
  #tamperedSince(ms: number): boolean {
    return Math.max(this.#tamperedAtMs, this.#readErrorsUntilMs) >= ms;
  }

  /** A commit has left a disk on which nothing is damaged or missing: from here on all is judged again, by what happens from here on. */
  #trustAgain(held: Reading): void {
    const whole = held.findings.length === 0 && held.facts?.generations.every(({ hash }) => held.readable.has(hash));
    const newest = this.#ackedPolicies.at(-1);
    if (!whole || (newest !== undefined && !this.#isHeld(newest.actionId, held))) return;
    this.#trustsDisk = true;
    // What was before may have been lost with what was tampered with; healing is P12's.
    this.#dispatched.clear();
    this.#ackedActions.clear();
    this.#ends.clear();
  }
}

export function componentsOf(policy: SimPolicy): string[] {
  return componentsIn(policy).map(({ id }) => id);
}

function componentsIn(policy: SimPolicy): Rendering['components'] {
  try {
    return renderHere(canonicalJson(policy.body)).components;
  } catch {
    return [];
  }
}

/** Equal as JSON, whatever the order of keys. */
export function same(one: unknown, other: unknown): boolean {
  if (one === other) return true;
  return JSON.stringify(one) === JSON.stringify(other) || canonicalJson(one) === canonicalJson(other);
}

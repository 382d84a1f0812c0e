/** Every state and transition of the agent, and what holds on each path: nothing fresh before its commit, no link before the replay, no promotion before its confirmation, no way back before the verdict. */
import { expect } from 'vitest';
import { agentMachine } from '../../src/machines/agent.ts';
import { type AgentContext, isDue } from '../../src/machines/agent-context.ts';
import { emptyFacts, type Facts, type Generation, NOTHING_SPENT, type Start } from '../../src/machines/facts.ts';
import { policyRef } from '../../src/policy/identity.ts';
import { policyNamed, SETTINGS } from '../support/agent-world.ts';
import { describePaths, type Told } from '../support/paths.ts';

type Snapshot = { context: AgentContext; value: unknown; children: Record<string, unknown> };

const START: Start = {
  number: 2,
  bootId: 'boot',
  at: 1,
  previous: 'goodbye',
  crashes: 0,
  inFlight: null,
  confirmed: false,
  goodbye: false,
  spent: NOTHING_SPENT,
};
const ref = (name: string) => policyRef(policyNamed(name));
const generation = (name: string): Generation => ({ ...ref(name), promotedAt: 1, attempts: 0 });
const candidate = (name: string) => ({ ...ref(name), receivedAt: 5, attempts: 1 });
const base: Facts = { ...emptyFacts('agent'), starts: [START] };
const one: Facts = { ...base, generations: [generation('web:1')], received: { ...ref('web:1'), at: 1 } };
const ack = (name: string) => ({
  actionId: `policy:${name}`,
  actionType: 'POLICY_CHANGE',
  message: '',
  error: null,
  owedAt: 1,
  notFound: 0,
  policy: ref(name),
});
const safeMode = { reason: 'it crashed', since: 1, until: { at: 300_000, delayMs: 300_000 } };
const rejection = {
  ...ref('web:2'),
  kind: 'check' as const,
  reason: 'bad',
  rejectedAt: 6,
  times: 1,
  retry: { at: 60_000, delayMs: 60_000 },
};

/** Facts by name: the bounded world the paths walk in. */
const FACTS = {
  none: base,
  one,
  candidate: { ...one, candidate: candidate('web:2') },
  newer: { ...one, candidate: candidate('web:3') },
  promoted: { ...one, generations: [generation('web:2'), generation('web:1')], outbox: [ack('web:2')] },
  rejected: { ...one, rejected: [rejection], received: { ...ref('web:2'), at: 5 } },
  passedOver: {
    ...one,
    generations: [generation('web:2'), generation('web:1')],
    runs: 1,
    passedOver: { at: 300_000, delayMs: 300_000, times: 1 },
  },
  passedOverLonger: {
    ...one,
    generations: [generation('web:2'), generation('web:1')],
    runs: 1,
    passedOver: { at: 900_000, delayMs: 600_000, times: 2 },
  },
  safe: { ...one, safeMode },
  safeCandidate: { ...one, safeMode, candidate: candidate('web:2') },
  again: { ...one, received: { ...ref('web:1'), at: 20 } },
  crashed: { ...one, starts: [{ ...START, previous: 'crashed' as const, crashes: 1, inFlight: 'replaying web:1' }] },
  crashedSafe: { ...one, safeMode, starts: [{ ...START, previous: 'crashed' as const, crashes: 3 }] },
  unenrolled: { ...one, unenrolled: { at: 1, reason: 'asked to' } },
} satisfies Record<string, Facts>;
type Name = keyof typeof FACTS;

const nameOfFacts = (facts: Facts) =>
  (Object.entries(FACTS).find(([, value]) => JSON.stringify(value) === JSON.stringify(facts))?.[0] ?? 'other') as Name;

const full = { code: 'STORE_WRITE_FAILED', message: 'no space left on device' } as const;
const damaged = { code: 'STORE_UNREADABLE', message: 'the object is missing' } as const;
const changed = (name: Name) => ({ type: 'facts.changed', facts: FACTS[name], at: 10 });
const reply = (id: string, name: Name) => ({ type: 'store.committed', id, facts: FACTS[name], at: 10, news: null });
const delayed = (id: string) => ({ type: 'store.delayed', id, problem: full });
const body = policyNamed('web:1');
const plans = ['plan-1', 'plan-2', 'plan-3'];

const cases = [
  { type: 'store.opened', facts: null, findings: [], at: 1 },
  { type: 'store.opened', facts: FACTS.one, findings: [], at: 1 },
  { type: 'store.opened', facts: FACTS.candidate, findings: [], at: 1 },
  ...(['none', 'one', 'candidate', 'passedOver', 'safe', 'crashed', 'crashedSafe', 'unenrolled'] as const).map((name) =>
    reply('start', name),
  ),
  ...['start', 'rejected', 'repair', 'goodbye'].map(delayed),
  reply('promoted', 'promoted'),
  reply('promoted', 'newer'),
  reply('promoted', 'one'),
  reply('rejected', 'rejected'),
  reply('rejected', 'candidate'),
  reply('rejected', 'safe'),
  reply('repair', 'one'),
  reply('goodbye', 'one'),
  ...(['one', 'again', 'candidate', 'newer', 'passedOverLonger', 'safeCandidate', 'unenrolled'] as const).map(changed),
  { type: 'store.failing', problem: full },
  { type: 'store.unopenable', problem: full },
  { type: 'store.readable' },
  ...plans.flatMap((plan) => [
    { type: 'components.issued', plan },
    { type: 'components.confirmed', plan, degraded: [] },
    { type: 'components.refused', plan, kind: 'check', reason: 'bad' },
  ]),
  { type: 'components.changed', components: [], awaiting: null },
  { type: 'link.changed', link: { state: 'connected', message: '', host: null, lastCheckinAt: 1 } },
  { type: 'held.verified', verdict: { hash: 'hash-web:1', problem: null } },
  { type: 'held.verified', verdict: { hash: 'hash-web:1', problem: damaged } },
  { type: 'held.verified', verdict: { hash: 'hash-web:2', problem: damaged } },
  { type: 'unenroll.requested', reason: 'asked to' },
  { type: 'shutdown.requested', reason: 'SIGTERM' },
  { type: 'restart.requested', reason: 'asked to' },
  { type: 'xstate.done.actor.readLadder', output: { body, lost: [] } },
  { type: 'xstate.done.actor.readLadder', output: { body: null, lost: [{ hash: 'hash-web:1', problem: damaged }] } },
  { type: 'xstate.done.actor.readLastGood', output: { body, lost: [] } },
  { type: 'xstate.done.actor.readLastGood', output: { body: null, lost: [{ hash: 'hash-web:1', problem: damaged }] } },
  { type: 'xstate.done.actor.readPolicy', output: policyNamed('web:2') },
  { type: 'xstate.done.actor.verifyHeld', output: { hash: 'hash-web:1', problem: null } },
  { type: 'xstate.done.actor.verifyHeld', output: { hash: 'hash-web:2', problem: null } },
  { type: 'xstate.done.actor.verifyHeld', output: { hash: 'hash-web:1', problem: damaged } },
  { type: 'xstate.error.actor.*', error: new Error('the port broke') },
] as never;

/** Which facts a commit can bring after which. */
const FOLLOWS: Record<Name | 'other', readonly Name[]> = {
  none: ['unenrolled'],
  one: ['candidate', 'again', 'unenrolled'],
  candidate: ['newer', 'one'],
  newer: ['one'],
  promoted: ['one', 'newer'],
  rejected: ['candidate', 'one'],
  passedOver: ['one', 'passedOverLonger'],
  passedOverLonger: [],
  safe: ['safeCandidate', 'unenrolled'],
  safeCandidate: [],
  again: ['one'],
  crashed: ['one'],
  crashedSafe: [],
  unenrolled: [],
  other: [],
};

/** What the root handles alike in every state: tried where the walk begins, not over and over. */
const ANYWHERE =
  /^(xstate\.error\.actor\.(store|dispatcher|components|gateway|acker)|shutdown\.requested|restart\.requested|store\.(unopenable|readable|failing|recovered)|components\.changed|link\.changed|host\.woke|unenroll\.requested)$/;

describePaths('agent', agentMachine, {
  input: SETTINGS,
  systemId: 'agent',
  cases,
  project: ({ context, value }: Snapshot) => {
    const where = JSON.stringify(value);
    if (/draining|stopped|unenrolled/.test(where)) return [context.ending?.restart ?? null, context.facts.runs > 0];
    const awaits = /replay|confirming|reverting/.test(where) || context.replay === 'pending';
    return [
      nameOfFacts(context.facts),
      isDue(context),
      context.applying?.hash ?? null,
      context.replay === 'pending',
      context.orphaned === null ? null : context.orphaned.damaged !== null,
      awaits ? context.plansMade : 0,
    ];
  },
  skip: (event: { type: string; plan?: string; facts?: Facts }, { context, value }: Snapshot) => {
    const where = JSON.stringify(value);
    const early = context.plansMade <= 1 && /^(one|passedOver|safe|unenrolled)$/.test(nameOfFacts(context.facts));
    if (event.plan !== undefined && event.plan !== context.plan) return true;
    if (event.type === 'facts.changed' && event.facts !== undefined) {
      return !FOLLOWS[nameOfFacts(context.facts)].includes(nameOfFacts(event.facts));
    }
    // Past the third plan the walk goes round.
    const rejecting = /checkin/.test(where) && nameOfFacts(context.facts) === 'rejected';
    if (context.plansMade > 2 && !rejecting && !/reverting|draining/.test(where)) return true;
    if (ANYWHERE.test(event.type)) return !early && !/draining|boot/.test(where);
    return false;
  },
  unwalked: {
    'agent.boot.opening — restart.requested → (stays)': 'forbidden: it does nothing',
    'agent.draining — restart.requested → (stays)': 'forbidden: it does nothing',
    'agent.draining — store.readable → (stays)': 'forbidden: it does nothing',
  },
  invariants: (({ context, value, children }: Snapshot, { event, told }: { event: { type: string }; told: Told[] }) => {
    const where = JSON.stringify(value);
    for (const { to, event: said } of told as unknown as {
      to: string;
      event: Record<string, never> & { type: string };
    }[]) {
      if (to === 'components' && said.type === 'components.apply' && said.mode === 'fresh') {
        // P4: what is applied is the durable candidate, and P3: only that.
        expect(context.facts.candidate?.hash).toBe(context.applying?.hash);
        expect(event.type).toBe('xstate.done.actor.readPolicy');
      }
      if (to === 'components' && said.type === 'components.apply' && said.mode === 'revert') {
        expect(event.type).toBe('xstate.done.actor.readLastGood');
      }
      const changes = (to === 'store' ? ((said.changes ?? []) as { type: string; hash: string }[]) : []).map(
        (change) => change.type,
      );
      // P1: only what the components confirmed is promoted.
      if (changes.includes('policy.promoted')) expect(event.type).toBe('components.confirmed');
      // P3: the verdict is asked for as soon as there is one, before any step back.
      if (changes.includes('policy.rejected')) expect(event.type).toBe('components.refused');
    }
    // P2: no link before the replay is issued.
    if (
      children.gateway !== undefined &&
      (children.gateway as { getSnapshot(): { status: string } }).getSnapshot().status === 'active'
    ) {
      expect(where).toMatch(/running|safeMode/);
    }
    if (where.includes('persist')) expect(context.applying).not.toBeNull();
    if (where.includes('checkin')) {
      expect(isDue(context)).toBe(false);
      expect(context.applying).toBeNull();
      expect(context.orphaned).toBeNull();
    }
    if (where.includes('safeMode')) expect(context.facts.safeMode).not.toBeNull();
  }) as never,
} as never);

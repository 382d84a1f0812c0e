/** What the agent's chart speaks of: the bodies behind the names of its guards, actions and delays, and its ports. */
import { assign, emit, enqueueActions, setup } from 'xstate';
import type { Problem } from '../errors.ts';
import type { ComponentStatus } from '../policy/component.ts';
import { type PolicyBody, type PolicyRef, policyRef } from '../policy/identity.ts';
import { ackerMachine } from './acker.ts';
import {
  type AgentContext,
  type AgentInput,
  type AgentOutput,
  attemptOf,
  damagedBy,
  heldFacts,
  isDue,
  isDueAgain,
  type Ladder,
  lessHeld,
  nextTriesMoved,
  noRecord,
  orphanedBy,
  type Said,
  untilNextGeneration,
  untilNextTry,
  untilSafeModeEnds,
} from './agent-context.ts';
import { componentsMachine } from './components.ts';
import { dispatcherMachine } from './dispatcher.ts';
import { type Change, emptyFacts, type Facts, type Generation } from './facts.ts';
import { gatewayMachine } from './gateway.ts';
import { buildReport } from './report.ts';
import { isRetryable } from './rules.ts';
import { storeMachine } from './store.ts';
import { type AgentEvent, type HeldVerdict, tell, unwired } from './system.ts';
import { thisStart } from './this-start.ts';

export type { AgentContext, AgentInput, AgentOutput, Ladder, Said } from './agent-context.ts';

/** How long the end of the process waits for a disk that does not answer. */
const LAST_WORDS_MS = 10_000;

export const agentSetup = setup({
  types: {
    context: {} as AgentContext,
    events: {} as AgentEvent,
    input: {} as AgentInput,
    output: {} as AgentOutput,
    emitted: {} as Said,
  },
  actors: {
    store: storeMachine,
    dispatcher: dispatcherMachine,
    components: componentsMachine,
    gateway: gatewayMachine,
    acker: ackerMachine,
    readLadder: unwired<Ladder, { generations: readonly Generation[] }>('agent.readLadder'),
    readPolicy: unwired<PolicyBody, { ref: PolicyRef }>('agent.readPolicy'),
    verifyHeld: unwired<HeldVerdict, { ref: PolicyRef }>('agent.verifyHeld'),
  },
  guards: {
    'it is unenrolled': ({ context }) => context.facts.unenrolled !== null,
    'it is in safe mode': ({ context }) => context.facts.safeMode !== null,
    'it is in safe mode and nothing was touched': ({ context }) => context.facts.safeMode !== null && !context.touched,
    'the last start ended without a goodbye': ({ context }) => thisStart(context).previous === 'crashed',
    'the commit is': ({ event }, params: { id: string }) => (event as { id: string }).id === params.id,
    'the plan is ours': ({ context, event }) => (event as { plan: string }).plan === context.plan,
    'the replay is pending': ({ context, event }) =>
      context.replay === 'pending' && (event as { plan: string }).plan === context.plan,
    'a policy can be read': (_, params: { ladder: Ladder }) => params.ladder.body !== null,
    'it holds less than Fleet believes': ({ context }) => context.orphaned !== null,
    'a policy is due': ({ context }) => isDue(context),
    'nothing is missing any more': ({ context }) => context.orphaned === null,
    'the next tries have moved': ({ context, event }) =>
      nextTriesMoved(context.facts, (event as { facts: Facts }).facts),
    'a rejected policy is due for another try': ({ context }) => isDueAgain(context),
    'it was to begin anew': ({ context }) => context.ending?.restart === true,
    'the candidate is gone': ({ context }) => context.facts.candidate === null && context.facts.unenrolled === null,
    'it was promoted': ({ context, event }) => {
      const { id, facts } = event as AgentEvent & { type: 'store.committed' };
      return id === 'promoted' && facts.generations[0]?.hash === context.applying?.hash;
    },
    'the verdict is durable': ({ context, event }) => {
      const { id, facts } = event as AgentEvent & { type: 'store.committed' };
      return id === 'rejected' && facts.candidate?.hash !== context.applying?.hash;
    },
    'its ack is not owed any more': ({ context }) =>
      !context.facts.outbox.some((owed) => owed.policy?.hash === context.applying?.hash),
    'a rejected policy can be tried again': ({ context }) => isRetryable(context.facts),
    'a generation is passed over': ({ context }) => context.facts.runs > 0 && context.facts.candidate === null,
    'there is nothing to replay': ({ context }) => context.replay === 'none',
    'there is no last good policy': ({ context }) => context.facts.generations.length === 0,
    'it was only damaged': ({ context }, params: { verdict: HeldVerdict }) =>
      params.verdict.problem === null && context.orphaned?.damaged === params.verdict.hash,
    'it is whole': (_, params: { verdict: HeldVerdict }) => params.verdict.problem === null,
    'it is damaged': ({ context, event }) => {
      const { hash, problem } = (event as { verdict: HeldVerdict }).verdict;
      return problem !== null && hash === context.facts.generations[0]?.hash;
    },
    'it is readable again': ({ context, event }) => {
      const { hash, problem } = (event as { verdict: HeldVerdict }).verdict;
      return problem === null && hash === context.orphaned?.damaged;
    },
  },
  actions: {
    // ---- what is known ----
    'hold the facts': assign(({ context, event }) => heldFacts(context, event as { facts: Facts; at: number })),
    'hold what the disk held': assign(({ context, event }) => {
      const { facts, findings, at } = event as AgentEvent & { type: 'store.opened' };
      return {
        facts: facts ?? emptyFacts(context.settings.agentId),
        factsAt: at,
        findings,
        // An attempt that an earlier start spent is not made again: the next one is spent first (P10).
        taken: facts === null ? null : attemptOf(facts),
        orphaned: facts === null ? lessHeld({ facts: context.facts, factsAt: at }, noRecord(findings), null) : null,
      };
    }),
    'note that the store fails': assign({
      storeProblem: ({ event }) => (event as { problem: Problem }).problem,
    }),
    'note that the store works': assign({ storeProblem: null }),
    'note why it cannot go on': assign({ problem: ({ event }) => (event as { problem: Problem }).problem }),
    'note the fault': assign({
      problem: (_, params: { error: unknown }) => ({
        code: 'INTERNAL' as const,
        message: params.error instanceof Error ? params.error.message : String(params.error),
      }),
    }),
    'note the components': assign(({ event }) => {
      const { components, awaiting } = event as AgentEvent & { type: 'components.changed' };
      return { components, awaiting };
    }),
    'note the link': assign({ link: ({ event }) => (event as AgentEvent & { type: 'link.changed' }).link }),
    'note what can be read': assign(({ context }, params: { ladder: Ladder }) => ({
      orphaned: orphanedBy(context, params.ladder),
      lost: params.ladder.lost.map(({ hash }) => hash),
      running: params.ladder.body === null ? null : policyRef(params.ladder.body),
    })),
    'note what is replayed': assign((_, params: { ladder: Ladder }) => ({
      replay: params.ladder.body === null ? ('none' as const) : ('pending' as const),
    })),
    'note the damage': assign(({ context, event }) => ({
      orphaned: damagedBy((event as { verdict: HeldVerdict }).verdict, context),
    })),
    'note that it is whole again': assign({ orphaned: null }),
    'note that the replay is settled': assign(({ event }) => ({
      replay: 'settled' as const,
      degraded: (event as { degraded?: readonly string[] }).degraded ?? [],
    })),
    'note that the replay cannot be carried out': assign(({ event }) => ({
      replay: 'settled' as const,
      degraded: [(event as { reason: string }).reason],
    })),
    'note what is confirmed': assign(({ context, event }) => ({
      degraded: (event as { degraded: readonly string[] }).degraded,
      running: context.applying ?? context.running,
      refusal: null,
    })),
    'note the refusal': assign(({ event }) => {
      const { kind, reason } = event as AgentEvent & { type: 'components.refused' };
      return { refusal: { kind, reason } };
    }),
    'note that it cannot be read': assign(({ context }) => ({
      orphaned: lessHeld(
        context,
        'the policy that was to run cannot be read from disk',
        context.facts.generations[0]?.hash ?? null,
      ),
    })),
    'take the policy on': assign(({ context }) => ({
      taken: attemptOf(context.facts),
      refusal: null,
      applying: context.facts.candidate === null ? null : policyRef(context.facts.candidate),
      // Superseded: nobody will confirm it any more. Its attempt comes back with a promotion, or with the way back.
      replay: context.replay === 'pending' ? ('settled' as const) : context.replay,
    })),
    'note that components were touched': assign({ touched: true }),
    'let go of the policy': assign({ applying: null }),
    'the policy is ours': assign({ applying: null, orphaned: null }),
    'note the end': assign({
      ending: (_, params: { restart: boolean; reason: string }) => params,
    }),

    // ---- what is asked of the store ----
    'spend this start': tell('store', ({ context }: { context: AgentContext }) => ({
      type: 'store.change',
      from: 'agent',
      id: 'start',
      changes: [{ type: 'start.opened', bootId: context.settings.bootId }],
    })),
    'record what was lost': enqueueActions(({ enqueue }, params: { hashes: readonly string[] }) => {
      if (params.hashes.length === 0) return;
      enqueue(asking(`lost ${params.hashes.join(' ')}`, [{ type: 'held.lost', hashes: params.hashes }]));
    }),
    'ask for the replay to be recorded': tell('store', ({ context }: { context: AgentContext }) => ({
      type: 'store.change',
      from: 'agent',
      id: 'replayed',
      changes: [{ type: 'replay.confirmed', hash: context.running?.hash ?? '' }],
    })),
    'ask for the way back to be recorded': enqueueActions(({ context, enqueue }) => {
      // It confirms what this start spent its attempt on, when the replay itself was superseded.
      if (context.running === null || thisStart(context).confirmed) return;
      enqueue(asking('replayed', [{ type: 'replay.confirmed', hash: context.running.hash }]));
    }),
    'ask for the surviving candidate to be tried': enqueueActions(({ context, enqueue }) => {
      const candidate = context.facts.candidate;
      if (candidate === null || isDue(context)) return;
      enqueue(asking('survivor', [{ type: 'candidate.spent', hash: candidate.hash }]));
    }),
    'ask for the promotion': tell('store', ({ context }: { context: AgentContext }) => ({
      type: 'store.change',
      from: 'agent',
      id: 'promoted',
      changes: [{ type: 'policy.promoted', hash: context.applying?.hash ?? '' }],
    })),
    'ask for the verdict': tell('store', ({ context }: { context: AgentContext }) => ({
      type: 'store.change',
      from: 'agent',
      id: 'rejected',
      changes: [
        {
          type: 'policy.rejected',
          hash: context.applying?.hash ?? '',
          kind: context.refusal?.kind ?? 'health',
          reason: context.refusal?.reason ?? '',
        },
      ],
    })),
    'ask for another try': tell('store', {
      type: 'store.change',
      from: 'agent',
      id: 'retried',
      changes: [{ type: 'rejection.retried', hash: null }],
    }),
    'ask for the passed-over generation': tell('store', {
      type: 'store.change',
      from: 'agent',
      id: 'recovered',
      changes: [{ type: 'generation.retried' }],
    }),
    'ask to leave safe mode': tell('store', {
      type: 'store.change',
      from: 'agent',
      id: 'recovered',
      changes: [{ type: 'safeMode.left' }],
    }),
    // An empty commit: the store writes again what is missing on disk, from memory.
    'ask for a repair': tell('store', { type: 'store.change', from: 'agent', id: 'repair', changes: [] }),
    'confess what is lost': tell('store', ({ context }: { context: AgentContext }) => ({
      type: 'store.change',
      from: 'agent',
      id: 'confessed',
      changes: [{ type: 'held.lost', hashes: context.facts.generations.slice(0, 1).map((one) => one.hash) }],
    })),
    'ask for the unenrollment': tell('store', ({ event }) => ({
      type: 'store.change',
      from: 'agent',
      id: 'unenrolled',
      changes: [{ type: 'agent.unenrolled', reason: (event as { reason: string }).reason, audit: 'uninstall' }],
    })),
    'say goodbye': tell('store', {
      type: 'store.change',
      from: 'agent',
      id: 'goodbye',
      changes: [{ type: 'start.goodbye' }],
    }),
    'close the store': tell('store', { type: 'store.close' }),

    // ---- what the other actors are told ----
    'open the dispatcher': tell('dispatcher', ({ context }: { context: AgentContext }) => ({
      type: 'dispatcher.open',
      facts: context.facts,
      at: context.factsAt,
    })),
    'number the plan': assign(({ context }) => ({
      plansMade: context.plansMade + 1,
      plan: `plan-${context.plansMade + 1}`,
    })),
    'replay it': enqueueActions(({ context, enqueue }, params: { body: PolicyBody | null }) => {
      if (params.body !== null) enqueue(applying(context, 'replay', params.body));
    }),
    'apply it': enqueueActions(({ context, enqueue }, params: { body: PolicyBody }) => {
      enqueue(applying(context, 'fresh', params.body));
    }),
    'go back to it': enqueueActions(({ context, enqueue }, params: { body: PolicyBody }) => {
      enqueue(applying(context, 'revert', params.body));
    }),
    'leave the components alone': tell('components', { type: 'components.leave' }),
    'stop the components': tell('components', ({ context }: { context: AgentContext }) => ({
      type: 'components.stop',
      keep: mayRunOn(context),
      hurry: false,
    })),
    'stop them now': tell('components', ({ context }: { context: AgentContext }) => ({
      type: 'components.stop',
      keep: mayRunOn(context),
      hurry: true,
    })),
    'report to Fleet': tell('gateway', ({ context }: { context: AgentContext }) => ({
      type: 'report.changed',
      report: buildReport(context),
      urgent: false,
    })),
    'report the components to Fleet': enqueueActions(({ context, event, enqueue }) => {
      const { components } = event as AgentEvent & { type: 'components.changed' };
      const next = { ...context, components };
      const urgent = statesOf(components) !== statesOf(context.components);
      enqueue(
        tell<AgentContext, AgentEvent, 'gateway'>('gateway', {
          type: 'report.changed',
          report: buildReport(next),
          urgent,
        }),
      );
      for (const line of componentNews(context.components, components)) enqueue(emit(line));
    }),
    'wake the link': enqueueActions(({ enqueue }) => {
      enqueue(tell<AgentContext, AgentEvent, 'gateway'>('gateway', { type: 'host.woke' }));
      enqueue(tell<AgentContext, AgentEvent, 'acker'>('acker', { type: 'host.woke' }));
    }),
    say: emit((_, params: { level: Said['level']; message: string }) => ({ type: 'said' as const, ...params })),
  },
  delays: {
    'the next try': ({ context }) => untilNextTry(context),
    'the passed-over policy is tried again': ({ context }) => untilNextGeneration(context),
    'safe mode ends': ({ context }) => untilSafeModeEnds(context),
    'last words': LAST_WORDS_MS,
  },
});

function asking(id: string, changes: readonly Change[]) {
  return tell<AgentContext, AgentEvent, 'store'>('store', { type: 'store.change', from: 'agent', id, changes });
}

function applying({ plan, facts }: AgentContext, mode: 'fresh' | 'replay' | 'revert', policy: PolicyBody) {
  const lastGood = mode === 'fresh' ? (facts.generations[facts.runs]?.hash ?? null) : policy.hash;
  return tell<AgentContext, AgentEvent, 'components'>('components', {
    type: 'components.apply',
    plan,
    mode,
    policy,
    lastGood,
  });
}

/** Whether the components outlive this start. In safe mode nothing is started, stopped or changed, not even at the end, however it is asked for. */
function mayRunOn({ ending, settings, facts }: AgentContext): boolean {
  return ending !== null && (ending.restart || settings.onExit === 'keep' || facts.safeMode !== null);
}

function statesOf(components: readonly ComponentStatus[]): string {
  return components.map((one) => `${one.id} ${one.state}`).join('\n');
}

/** One line for each component whose state is another than before. */
function componentNews(before: readonly ComponentStatus[], now: readonly ComponentStatus[]): readonly Said[] {
  const states = new Map(before.map((one) => [one.id, one.state]));
  return now
    .filter((one) => states.get(one.id) !== one.state)
    .map((one) => ({
      type: 'said',
      level:
        one.state === 'failed' ? 'error' : one.state === 'degraded' || one.state === 'backingOff' ? 'warning' : 'info',
      message: `${one.id} is ${one.state}${one.message === '' ? '' : `: ${one.message}`}`,
    }));
}

/** Plays one case: a scenario with its kills, restarted until settled; and judges it by the promises. */
import type { Kill, Killed, Life, LifeStatus, Operation } from './life.ts';
import { BASIC, nameOf, type Scenario, waysAfter } from './scenario.ts';
import { CASE_MS, type Disk, Stage } from './stage.ts';

export interface Played {
  readonly broken: readonly string[];
  /** Where it was killed, a kill each. */
  readonly killed: readonly Killed[];
  /** Of the first life; of a case with kills, of the life after the last one. */
  readonly operations: readonly Operation[];
  readonly states: readonly string[];
  /** The root chart's way in the surviving life. */
  readonly chain: readonly string[];
}

const NO_DISK: Disk = { facts: null, readable: [], enrolled: false };

/** `kills`: of the first life, then of the one after it, … */
export async function play(
  program: string,
  base: Stage | null,
  scenario: Scenario,
  kills: readonly Kill[],
): Promise<Played> {
  const stage = await Stage.set(program, base);
  let left: string[] = [];
  try {
    return await perform(stage, scenario, kills);
  } finally {
    left = await stage.strike();
    if (left.length > 0 && !scenario.outcome.kept) stage.broken.push(`left running: ${left.join('; ')}`);
  }
}

async function perform(stage: Stage, scenario: Scenario, kills: readonly Kill[]): Promise<Played> {
  await stage.settings(scenario.settings ?? {});
  await scenario.before?.(stage);
  const begun = stage.lives.length;
  const pending = [...kills];
  const killed: Killed[] = [];
  const atKill: { disk: Disk; readonly processes: Map<string, number> } = { disk: NO_DISK, processes: new Map() };
  const start = (): Life => {
    const life = stage.start(pending.shift() ?? null, stage.lives.length === begun + kills.length);
    void life.ended.then(async (code) => {
      if (stage.over) return;
      if (life.killed !== null) killed.push(life.killed);
      else if (code !== 0) stage.broken.push(`the process ended with ${code}: ${life.errors.join(' ')}`);
      atKill.disk = await stage.disk();
      for (const component of scenario.outcome.uninterrupted) {
        const found = await stage.process(component);
        if (found?.settled) atKill.processes.set(component, found.pid);
      }
      if (!stage.over && stage.lives.length < begun + 12) start();
    });
    return life;
  };
  const first = start();
  let fromOperation = 0;
  let fromState = 0;
  let fromChain = 0;
  for (const [number, step] of scenario.steps.entries()) {
    await stage.until((status) => step.when(status, stage), step.waitsFor);
    if (number === scenario.from) {
      fromOperation = first.operations.length;
      fromState = first.states.length;
      fromChain = first.chain.length - 1;
    }
    await step.act(stage);
  }
  const isSettled = (status: LifeStatus) => scenario.settled(status, stage);
  let status = await stage.quiet(isSettled, 'settled');
  // What comes after is the goodbye, which has a scenario of its own.
  const watched = stage.lives[begun + kills.length];
  const operations = watched?.operations.slice(watched === first ? fromOperation : 0) ?? [];
  const states = watched?.states.slice(watched === first ? fromState : 0) ?? [];
  compare(stage, scenario, status, atKill.processes);
  let settledChain = [...stage.life.chain];
  // One that was not killed before may be in its goodbye.
  for (let last = await goodbye(stage); last !== null; last = await goodbye(stage)) {
    killed.push(last);
    atKill.disk = await stage.disk();
    start();
    status = await stage.quiet(isSettled, 'settled again');
    compare(stage, scenario, status, new Map());
    settledChain = [...stage.life.chain];
  }
  await judge(stage, scenario);
  const undisturbed = stage.lives.length === begun + 1;
  const chain = undisturbed ? settledChain.slice(Math.max(0, fromChain)) : settledChain;
  const wanted = undisturbed ? [scenario.undisturbed] : (scenario.ways ?? waysAfter)(atKill.disk, scenario);
  if (!wanted.some((one) => one.join() === chain.join())) {
    stage.broken.push(
      `the way was ${chain.join(' > ')}\n  instead of ${wanted.map((one) => one.join(' > ')).join('\n  or ')}`,
    );
  }
  return {
    broken: stage.broken,
    killed,
    operations,
    states,
    chain,
  };
}

/** What runs, when all has settled. */
function compare(stage: Stage, { outcome }: Scenario, status: LifeStatus, before: ReadonlyMap<string, number>): void {
  for (const [component, text] of Object.entries(outcome.runs)) {
    const pid = status.pids[component];
    const last = stage.events(component).at(-1);
    if (!new RegExp(`^(started|reloaded) ${pid} ${text}$`).test(last ?? '')) {
      stage.broken.push(`${component} should run "${text}" as ${pid}: ${last}`);
    }
  }
  for (const [component, pid] of before) {
    if (status.pids[component] !== pid) {
      stage.broken.push(`${component} was interrupted: ${pid} became ${status.pids[component]}`);
    }
  }
}

/** Has the life that has settled say goodbye, and says where it was killed in doing so; null: it was not. */
async function goodbye(stage: Stage): Promise<Killed | null> {
  const { life } = stage;
  stage.over = true;
  life.signal('SIGTERM');
  const hangs = setTimeout(() => life.signal('SIGKILL'), CASE_MS / 2);
  const code = await life.ended;
  clearTimeout(hangs);
  stage.over = life.killed === null;
  if (life.killed === null && code !== 0) {
    stage.broken.push(`it ended with ${code} on SIGTERM: ${life.errors.join(' ')}`);
  }
  return life.killed;
}

async function judge(stage: Stage, { outcome, name }: Scenario): Promise<void> {
  const { broken, fleet } = stage;
  const expected = (what: string, actual: unknown, wanted: unknown) => {
    if (JSON.stringify(actual) !== JSON.stringify(wanted)) {
      broken.push(`${what}: ${JSON.stringify(actual)} instead of ${JSON.stringify(wanted)}`);
    }
  };
  const { facts, readable } = await stage.disk();
  if (facts === null) {
    broken.push('the disk holds no record');
    return;
  }
  const revisions = outcome.generations.map(nameOf);
  expected(
    'generations',
    facts.generations.map(({ id, revision }) => `${id}:${revision}`),
    revisions,
  );
  expected('readable generations', readable, revisions);
  expected('what runs', facts.runs, 0);
  expected('candidate', facts.candidate, null);
  expected(
    'rejected',
    facts.rejected.map(({ revision }) => revision),
    outcome.rejected,
  );
  // A confirmation after a crash or a way back owes one more ack of last good, at any time.
  expected(
    'outbox',
    facts.outbox.map(({ actionId }) => actionId).filter((id) => id !== `policy:${revisions[0]}`),
    [],
  );
  expected(
    'unfinished actions',
    facts.journal.filter(({ state }) => state !== 'done').map(({ id }) => id),
    [],
  );
  expected('log level', facts.intents.logLevel, outcome.logLevel ?? null);
  expected('unenrolled', facts.unenrolled !== null, outcome.unenrolled ?? false);
  expected('safe mode', facts.safeMode, null);
  expected('goodbye', facts.starts[0]?.goodbye, true);
  const numbers = facts.starts.map(({ number }) => number);
  expected(
    'starts',
    numbers,
    numbers.map((_, at) => (numbers[0] ?? 0) - at),
  );

  const taken = fleet.requests
    .filter(({ kind, status }) => kind === 'acks' && status === 200)
    .flatMap(({ body }) => JSON.parse(body).events as { action_id: string; error?: string }[]);
  const names = [
    ...new Set([...stage.ackedBefore, ...taken.map(({ action_id: id }) => (id.startsWith('policy:') ? id : 'action'))]),
  ];
  expected('acks', names, outcome.acked);
  expected(
    'acks of failure',
    taken.filter(({ error }) => error).map(({ error }) => error),
    outcome.failed ?? [],
  );
  expected('agents that Fleet knows', fleet.server.agents().length, 1);
  for (const component of new Set([...BASIC, ...Object.keys(outcome.runs)])) {
    const two = stage.events(component).filter((line) => line.startsWith('two'));
    if (two.length > 0) broken.push(`${component}: two of one component (${two.join('; ')}) in ${name}`);
  }
  const still = stage.running();
  if (outcome.kept)
    expected(
      'components that run on',
      still.filter((line) => line.includes('service.sh')).length,
      Object.keys(outcome.runs).length,
    );
  else if (still.length > 0) broken.push(`still running after the goodbye: ${still.join('; ')}`);
}

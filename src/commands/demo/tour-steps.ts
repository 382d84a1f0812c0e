/** The story that a tour tells, as data: what is announced, what is done, and what has to be seen before it counts. */
import type { Status } from '../../wire/control.ts';
import { named } from '../status-sentence.ts';
import type { Stage } from './stage.ts';

export interface Step {
  readonly title: string;
  /** Said before, in a sentence or two. */
  readonly tells: string;
  /** Does it and waits until it is seen; returns what was seen, a line each. Throws what was not. */
  readonly act: (stage: Stage) => Promise<readonly string[]>;
}

/** Misspelt on purpose: the program wants a duration. */
const BAD_INTERVAL = 'soon';
/** How the program refuses it (`examples/uptime/uptime.mjs`). */
const REFUSAL = '"soon" is not a duration';

export const STEPS: readonly Step[] = [
  {
    title: 'A first policy',
    tells:
      'A Fleet server and an agent start. The agent enrolls, is sent its policy, starts the program that the policy asks for, and writes the policy to disk. Only then does it tell Fleet.',
    act: async (stage) => {
      await stage.savePolicy('5s');
      await stage.startServer();
      stage.startAgent();
      return await settledNews(stage, await stage.status(settled, 'the first policy to run, held and acked'));
    },
  },
  {
    title: 'A change',
    tells:
      'The tour edits the policy file, and Fleet makes a new revision of it. The program can reload, so it gets the new configuration without a restart.',
    act: async (stage) => {
      const { program, now } = stage;
      await stage.savePolicy('3s');
      const status = await stage.status(settledAfter(now), 'the change to run, held and acked');
      sameProgram(stage, program);
      return await settledNews(stage, status);
    },
  },
  {
    title: 'A bad policy',
    tells: `Someone saves \`every: ${BAD_INTERVAL}\`. The agent asks the program before it touches anything, and the program refuses. What ran goes on.`,
    act: async (stage) => {
      const { program, now } = stage;
      await stage.savePolicy(BAD_INTERVAL);
      const refused = ({ policy, path }: Status) =>
        path.policy === 'checkin' &&
        policy.rejected[0]?.reason.includes(REFUSAL) === true &&
        policy.running?.hash === now.policy.running?.hash &&
        policy.persisted?.hash === now.policy.persisted?.hash;
      const status = await stage.status(refused, "a rejection with the program's own words");
      await holds(stage.lives(program), `pid ${program} to live`);
      sameProgram(stage, program);
      const rejection = status.policy.rejected[0];
      await stage.view(({ policy }) => policy.rejected?.reason.includes(REFUSAL) === true, 'the rejection');
      return [
        `${rejection && named(rejection)} was rejected: ${rejection?.reason}`,
        `${runningName(status)} runs on with pid ${program}, and Fleet was told why.`,
      ];
    },
  },
  {
    title: 'Put right',
    tells: 'The file is corrected. The next revision takes the usual way; nobody has to clean up after the bad one.',
    act: async (stage) => {
      const { program, now } = stage;
      await stage.savePolicy('2s');
      const status = await stage.status(settledAfter(now), 'the corrected policy to run, held and acked');
      sameProgram(stage, program);
      return await settledNews(stage, status);
    },
  },
  {
    title: 'kill -9',
    tells:
      'The agent is killed without warning. Its program does not notice. The next start sees that the one before crashed, restores what the disk holds, and adopts the program: same process, same pid.',
    act: async (stage) => {
      const { program, now } = stage;
      const killed = await stage.endAgent('SIGKILL');
      await holds(stage.lives(program), `pid ${program} to survive the agent`);
      stage.startAgent();
      const status = await stage.status(settledOn(now), 'the next start to run the same policy');
      sameProgram(stage, program);
      const { number, previous } = status.start;
      await holds(previous === 'crashed' && number === now.start.number + 1, `a start that knows of the crash`);
      await stage.view(({ start }) => start?.number === number && start.previous === 'crashed', 'that start');
      return [
        `The agent with pid ${killed} was killed; start ${number} has pid ${status.pid} and knows that it crashed. So does Fleet.`,
        `The program was adopted: its pid is ${program}, as before.`,
      ];
    },
  },
  {
    title: 'A start without the Fleet server',
    tells:
      'The server is stopped, then the agent with its program, as when the hosts of both are shut down. The agent starts first, and finds nobody to ask.',
    act: async (stage) => {
      const { program, now } = stage;
      await stage.stopServer();
      await stage.endAgent('SIGTERM');
      await holds(stage.lives(program).then(not), `pid ${program} to be stopped with its agent`);
      stage.startAgent();
      const status = await stage.status(
        (one) => one.fleet.state === 'backing-off' && runs(one, now) && isWell(one),
        'the last good policy to run without a server',
      );
      await holds(stage.program !== program, 'a new process of the program');
      return [`${runningName(status)} was replayed from disk: pid ${stage.program}. Fleet: ${status.fleet.message}`];
    },
  },
  {
    title: 'state/ is lost',
    tells:
      'It gets worse. The server is still away, the agent is killed again, and somebody removes its state directory. There is no policy on disk any more.',
    act: async (stage) => {
      const { program } = stage;
      await stage.endAgent('SIGKILL');
      await stage.removeState();
      stage.startAgent();
      const status = await stage.status(
        ({ policy, fleet }) => policy.orphaned !== null && policy.persisted === null && fleet.state === 'backing-off',
        'the agent to say that it holds no policy',
      );
      await holds(stage.lives(program), `pid ${program} to run on`);
      return [
        `The agent says what it lacks: ${status.policy.orphaned?.reason}`,
        `The program, pid ${program}, was left alone and runs on.`,
      ];
    },
  },
  {
    title: 'Healed',
    tells:
      'The server is back. It believes that the agent holds its policy; the agent asks for everything from the beginning instead of pretending.',
    act: async (stage) => {
      const { lastProgram } = stage;
      await stage.startServer();
      const status = await stage.status(
        (one) => settled(one) && one.policy.orphaned === null,
        'the policy to be held again',
      );
      sameProgram(stage, lastProgram);
      return await settledNews(stage, status);
    },
  },
  {
    title: 'Goodbye',
    tells: 'The agent is asked to end. It stops its program, says goodbye on disk, and leaves nothing behind.',
    act: async (stage) => {
      const { program } = stage;
      await stage.endAgent('SIGTERM');
      await stage.stopServer();
      await holds(stage.lives(program).then(not), `pid ${program} to be stopped`);
      await holds(
        stage.programs().then(({ length }) => length === 0),
        'nothing to be left running',
      );
      return ['Nothing is left running.'];
    },
  },
];

/** A policy runs, is held and acked, and nothing is on its way. */
function settled(status: Status): boolean {
  const { running, persisted, acked } = status.policy;
  const whole = running !== null && persisted?.hash === running.hash && acked?.hash === running.hash;
  return (
    whole && status.state === 'running' && status.path.policy === 'checkin' && isConnected(status) && isWell(status)
  );
}

/** Settled on a later revision than that. */
function settledAfter(before: Status): (status: Status) => boolean {
  const last = before.policy.running?.revision ?? 0;
  return (status) => settled(status) && (status.policy.running?.revision ?? 0) > last;
}

/** Settled on the very same policy. */
function settledOn(before: Status): (status: Status) => boolean {
  return (status) => settled(status) && runs(status, before);
}

function runs({ policy }: Status, before: Status): boolean {
  return policy.running !== null && policy.running.hash === before.policy.running?.hash;
}

function isConnected({ fleet }: Status): boolean {
  return fleet.state === 'connected' || fleet.state === 'damped';
}

function isWell({ components }: Status): boolean {
  return components.length > 0 && components.every(({ state, pid }) => state === 'healthy' && pid !== null);
}

/** What is said of a policy that has settled, after a look at the server's view and at the process itself. */
async function settledNews(stage: Stage, status: Status): Promise<string[]> {
  const { program } = stage;
  const { running } = status.policy;
  const isIt = (pair: { readonly id: string; readonly revision: number } | null) =>
    pair !== null && pair.id === running?.id && pair.revision === running.revision;
  await stage.view(({ policy }) => isIt(policy.acked) && isIt(policy.reported), `${runningName(status)} acked`);
  await holds(stage.lives(program), `pid ${program} to live`);
  return [`${runningName(status)} runs with pid ${program}, is on disk, and Fleet knows.`];
}

function runningName({ policy }: Status): string {
  return policy.running === null ? 'nothing' : named(policy.running);
}

function sameProgram(stage: Stage, pid: number): void {
  if (stage.program !== pid) throw new Error(`the program should be pid ${pid} still, but is pid ${stage.program}`);
}

async function holds(fact: boolean | Promise<boolean>, what: string): Promise<void> {
  if (!(await fact)) throw new Error(`expected ${what}`);
}

function not(fact: boolean): boolean {
  return !fact;
}

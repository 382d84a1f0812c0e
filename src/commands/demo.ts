/** `holdfast demo`: an embedded Fleet server, an agent and the program it manages, as real processes that can be edited, broken and killed. */
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import { EXIT } from '../errors.ts';
import type { Status } from '../wire/control.ts';
import { type DaemonName, Daemons, type End, listeningOn } from './demo/daemons.ts';
import { followAgent } from './demo/follow.ts';
import { freeAddress, layPolicy, laySpecs, type Places, placesIn, shortened } from './demo/places.ts';
import { statusSentence } from './status-sentence.ts';
import type { Surroundings } from './surroundings.ts';

const DIRECTORY = '.holdfast-demo';
const USUAL_PORT = 8220;
/** As a service manager would: a process that was killed is started again after this long. */
const AGENT_BACK_AFTER_MS = 2_000;
const SERVER_BACK_AFTER_MS = 30_000;

export function demoCommand(surroundings: Surroundings, exit: (code: number) => void): Command {
  return new Command('demo')
    .description('Fleet server, agent and an example program in one go, under the current directory')
    .option('--dir <dir>', `where everything of the demo goes (default: ${DIRECTORY}, of a tour ${DIRECTORY}/tour)`)
    .option('--listen <host:port>', 'where the Fleet server listens', `127.0.0.1:${USUAL_PORT}`)
    .option('--inspect', 'print the URL of a page that shows the charts live; a tour always does')
    .option('--tour', 'tell a story: change, break, kill and lose things; exit code 0 only when every step was seen')
    .action(async (options: { dir?: string; listen: string; inspect?: boolean; tour?: boolean }) => {
      const places = placesIn(resolve(options.dir ?? (options.tour ? join(DIRECTORY, 'tour') : DIRECTORY)));
      const listen = await freeAddress(options.listen);
      if (options.tour) {
        const { takeTour } = await import('./demo/tour.ts');
        return exit(await takeTour(places, listen, surroundings));
      }
      await laySpecs(places);
      await layPolicy(places, listen);
      exit(await new Demo(places, listen, options.inspect ? '--inspect' : null, surroundings).run());
    });
}

/** The two daemons of the demo and what is said about them. */
class Demo {
  readonly #places: Places;
  readonly #surroundings: Surroundings;
  readonly #listening: string;
  readonly #daemons: Daemons;
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #watching = new AbortController();
  #last: Status | null = null;
  #invited = false;
  #ending = false;
  #ended: () => void = () => {};

  constructor(places: Places, listen: string, inspect: string | null, surroundings: Surroundings) {
    this.#places = places;
    this.#surroundings = surroundings;
    this.#listening = listeningOn(listen);
    this.#daemons = new Daemons({
      places,
      listen,
      inspect,
      onLine: (name, line) => this.#line(name, line),
      onEnd: (name, end) => this.#gone(name, end),
    });
  }

  async run(): Promise<number> {
    const over = new Promise<void>((done) => {
      this.#ended = done;
    });
    const unlisten = this.#surroundings.onSignal(['SIGINT', 'SIGTERM', 'SIGHUP'], () => this.#end());
    this.#say(`everything of this demo is in ${shortened(this.#places.directory)}`);
    // The agent follows when the server listens, or has ended: it would manage without, but it would begin with a warning and wait.
    this.#start('fleet');
    const { home } = this.#places;
    const watched = followAgent(home, this.#surroundings.env, this.#watching.signal, (status) => this.#changed(status));
    await over;
    this.#watching.abort();
    await watched;
    unlisten();
    this.#say('nothing is left running; `npm start` again goes on where this ended');
    return EXIT.success;
  }

  #start(name: DaemonName): void {
    if (!this.#ending) this.#daemons.start(name);
  }

  #gone(name: DaemonName, { pid, code, signal }: End): void {
    if (this.#ending) {
      if (this.#daemons.idle) this.#ended();
      return;
    }
    const how = signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`;
    const backMs = name === 'agent' ? AGENT_BACK_AFTER_MS : SERVER_BACK_AFTER_MS;
    if (name === 'agent') {
      const pids = (this.#last?.components ?? []).map((one) => `${one.id} (pid ${one.pid})`).join(', ');
      this.#say(
        `the agent (pid ${pid}) ${how}; ${pids || 'its program'} runs on. A service manager would start it again: so does this demo, in ${backMs / 1000} s`,
      );
    } else {
      this.#say(
        `the Fleet server (pid ${pid}) ${how}; the agent goes on without it. It is started again in ${backMs / 1000} s`,
      );
      this.#start('agent');
    }
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#start(name);
    }, backMs);
    this.#timers.add(timer);
  }

  /** Drains both; a second signal hurries. */
  #end(): void {
    if (!this.#ending) this.#say('ending: the agent stops its program and says goodbye');
    this.#ending = true;
    for (const timer of this.#timers) clearTimeout(timer);
    void this.#daemons.end('fleet');
    void this.#daemons.end('agent');
    if (this.#daemons.idle) this.#ended();
  }

  #changed(status: Status): void {
    const before = this.#last;
    this.#last = status;
    if (!this.#ending && (before === null || turningPoint(before) !== turningPoint(status))) {
      this.#say(statusSentence(status, this.#surroundings.nowMs()));
    }
    const settled = status.policy.acked !== null && status.components.some((one) => one.state === 'healthy');
    if (settled && !this.#invited) {
      this.#invited = true;
      this.#invite(status);
    }
  }

  #invite(status: Status): void {
    const { home, policy, fleet } = this.#places;
    const component = status.components[0];
    const holdfast = 'node dist/main.js';
    this.#say('');
    for (const line of [
      'It stands. What to try, in another terminal:',
      `  edit    ${shortened(policy)}    (save it: a new revision is applied, made durable, then acked)`,
      `  break   write \`every: soon\` in it                   (rejected with the program's own words; what ran goes on)`,
      `  kill    kill -9 ${status.pid}                           (the agent; its program, pid ${component?.pid}, is adopted by the next one)`,
      `  stop    kill ${this.#daemons.pid('fleet')}                              (the Fleet server; kill the agent then, too: it replays without it)`,
      `  look    ${holdfast} status --watch --home ${shortened(home)}`,
      `          ${holdfast} inspect starts --home ${shortened(home)}`,
      `          ${holdfast} fleet agents --state ${shortened(fleet)}`,
      `  results tail -f ${shortened(join(home, 'components', component?.id ?? '', 'data', 'results.ndjson'))}`,
      'Ctrl-C ends everything.',
    ]) {
      this.#say(line);
    }
    this.#say('');
  }

  #line(name: DaemonName, line: string): void {
    this.#surroundings.terminal.out(`${name.padEnd(5)} │ ${line}\n`);
    if (name === 'fleet' && line.includes(this.#listening)) this.#start('agent');
  }

  #say(line: string): void {
    this.#surroundings.terminal.out(`demo  ┃ ${line}\n`);
  }
}

/** What has to differ for a status to be worth a line: the steps of a component are in the agent's own. */
function turningPoint({ state, path, policy, fleet }: Status): string {
  const link = fleet.state === 'backing-off' || fleet.state === 'unauthorised';
  return JSON.stringify([state, path.policy, policy.running?.hash, policy.rejected[0]?.rejected_at, link]);
}

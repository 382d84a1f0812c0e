/** `holdfast fleet`: the embedded Fleet server, and the two commands that talk to it while it runs. */
import { resolve } from 'node:path';
import { Command } from 'commander';
import { HoldfastError } from '../errors.ts';
import type { Listing } from '../fleet-server/admin.ts';
import { fetchListing, requestSend } from '../fleet-server/admin-client.ts';
import type { Log } from '../fleet-server/log.ts';
import { createFleetServer, type FleetServer } from '../fleet-server/server.ts';
import type { AgentView, PairView, PolicyView } from '../fleet-server/views.ts';
import { ACTION_TYPES } from '../wire/fleet.ts';

interface StateOptions {
  readonly state?: string;
  readonly json?: boolean;
}

interface ServeOptions extends StateOptions {
  readonly policies?: string;
  readonly listen: string;
  readonly token?: string;
}

const STATE_HELP = 'state directory of the server (default: $HOLDFAST_FLEET_STATE, else .holdfast-fleet)';

/** The command with its subcommands, ready to be added to the program. Errors leave it as {@link HoldfastError}. */
export function fleetCommand(): Command {
  const fleet = new Command('fleet')
    .description(
      'run a small Fleet server: every <policy id>.yml of a directory is a policy, saving it makes a new revision',
    )
    .enablePositionalOptions()
    .option('--policies <dir>', 'directory of the policies')
    .option('--listen <host:port>', 'where to listen', '127.0.0.1:8220')
    .option('--state <dir>', STATE_HELP)
    .option('--token <token>', 'enrollment token; T:<policy id> enrolls into that policy (default: made once and kept)')
    .option('--json', 'log as JSON lines')
    .action(serve);
  fleet
    .command('agents')
    .description('show agents and policies of the running server')
    .option('--state <dir>', STATE_HELP)
    .option('--json', 'print one JSON object')
    .action(async (options: StateOptions) => {
      const listing = await fetchListing(stateDirectory(options, fleet));
      const json = options.json || fleet.opts<StateOptions>().json;
      print(json ? JSON.stringify(listing, null, 2) : describeListing(listing, Date.now()));
    });
  fleet
    .command('send')
    .description('send an action to an agent')
    .argument('<agent>', 'agent id, the beginning of it, or its host name')
    .argument('<action>', `${ACTION_TYPES.join(', ')}, or FORCE_UNENROLL (shuts the agent out at once)`)
    .argument('[json]', 'data of the action, such as \'{"log_level":"debug"}\'')
    .option('--input-type <type>', 'input that an INPUT_ACTION is for')
    .option('--state <dir>', STATE_HELP)
    .option('--json', 'print one JSON object')
    .action(
      async (
        agent: string,
        action: string,
        data: string | undefined,
        options: StateOptions & { inputType?: string },
      ) => {
        const sent = await requestSend(stateDirectory(options, fleet), {
          agent,
          type: action.toUpperCase(),
          ...(data === undefined ? {} : { data }),
          ...(options.inputType === undefined ? {} : { input_type: options.inputType }),
        });
        const json = options.json || fleet.opts<StateOptions>().json;
        const done = sent.actionId
          ? `${sent.type} ${sent.actionId} waits for agent ${sent.agentId}`
          : `agent ${sent.agentId} is shut out`;
        print(json ? JSON.stringify(sent) : done);
      },
    );
  return fleet;
}

async function serve(options: ServeOptions): Promise<void> {
  if (!options.policies)
    throw new HoldfastError('USAGE', 'name the directory of the policies: holdfast fleet --policies DIR');
  const stateDir = stateDirectory(options);
  const log = options.json ? logJson : logLine;
  const server = await createFleetServer({
    policiesDir: resolve(options.policies),
    stateDir,
    listen: options.listen,
    log,
    ...(options.token === undefined ? {} : { token: options.token }),
  });
  announce(server, stateDir, log);
  await untilSignal();
  log('info', 'ending');
  await server.close();
}

function announce(server: FleetServer, stateDir: string, log: Log): void {
  log('info', `Fleet server on ${server.url}, state in ${stateDir}`);
  for (const { policyId, token } of server.tokens()) {
    log('info', `enroll into ${policyId}: holdfast enroll --url ${server.url} --insecure --enrollment-token ${token}`);
  }
  if (server.tokens().length === 0) log('warn', 'there is no policy yet: save one as <policy id>.yml');
}

/** Resolves on the first SIGINT or SIGTERM; a second one ends the process at once. */
function untilSignal(): Promise<void> {
  return new Promise((done) => {
    let asked = false;
    const ask = (): void => {
      if (asked) process.exit(1);
      asked = true;
      done();
    };
    process.on('SIGINT', ask);
    process.on('SIGTERM', ask);
  });
}

function stateDirectory(options: StateOptions, parent?: Command): string {
  const named = options.state ?? parent?.opts<StateOptions>().state ?? process.env.HOLDFAST_FLEET_STATE;
  return resolve(named || '.holdfast-fleet');
}

const logLine: Log = (level, message) => {
  if (level === 'debug') return;
  print(`${new Date().toISOString().slice(11, 19)} ${level === 'info' ? '' : `${level.toUpperCase()} `}${message}`);
};

const logJson: Log = (level, message) => {
  print(JSON.stringify({ '@timestamp': new Date().toISOString(), 'log.level': level, message }));
};

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** The listing for people: policies, then agents, each with what deserves a second look below it. */
export function describeListing({ policies, agents }: Listing, now: number): string {
  const lines = ['Policies', ...policies.flatMap((policy) => describePolicy(policy, now))];
  if (policies.length === 0) lines.push('  none: save one as <policy id>.yml');
  lines.push('', 'Agents', ...agents.flatMap((agent) => describeAgent(agent, now)));
  if (agents.length === 0) lines.push('  none has enrolled yet');
  return lines.join('\n');
}

function describePolicy(policy: PolicyView, now: number): readonly string[] {
  const saved = policy.saved_at
    ? `saved ${ago(policy.saved_at, now)}, enrollment token ${policy.enrollment_token}`
    : 'no revision yet';
  const lines = [`  ${policy.id}:${policy.revision}  ${saved}`];
  if (policy.problem) lines.push(`    ! ${policy.problem}`);
  return lines;
}

function describeAgent(agent: AgentView, now: number): readonly string[] {
  const { policy } = agent;
  const seen = agent.polling ? 'connected' : agent.last_checkin ? `seen ${ago(agent.last_checkin, now)}` : 'never seen';
  const state = agent.active ? `${agent.status || 'enrolled'}, ${seen}` : `unenrolled, ${seen}`;
  const held = [
    `assigned ${policy.assigned}:${policy.latest}`,
    `reported ${named(policy.reported)}`,
    `acked ${named(policy.acked)}`,
    ...(policy.rejected ? [`rejected ${named(policy.rejected)}`] : []),
    ...(agent.actions.waiting > 0 ? [`${agent.actions.waiting} actions not acked`] : []),
  ];
  return [
    `  ${agent.host ? `${agent.host}  ` : ''}${agent.id}  ${state}`,
    `    ${held.join(', ')}`,
    ...(agent.message ? [`    ${agent.message}`] : []),
    ...agent.warnings.map((warning) => `    ! ${warning}`),
  ];
}

function named(pair: PairView | null): string {
  if (!pair) return 'nothing yet';
  return pair.id === '' ? 'that it holds nothing' : `${pair.id}:${pair.revision}`;
}

function ago(at: string, now: number): string {
  const seconds = Math.max(0, Math.round((now - Date.parse(at)) / 1000));
  if (seconds < 90) return `${seconds} s ago`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 36 * 3600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86_400)} d ago`;
}

/** `holdfast render`: what a policy comes to on this host, files and plan, without touching anything; with `--check` its checks are run. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { Command } from 'commander';
import { EXIT, HoldfastError, type Problem } from '../errors.ts';
import { withDefaults } from '../fleet-server/policy-yaml.ts';
import type { Rendering } from '../policy/component.ts';
import type { JsonObject } from '../policy/json.ts';
import { parsePolicyYaml } from '../policy/parse.ts';
import { plan } from '../policy/plan.ts';
import { homePaths } from '../services/home.ts';
import { maskSecrets, maskText } from '../services/log/mask.ts';
import { runCheck } from '../services/process/check.ts';
import { loadSettings } from '../services/settings/load.ts';
import { EXAMPLES, type HostRendering, hostVariables, renderOnHost } from '../services/specs/render-on-host.ts';
import { collect, settingsSources } from './options.ts';
import type { Surroundings } from './surroundings.ts';

interface RenderOptions {
  readonly check?: boolean;
  readonly json?: boolean;
  readonly specs?: readonly string[];
}

interface CheckResult {
  readonly component: string;
  readonly ok: boolean;
  /** What the program said. */
  readonly message: string;
}

export function renderCommand(surroundings: Surroundings, exit: (code: number) => void): Command {
  return new Command('render')
    .description('show files and plan for a policy without touching anything; exit code 1 when it would be rejected')
    .argument('<policy.yml>', 'policy as YAML or JSON')
    .option('--check', "run the specs' checks in a temporary directory")
    .option('--specs <dir>', 'directory with *.spec.yml, before that of the home; may be repeated', collect)
    .option('--json', 'print one JSON object')
    .action(async (file: string, options: RenderOptions, command: Command) => {
      const sources = settingsSources(command, surroundings);
      const settings = loadSettings(sources);
      const text = await readPolicyFile(file);
      const work = await mkdtemp(join(tmpdir(), 'holdfast-render-'));
      try {
        const identity = await surroundings.identity(sources.home);
        const policyText = parsePolicyYaml(text, file, (policy) => withDefaults(policy) as JsonObject).text;
        const host: HostRendering = {
          home: sources.home,
          specs: options.specs ?? [],
          variables: hostVariables({
            home: sources.home,
            agentId: identity.kind === 'enrolled' ? identity.agentId : 'not-enrolled',
            agentVersion: settings.fleet.agentVersion,
            examples: EXAMPLES,
            env: surroundings.env,
            local: settings.localVariables,
          }),
          unsupported: settings.components.unsupported,
          // All of it stands in the rendering, too.
          note: () => undefined,
        };
        const rendering = await renderOnHost(policyText, host);
        const { broken } = rendering;
        // Checks name the directory they run in, so they get a rendering of their own: nothing of the home is touched.
        const inWork = { ...host, componentsDir: homePaths(work).components };
        const checks = options.check ? await runChecks(await renderOnHost(policyText, inWork), work) : [];
        const { terminal } = surroundings;
        if (options.json)
          terminal.out(`${JSON.stringify(maskSecrets(asJson(file, rendering, broken, checks)), null, 2)}\n`);
        else terminal.out(maskText(asText(rendering, broken, checks)));
        const refused = rendering.problems.some(({ degradesOnly }) => !degradesOnly) || checks.some(({ ok }) => !ok);
        exit(refused ? EXIT.failure : EXIT.success);
      } finally {
        await rm(work, { recursive: true, force: true });
      }
    });
}

async function readPolicyFile(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (thrown) {
    const error = thrown as NodeJS.ErrnoException;
    const why = error.code === 'ENOENT' ? 'there is no such file' : error.message;
    throw new HoldfastError('USAGE', `${file} cannot be read: ${why}`, { cause: thrown });
  }
}

function asJson(file: string, rendering: Rendering, broken: readonly Problem[], checks: readonly CheckResult[]) {
  return {
    policy: basename(file),
    plan: plan([], rendering.components),
    components: rendering.components,
    problems: [...rendering.problems, ...broken.map(({ code, message }) => ({ code, message }))],
    notes: rendering.notes,
    checks,
  };
}

function asText(rendering: Rendering, broken: readonly Problem[], checks: readonly CheckResult[]): string {
  const lines: string[] = [];
  for (const component of rendering.components) {
    const { run, files } = component.daemon;
    lines.push(
      `# ${component.id} (${component.type}, ${component.hash.slice(0, 12)})`,
      `$ ${[run.command, ...run.args].join(' ')}`,
    );
    for (const unit of component.units) if (unit.degraded) lines.push(`! ${unit.id}: ${unit.degraded}`);
    for (const { path, content } of files) {
      lines.push(`--- ${path}`, content.endsWith('\n') ? content.slice(0, -1) : content);
    }
    lines.push('');
  }
  lines.push('plan, from nothing:', ...plan([], rendering.components).map(({ id }) => `  ${id}`));
  if (rendering.components.length === 0) lines.push('  nothing to do');
  for (const { component, degradesOnly, message } of rendering.problems) {
    lines.push(`${degradesOnly ? 'degraded' : 'rejected'}: ${component}: ${message}`);
  }
  for (const { message } of broken) lines.push(`spec not used: ${message}`);
  for (const note of rendering.notes) lines.push(`note: ${note}`);
  for (const { component, ok, message } of checks) {
    lines.push(`check ${component}: ${ok ? 'passed' : `refused: ${message}`}`);
  }
  return `${lines.join('\n')}\n`;
}

/** Runs every check in `work`, which stands for the home. */
async function runChecks(rendering: Rendering, work: string): Promise<CheckResult[]> {
  const results: CheckResult[] = [];
  for (const component of rendering.components) {
    if (component.daemon.check === null) continue;
    const refusal = await runCheck(work, component);
    results.push({ component: component.id, ok: refusal === null, message: refusal ?? '' });
  }
  return results;
}

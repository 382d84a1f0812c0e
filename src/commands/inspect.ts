/** `holdfast inspect`: what is held and what runs, with secrets masked; works with the daemon stopped. */
import { Argument, Command } from 'commander';
import { stringify } from 'yaml';
import { EXIT, HoldfastError } from '../errors.ts';
import { controlClient } from '../services/control/client.ts';
import { instant } from '../services/control/facts-status.ts';
import { lastWords, momentInWords, readRecordings } from '../services/inspector/recordings.ts';
import type { LoadOptions } from '../services/settings/load.ts';
import { INSPECTION_PARTS, type Inspection, type InspectionPart } from '../wire/control.ts';
import { inspectFromDisk } from './from-disk.ts';
import { settingsSources } from './options.ts';
import type { Surroundings } from './surroundings.ts';

export function inspectCommand(surroundings: Surroundings, exit: (code: number) => void): Command {
  return new Command('inspect')
    .description('show what is held and what runs, masked; from disk when no daemon runs')
    .addArgument(new Argument('[what]', 'only this part').choices(INSPECTION_PARTS))
    .option('--json', 'print JSON instead of YAML')
    .action(async (what: InspectionPart | undefined, options: { json?: boolean }, command: Command) => {
      const sources = settingsSources(command, surroundings);
      const { terminal } = surroundings;
      const inspection = await currentInspection(sources, surroundings);
      const value =
        what === 'starts' ? withLastMoments(inspection.starts, sources.home) : what ? inspection[what] : inspection;
      terminal.out(
        options.json
          ? `${JSON.stringify(value, null, 2)}\n`
          : stringify(value, { lineWidth: 0, aliasDuplicateObjects: false }),
      );
      exit(EXIT.success);
    });
}

/** Most moments that are shown of one start. */
const MOMENTS = 20;

/** The starts, each with the last steps that it recorded before its end; the oldest starts have none left. */
function withLastMoments(starts: Inspection['starts'], home: string): Record<string, unknown>[] {
  const recordings = new Map(
    readRecordings(home, Number.POSITIVE_INFINITY).map((one) => [one.start, lastWords(one, MOMENTS)]),
  );
  return starts.map((start) => {
    const moments = recordings.get(Number(start.number)) ?? [];
    return { ...start, last_moments: moments.map((one) => `${instant(one.at)} ${momentInWords(one)}`) };
  });
}

async function currentInspection(sources: LoadOptions, surroundings: Surroundings): Promise<Inspection> {
  try {
    return await controlClient(sources.home, surroundings.env).inspect();
  } catch (thrown) {
    if (!(thrown instanceof HoldfastError) || thrown.code !== 'NOT_RUNNING') throw thrown;
    surroundings.terminal.err(`holdfast: not running; read from ${sources.home}\n`);
    return inspectFromDisk(sources, surroundings);
  }
}

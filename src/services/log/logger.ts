/** The daemon's log: ECS lines to the log file, ECS or readable lines to the screen, secrets masked, repeats counted. */
import { ecsFormat } from '@elastic/ecs-pino-format';
import pino from 'pino';
import type { LogLevel } from '../../machines/facts.ts';
import type { LogFormat } from '../settings/settings.ts';
import { Collapser } from './collapse.ts';
import { LogFile } from './log-file.ts';
import { maskSecrets, maskText } from './mask.ts';
import { prettyLines } from './pretty.ts';

/** ECS fields of a line, nested or with dots. An `Error` under `err` becomes `error.*`. Values under secret-looking keys are masked. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Writes log lines; no method ever throws. */
export interface Logger {
  readonly level: LogLevel;
  trace(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warning(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** From now on, for this logger and all its children. */
  setLevel(level: LogLevel): void;
  /** A logger whose every line carries these fields too. */
  child(fields: LogFields): Logger;
  /** Writes the counts of collapsed lines and closes the file. Lines after that go to the screen only. */
  close(): void;
}

export interface LoggerOptions {
  readonly level: LogLevel;
  /** Null: readable when the screen is a terminal, ECS otherwise. */
  readonly format: LogFormat | null;
  /** Where lines are shown; null: nowhere. */
  readonly screen: { write(text: string): unknown; readonly isTTY?: boolean } | null;
  /** `<home>/logs/holdfast.ndjson`; null: no file. */
  readonly file: string | null;
  readonly version: string;
  /** Epoch ms; replaced by tests. */
  readonly now?: () => number;
}

export const LOG_FILE = 'logs/holdfast.ndjson';

/** How often windows of collapsed lines are looked at while nothing is logged. */
const EXPIRE_EVERY_MS = 60_000;

const NUMBER: Readonly<Record<LogLevel, number>> = { trace: 10, debug: 20, info: 30, warning: 40, error: 50 };

interface Line {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

export function createLogger(options: LoggerOptions): Logger {
  const now = options.now ?? Date.now;
  let file = options.file === null ? null : new LogFile(options.file);
  const { screen } = options;
  const format = options.format ?? (screen?.isTTY ? 'pretty' : 'ecs');
  const pretty = format === 'pretty' ? prettyLines({ colour: screen?.isTTY === true && !process.env.NO_COLOR }) : null;

  const sink = {
    write(line: string): void {
      file?.write(line);
      screen?.write(pretty ? pretty(line) : line);
    },
  };
  const ecs = ecsFormat({ serviceName: 'holdfast', serviceVersion: options.version });
  const writer = pino(
    { ...ecs, level: options.level, customLevels: { ...NUMBER }, useOnlyCustomLevels: true },
    sink,
  ) as unknown as Writer;

  const write = ({ level, message, fields }: Line) => {
    try {
      writer[level](maskSecrets(fields) as object, maskText(message));
    } catch {
      // A line that cannot be written is lost; the daemon is not.
    }
  };
  const collapser = new Collapser<Line>((line, times, inMs) =>
    write({ ...line, message: `${line.message} (${times} more in ${humanMs(inMs)})` }),
  );
  const timer = setInterval(() => collapser.expire(now()), EXPIRE_EVERY_MS);
  timer.unref();

  const log = (line: Line) => {
    if (NUMBER[line.level] < NUMBER[writer.level]) return;
    // Debug and trace are for reading the exact sequence.
    if (NUMBER[line.level] >= NUMBER.info && collapser.judge(keyOf(line), line, now()) === 'counted') return;
    write(line);
  };

  const make = (bound: LogFields): Logger => {
    const at =
      (level: LogLevel) =>
      (message: string, fields: LogFields = {}) =>
        log({ level, message, fields: { ...bound, ...fields } });
    return {
      get level() {
        return writer.level;
      },
      trace: at('trace'),
      debug: at('debug'),
      info: at('info'),
      warning: at('warning'),
      error: at('error'),
      setLevel: (level) => {
        writer.level = level;
      },
      child: (fields) => make({ ...bound, ...fields }),
      close: () => {
        clearInterval(timer);
        collapser.flush(now());
        file?.close();
        file = null;
      },
    };
  };
  return make({});
}

/** What this file needs of pino, with our level names. */
type Writer = { level: LogLevel } & Record<LogLevel, (fields: object, message: string) => void>;

function keyOf(line: Line): string {
  let fields = '';
  try {
    fields = JSON.stringify(line.fields);
  } catch {
    // cyclic fields: the message alone decides
  }
  return `${line.level} ${line.message} ${fields}`;
}

function humanMs(ms: number): string {
  const minutes = Math.round(ms / 60_000);
  if (minutes < 1) return `${Math.round(ms / 1000)} s`;
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}

/** A logger that writes nothing, for tests and for commands that only look. */
export const SILENT: Logger = {
  level: 'error',
  trace: () => {},
  debug: () => {},
  info: () => {},
  warning: () => {},
  error: () => {},
  setLevel: () => {},
  child: () => SILENT,
  close: () => {},
};

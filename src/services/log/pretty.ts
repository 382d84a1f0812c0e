/** Makes an ECS log line readable: time, level, message, and what else it says. */
import pretty from 'pino-pretty';

const LEVEL_NUMBER: Readonly<Record<string, number>> = { trace: 10, debug: 20, info: 30, warning: 40, error: 50 };

/** Parts of an ECS line that say nothing to a person who watches one daemon. */
const NOISE = /^(@timestamp|log\.level|message|ecs\.|process\.pid$|host\.|service\.|event\.)/;

/** Values of more characters than this are cut on the screen; the file has them whole. */
const LONGEST_VALUE = 200;

/** Turns one ECS line (JSON) into a readable one, with its line break. A line that is not JSON passes as it is. */
export function prettyLines(options: { readonly colour: boolean }): (line: string) => string {
  const format = pretty.prettyFactory({
    colorize: options.colour,
    translateTime: 'SYS:HH:MM:ss',
    customLevels: LEVEL_NUMBER,
    useOnlyCustomProps: false,
    customColors: 'trace:gray,debug:blue,info:green,warning:yellow,error:red,message:reset',
    hideObject: true,
  });
  return (line) => {
    let fields: Record<string, unknown>;
    try {
      fields = JSON.parse(line) as Record<string, unknown>;
    } catch {
      return line.endsWith('\n') ? line : `${line}\n`;
    }
    const level = String(fields['log.level']);
    return format({
      time: Date.parse(String(fields['@timestamp'])),
      level: LEVEL_NUMBER[level] ?? LEVEL_NUMBER.info,
      msg: [String(fields.message ?? ''), ...details(fields, '')].join('  '),
    });
  };
}

/** `component.id=web error.message="not found"`: each leaf that is not noise; of an error what it says, not its stack. */
function details(fields: Record<string, unknown>, prefix: string): string[] {
  return Object.entries(fields).flatMap(([key, value]) => {
    const name = prefix ? `${prefix}.${key}` : key;
    if (NOISE.test(name) || name === 'error.stack_trace' || value === null || value === undefined) return [];
    if (typeof value === 'object' && !Array.isArray(value)) return details(value as Record<string, unknown>, name);
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    const cut = text.length > LONGEST_VALUE ? `${text.slice(0, LONGEST_VALUE)}…` : text;
    return [`${name}=${/[\s"=]/.test(cut) ? JSON.stringify(cut) : cut}`];
  });
}

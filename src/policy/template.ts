/** Liquid templates that turn a component's part of the policy into a file: no file access, no clock, no chance, bounded cost. */
import { Liquid } from 'liquidjs';
import { HoldfastError } from '../errors.ts';
import { canonicalJson } from './canonical.ts';
import { readYaml } from './document.ts';
import { isObject, type JsonObject, type JsonValue, parseJson } from './json.ts';
import type { FileFormat } from './spec.ts';
import { asText } from './variables.ts';

/** Characters of a template. */
const PARSE_LIMIT = 1_000_000;
/** Milliseconds; far above what any real template takes, since a slow host must not make a good policy bad. */
const RENDER_LIMIT_MS = 10_000;
/** LiquidJS's own measure of what a rendering allocates: about elements and characters. */
const MEMORY_LIMIT = 50_000_000;
/** Tags that read files, or write markup around values. */
const REFUSED_TAGS = ['include', 'render', 'layout', 'block', 'tablerow'];
/** Filters that read the clock or choose by chance: the same policy must always give the same files. */
const IMPURE_FILTERS = [
  'date',
  'date_to_xmlschema',
  'date_to_rfc822',
  'date_to_string',
  'date_to_long_string',
  'sample',
];

const ENGINES: Readonly<Record<'text' | 'encoded', Liquid>> = {
  text: engine((value) => (value === null || value === undefined ? '' : asText(value as JsonValue)), canonicalJson),
  // Every value that is put out is JSON, which YAML reads too: a value can never become structure. `json` then has nothing to add.
  encoded: engine(canonicalJson, (value) => value),
};

function engine(outputEscape: (value: unknown) => string, json: (value: unknown) => unknown): Liquid {
  const liquid = new Liquid({
    ownPropertyOnly: true,
    strictVariables: true,
    strictFilters: true,
    lenientIf: true,
    templates: {},
    relativeReference: false,
    outputEscape,
    parseLimit: PARSE_LIMIT,
    renderLimit: RENDER_LIMIT_MS,
    memoryLimit: MEMORY_LIMIT,
  });
  for (const tag of REFUSED_TAGS) delete liquid.tags[tag];
  for (const filter of [...IMPURE_FILTERS, 'raw', 'inspect', 'jsonify']) delete liquid.filters[filter];
  liquid.registerFilter('json', json);
  return liquid;
}

function engineFor(format: FileFormat): Liquid {
  return format === 'text' ? ENGINES.text : ENGINES.encoded;
}

/** Why a template cannot be used, with its line; null when it can. */
export function compileTemplate(source: string, format: FileFormat): string | null {
  try {
    engineFor(format).parse(source);
    return null;
  } catch (error) {
    return reason(error);
  }
}

/**
 * Renders a template. With `json` or `yaml` each value put out is JSON-encoded and the result is parsed before it is used.
 *
 * @throws HoldfastError POLICY_RENDER_FAILED naming the template, its line and the cause.
 */
export function renderTemplate(name: string, source: string, format: FileFormat, context: JsonObject): string {
  const fail = (why: string, cause: unknown): HoldfastError =>
    new HoldfastError('POLICY_RENDER_FAILED', `${name}: ${why}`, { cause });
  let content: string;
  try {
    const liquid = engineFor(format);
    content = liquid.renderSync(liquid.parse(source), context);
  } catch (error) {
    throw fail(reason(error), error);
  }
  try {
    if (format === 'json') parseJson(content);
    if (format === 'yaml') {
      const { value } = readYaml(content, `${name} rendered`, 'POLICY_RENDER_FAILED');
      if (!isObject(value) && !Array.isArray(value)) throw new Error('it is neither a mapping nor a list');
    }
  } catch (error) {
    throw fail(`what it renders to is not ${format.toUpperCase()}: ${reason(error)}`, error);
  }
  return content;
}

function reason(error: unknown): string {
  // LiquidJS appends an excerpt of the template and a stack; the first line has the cause and the place.
  const message = error instanceof Error ? error.message : String(error);
  return message.split('\n')[0] as string;
}

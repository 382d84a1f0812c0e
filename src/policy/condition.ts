/** Elastic Agent's `condition` expressions: parsed and evaluated here, with every cost bounded, since they come over the network. */
import { HoldfastError } from '../errors.ts';
import { canonicalJson } from './canonical.ts';
import { ExactNumber, isArray, isObject, type JsonValue } from './json.ts';
import { asText, endOfVariable, resolve, type Variables } from './variables.ts';

const MAX_LENGTH = 4_096;
const MAX_NESTING = 64;
/** A pattern of `match` and the text it is tried on: with these and {@link refuseCostly} a match ends in well under a second. */
const MAX_PATTERN = 512;
const MAX_MATCHED = 1_024;
const MAX_UNBOUNDED_REPEATS = 3;
/** `{1,3}` and the like are as good as written out. */
const MAX_SMALL_REPEAT = 16;
/** Characters a computed string may have. */
const MAX_TEXT = 65_536;
/** Characters of a value or condition in a complaint. */
const MAX_SHOWN = 120;

/**
 * True when the condition holds. A variable that no provider knows is `null` here, and costs the input nothing.
 *
 * @throws HoldfastError POLICY_RENDER_FAILED that names the column and what is wrong.
 */
export function holds(condition: string, variables: Variables): boolean {
  if (condition.length > MAX_LENGTH) {
    throw new HoldfastError('POLICY_RENDER_FAILED', `the condition has more than ${MAX_LENGTH} characters`);
  }
  const parser = new Parser(condition, variables);
  const value = parser.whole();
  if (typeof value !== 'boolean') throw wrong(condition, 0, `is ${brief(value)}, neither true nor false`);
  return value;
}

function wrong(source: string, offset: number, why: string): HoldfastError {
  return new HoldfastError('POLICY_RENDER_FAILED', `the condition ${brief(source)} at column ${offset + 1}: ${why}`);
}

const TOKEN = /\s*(?:(\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)|([A-Za-z_]\w*)|(==|!=|<=|>=|&&|\|\||[-<>!+*/%()[\],]))/y;
const WORDS: Readonly<Record<string, string>> = { '&&': 'and', '||': 'or', '!': 'not' };
const KEYWORDS = new Set(['and', 'or', 'not', 'true', 'false', 'null']);

interface Token {
  readonly kind: 'number' | 'string' | 'variable' | 'name' | 'sign' | 'end';
  readonly text: string;
  readonly offset: number;
}

/** Recursive descent; evaluates as it reads, which is enough for an expression that is used once. */
class Parser {
  readonly #source: string;
  readonly #variables: Variables;
  #token: Token;
  #next = 0;
  #nesting = 0;

  constructor(source: string, variables: Variables) {
    this.#source = source;
    this.#variables = variables;
    this.#token = this.#read();
  }

  whole(): JsonValue {
    const value = this.#either();
    if (this.#token.kind !== 'end') throw this.#wrong(`${JSON.stringify(this.#token.text)} was not expected`);
    return value;
  }

  #either(): JsonValue {
    let value = this.#both();
    while (this.#takes('or')) {
      const right = this.#both();
      value = this.#boolean(value, 'or') || this.#boolean(right, 'or');
    }
    return value;
  }

  #both(): JsonValue {
    let value = this.#negation();
    while (this.#takes('and')) {
      const right = this.#negation();
      value = this.#boolean(value, 'and') && this.#boolean(right, 'and');
    }
    return value;
  }

  #negation(): JsonValue {
    if (!this.#takes('not')) return this.#comparison();
    return this.#deeper(() => !this.#boolean(this.#negation(), 'not'));
  }

  #comparison(): JsonValue {
    const left = this.#sum();
    for (const sign of ['==', '!=', '<=', '>=', '<', '>'] as const) {
      if (this.#takes(sign)) return this.#compare(left, sign, this.#sum());
    }
    return left;
  }

  #sum(): JsonValue {
    let value = this.#product();
    for (;;) {
      if (this.#takes('+')) value = this.#number(value) + this.#number(this.#product());
      else if (this.#takes('-')) value = this.#number(value) - this.#number(this.#product());
      else return value;
    }
  }

  #product(): JsonValue {
    let value = this.#unary();
    for (;;) {
      if (this.#takes('*')) value = this.#number(value) * this.#number(this.#unary());
      else if (this.#takes('/')) value = this.#divide(value, this.#unary());
      else if (this.#takes('%')) value = this.#modulo(value, this.#unary());
      else return value;
    }
  }

  #unary(): JsonValue {
    return this.#takes('-') ? this.#deeper(() => -this.#number(this.#unary())) : this.#primary();
  }

  #primary(): JsonValue {
    const token = this.#token;
    switch (token.kind) {
      case 'number':
        this.#advance();
        return Number(token.text);
      case 'string':
        this.#advance();
        return token.text;
      case 'variable':
        this.#advance();
        return resolve(token.text, this.#variables) ?? null;
      case 'name':
        return this.#named(token);
      default:
        if (this.#takes('(')) {
          const value = this.#deeper(() => this.#either());
          this.#expect(')');
          return value;
        }
        if (this.#takes('[')) return this.#deeper(() => this.#list(']'));
        throw this.#wrong(
          token.kind === 'end' ? 'it ends too early' : `${JSON.stringify(token.text)} was not expected`,
        );
    }
  }

  #named(token: Token): JsonValue {
    this.#advance();
    const word = token.text.toLowerCase();
    if (word === 'true' || word === 'false') return word === 'true';
    if (word === 'null') return null;
    const work = Object.hasOwn(FUNCTIONS, token.text) ? FUNCTIONS[token.text] : undefined;
    if (!work) {
      throw wrong(
        this.#source,
        token.offset,
        `${token.text} is neither a function nor a variable (variables are written \${${token.text}})`,
      );
    }
    this.#expect('(');
    const args = this.#deeper(() => this.#list(')'));
    try {
      return work(args);
    } catch (error) {
      throw wrong(
        this.#source,
        token.offset,
        `${token.text}: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }

  #list(end: string): JsonValue[] {
    const items: JsonValue[] = [];
    if (this.#takes(end)) return items;
    do items.push(this.#either());
    while (this.#takes(','));
    this.#expect(end);
    return items;
  }

  #compare(left: JsonValue, sign: '==' | '!=' | '<=' | '>=' | '<' | '>', right: JsonValue): boolean {
    if (sign === '==') return equal(left, right);
    if (sign === '!=') return !equal(left, right);
    const [a, b] = [comparable(left), comparable(right)];
    if (a === null || b === null || (typeof a === 'string') !== (typeof b === 'string')) {
      throw this.#wrong(`${brief(left)} ${sign} ${brief(right)} cannot be compared`);
    }
    switch (sign) {
      case '<':
        return a < b;
      case '>':
        return a > b;
      case '<=':
        return a <= b;
      case '>=':
        return a >= b;
    }
  }

  #divide(left: JsonValue, right: JsonValue): number {
    return this.#number(left) / this.#divisor(right);
  }

  #modulo(left: JsonValue, right: JsonValue): number {
    return this.#number(left) % this.#divisor(right);
  }

  #divisor(value: JsonValue): number {
    const divisor = this.#number(value);
    if (divisor === 0) throw this.#wrong('division by zero');
    return divisor;
  }

  #number(value: JsonValue): number {
    if (!isNumber(value)) throw this.#wrong(`${brief(value)} is not a number`);
    return Number(value);
  }

  #boolean(value: JsonValue, word: string): boolean {
    if (typeof value !== 'boolean') throw this.#wrong(`"${word}" needs true or false, not ${brief(value)}`);
    return value;
  }

  #deeper<T>(work: () => T): T {
    if (++this.#nesting > MAX_NESTING) throw this.#wrong(`it is nested more than ${MAX_NESTING} deep`);
    const result = work();
    this.#nesting--;
    return result;
  }

  #takes(text: string): boolean {
    const { kind } = this.#token;
    if ((kind !== 'sign' && !(kind === 'name' && KEYWORDS.has(text))) || this.#token.text.toLowerCase() !== text)
      return false;
    this.#advance();
    return true;
  }

  #expect(sign: string): void {
    if (!this.#takes(sign)) throw this.#wrong(`"${sign}" is missing`);
  }

  #advance(): void {
    this.#token = this.#read();
  }

  #read(): Token {
    const source = this.#source;
    const offset = this.#next + (/^\s*/.exec(source.slice(this.#next))?.[0].length ?? 0);
    if (offset >= source.length) return { kind: 'end', text: '', offset };
    if (source.startsWith('${', offset)) {
      const end = endOfVariable(source, offset + 2);
      if (end < 0) throw wrong(source, offset, 'a variable has no closing }');
      this.#next = end + 1;
      return { kind: 'variable', text: source.slice(offset + 2, end), offset };
    }
    const quote = source[offset];
    if (quote === "'" || quote === '"') {
      let text = '';
      let i = offset + 1;
      for (; i < source.length && source[i] !== quote; i++)
        text += source[i] === '\\' ? (source[++i] ?? '') : source[i];
      if (i >= source.length) throw wrong(source, offset, 'a string has no end');
      this.#next = i + 1;
      return { kind: 'string', text, offset };
    }
    TOKEN.lastIndex = offset;
    const match = TOKEN.exec(source);
    if (!match) throw wrong(source, offset, `${JSON.stringify(source[offset])} was not expected`);
    this.#next = TOKEN.lastIndex;
    const [, digits, name, sign = ''] = match;
    if (digits !== undefined) return { kind: 'number', text: digits, offset };
    if (name !== undefined) return { kind: 'name', text: name, offset };
    return { kind: 'sign', text: WORDS[sign] ?? sign, offset };
  }

  #wrong(why: string): HoldfastError {
    return wrong(this.#source, this.#token.offset, why);
  }
}

type Work = (args: readonly JsonValue[]) => JsonValue;

/** The functions of Elastic Agent's conditions, and a few that make lists and case easier. */
const FUNCTIONS: Readonly<Record<string, Work>> = {
  add: (args) => two(args, (a, b) => a + b),
  subtract: (args) => two(args, (a, b) => a - b),
  multiply: (args) => two(args, (a, b) => a * b),
  divide: (args) => two(args, (a, b) => a / nonZero(b)),
  modulo: (args) => two(args, (a, b) => a % nonZero(b)),
  arrayContains: (args) => {
    const [list, ...items] = atLeast(args, 2);
    // An unknown variable is an empty list: an input for hosts with such an address is not for this one.
    return list !== null && items.some((item) => listOf(list).some((element) => equal(element, item)));
  },
  concat: (args) => bounded(args.map((arg) => (arg === null ? '' : asText(arg))).join('')),
  endsWith: (args) => twoTexts(args, (text, part) => text.endsWith(part)),
  hasKey: (args) => {
    const [dict, ...keys] = atLeast(args, 2);
    if (dict === null) return false;
    if (!isObject(dict)) throw new Error(`${brief(dict)} is not a dictionary`);
    return keys.some((key) => Object.hasOwn(dict, textOf(key)));
  },
  indexOf: (args) => {
    const [text, part, from] = atLeast(args, 2);
    return textOf(text).indexOf(textOf(part), from === undefined ? 0 : numberOf(from));
  },
  join: (args) => {
    const [list, separator] = atLeast(args, 1);
    return bounded(
      listOf(list)
        .map((item) => (item === null ? '' : asText(item)))
        .join(separator === undefined ? ',' : textOf(separator)),
    );
  },
  length: (args) => {
    const [value] = exactly(args, 1);
    if (typeof value === 'string' || isArray(value)) return value.length;
    if (isObject(value)) return Object.keys(value).length;
    throw new Error(`${brief(value)} has no length`);
  },
  lower: (args) => textOf(exactly(args, 1)[0]).toLowerCase(),
  match: (args) => {
    const [text, ...patterns] = atLeast(args, 2);
    if (text === null) return false;
    const subject = textOf(text);
    if (subject.length > MAX_MATCHED) throw new Error(`the text has more than ${MAX_MATCHED} characters`);
    return patterns.some((pattern) => compile(textOf(pattern)).test(subject));
  },
  number: (args) => {
    const [value] = exactly(args, 1);
    if (isNumber(value)) return value;
    const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : Number.NaN;
    if (!Number.isFinite(number)) throw new Error(`${brief(value)} is not a number`);
    return number;
  },
  split: (args) => {
    const [text, separator] = exactly(args, 2);
    return textOf(text).split(textOf(separator));
  },
  startsWith: (args) => twoTexts(args, (text, part) => text.startsWith(part)),
  string: (args) => {
    const [value] = exactly(args, 1);
    return asText(value as JsonValue);
  },
  stringContains: (args) => twoTexts(args, (text, part) => text.includes(part)),
  trim: (args) => textOf(exactly(args, 1)[0]).trim(),
  upper: (args) => textOf(exactly(args, 1)[0]).toUpperCase(),
};

function two(args: readonly JsonValue[], work: (a: number, b: number) => number): number {
  const [a, b] = exactly(args, 2);
  return work(numberOf(a), numberOf(b));
}

/** A text that is an unknown variable contains nothing. */
function twoTexts(args: readonly JsonValue[], work: (text: string, part: string) => boolean): boolean {
  const [text, part] = exactly(args, 2);
  return text !== null && work(textOf(text), textOf(part));
}

function exactly(args: readonly JsonValue[], count: number): readonly JsonValue[] {
  if (args.length !== count) throw new Error(`takes ${count} argument${count === 1 ? '' : 's'}, not ${args.length}`);
  return args;
}

function atLeast(args: readonly JsonValue[], count: number): readonly [JsonValue, ...JsonValue[]] {
  if (args.length < count) throw new Error(`takes at least ${count} arguments, not ${args.length}`);
  return args as readonly [JsonValue, ...JsonValue[]];
}

function isNumber(value: unknown): value is number | bigint | ExactNumber {
  return typeof value === 'number' || typeof value === 'bigint' || value instanceof ExactNumber;
}

function numberOf(value: JsonValue | undefined): number {
  if (!isNumber(value)) throw new Error(`${brief(value)} is not a number`);
  return Number(value);
}

function nonZero(divisor: number): number {
  if (divisor === 0) throw new Error('division by zero');
  return divisor;
}

function textOf(value: JsonValue | undefined): string {
  if (typeof value !== 'string') throw new Error(`${brief(value)} is not a string`);
  return value;
}

function listOf(value: JsonValue | undefined): readonly JsonValue[] {
  if (!isArray(value)) throw new Error(`${brief(value)} is not a list`);
  return value;
}

function bounded(text: string): string {
  if (text.length > MAX_TEXT) throw new Error(`the text has more than ${MAX_TEXT} characters`);
  return text;
}

/** A value in a complaint: what comes over the network must not fill a log line. It is never cut, since half a secret is not recognised as one. */
function brief(value: unknown): string {
  const text = canonicalJson(value);
  return text.length > MAX_SHOWN ? `(${text.length} characters)` : text;
}

function equal(a: JsonValue, b: JsonValue): boolean {
  if (isNumber(a) && isNumber(b)) {
    const [left, right] = [exact(a), exact(b)];
    // `<` and `>` compare a number with a bigint by value, `===` does not.
    return !(left < right) && !(left > right);
  }
  return canonicalJson(a) === canonicalJson(b);
}

function comparable(value: JsonValue): number | bigint | string | null {
  if (typeof value === 'string') return value;
  return isNumber(value) ? exact(value) : null;
}

function exact(value: number | bigint | ExactNumber): number | bigint {
  return value instanceof ExactNumber ? Number(value) : value;
}

function compile(pattern: string): RegExp {
  if (pattern.length > MAX_PATTERN) throw new Error(`the pattern has more than ${MAX_PATTERN} characters`);
  refuseCostly(pattern);
  return new RegExp(pattern);
}

/**
 * Refuses patterns that backtrack without end: a repeated group that itself holds a repeat or alternatives, and more than a few
 * unbounded repeats in a row. Elastic Agent's engine takes linear time for any pattern; JavaScript's does not.
 */
function refuseCostly(pattern: string): void {
  const groups: { costly: boolean }[] = [];
  let unbounded = 0;
  for (let i = 0; i < pattern.length; i++) {
    const char = pattern[i];
    if (char === '\\') {
      i++;
      if (/[1-9k]/.test(pattern[i] ?? '')) throw new Error('the pattern must not refer back to a group');
    } else if (char === '[') {
      while (i < pattern.length && pattern[i] !== ']') i += pattern[i] === '\\' ? 2 : 1;
    } else if (char === '(') {
      groups.push({ costly: false });
    } else if (char === ')') {
      const closed = groups.pop();
      if (closed?.costly && /[*+{]/.test(pattern[i + 1] ?? '')) {
        throw new Error('the pattern repeats a group that itself holds a repeat or alternatives; write it without');
      }
    } else if (char === '|') {
      for (const group of groups) group.costly = true;
    } else if (char === '*' || char === '+' || char === '{') {
      for (const group of groups) group.costly = true;
      const bound = char === '{' ? /^\{\d+(?:,(\d*))?\}/.exec(pattern.slice(i)) : null;
      const isSmall = bound !== null && bound[1] !== '' && Number(bound[1] ?? 0) <= MAX_SMALL_REPEAT;
      if (!isSmall && ++unbounded > MAX_UNBOUNDED_REPEATS) {
        throw new Error(`the pattern has more than ${MAX_UNBOUNDED_REPEATS} unbounded repeats`);
      }
    }
  }
}

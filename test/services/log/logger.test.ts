/** The log: ECS on disk, readable on a terminal, no secrets, no floods, and never a reason to stop. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FIRST_WINDOW_MS, WRITTEN_BEFORE_COUNTING } from '../../../src/services/log/collapse.ts';
import { LOG_FILES_KEPT, LogFile } from '../../../src/services/log/log-file.ts';
import { createLogger, type Logger, type LoggerOptions } from '../../../src/services/log/logger.ts';
import { maskSecrets, maskText } from '../../../src/services/log/mask.ts';
import { followLines, lastLines } from '../../../src/services/log/read-log.ts';

let directory: string;
let file: string;
let screen: { text: string; isTTY: boolean; write(text: string): void };
let clockMs: number;
const loggers: Logger[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'hf-log-'));
  file = join(directory, 'logs/holdfast.ndjson');
  clockMs = 0;
  screen = {
    text: '',
    isTTY: false,
    write(text) {
      this.text += text;
    },
  };
});
afterEach(() => {
  for (const logger of loggers.splice(0)) logger.close();
  rmSync(directory, { recursive: true, force: true });
});

function logger(options: Partial<LoggerOptions> = {}): Logger {
  const made = createLogger({
    level: 'info',
    format: null,
    screen,
    file,
    version: '1.2.3',
    now: () => clockMs,
    ...options,
  });
  loggers.push(made);
  return made;
}

const linesOf = (text: string): Record<string, unknown>[] =>
  text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Record<string, unknown>);

describe('a line', () => {
  test('is ECS in the file and on a pipe, with the level names of Elastic Agent', () => {
    const log = logger();
    log.warning('the disk is full', { component: { id: 'web' }, err: new Error('ENOSPC') });
    const [line] = linesOf(readFileSync(file, 'utf8'));
    expect(line).toMatchObject({
      'log.level': 'warning',
      'service.name': 'holdfast',
      'service.version': '1.2.3',
      message: 'the disk is full',
      component: { id: 'web' },
      error: { type: 'Error', message: 'ENOSPC' },
    });
    expect(screen.text).toBe(readFileSync(file, 'utf8'));
  });

  test('is readable on a terminal, or where that is asked for', () => {
    screen.isTTY = true;
    logger().info('policy applied', { policy: { id: 'web' } });
    expect(screen.text).toMatch(/INFO.*policy applied {2}policy\.id=web/);
    screen.isTTY = false;
    screen.text = '';
    logger({ format: 'pretty' }).info('again');
    expect(screen.text).toMatch(/^\[\d\d:\d\d:\d\d\] INFO: again\n$/);
  });

  test('below the level is not written; the level can change for children too', () => {
    const log = logger();
    const child = log.child({ component: { id: 'web' } });
    child.debug('no');
    log.setLevel('debug');
    child.debug('yes');
    expect(linesOf(screen.text)).toEqual([expect.objectContaining({ message: 'yes', component: { id: 'web' } })]);
    expect(child.level).toBe('debug');
  });
});

describe('secrets', () => {
  test('are masked by key name, at any depth, also in children and messages', () => {
    const log = logger().child({ fleet: { access_api_key: 'geheim1' } });
    log.info('sent ApiKey geheim2xx to https://user:geheim3@f:8220', {
      outputs: [{ default: { password: 'geheim4' } }],
    });
    expect(readFileSync(file, 'utf8')).not.toContain('geheim');
    expect(readFileSync(file, 'utf8')).toContain('sent ApiKey <REDACTED> to https://');
  });

  test.each([
    [
      { api_key: 'x', id: 'y' },
      { api_key: '<REDACTED>', id: 'y' },
    ],
    [{ enrollment_token: 'x' }, { enrollment_token: '<REDACTED>' }],
    [{ nested: [{ authorization: 'x' }] }, { nested: [{ authorization: '<REDACTED>' }] }],
    [
      { token: '', secret: null, password: false },
      { token: '', secret: null, password: false },
    ],
    [{ big: 12345678901234567890n }, { big: '12345678901234567890' }],
  ])('%o becomes %o', (value, masked) => expect(maskSecrets(value)).toEqual(masked));

  test('a private key in a text does not survive', () => {
    const pem = '-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----';
    expect(maskText(`key: ${pem}.`)).not.toContain('abc');
  });

  test('a cycle is noted, not followed', () => {
    const value: Record<string, unknown> = { name: 'a' };
    value.self = value;
    expect(maskSecrets(value)).toEqual({ name: 'a', self: '<cycle>' });
    expect(() => logger().info('cyclic', value)).not.toThrow();
  });
});

describe('repeats', () => {
  test('are written a few times, then counted, then summed up', () => {
    const log = logger();
    for (let minute = 0; minute < 10; minute++) {
      clockMs = minute * 60_000;
      log.warning('fleet is unreachable');
    }
    expect(linesOf(screen.text)).toHaveLength(WRITTEN_BEFORE_COUNTING);
    clockMs = FIRST_WINDOW_MS;
    log.info('something else');
    expect(linesOf(screen.text).map(({ message }) => message)).toContain('fleet is unreachable (7 more in 60 min)');
  });

  test('an error every five minutes all day is fewer than 50 lines', () => {
    const log = logger();
    for (clockMs = 0; clockMs < 24 * 3_600_000; clockMs += 300_000) log.warning('fleet is unreachable');
    expect(linesOf(screen.text).length).toBeLessThan(50);
  });

  test('lines that differ in a field are no repeats, and debug lines are never collapsed', () => {
    const log = logger({ level: 'debug' });
    for (let number = 0; number < 10; number++) log.info('component healthy', { component: { id: `c${number}` } });
    for (let number = 0; number < 10; number++) log.debug('transition');
    expect(linesOf(screen.text)).toHaveLength(20);
  });

  test('what was counted is said at the end', () => {
    const log = logger();
    for (let number = 0; number < 5; number++) log.info('again');
    log.close();
    expect(linesOf(screen.text).at(-1)).toMatchObject({ message: 'again (2 more in 0 s)' });
  });
});

describe('the file', () => {
  test('is bounded, and its predecessors are kept', () => {
    const log = new LogFile(file, 1_000);
    for (let number = 0; number < 100; number++) log.write(`${'x'.repeat(90)} ${number}\n`);
    for (let number = 0; number < LOG_FILES_KEPT; number++) {
      expect(statSync(number === 0 ? file : `${file}.${number}`).size).toBeLessThanOrEqual(1_000);
    }
    expect(existsSync(`${file}.${LOG_FILES_KEPT}`)).toBe(false);
    expect(readFileSync(file, 'utf8')).toMatch(/ 99\n$/);
  });

  test('that cannot be written costs lines, not the daemon, and is taken up again', () => {
    writeFileSync(join(directory, 'logs'), 'in the way');
    const log = new LogFile(file);
    log.write('lost\n');
    expect(log.lost).toBe(1);
    rmSync(join(directory, 'logs'));
    log.write('kept\n');
    expect(readFileSync(file, 'utf8')).toBe('kept\n');
  });

  test.skipIf(!existsSync('/dev/full'))('a full disk throws nothing', () => {
    const log = new LogFile('/dev/full');
    expect(() => log.write('x\n')).not.toThrow();
    expect(log.lost).toBe(1);
  });

  test('that somebody removed is begun anew', () => {
    const log = new LogFile(file);
    log.write('one\n');
    rmSync(file);
    log.write('two\n');
    expect(readFileSync(file, 'utf8')).toBe('two\n');
  });

  test('only its owner can read it', () => {
    new LogFile(file).write('x\n');
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });
});

describe('reading back', () => {
  test('the last lines come from rotated files too', () => {
    mkdirSync(join(directory, 'logs'));
    writeFileSync(`${file}.1`, 'one\ntwo\n');
    writeFileSync(file, `three\n${'é'.repeat(70_000)}\n`);
    expect(lastLines(file, 3).map((line) => line.slice(0, 5))).toEqual(['two', 'three', 'ééééé']);
    expect(lastLines(file, 1)[0]).toHaveLength(70_000);
    expect(lastLines(file, 0)).toEqual([]);
    expect(lastLines(join(directory, 'none'), 5)).toEqual([]);
  });

  test('following goes on across a rotation', async () => {
    const log = new LogFile(file, 200);
    log.write('before\n');
    const seen: string[] = [];
    const stop = new AbortController();
    const done = followLines(file, (line) => seen.push(line), stop.signal);
    log.write('first\n');
    await expect.poll(() => seen).toEqual(['first']);
    log.write(`${'x'.repeat(190)}\n`);
    log.write('after\n');
    await expect.poll(() => seen.at(-1)).toBe('after');
    expect(seen).not.toContain('before');
    stop.abort();
    await done;
  });
});

#!/usr/bin/env node
// Checks HTTP and TCP targets and appends one line of JSON a result. An ordinary program: it knows nothing of Holdfast.
//
//   uptime.mjs CONFIG           runs; SIGHUP reads CONFIG again, SIGTERM ends it
//   uptime.mjs --check CONFIG   says what is wrong with CONFIG; exit code 0 when nothing is
//   uptime.mjs --health DIR     exit code 0 when the program that writes to DIR is alive and at work
import { appendFileSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';

const HEARTBEAT_EVERY_MS = 1_000;
const HEARTBEAT_STALE_MS = 10_000;
const LONGEST_CHECK_MS = 10_000;
const UNITS_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** Milliseconds of `5s`, `500ms`, `1m`; NaN for anything else. */
function duration(text) {
  const [, amount, unit] = /^(\d+)(ms|s|m|h)$/.exec(String(text)) ?? [];
  return Number(amount) * UNITS_MS[unit];
}

/** Reads and checks a configuration; throws an Error that names the line or the target. */
function readConfig(file) {
  const text = readFileSync(file, 'utf8');
  let config;
  try {
    config = JSON.parse(text);
  } catch (error) {
    const position = Number(/position (\d+)/.exec(error.message)?.[1] ?? 0);
    throw new Error(`${file}:${text.slice(0, position).split('\n').length}: ${error.message}`);
  }
  for (const key of ['results', 'heartbeat']) {
    if (typeof config[key] !== 'string') throw new Error(`${file}: "${key}" must be a path`);
  }
  if (!Array.isArray(config.targets)) throw new Error(`${file}: "targets" must be a list`);
  const names = new Set();
  for (const target of config.targets) {
    const why = wrongWith(target);
    if (why) throw new Error(`${file}: target "${target?.name}": ${why}`);
    if (names.has(target.name)) throw new Error(`${file}: target "${target.name}": the name is there twice`);
    names.add(target.name);
  }
  return config;
}

function wrongWith(target) {
  if (target === null || typeof target !== 'object') return 'must be an object';
  if ((target.url === undefined) === (target.tcp === undefined)) return 'must have either url or tcp';
  if (target.url !== undefined && !(URL.canParse(target.url) && /^https?:$/.test(new URL(target.url).protocol))) {
    return `"${target.url}" is not an http or https URL`;
  }
  if (target.tcp !== undefined && !/^.+:\d{1,5}$/.test(target.tcp)) return `"${target.tcp}" is not host:port`;
  if (!(duration(target.every) >= 100))
    return `every: "${target.every}" is not a duration of 100ms or more, such as 5s`;
  return null;
}

async function checkHttp(url, timeoutMs) {
  const response = await fetch(url, { signal: AbortSignal.timeout(timeoutMs) });
  await response.body?.cancel();
  return { up: response.status < 400, status: response.status };
}

function checkTcp(address, timeoutMs) {
  const colon = address.lastIndexOf(':');
  return new Promise((resolve, reject) => {
    const host = address.slice(0, colon).replace(/^\[|\]$/g, '');
    const socket = connect({ host, port: Number(address.slice(colon + 1)), timeout: timeoutMs });
    socket.once('connect', () => resolve({ up: true }));
    socket.once('timeout', () => reject(new Error('timed out')));
    socket.once('error', reject);
    for (const end of ['connect', 'timeout', 'error']) socket.once(end, () => socket.destroy());
  });
}

async function check(target, results) {
  const timeoutMs = Math.min(duration(target.every), LONGEST_CHECK_MS);
  const startedAt = Date.now();
  let outcome;
  try {
    outcome = await (target.url ? checkHttp(target.url, timeoutMs) : checkTcp(target.tcp, timeoutMs));
  } catch (error) {
    outcome = { up: false, error: error.cause?.message || error.message };
  }
  const line = { at: new Date(startedAt).toISOString(), target: target.name, ...outcome, ms: Date.now() - startedAt };
  appendFileSync(results, `${JSON.stringify(line)}\n`);
}

/** Checks every target at its own pace until the returned function is called. One slow target delays no other. */
function watch({ results, targets }) {
  mkdirSync(dirname(results), { recursive: true });
  const timers = targets.map((target) => {
    let busy = false;
    const tick = async () => {
      if (busy) return;
      busy = true;
      await check(target, results).catch((error) => console.error(`${target.name}: ${error.message}`));
      busy = false;
    };
    tick();
    return setInterval(tick, duration(target.every));
  });
  return () => timers.forEach(clearInterval);
}

function run(file) {
  let config = readConfig(file);
  let stop = watch(config);
  const beat = () => writeFileSync(config.heartbeat, `${process.pid}\n`);
  beat();
  setInterval(beat, HEARTBEAT_EVERY_MS);
  process.on('SIGHUP', () => {
    try {
      config = readConfig(file);
    } catch (error) {
      console.error(`the new configuration was not taken: ${error.message}`);
      return;
    }
    stop();
    stop = watch(config);
    console.log(`reloaded: ${config.targets.length} targets`);
  });
  process.on('SIGTERM', () => process.exit(0));
  console.log(`ready: ${config.targets.length} targets`);
}

function health(dir) {
  const ageMs = Date.now() - statSync(join(dir, 'heartbeat')).mtimeMs;
  if (ageMs > HEARTBEAT_STALE_MS) throw new Error(`the last heartbeat is ${Math.round(ageMs / 1_000)} s old`);
}

const [first, second] = process.argv.slice(2);
try {
  if (first === '--check') readConfig(second);
  else if (first === '--health') health(second);
  else if (first) run(first);
  else throw new Error('usage: uptime.mjs CONFIG | --check CONFIG | --health DIR');
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}

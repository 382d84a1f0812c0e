/**
 * One life of the built program, that may end itself by SIGKILL: at the Nth operation on the store's files, or when a chart gets to a state.
 * Both are seen from outside, through the file port and the inspection observer that the composition takes; the product has no hook for it.
 * While the file `fault` is there, the disk takes no writes, with the error that it names.
 * usage: node life.mjs '{"program": …, "argv": […], "kill": …, "record": bool, "fault": …}', with a pipe as descriptor 3 that tells what happens, a line each.
 */
import { readFileSync, writeSync } from 'node:fs';

const { program, argv, kill, record, fault } = JSON.parse(process.argv[2]);
const { runProgram, startAgent, realWorld, enroll, findIdentity } = await import(program);

/** Written before the next instruction: a pipe keeps it when the process is killed. */
function tell(kind, what) {
  writeSync(3, `${kind} ${what}\n`);
}

let operations = 0;
/** Operations left until the end, once the state of a pair has been reached. */
let countdown = null;
/** The states that every chart is in, by session. */
const now = new Map();

/** Innermost states of all charts. */
function statesNow() {
  const all = [...new Set([...now.values()].flat())].sort();
  return all.filter((id) => !all.some((other) => other.startsWith(`${id}.`)));
}

function die(at) {
  tell('killed', JSON.stringify({ at, states: statesNow() }));
  process.kill(process.pid, 'SIGKILL');
  // Nothing runs after this.
  for (;;);
}

/** What a full disk has no room for; one that is read-only takes nothing at all. */
const GROWS = /^(write|mkdir|open for create) /;
const CHANGES = /^(write|mkdir|rename|unlink|remove|open for (create|write)) /;

/** The error with which the disk refuses this, if it does. */
function refusal(label) {
  try {
    const code = readFileSync(fault, 'utf8');
    return (code === 'ENOSPC' ? GROWS : CHANGES).test(label) ? code : null;
  } catch {
    return null;
  }
}

/** Does `work` as the next operation on the store's files, or ends around it. `half` does a part of it. */
async function operation(name, work, half) {
  const refused = refusal(name);
  if (refused === null) return around(name, work, half);
  return around(`${name} (${refused})`, async () => {
    throw Object.assign(new Error(`${refused}: ${name}`), { code: refused });
  });
}

async function around(label, work, half) {
  operations += 1;
  const number = operations;
  if (record) tell('op', JSON.stringify({ number, label, half: half !== undefined, states: statesNow() }));
  const when = kill?.operation === number ? kill.when : null;
  if (when === 'before') die(`before ${label}`);
  if (countdown !== null) {
    countdown -= 1;
    if (countdown === 0) die(`${kill.state}, then before ${label}`);
  }
  if (when === 'middle' && half !== undefined) {
    await half();
    die(`in the middle of ${label}`);
  }
  try {
    return await work();
  } finally {
    if (when === 'after') die(`after ${label}`);
  }
}

const home = argv[argv.indexOf('--home') + 1];
const named = (path) => path.replace(`${home}/`, '').replace(/[0-9a-f]{64}/, '<hash>');

function watchedFile(file, name) {
  return {
    stat: () => file.stat(),
    read: (into, position) => operation(`read ${name}`, () => file.read(into, position)),
    write: (bytes, position) =>
      operation(
        `write ${name}`,
        () => file.write(bytes, position),
        () => file.write(bytes.subarray(0, Math.ceil(bytes.length / 2)), position),
      ),
    sync: () => operation(`sync ${name}`, () => file.sync()),
    datasync: () => operation(`datasync ${name}`, () => file.datasync()),
    close: () => file.close(),
  };
}

const { files } = realWorld;
const watchedFiles = {
  open: (path, how) =>
    operation(`open for ${how} ${named(path)}`, async () => watchedFile(await files.open(path, how), named(path))),
  stat: (path) => files.stat(path),
  readdir: (path) => operation(`list ${named(path)}`, () => files.readdir(path)),
  mkdir: (path) => operation(`mkdir ${named(path)}`, () => files.mkdir(path)),
  rename: (from, to) => operation(`rename ${named(from)} to ${named(to)}`, () => files.rename(from, to)),
  unlink: (path) => operation(`unlink ${named(path)}`, () => files.unlink(path)),
  removeTree: (path) => operation(`remove ${named(path)}`, () => files.removeTree(path)),
  syncDirectory: (path) => operation(`sync directory ${named(path)}`, () => files.syncDirectory(path)),
};

const reached = new Set();

function inspect(event) {
  try {
    look(event);
  } catch (fault) {
    console.error('the observer threw', fault);
    process.exit(70);
  }
}

function look(event) {
  const nodes = event.snapshot?._nodes ?? event.actorRef?.getSnapshot?.()?._nodes;
  if (nodes === undefined || !['@xstate.microstep', '@xstate.snapshot'].includes(event.type)) return;
  const states = nodes.filter((node) => node.parent !== undefined).map((node) => node.id);
  const chart = nodes[0].machine.id;
  now.set(event.actorRef.sessionId, states);
  if (chart === 'agent' || chart === 'enrollment') tell('at', leafOf(nodes));
  for (const id of states) {
    const point = `${event.type === '@xstate.microstep' ? 'entering' : 'in'} ${id}`;
    if (reached.has(point)) continue;
    reached.add(point);
    if (record) tell('state', point);
    if (kill?.state !== point) continue;
    if (kill.operationsLater === undefined) die(point);
    countdown = kill.operationsLater;
  }
}

function leafOf(nodes) {
  return nodes
    .reduce((deepest, node) => (node.id.length > deepest.length ? node.id : deepest), '')
    .replace('agent.', '');
}

async function startWatched(options) {
  now.clear();
  const agent = await startAgent({ ...options, world: { ...realWorld, files: watchedFiles }, inspect });
  let last = '';
  let waiting = false;
  const say = () => {
    waiting = false;
    const { state, path, health, start, policy, actions, components, fleet, store } = agent.status();
    const pids = Object.fromEntries(components.map(({ id, pid }) => [id, pid]));
    const told = { state, path, health, start, policy, actions, pids, link: fleet.state, store };
    const text = JSON.stringify({
      ...told,
      components: Object.fromEntries(components.map((one) => [one.id, one.state])),
    });
    if (text === last) return;
    last = text;
    tell('status', text);
  };
  agent.onChange(() => {
    if (waiting) return;
    waiting = true;
    setImmediate(say);
  });
  say();
  return agent;
}

process.exitCode = await runProgram(argv, {
  terminal: {
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
    outIsTerminal: false,
    columns: 80,
  },
  env: process.env,
  uid: process.getuid(),
  version: '0.0.0-test',
  nowMs: Date.now,
  onSignal: (signals, listener) => {
    for (const signal of signals) process.on(signal, listener);
    return () => {
      for (const signal of signals) process.removeListener(signal, listener);
    };
  },
  startAgent: startWatched,
  enroll: (request) => enroll({ ...request, version: '0.0.0-test', files: watchedFiles, inspect }),
  identity: findIdentity,
});
setTimeout(() => process.exit(), 2_000).unref();

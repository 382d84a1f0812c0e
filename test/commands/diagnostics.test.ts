/** `holdfast diagnostics`: what is in the archive, that no secret is, and that no state of a home keeps it from being written. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { runProgram } from '../../src/commands/program.ts';
import { EXIT } from '../../src/errors.ts';
import { emptyFacts } from '../../src/machines/facts.ts';
import { sha256 } from '../../src/policy/canonical.ts';
import { startControlServer } from '../../src/services/control/server.ts';
import { componentPaths, homePaths } from '../../src/services/home.ts';
import { SILENT } from '../../src/services/log/logger.ts';
import { nodeFiles } from '../../src/services/store/files.ts';
import { writeIdentity } from '../../src/services/store/identity.ts';
import { openStore } from '../../src/services/store/store.ts';
import { readZip } from '../support/zip.ts';
import { aStatus, fakeSurroundings, INSPECTION, NOW } from './fakes.ts';

let work: string;
let home: string;
let file: string;
beforeEach(() => {
  work = mkdtempSync(join(tmpdir(), 'hf-diagnostics-'));
  home = join(work, 'home');
  file = join(work, 'out.zip');
  mkdirSync(home);
});
afterEach(() => rmSync(work, { recursive: true, force: true }));

async function diagnose(changes: Parameters<typeof fakeSurroundings>[0] = {}, ...more: string[]) {
  const surroundings = fakeSurroundings(changes);
  const code = await runProgram(['diagnostics', '-f', file, '--home', home, ...more], surroundings);
  return { code, ...surroundings.terminal.said };
}

const failures = (entries: Map<string, string>) => [...entries.keys()].filter((name) => name.endsWith('.error.txt'));

const SECRET = {
  lastGood: 'planted-output-key-1',
  candidate: 'planted-candidate-key-2',
  rejected: 'planted-rejected-key-3',
  access: Buffer.from('keyid123:planted-access-key-4').toString('base64'),
  accessInside: 'planted-access-key-4',
  token: 'planted-enrollment-token-5',
  environment: 'planted-environment-token-6',
  damaged: 'planted-damaged-key-7',
  misplaced: 'planted-setting-8',
  pem: 'cGxhbnRlZC1wcml2YXRlLWtleS05',
};

/** A home that an agent has lived on, with a secret in every place that can hold one, and each repeated in logs and output. */
async function plant(): Promise<void> {
  const policyWith = (revision: number, key: string) =>
    JSON.stringify({ id: 'web', inputs: [], outputs: { default: { api_key: key, type: 'elasticsearch' } }, revision });
  const named = (revision: number, text: string) => ({
    id: 'web',
    revision,
    hash: sha256(text),
    actionId: `policy:web:${revision}`,
  });
  const texts = [policyWith(1, SECRET.lastGood), policyWith(2, SECRET.candidate), policyWith(3, SECRET.rejected)];
  const [last, candidate, rejected] = texts.map((text, index) => named(index + 1, text)) as [
    ReturnType<typeof named>,
    ReturnType<typeof named>,
    ReturnType<typeof named>,
  ];
  await writeIdentity(nodeFiles, home, {
    identity: {
      agentId: 'agent-1',
      hosts: ['https://user:planted-url-password@fleet:8220'],
      accessApiKey: SECRET.access,
      enrolledAt: NOW,
      enrollmentId: null,
      policyId: null,
      machineId: 'm',
      insecure: false,
      certificateAuthorities: [],
    },
    pending: null,
  });
  const { store } = await openStore({ files: nodeFiles, home, agentId: 'agent-1', now: () => NOW });
  await store.commit({
    facts: {
      ...emptyFacts('agent-1'),
      generations: [{ ...last, promotedAt: NOW, attempts: 0 }],
      candidate: { ...candidate, receivedAt: NOW, attempts: 1 },
      rejected: [
        {
          ...rejected,
          kind: 'check',
          reason: `it said ${SECRET.rejected}`,
          rejectedAt: NOW,
          times: 1,
          retry: null,
        },
      ],
    },
    policies: Object.fromEntries(texts.map((text) => [sha256(text), text])),
  });
  await store.close();
  const paths = homePaths(home);
  const lost = policyWith(9, SECRET.damaged);
  writeFileSync(join(paths.objects, sha256('another text')), lost);
  mkdirSync(paths.quarantine, { recursive: true });
  const note = { what: 'root.0', why: `holds ${SECRET.damaged}`, at: '', bytes: 1 };
  writeFileSync(join(paths.quarantine, '000001-root.0.note.json'), JSON.stringify(note));
  const settings = ['fleet:', `  enrollment_token: ${SECRET.token}`, `  ssl: {verification_mode: 'x', key: [`];
  writeFileSync(paths.settings, [...settings, `password_of_nobody: ${SECRET.misplaced}`].join('\n'));
  const everything = Object.values(SECRET).join(' ');
  const pem = `-----BEGIN PRIVATE KEY-----\n${SECRET.pem}\n-----END PRIVATE KEY-----\n`;
  const web = componentPaths(home, 'web-default');
  mkdirSync(web.configurations, { recursive: true });
  writeFileSync(web.output, `${'x'.repeat(300 * 1024)}\n${pem}it repeats ${everything.replace(SECRET.pem, '')}\n`);
  mkdirSync(paths.logs);
  const line = {
    '@timestamp': 'now',
    message: `log of ${everything.replace(SECRET.pem, '')}`,
    error: { message: pem },
  };
  writeFileSync(join(paths.logs, 'holdfast.ndjson'), `${JSON.stringify(line)}\n{"message":"torn ${SECRET.access}`);
  const moment = { at: NOW, actor: 'agent', event: `e ${SECRET.lastGood}`, transitions: ['a.b#0'], states: ['a.c'] };
  writeFileSync(
    join(paths.logs, 'transitions.0.ndjson'),
    `${JSON.stringify({ start: 7, pid: 1 })}\n${JSON.stringify(moment)}\n`,
  );
}

const ENV = { FLEET_ENROLLMENT_TOKEN: SECRET.environment };

function expectNoSecret(entries: Map<string, string>): void {
  for (const [name, text] of entries) {
    for (const [where, secret] of Object.entries({ ...SECRET, url: 'planted-url-password' })) {
      expect(text.includes(secret), `the secret ${where} is in ${name}`).toBe(false);
    }
  }
}

test('a home that was lived on is told of in every part, and none of its secrets is', async () => {
  await plant();
  const { code, out, err } = await diagnose({ env: ENV });
  expect(code).toBe(EXIT.success);
  expect(out).toContain(`${file} (`);
  expect(err).toMatch(
    /^holdfast: \[1\/13\] secrets to be masked\nholdfast: \[2\/13\] status\n[\s\S]*\[13\/13\] logs\n$/,
  );
  const entries = readZip(file);
  expectNoSecret(entries);
  expect(failures(entries)).toEqual([]);
  expect([...entries.keys()].toSorted()).toEqual([
    'components/web-default/component.json',
    'components/web-default/output.log',
    'home.json',
    'identity.json',
    'inspection.json',
    'logs/holdfast.ndjson',
    'plan.json',
    'policies/candidate-web-2.yml',
    'policies/generation-0-web-1.yml',
    'policies/rejected-0-web-3.yml',
    'settings.json',
    'starts.json',
    'status.json',
    'store/findings.json',
    'store/keyring.json',
    'store/objects.json',
    'store/quarantine.json',
    'store/slots.json',
    'transitions/start-7.ndjson',
    'transitions/start-7.txt',
    'versions.json',
  ]);
  expect(entries.get('policies/generation-0-web-1.yml')).toContain('api_key: <REDACTED>');
  expect(entries.get('components/web-default/output.log')).toMatch(/^\(the end of a file of \d+ bytes\)\n/);
  expect(entries.get('components/web-default/output.log')).toContain('it repeats <REDACTED>');
  expect(entries.get('transitions/start-7.txt')).toContain('agent: e <REDACTED>: b → c');
  const json = (name: string) => JSON.parse(entries.get(name) ?? '');
  expect(json('versions.json')).toMatchObject({ holdfast: '0.1.0', node: process.version });
  expect(json('settings.json').complaints).not.toEqual([]);
  expect(json('settings.json').settings.encryption.key_place).toBe('auto');
  expect(json('identity.json')).toMatchObject({ enrolled: true, agentId: 'agent-1' });
  expect(json('identity.json')).not.toHaveProperty('accessApiKey');
  expect(json('status.json')).toMatchObject({ pid: 0, policy: { generations: [{ revision: 1 }] } });
  expect(json('plan.json').policy.revision).toBe(1);
  expect(
    json('store/objects.json')
      .map((one: { verifies: boolean }) => one.verifies)
      .toSorted(),
  ).toEqual([false, true, true, true]);
  expect(json('store/slots.json').some((one: { state: string }) => one.state === 'whole')).toBe(true);
  expect(json('store/quarantine.json')[0].note.why).toBe('holds <REDACTED>');
});

test('nothing of a home is changed, and the file is its owner alone to read', async () => {
  await plant();
  const before = execFileSync('sh', ['-c', 'find . -type f -exec sha256sum {} + | sort'], { cwd: home }).toString();
  await diagnose({ env: ENV });
  const after = execFileSync('sh', ['-c', 'find . -type f -exec sha256sum {} + | sort'], { cwd: home }).toString();
  expect(after).toBe(before);
  expect(statSync(file).mode & 0o777).toBe(0o600);
});

test('a running daemon is asked for what it says of itself, and that is masked again', async () => {
  await plant();
  const status = aStatus({ message: `running with ${SECRET.lastGood}` });
  const nothing = () => {};
  const server = await startControlServer({
    home,
    env: {},
    log: SILENT,
    controlled: {
      status: () => status,
      inspect: () => ({ ...INSPECTION, variables: { env: { api_token: SECRET.lastGood } } }),
      onChange: () => nothing,
      retry: () => null,
      restart: nothing,
      unenroll: nothing,
      identityChanged: nothing,
    },
  });
  try {
    const { code, out } = await diagnose({ env: ENV }, '--json');
    expect(code).toBe(EXIT.success);
    const entries = readZip(file);
    expect(JSON.parse(out)).toEqual({ file, bytes: statSync(file).size, entries: entries.size, failures: [] });
    expectNoSecret(entries);
    expect(JSON.parse(entries.get('status.json') ?? '')).toMatchObject({
      pid: 4711,
      message: 'running with <REDACTED>',
    });
    expect(JSON.parse(entries.get('starts.json') ?? '')).toEqual([{ number: 7 }]);
  } finally {
    await server.close();
  }
});

describe('is written whatever the home is:', () => {
  test('empty', async () => {
    expect((await diagnose()).code).toBe(EXIT.success);
    expect(failures(readZip(file))).toEqual([]);
  });

  test('not there', async () => {
    rmSync(home, { recursive: true });
    expect((await diagnose()).code).toBe(EXIT.success);
    expect(readZip(file).has('versions.json')).toBe(true);
    expect(existsSync(home)).toBe(false);
  });

  test('a file', async () => {
    rmSync(home, { recursive: true });
    writeFileSync(home, 'garbage');
    expect((await diagnose()).code).toBe(EXIT.success);
    expect(readZip(file).has('versions.json')).toBe(true);
  });

  test('garbage in every file, whose secrets are still not told', async () => {
    await plant();
    const paths = homePaths(home);
    for (const slot of paths.slots) writeFileSync(slot, `garbage {"delivery_token":"${SECRET.lastGood}"`);
    writeFileSync(paths.identity, `{"identity": {"accessApiKey": "${SECRET.access}", `);
    for (const name of readdirSync(paths.objects)) {
      const bytes = statSync(join(paths.objects, name)).size;
      if (bytes > 0) execFileSync('truncate', ['-s', '-1', join(paths.objects, name)]);
    }
    const { code, out } = await diagnose({ env: ENV, identity: async () => ({ kind: 'unreadable', problem }) });
    expect(code).toBe(EXIT.success);
    const entries = readZip(file);
    expectNoSecret(entries);
    expect(failures(entries)).toEqual(['identity.error.txt']);
    expect(out).toContain('  identity.error.txt\n');
    expect(entries.get('identity.error.txt')).toMatch(
      /^IDENTITY_UNREADABLE: .*identity cannot be used: it is not JSON\n/,
    );
    expect(JSON.parse(entries.get('store/slots.json') ?? '')[0].state).toBe('damaged');
    expect(JSON.parse(entries.get('store/objects.json') ?? '')[0].verifies).toBe(false);
  });

  test('something else than a file in the place of each, which holds nothing up', async () => {
    await plant();
    const paths = homePaths(home);
    const log = join(paths.logs, 'holdfast.ndjson');
    const web = componentPaths(home, 'web-default');
    const fifos = [...paths.slots, log, web.output, web.process, paths.identity, paths.settings];
    for (const path of [...fifos, join(paths.logs, 'transitions.0.ndjson')]) {
      rmSync(path, { force: true });
      execFileSync('mkfifo', [path]);
    }
    rmSync(paths.quarantine, { recursive: true });
    writeFileSync(paths.quarantine, 'not a directory');
    expect((await diagnose()).code).toBe(EXIT.success);
    const entries = readZip(file);
    expect(failures(entries).toSorted()).toEqual([
      'components/web-default/output.log.error.txt',
      'identity.error.txt',
      'logs/holdfast.ndjson.error.txt',
    ]);
    expect(entries.get('logs/holdfast.ndjson.error.txt')).toContain('it is a device, socket or fifo, not a file');
  });
});

const problem = { code: 'IDENTITY_UNREADABLE', message: 'damaged' } as const;

describe('the file', () => {
  test('is never written over another one', async () => {
    writeFileSync(file, 'precious');
    const { code, err } = await diagnose();
    expect(code).toBe(EXIT.failure);
    expect(err).toContain(`holdfast: DIAGNOSTICS_FAILED: ${file} cannot be written: something else is there already`);
    expect(statSync(file).size).toBe('precious'.length);
  });

  test('cannot be where there is no directory, and that is said', async () => {
    file = join(work, 'nowhere', 'out.zip');
    const { code, err } = await diagnose();
    expect(code).toBe(EXIT.failure);
    expect(err).toContain('cannot be written: it does not exist (ENOENT)');
  });

  test('is gone again when it is interrupted', async () => {
    const surroundings = fakeSurroundings();
    const { err } = surroundings.terminal;
    surroundings.terminal.err = (text) => {
      err(text);
      if (text.includes('] store')) surroundings.signal('SIGINT');
    };
    const code = await runProgram(['diagnostics', '-f', file, '--home', home], surroundings);
    expect(code).toBe(EXIT.failure);
    expect(surroundings.terminal.said.err).toContain('DIAGNOSTICS_FAILED: it was interrupted');
    expect(existsSync(file)).toBe(false);
  });
});

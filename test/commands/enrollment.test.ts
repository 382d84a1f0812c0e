import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { enroll } from '../../src/commands/enrollment.ts';
import { readSettings } from '../../src/services/settings/read.ts';
import { nodeFiles } from '../../src/services/store/files.ts';
import { readIdentity } from '../../src/services/store/identity.ts';
import { json, startFakeServer } from '../services/fleet/fake-server.ts';

const CA = join(import.meta.dirname, '../services/fleet/certificates/ca.pem');
let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'holdfast-enroll-'));
  onTestFinished(() => rmSync(home, { recursive: true, force: true }));
});

async function enrolled(text: string, accessKey = 'a2V5OnNlY3JldA==') {
  const server = await startFakeServer((response) =>
    json(response, 200, { action: 'created', item: { id: 'agent-1', access_api_key: accessKey, type: 'PERMANENT' } }),
  );
  onTestFinished(() => server.close());
  await enroll({
    home,
    settings: readSettings({ file: { path: 'holdfast.yml', text }, env: {}, flags: [] }).settings,
    hosts: [server.url],
    token: 'tok',
    tags: [],
    attempts: 1,
    signal: new AbortController().signal,
    onDelayed: () => {},
    version: '0.1.0',
  });
  return (await readIdentity(nodeFiles, home, '')).identity;
}

describe('enrolling', () => {
  test('keeps the path of an authority as one that means the same wherever the daemon is started', async () => {
    const identity = await enrolled(`fleet.ssl.certificate_authorities: [${relative(process.cwd(), CA)}]`);
    expect(identity?.certificateAuthorities).toEqual([CA]);
  });

  test('refuses an authority that is not PEM before anything is asked of Fleet, and names the file', async () => {
    const file = join(home, 'ca.der');
    writeFileSync(file, 'not a certificate');
    await expect(enrolled(`fleet.ssl.certificate_authorities: [${file}]`)).rejects.toMatchObject({
      code: 'SETTINGS_INVALID',
      message: expect.stringContaining(`${file} is not a certificate in PEM form`),
    });
  });

  test('by plain HTTP says nothing about the certificates of hosts that are set later', async () => {
    expect(await enrolled('fleet.insecure: true')).toMatchObject({ insecure: false });
  });
});

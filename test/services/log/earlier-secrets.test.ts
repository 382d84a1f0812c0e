/** Secrets of policies that are not held any more are recognised without being kept. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createActor, setup } from 'xstate';
import { EarlierSecrets, SecretKeeper } from '../../../src/services/log/earlier-secrets.ts';

let home: string;
let file: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'hf-earlier-'));
  file = join(home, 'known-secrets');
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

/** The part of the components' machine that the keeper looks at. */
function components(keeper: SecretKeeper) {
  const machine = setup({
    types: { events: {} as { type: 'components.apply'; policy: { text: string } } },
  }).createMachine({ id: 'components' });
  return createActor(machine, { id: 'components', inspect: keeper.observe }).start();
}
const policy = (key: string) => ({ text: JSON.stringify({ outputs: { default: { api_key: key } } }) });

test('a process that never saw a secret hides it, by a file that does not hold it and is the user’s alone', async () => {
  const keeper = new SecretKeeper(home);
  const actor = components(keeper);
  actor.send({ type: 'components.apply', policy: policy('first-key') });
  actor.send({ type: 'components.apply', policy: policy('second-and-longer') });
  await keeper.settled();
  expect(EarlierSecrets.read(home).hide('it said first-key, then second-and-longer.first-key')).toBe(
    'it said <REDACTED>, then <REDACTED>.<REDACTED>',
  );
  expect(readFileSync(file, 'utf8')).not.toMatch(/first|second/);
  expect(statSync(file).mode & 0o777).toBe(0o600);
});

test('a secret is found wherever it stands, and nothing else is touched', () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ minLength: 1, maxLength: 12, unit: 'binary' }), { minLength: 1, maxLength: 5 }),
      fc.array(fc.string({ maxLength: 20, unit: 'binary' }), { maxLength: 6 }),
      fc.nat(),
      (secrets, around, which) => {
        const known = EarlierSecrets.read(home);
        known.learn(secrets);
        const secret = secrets[which % secrets.length] as string;
        expect(known.hide(around.join(secret)).replaceAll('<REDACTED>', '')).not.toContain(
          around.length > 1 ? secret : '\u0000 nowhere',
        );
        const innocent = around.join('');
        if (secrets.every((one) => !innocent.includes(one))) expect(known.hide(innocent)).toBe(innocent);
      },
    ),
  );
});

test('the newest are kept, and the same again is no news', () => {
  const known = EarlierSecrets.read(home);
  for (let number = 0; number < 300; number += 1) expect(known.learn([`secret-number-${number}`])).toBe(true);
  expect(known.learn(['secret-number-299'])).toBe(false);
  expect(known.hide('secret-number-299 secret-number-10')).toBe('<REDACTED> secret-number-10');
});

test('whatever lies in the place of the file, it begins anew', () => {
  for (const text of [
    '',
    'no',
    '[]',
    '{"salt":1}',
    '{"salt":"zz","known":[{}]}',
    `{"salt":"${'a'.repeat(64)}","known":[7]}`,
  ]) {
    writeFileSync(file, text);
    expect(EarlierSecrets.read(home).hide('text')).toBe('text');
  }
  rmSync(file);
  execFileSync('mkfifo', [file]);
  expect(EarlierSecrets.read(home).hide('text')).toBe('text');
});

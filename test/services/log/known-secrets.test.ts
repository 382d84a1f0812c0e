/** What is learnt from a policy is hidden in whatever the process says afterwards. */
import { expect, test } from 'vitest';
import { hideSecrets, learnSecrets } from '../../../src/services/log/known-secrets.ts';
import { maskSecrets } from '../../../src/services/log/mask.ts';

test('a secret is hidden in texts and in errors, with their stacks, until its policy is long gone', () => {
  learnSecrets('one', ['s3cret-of-one']);
  expect(hideSecrets('a s3cret-of-one b')).toBe('a <REDACTED> b');
  const error = Object.assign(new Error('says s3cret-of-one'), { code: 'ENOENT' });
  const { err } = maskSecrets({ err: error }) as { err: Error & { code: string } };
  expect(err).toBeInstanceOf(Error);
  expect(`${err.message} ${err.stack}`).not.toContain('s3cret');
  expect(err.code).toBe('ENOENT');
  for (let other = 0; other < 15; other += 1) learnSecrets(`other ${other}`, []);
  expect(hideSecrets('s3cret-of-one')).toBe('<REDACTED>');
  learnSecrets('one more', []);
  expect(hideSecrets('s3cret-of-one')).toBe('s3cret-of-one');
});

test('the longer of two secrets is hidden whole', () => {
  learnSecrets('both', ['secret', 'secret-longer']);
  expect(hideSecrets('secret-longer')).toBe('<REDACTED>');
});

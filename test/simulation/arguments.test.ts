import { afterEach, expect, test, vi } from 'vitest';
import { argumentsOf, wholeNumber } from './arguments.ts';

const argv = process.argv;
afterEach(() => {
  process.argv = argv;
  vi.restoreAllMocks();
});

/** What it says, and the code it ends with, when called with these flags. */
function calledWith(...flags: readonly string[]): { readonly said: string; readonly code: number | null } {
  process.argv = [...argv.slice(0, 2), ...flags];
  const said: string[] = [];
  vi.spyOn(console, 'error').mockImplementation((line: string) => said.push(line));
  vi.spyOn(process, 'exit').mockImplementation((code) => {
    throw { code };
  });
  try {
    const { seeds } = argumentsOf('usage', { seeds: { type: 'string', default: '1000' } });
    wholeNumber('seeds', seeds, 1, 'usage');
    return { said: said.join(), code: null };
  } catch (ended) {
    return { said: said.join(), code: (ended as { code: number }).code };
  }
}

test.each([
  [['--seeds', 'many'], /--seeds takes a whole number of at least 1, and was given "many"/],
  [['--seeds', '0'], /at least 1/],
  [['--sedes', '5'], /Unknown option '--sedes'/],
] as const)('%s runs nothing: it ends with the reason and the usage', (flags, reason) => {
  const { said, code } = calledWith(...flags);
  expect(said).toMatch(reason);
  expect(said).toContain('usage');
  expect(code).toBe(64);
});

test('flags that are right are taken', () => {
  expect(calledWith('--seeds', '12').code).toBeNull();
});

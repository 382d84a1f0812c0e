import { defineConfig } from 'vitest/config';

/** Enumerations over every operation and every loss, fuzzing, and tests that wait for real processes: seconds each. */
const THOROUGH = [
  'test/services/store/rekey.test.ts',
  'test/services/store/every-corruption.test.ts',
  'test/services/store/crash-points*.test.ts',
  'test/services/process/ports.test.ts',
  'test/fleet-server/durability.test.ts',
  'test/machines/*paths.test.ts',
  'test/simulation/simulation.test.ts',
  'test/simulation/mutants.test.ts',
  'test/exhaustive/*.test.ts',
  'test/fuzz/*.test.ts',
];

/** The real process, killed at every state and store operation: minutes, so it has a command of its own (`npm run kill-matrix`). */
const MATRIX = ['test/e2e/kill-matrix.test.ts'];

// `quick` is what runs before each commit, `thorough` enumerates, `e2e` builds the program and drives it with real files, sockets and
// processes. `npm test` runs all three.
export default defineConfig({
  test: {
    testTimeout: 20_000,
    // Every processor: without this one is left idle, which on a machine of two is half of it.
    maxWorkers: '100%',
    projects: [
      {
        extends: true,
        test: {
          name: 'quick',
          include: ['test/**/*.test.ts'],
          exclude: ['test/e2e/**', ...THOROUGH],
          environment: 'node',
        },
      },
      { extends: true, test: { name: 'thorough', include: THOROUGH, environment: 'node', testTimeout: 120_000 } },
      {
        extends: true,
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          exclude: MATRIX,
          globalSetup: ['test/e2e/support/build.ts'],
          environment: 'node',
          testTimeout: 60_000,
          hookTimeout: 60_000,
          maxWorkers: 2,
          // Real processes against real deadlines: on a machine that others load too, one slow second is no verdict.
          retry: process.env.CI ? 1 : 0,
          // After the others: these wait for real processes, which should not wait for a processor.
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: 'matrix',
          include: MATRIX,
          globalSetup: ['test/e2e/support/build.ts'],
          environment: 'node',
          hookTimeout: 60_000,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});

/** The scenarios of the kill matrix: what happens to an agent, in steps that a killed agent comes back to, and exactly what is left in the end. */
import type { Scenario } from './scenario.ts';
import { DELIVERIES } from './scenarios/deliveries.ts';
import { ENROLLMENTS } from './scenarios/enrollments.ts';
import { FAULTS } from './scenarios/faults.ts';
import { PROGRAMS } from './scenarios/programs.ts';
import { STARTS } from './scenarios/starts.ts';

export const SCENARIOS: readonly Scenario[] = [...DELIVERIES, ...STARTS, ...FAULTS, ...PROGRAMS, ...ENROLLMENTS];

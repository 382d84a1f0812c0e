/** Every crash point of a readable store. */
import { NO_KEYS } from '../../../src/services/store/keyring.ts';
import { proveEveryCrashPoint } from './crash-points.ts';

proveEveryCrashPoint(NO_KEYS);

/** What can be damaged in a home, and what the agent then has to hold on to. */
import { randomBytes } from 'node:crypto';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { componentPaths, homePaths } from '../../src/services/home.ts';
import { RELOADS, RESTARTS } from '../kill-matrix/scenario.ts';
import type { Stage } from '../kill-matrix/stage.ts';
import { swap } from './damage.ts';

export interface Target {
  readonly name: string;
  readonly paths: (stage: Stage, hashes: readonly string[]) => readonly string[];
  /** A whole file of the same kind from elsewhere; see the damage `foreign`. */
  readonly other: (stage: Stage, hashes: readonly string[], foreign: Stage) => string;
  /**
   * `heals`: by itself, up to the policy that Fleet wants. `holds`: it runs the best it has, says what is wrong and is whole when a person has put
   * the file back. `leaves`: it can read nothing of what it holds, and writes nothing; it leaves alone what runs, says so, and is whole in the same
   * way.
   */
  readonly ends: 'heals' | 'holds' | 'leaves';
  /** In an encrypted home. */
  readonly sealed?: true;
  /** Damages that only a person can mend here. */
  readonly except?: RegExp;
  /** The agent names the file in its log, or what it lost. */
  readonly says?: RegExp;
  /** Damages that nobody can see here. */
  readonly unseen?: RegExp;
}

const slots = (stage: Stage) => homePaths(stage.home).slots;
const objectOf = (stage: Stage, hash: string | undefined) => join(homePaths(stage.home).objects, hash ?? '');

export const TARGETS: readonly Target[] = [
  {
    name: 'the identity',
    paths: (stage) => [homePaths(stage.home).identity],
    // The identity of another agent is no damage: replacing it is how an agent becomes another one.
    other: (stage) => homePaths(stage.home).settings,
    ends: 'holds',
    says: /identity/,
  },
  {
    name: 'the key',
    sealed: true,
    // Its bytes say nothing of a format, and root reads it whatever its mode.
    except: /newer format|closed to all|foreign/,
    paths: (stage) => [homePaths(stage.home).key],
    other: anotherKey,
    ends: 'leaves',
    says: /key/,
  },
  {
    name: 'the key, with another',
    sealed: true,
    except: /^(?!foreign$)/,
    paths: (stage) => [homePaths(stage.home).key],
    other: anotherKey,
    ends: 'heals',
    says: /put that key back/,
  },
  { name: 'slot 0', paths: (stage) => [slots(stage)[0]], other: (_s, _h, foreign) => slots(foreign)[0], ends: 'heals' },
  { name: 'slot 1', paths: (stage) => [slots(stage)[1]], other: (_s, _h, foreign) => slots(foreign)[1], ends: 'heals' },
  {
    name: 'both slots',
    paths: slots,
    other: (_s, _h, foreign) => slots(foreign)[0],
    ends: 'heals',
    says: /holds less|root\.\d/,
  },
  {
    name: "last good's object",
    paths: (stage, hashes) => [objectOf(stage, hashes[0])],
    other: (stage, hashes) => objectOf(stage, hashes[1]),
    ends: 'heals',
    says: /object|policy/,
  },
  {
    name: 'all objects',
    paths: (stage) =>
      readdirSync(homePaths(stage.home).objects).map((name) => join(homePaths(stage.home).objects, name)),
    other: (stage) => slots(stage)[0],
    ends: 'heals',
    says: /object|policy/,
  },
  {
    name: 'the directory of objects',
    paths: (stage) => [homePaths(stage.home).objects],
    other: (stage) => slots(stage)[0],
    ends: 'heals',
    says: /objects/,
  },
  {
    name: 'the state directory',
    // It may be a link to a volume that is not mounted yet: the agent waits for it.
    except: /dangling/,
    paths: (stage) => [homePaths(stage.home).state],
    other: (stage) => homePaths(stage.home).settings,
    ends: 'heals',
    says: /state/,
  },
  {
    name: 'the quarantine',
    paths: (stage) => [homePaths(stage.home).quarantine],
    other: (stage) => homePaths(stage.home).settings,
    ends: 'heals',
  },
  {
    name: 'the policy for people',
    paths: (stage) => [homePaths(stage.home).policy],
    other: (stage) => homePaths(stage.home).settings,
    ends: 'heals',
  },
  {
    name: 'the link to the current configuration',
    paths: (stage) => [componentPaths(stage.home, RELOADS).current],
    other: (stage) => homePaths(stage.home).settings,
    ends: 'heals',
  },
  {
    name: 'the record of a process',
    paths: (stage) => [componentPaths(stage.home, RELOADS).process],
    other: (stage) => componentPaths(stage.home, RESTARTS).process,
    ends: 'heals',
  },
  {
    name: 'the output of a component',
    paths: (stage) => [componentPaths(stage.home, RELOADS).output],
    other: (stage) => homePaths(stage.home).settings,
    ends: 'heals',
  },
  {
    name: 'the settings',
    paths: (stage) => [homePaths(stage.home).settings],
    other: (stage) => join(homePaths(stage.home).specs, 'reloads.spec.yml'),
    ends: 'holds',
    says: /holdfast\.yml|settings/,
  },
  {
    name: 'a spec',
    paths: (stage) => [join(homePaths(stage.home).specs, 'reloads.spec.yml')],
    other: (stage) => homePaths(stage.home).settings,
    ends: 'holds',
    says: /reloads\.spec\.yml/,
    // The bit is one of a description.
    unseen: /bit-flipped/,
  },
];

function anotherKey(stage: Stage): string {
  const path = join(stage.directory, 'another-key');
  writeFileSync(path, `${randomBytes(32).toString('hex')}\n`);
  return path;
}

/** Pairs of files in each other's place. */
export const SWAPS: readonly {
  readonly name: string;
  readonly inflict: (stage: Stage, hashes: readonly string[]) => void;
}[] = [
  { name: 'the slots', inflict: (stage) => swap(slots(stage)[0], slots(stage)[1]) },
  { name: 'the objects', inflict: (stage, hashes) => swap(objectOf(stage, hashes[0]), objectOf(stage, hashes[1])) },
  {
    name: 'the records of two processes',
    inflict: (stage) => swap(componentPaths(stage.home, RELOADS).process, componentPaths(stage.home, RESTARTS).process),
  },
  { name: 'a slot and an object', inflict: (stage, hashes) => swap(slots(stage)[0], objectOf(stage, hashes[0])) },
];

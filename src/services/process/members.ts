/** Which living processes belong to a component: the one on record, its group, and what has left the group but still carries its name. */
import { stat } from 'node:fs/promises';
import { componentPaths } from '../home.ts';
import { allProcesses, lives, type ProcessFacts, pidNamespaceOf, readEnvironment, readProcess } from './proc.ts';
import type { ProcessRecord } from './record.ts';

/**
 * In the environment of a command beside a component: the pid of the start that runs it. While that start lives, ending the component does
 * not end the command (the check of the next policy runs while a program crashes); what an earlier start left behind is a stray.
 */
export const SIDE_OF = 'HOLDFAST_SIDE_OF';

/** The world a record must come from to mean anything. */
export interface World {
  readonly home: string;
  readonly bootId: string;
  readonly pidNamespace: string;
}

/** The process on record, if exactly that one lives. Boot, namespace, pid and start time together cannot be met by another. */
export async function recordedProcess(
  record: ProcessRecord | null,
  id: string,
  world: World,
): Promise<ProcessFacts | null> {
  if (record === null || record.bootId !== world.bootId || record.pidNamespace !== world.pidNamespace) return null;
  const facts = await readProcess(record.pid);
  if (!lives(facts) || facts.startTime !== record.startTime) return null;
  return (await nameOn(facts.pid, id, world)) === 'another' ? null : facts;
}

/** Every process of the host at one moment; the environment of each is read when it is first asked for, and once. */
export interface Survey {
  readonly processes: readonly ProcessFacts[];
  readonly environmentOf: typeof readEnvironment;
}

export async function survey(): Promise<Survey> {
  const environments = new Map<number, ReturnType<typeof readEnvironment>>();
  const environmentOf: Survey['environmentOf'] = (pid) => {
    const environment = environments.get(pid) ?? readEnvironment(pid);
    environments.set(pid, environment);
    return environment;
  };
  return { processes: await allProcesses(), environmentOf };
}

/** Every living process of the component, the main one first. `seen`: one look at the host for several components. */
export async function membersOf(
  record: ProcessRecord | null,
  id: string,
  world: World,
  seen?: Survey,
): Promise<ProcessFacts[]> {
  const main = await recordedProcess(record, id, world);
  const sameWorld = record !== null && record.bootId === world.bootId && record.pidNamespace === world.pidNamespace;
  // A pid is not given again while it names a group. So if another process has it now, nothing is left of the group.
  const taken = record === null ? null : await readProcess(record.pid);
  const groupMayLive = sameWorld && (taken === null || taken.startTime === record.startTime);
  const { processes, environmentOf } = seen ?? (await survey());
  const members: ProcessFacts[] = [];
  for (const facts of processes) {
    if (facts.pid === process.pid || facts.pid === main?.pid) continue;
    const inGroup =
      groupMayLive &&
      (facts.group === record.pid || facts.session === record.pid) &&
      BigInt(facts.startTime) >= BigInt(record.startTime);
    const name = await nameOn(facts.pid, id, world, environmentOf);
    const isOurs =
      name === 'ours' ||
      (inGroup && name !== 'another') ||
      (name === 'of a home that is gone' && (await writesTo(facts.pid, componentPaths(world.home, id).output)));
    if (isOurs) members.push(facts);
  }
  return main ? [main, ...members] : members;
}

/**
 * Whose name a process carries in its environment. `none` is no contradiction: programs that show a title (nginx, postgres, sshd) write
 * it over their environment, and others clear it for their children. `of a home that is gone` is one neither: this home may have been moved
 * while its programs ran, or it is another's that was removed. The name alone proves nothing then; the record, its group or the file that
 * the process writes to does.
 */
type Name = 'ours' | 'another' | 'none' | 'of a home that is gone';

async function nameOn(pid: number, id: string, world: World, environmentOf = readEnvironment): Promise<Name> {
  const environment = await environmentOf(pid);
  const itsHome = environment.get('HOLDFAST_HOME');
  const itsComponent = environment.get('HOLDFAST_COMPONENT');
  if (itsHome === undefined || itsComponent === undefined) return 'none';
  if (environment.get(SIDE_OF) === String(process.pid) || itsComponent !== id) return 'another';
  // The programs in a host's containers are processes like others to it, and their agents have homes of the same path: a name from there
  // says nothing here.
  if ((await pidNamespaceOf(pid)) !== world.pidNamespace) return 'none';
  return whoseHome(pid, itsHome, world.home);
}

/** The same directory by any path, as the process sees it: it may live in another mount namespace. */
async function whoseHome(pid: number, path: string, home: string): Promise<Name> {
  const [theirs, ours] = await Promise.all([
    stat(`/proc/${pid}/root${path}`).catch((error: NodeJS.ErrnoException) => (isMissing(error) ? null : undefined)),
    stat(home).catch(() => null),
  ]);
  if (theirs === undefined) return 'another';
  if (theirs === null) return ours === null && path === home ? 'ours' : 'of a home that is gone';
  return ours !== null && theirs.dev === ours.dev && theirs.ino === ours.ino ? 'ours' : 'another';
}

function isMissing({ code }: NodeJS.ErrnoException): boolean {
  return code === 'ENOENT' || code === 'ENOTDIR';
}

/** Whether the process has this file as its output or error output: a move within a disk keeps that. */
async function writesTo(pid: number, path: string): Promise<boolean> {
  const [file, ...theirs] = await Promise.all(
    [path, `/proc/${pid}/fd/1`, `/proc/${pid}/fd/2`].map((each) => stat(each).catch(() => null)),
  );
  return file != null && theirs.some((each) => each != null && each.dev === file.dev && each.ino === file.ino);
}

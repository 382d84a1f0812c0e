/**
 * The identity file: who this agent is to Fleet, and an enrollment under way. Its format is frozen for ever; replacing it by one rename is the
 * one commit that switches identity (design, section 5).
 */
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { z } from 'zod';
import { HoldfastError, type Problem } from '../../errors.ts';
import { homePaths } from '../home.ts';
import {
  errnoOf,
  type Files,
  inWords,
  mayPass,
  nodeFiles,
  readSmall,
  replaceFile,
  statIfThere,
  writeAll,
} from './files.ts';
import type { Finding } from './quarantine.ts';

/** Far above what an identity with a bundle of CA certificates comes to. */
const IDENTITY_MAX_BYTES = 4 * 1024 * 1024;

/** How to reach Fleet, as it was given at enrollment. */
const connection = {
  /** Do not verify the server's certificate. */
  insecure: z.boolean(),
  /** PEM texts or paths of files that hold them. */
  certificateAuthorities: z.array(z.string()),
};

const identitySchema = z.object({
  agentId: z.string().min(1),
  /** URLs of Fleet Server, the one enrolled with first. */
  hosts: z.array(z.string()).min(1),
  accessApiKey: z.string().min(1),
  /** Epoch ms. */
  enrolledAt: z.number(),
  enrollmentId: z.string().nullable(),
  /** The policy Fleet named at enrollment, null when it named none. */
  policyId: z.string().nullable(),
  /** The host's machine id at enrollment; `''` when it has none. */
  machineId: z.string(),
  ...connection,
});

const pendingSchema = z.object({
  /** Sent with the request, so that asking twice enrolls once. */
  enrollmentId: z.string().min(1),
  url: z.string(),
  /** Epoch ms. */
  since: z.number(),
  ...connection,
});

const contentSchema = z.object({ identity: identitySchema.nullable(), pending: pendingSchema.nullable() });
const fileSchema = z.object({ version: z.literal(1), checksum: z.string(), ...contentSchema.shape });

export type Identity = z.infer<typeof identitySchema>;
/** An enrollment that was asked for and has no answer yet. */
export type PendingEnrollment = z.infer<typeof pendingSchema>;

/** What the identity file holds. Both may be set: an enrolled agent that is being enrolled anew. */
export interface IdentityContent {
  readonly identity: Identity | null;
  readonly pending: PendingEnrollment | null;
}

export interface IdentityRead extends IdentityContent {
  /** IDENTITY_UNREADABLE: there is one and it cannot be used. Both are null then, and it must not be taken for "never enrolled". */
  readonly problem: Problem | null;
  /** It may be readable later. */
  readonly mayPass: boolean;
  readonly findings: readonly Finding[];
}

/** Reads the identity of `home`. Never throws; a damaged file stays where it is, with a copy beside it that no later enrollment replaces. */
export async function readIdentity(files: Files, home: string, machineId: string): Promise<IdentityRead> {
  const path = homePaths(home).identity;
  let bytes: Buffer | null;
  try {
    bytes = await readWithPatience(files, path);
  } catch (error) {
    return { ...unreadable(path, inWords(error), []), mayPass: mayPass(error) };
  }
  if (bytes === null) return { identity: null, pending: null, problem: null, mayPass: false, findings: [] };
  const content = parse(bytes);
  if (typeof content === 'string') return unreadable(path, content, await copyAside(files, path, bytes));
  return { ...content, problem: null, mayPass: false, findings: clonedDisk(content.identity, machineId) };
}

/** A read error may be a passing one. */
async function readWithPatience(files: Files, path: string): Promise<Buffer | null> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await readSmall(files, path, IDENTITY_MAX_BYTES);
    } catch (error) {
      if (attempt >= 3) throw error;
    }
  }
}

function parse(bytes: Buffer): IdentityContent | string {
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString('utf8'));
  } catch {
    return 'it is not JSON';
  }
  const parsed = fileSchema.safeParse(json);
  if (!parsed.success)
    return `its content is not an identity (${parsed.error.issues.map((issue) => issue.path.join('.')).join(', ')})`;
  const { identity, pending, checksum } = parsed.data;
  // A flipped bit in the agent id would make everything that is stored another agent's.
  if (checksum !== checksumOf({ identity, pending })) return 'its checksum does not match';
  return { identity, pending };
}

function unreadable(path: string, why: string, findings: readonly Finding[]): IdentityRead {
  const problem: Problem = { code: 'IDENTITY_UNREADABLE', message: `${path} cannot be used: ${why}` };
  return {
    identity: null,
    pending: null,
    problem,
    mayPass: false,
    findings: [{ kind: 'identity', message: problem.message }, ...findings],
  };
}

function clonedDisk(identity: Identity | null, machineId: string): readonly Finding[] {
  if (identity === null || identity.machineId === '' || machineId === '' || identity.machineId === machineId) return [];
  const message =
    `agent ${identity.agentId} was enrolled on another machine (id ${identity.machineId}, this one is ${machineId}): ` +
    'if this disk is a copy, two machines are one agent to Fleet; enroll one of them again with `holdfast enroll --force`';
  return [{ kind: 'identity', message }];
}

/** Keeps the bytes under a name made from them: the same damage is copied once, another one is not overwritten. */
async function copyAside(files: Files, path: string, bytes: Buffer): Promise<readonly Finding[]> {
  const copy = `${path}.damaged-${createHash('sha256').update(bytes).digest('hex').slice(0, 12)}`;
  try {
    if (await statIfThere(files, copy)) return [];
    const file = await files.open(copy, 'create');
    try {
      await writeAll(file, bytes, 0);
      await file.sync();
    } finally {
      await file.close();
    }
    return [{ kind: 'identity', message: `a copy of the damaged identity is kept in ${copy}` }];
  } catch (error) {
    return [{ kind: 'identity', message: `the damaged identity could not be copied to ${copy}: ${inWords(error)}` }];
  }
}

/** What the identity file says in short, for commands. */
export type IdentityFound =
  | { readonly kind: 'enrolled'; readonly agentId: string }
  /** There is none, at most an enrollment that was asked for and not answered. */
  | { readonly kind: 'none' }
  | { readonly kind: 'unreadable'; readonly problem: Problem };

/** Looks at the identity of `home` and changes nothing. Never throws. */
export async function findIdentity(home: string): Promise<IdentityFound> {
  const there = await stat(home).catch(() => null);
  if (there?.isDirectory() === false) throw new HoldfastError('HOME_UNUSABLE', `${home} is not a directory`);
  const { identity, problem } = await readIdentity({ ...nodeFiles, open: openToRead }, home, '');
  if (problem) return { kind: 'unreadable', problem };
  return identity ? { kind: 'enrolled', agentId: identity.agentId } : { kind: 'none' };
}

/** Refuses to make the copy of a damaged file. */
const openToRead: Files['open'] = async (path, how) => {
  if (how === 'read') return nodeFiles.open(path, how);
  throw Object.assign(new Error('only looking'), { code: 'EROFS', path });
};

/**
 * Replaces the identity file, durably: after any crash it is the old one or this one. To begin an enrollment write the `pending` one beside the
 * identity there is, before the request is sent; to end it write the identity with `pending` null. Throws STORE_WRITE_FAILED.
 */
export async function writeIdentity(files: Files, home: string, content: IdentityContent): Promise<void> {
  const checked = contentSchema.parse(content);
  const text = `${JSON.stringify({ version: 1, checksum: checksumOf(checked), ...checked }, null, 2)}\n`;
  const { identity: path } = homePaths(home);
  try {
    const there = await statIfThere(files, path);
    if (there?.kind === 'directory') await files.rename(path, `${path}.set-aside`);
    await replaceFile(files, home, 'identity', Buffer.from(text, 'utf8'));
  } catch (error) {
    const hint = errnoOf(error) === 'ENOENT' ? ' (is there a home directory?)' : '';
    throw new HoldfastError('STORE_WRITE_FAILED', `cannot write ${path}: ${inWords(error)}${hint}`, { cause: error });
  }
}

/** Over the values in the schema's order, so that white space and the order of keys in the file do not matter. */
function checksumOf({ identity, pending }: IdentityContent): string {
  return createHash('sha256')
    .update(JSON.stringify([identity, pending]))
    .digest('hex');
}

/** The `process` record of a component: which process it is, and what it runs, for this start and the next (design, section 7). */
import { rm } from 'node:fs/promises';
import { z } from 'zod';
import { readFileIfThere, replaceFile } from '../durable-file.ts';

const schema = z.object({
  type: z.string(),
  pid: z.int().min(2),
  startTime: z.string().regex(/^\d+$/),
  bootId: z.string(),
  pidNamespace: z.string(),
  /** The configuration it was ready with, or confirmed by a reload; null: none yet. */
  confirmed: z.string().nullable(),
  /** A step is (or was, when this start died) being done to it: what it runs is not known. */
  changing: z.string().nullable(),
});

export type ProcessRecord = z.infer<typeof schema>;

/** What of a record is known before its process exists; the launcher adds pid and start time. */
export type RecordStub = Omit<ProcessRecord, 'pid' | 'startTime'>;

const RECORD_MAX_BYTES = 64 * 1024;

/** The record at `path`; null when there is none or it cannot be read: then only the environment of processes tells (members.ts). */
export async function readRecord(path: string): Promise<ProcessRecord | null> {
  try {
    const bytes = await readFileIfThere(path, RECORD_MAX_BYTES);
    return bytes === null ? null : schema.parse(JSON.parse(bytes.toString('utf8')));
  } catch {
    return null;
  }
}

export async function writeRecord(path: string, record: ProcessRecord): Promise<void> {
  await replaceFile(path, `${JSON.stringify(record)}\n`);
}

/** Removes whatever lies there, and what a killed writer left beside it: either could be in the way of the next record. */
export async function removeRecord(path: string): Promise<void> {
  await Promise.all([path, `${path}.tmp`].map((each) => rm(each, { recursive: true, force: true })));
}

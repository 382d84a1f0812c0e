/** Reads a whole zip file back: its central directory, and each entry with its checksum verified. */
import { readFileSync } from 'node:fs';
import { crc32, inflateRawSync } from 'node:zlib';

const END = 0x06054b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;

/** Name → content. Throws when the file is not a whole zip file without zip64. */
export function readZip(path: string): Map<string, string> {
  const bytes = readFileSync(path);
  const end = bytes.length - 22;
  expectSignature(bytes, end, END);
  const entries = new Map<string, string>();
  let at = bytes.readUInt32LE(end + 16);
  for (let left = bytes.readUInt16LE(end + 10); left > 0; left -= 1) {
    expectSignature(bytes, at, CENTRAL);
    const method = bytes.readUInt16LE(at + 10);
    const checksum = bytes.readUInt32LE(at + 16);
    const packed = bytes.readUInt32LE(at + 20);
    const nameLength = bytes.readUInt16LE(at + 28);
    const beside = bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32);
    const local = bytes.readUInt32LE(at + 42);
    const name = bytes.toString('utf8', at + 46, at + 46 + nameLength);
    expectSignature(bytes, local, LOCAL);
    const from = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
    const stored = bytes.subarray(from, from + packed);
    const content = method === 0 ? stored : inflateRawSync(stored);
    if (crc32(content) !== checksum) throw new Error(`${name} has another checksum than the directory says`);
    if (entries.has(name)) throw new Error(`${name} is there twice`);
    entries.set(name, content.toString('utf8'));
    at += 46 + nameLength + beside;
  }
  return entries;
}

function expectSignature(bytes: Buffer, at: number, signature: number): void {
  if (at < 0 || bytes.readUInt32LE(at) !== signature) throw new Error(`no zip structure at ${at}`);
}

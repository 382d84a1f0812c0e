/** Where the parts of a demo lie on disk and listen, and how the example is laid out there. */
import { copyFile, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HoldfastError } from '../../errors.ts';

const EXAMPLES = fileURLToPath(new URL('../../../examples/uptime', import.meta.url));

export interface Places {
  readonly directory: string;
  readonly policies: string;
  readonly policy: string;
  readonly fleet: string;
  readonly home: string;
}

export function placesIn(directory: string): Places {
  const policies = join(directory, 'policies');
  return {
    directory,
    policies,
    policy: join(policies, 'demo.yml'),
    fleet: join(directory, 'fleet'),
    home: join(directory, 'agent'),
  };
}

/** Lays out the example once, apart from the policy; what was edited since stays as it is. */
export async function laySpecs({ policies, home }: Places): Promise<void> {
  const specs = join(home, 'specs');
  await mkdir(policies, { recursive: true });
  await mkdir(specs, { recursive: true, mode: 0o700 });
  for (const name of await readdir(EXAMPLES)) {
    if (name.endsWith('.spec.yml') || name.endsWith('.liquid'))
      await copyIfMissing(join(EXAMPLES, name), join(specs, name));
  }
}

/** As the example's policy has it. */
const EXAMPLE_ADDRESS = '127.0.0.1:8220';

/** The example's policy, looking at the server where this demo has it; one that somebody has edited stays as it is. */
export async function layPolicy({ policy }: Places, listen: string): Promise<void> {
  const example = await readFile(join(EXAMPLES, 'policy.yml'), 'utf8');
  const there = await readFile(policy, 'utf8').catch(() => null);
  const wanted = example.replaceAll(EXAMPLE_ADDRESS, listen);
  if (there === null || (there !== wanted && isLaid(there, example))) await writeFile(policy, wanted);
}

/** Is it the example, perhaps with the address of an earlier demo? */
function isLaid(text: string, example: string): boolean {
  const parts = example.split(EXAMPLE_ADDRESS);
  const address = text.slice(parts[0]?.length).match(/^[\w.[\]:-]+/)?.[0];
  return address !== undefined && text === parts.join(address);
}

async function copyIfMissing(from: string, to: string): Promise<void> {
  const there = await stat(to).then(
    () => true,
    () => false,
  );
  if (!there) await copyFile(from, to);
}

/** The address asked for, or the same host with a free port when another program has it. @throws HoldfastError USAGE */
export async function freeAddress(listen: string): Promise<string> {
  const colon = listen.lastIndexOf(':');
  const host = listen.slice(0, colon);
  const port = Number(listen.slice(colon + 1));
  if (colon < 1 || !Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new HoldfastError('USAGE', `--listen ${listen} is not host:port`);
  }
  return `${host}:${await tryPort(host, port).catch(() => tryPort(host, 0))}`;
}

function tryPort(host: string, port: number): Promise<number> {
  return new Promise((found, failed) => {
    const server = createServer();
    server.once('error', failed);
    server.listen(port, host, () => {
      const address = server.address();
      server.close(() => found(address !== null && typeof address === 'object' ? address.port : port));
    });
  });
}

/** A path as short as it can be said from here. */
export function shortened(path: string): string {
  const shorter = relative(process.cwd(), path);
  return shorter.startsWith('..') ? path : shorter;
}

/** Probes against real sockets and commands: what is good, what is not, and what they say then. */
import { createServer, type Server } from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { afterEach, describe, expect, it } from 'vitest';
import type { Probe } from '../../../src/policy/component.ts';
import { realClock } from '../../../src/services/process/clock.ts';
import { tryProbe } from '../../../src/services/process/probe.ts';
import { runSideCommand, usefulLines } from '../../../src/services/process/side-command.ts';

const servers: (Server | net.Server)[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

async function listening<S extends Server | net.Server>(server: S): Promise<number> {
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  return (server.address() as net.AddressInfo).port;
}

function tried(probe: Probe, timeoutMs = 1_000, abort = new AbortController().signal): Promise<void> {
  const cwd = tmpdir();
  return tryProbe(probe, {
    id: 'x',
    home: cwd,
    cwd,
    outputPath: '/none',
    outputFrom: 0,
    timeoutMs,
    clock: realClock,
    abort,
  });
}

function sh(script: string): Probe {
  return { kind: 'command', run: { command: 'sh', args: ['-c', script], env: {}, cwd: null, user: null } };
}

describe('a probe', () => {
  it('of tcp succeeds when someone listens, and names the refusal when nobody does', async () => {
    const port = await listening(net.createServer());
    await expect(tried({ kind: 'tcp', host: '127.0.0.1', port })).resolves.toBeUndefined();
    await new Promise((resolve) => servers.pop()?.close(resolve));
    await expect(tried({ kind: 'tcp', host: '127.0.0.1', port })).rejects.toThrow(/127\.0\.0\.1:\d+: .*ECONNREFUSED/);
  });

  it('of http succeeds below 400 and names the status above', async () => {
    const port = await listening(
      createServer((request, answer) => answer.writeHead(request.url === '/good' ? 204 : 503).end()),
    );
    await expect(tried({ kind: 'http', url: `http://127.0.0.1:${port}/good` })).resolves.toBeUndefined();
    await expect(tried({ kind: 'http', url: `http://127.0.0.1:${port}/bad` })).rejects.toThrow('answered 503');
  });

  it('of http does not wait for ever', async () => {
    const port = await listening(net.createServer());
    await expect(tried({ kind: 'http', url: `http://127.0.0.1:${port}/` }, 50)).rejects.toThrow(
      'no answer within 0.05 s',
    );
  });

  it('by command goes by its exit code, and repeats what it complained about', async () => {
    await expect(tried(sh('exit 0'))).resolves.toBeUndefined();
    await expect(tried(sh('echo fine; echo "error: no queue" >&2; exit 2'))).rejects.toThrow(
      'sh exited with code 2: error: no queue',
    );
  });

  it('by command is killed with what it started when its time is over', async () => {
    const before = Date.now();
    await expect(tried(sh('sleep 100 & sleep 100'), 50)).rejects.toThrow('sh did not end within 0.05 s');
    expect(Date.now() - before).toBeLessThan(2_000);
  });

  it('by time succeeds after it, and is given up at once when nobody waits any more', async () => {
    await expect(tried({ kind: 'after', ms: 20 })).resolves.toBeUndefined();
    const abort = new AbortController();
    const waiting = tried({ kind: 'after', ms: 100_000 }, 1_000, abort.signal);
    abort.abort();
    await expect(waiting).rejects.toThrow();
  });
});

describe('what is repeated of a program', () => {
  it('are the lines that complain, or else the first, bounded', () => {
    expect(usefulLines('checking\nnginx: [emerg] unknown directive "lisen"\nbye')).toBe(
      'nginx: [emerg] unknown directive "lisen"',
    );
    expect(usefulLines('one\n\ntwo\nthree\nfour')).toBe('one; two; three');
    expect(usefulLines('x'.repeat(1_000))).toHaveLength(400);
  });
});

it('output that is too long ends with a whole line: half a secret would not be recognised', async () => {
  const script = 'yes checking | head -c 65520; echo "error: s3cr3t-value-of-many-characters"';
  const run = { command: 'sh', args: ['-c', script], env: {}, cwd: '/', user: null };
  const { output } = await runSideCommand(run, { id: 'x', home: '/home', cwd: '/', timeoutMs: 10_000 });
  expect(output).toMatch(/^(checking\n)+$/);
});

/** One try of a probe: it resolves when the answer is good and rejects with what it saw instead. */
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import { HoldfastError } from '../../errors.ts';
import type { Probe } from '../../policy/component.ts';
import type { Clock } from './clock.ts';
import { lastLine, outputSince } from './output.ts';
import { runSideCommand, usefulLines } from './side-command.ts';

export interface ProbeOptions {
  readonly id: string;
  readonly home: string;
  readonly cwd: string;
  readonly outputPath: string;
  readonly outputFrom: number;
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly abort: AbortSignal;
}

export async function tryProbe(probe: Probe, options: ProbeOptions): Promise<void> {
  switch (probe.kind) {
    case 'tcp':
      return connect(probe.host, probe.port, options);
    case 'http':
      return request(probe.url, 'GET', options);
    case 'output':
      return lookForOutput(probe.pattern, options);
    case 'command': {
      const { ok, how, output } = await runSideCommand(probe.run, options);
      if (!ok) throw unhealthy(`${probe.run.command} ${how}${output.trim() && `: ${usefulLines(output)}`}`);
      return;
    }
    case 'after':
      return options.clock.sleep(probe.ms, options.abort);
  }
}

function connect(host: string, port: number, { timeoutMs, abort }: ProbeOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host, port, signal: abort });
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error(`no answer within ${timeoutMs / 1000} s`)));
    socket.once('connect', () => {
      socket.destroy();
      resolve();
    });
    socket.once('error', (error) => reject(unhealthy(`${host}:${port}: ${words(error)}`)));
  });
}

/**
 * Any answer below 400 is good. Node's own http and never Fleet's client: a probe must not share its pools, proxies and certificates. A
 * certificate is not verified: a program under supervision often has a self-signed one, and nothing secret is sent.
 */
export function request(
  url: string,
  method: string,
  { timeoutMs, abort }: Pick<ProbeOptions, 'timeoutMs' | 'abort'>,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const client = url.startsWith('https:') ? https : http;
    const signal = AbortSignal.any([abort, AbortSignal.timeout(timeoutMs)]);
    const options = { method, signal, agent: false, rejectUnauthorized: false };
    const sent = client.request(url, options, (answer) => {
      answer.resume();
      const status = answer.statusCode ?? 0;
      if (status < 400) resolve();
      else reject(unhealthy(`${url} answered ${status}`));
      answer.destroy();
    });
    sent.once('error', (error) => {
      const late = signal.aborted && !abort.aborted;
      reject(unhealthy(`${url}: ${late ? `no answer within ${timeoutMs / 1000} s` : words(error)}`));
    });
    sent.end();
  });
}

async function lookForOutput(pattern: string, { outputPath, outputFrom }: ProbeOptions): Promise<void> {
  const output = await outputSince(outputPath, outputFrom);
  if (new RegExp(pattern, 'm').test(output)) return;
  const last = lastLine(output);
  throw unhealthy(last === '' ? 'it has written nothing since' : `its last output is "${last}"`);
}

function unhealthy(message: string): HoldfastError {
  return new HoldfastError('COMPONENT_UNHEALTHY', message);
}

/** A refused connection to a name with two addresses has no message of its own. */
function words(error: Error): string {
  return error.message || ((error as NodeJS.ErrnoException).code ?? error.name);
}

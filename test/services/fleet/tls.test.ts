import { readFileSync } from 'node:fs';
import { createServer as createHttp, type Server } from 'node:http';
import { createServer as createHttps, type ServerOptions } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { FleetPortsOptions } from '../../../src/services/fleet/ports.ts';
import { IDLE_CHECKIN_BODY } from '../../../src/wire/fleet.ts';
import { startFakeServer } from './fake-server.ts';
import { poll, ports, settings } from './local.ts';
import { runPort } from './run-port.ts';

const file = (name: string) => join(import.meta.dirname, 'certificates', name);
const pem = (name: string) => readFileSync(file(name), 'utf8');

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

/** An HTTPS server with the certificate `name`; gives its URL. */
async function secure(name: string, options: ServerOptions = {}): Promise<string> {
  const server = createHttps(
    { cert: pem(`${name}.pem`), key: pem(`${name}.key.pem`), ...options },
    (_request, response) => response.end(IDLE_CHECKIN_BODY),
  );
  server.on('tlsClientError', () => {});
  return `https://127.0.0.1:${await listen(server)}`;
}

type Fleet = FleetPortsOptions['settings'];

async function checkin(url: string, changed: Partial<Omit<Fleet, 'ssl'>> & { ssl?: Partial<Fleet['ssl']> } = {}) {
  const fleet = ports({ settings: { ...settings, ...changed, ssl: { ...settings.ssl, ...changed.ssl } } });
  onTestFinished(() => fleet.close());
  return runPort(fleet.gateway.checkin, poll(url));
}

describe('trust', () => {
  it('is refused to a certificate of an unknown CA, with the setting that would name it', async () => {
    const outcome = await checkin(await secure('server'));
    expect(outcome).toMatchObject({ kind: 'tls', answerLost: false });
    expect((outcome as { message: string }).message).toContain('fleet.ssl.certificate_authorities');
  });

  it.each([
    ['a file', file('ca.pem')],
    ['PEM text', pem('ca.pem')],
  ])('is given to a CA named by %s', async (_form, certificateAuthority) => {
    const ssl = { certificateAuthorities: [certificateAuthority] };
    expect(await checkin(await secure('server'), { ssl })).toMatchObject({ kind: 'answered' });
  });

  it('is not sought where plain HTTP is spoken: the URL is what is wrong, in one line', async () => {
    const plain = await listen(createHttp((_request, response) => response.end(IDLE_CHECKIN_BODY)));
    const outcome = await checkin(`https://127.0.0.1:${plain}`);
    expect(outcome).toMatchObject({
      kind: 'tls',
      message: `what listens at https://127.0.0.1:${plain} does not speak TLS: is the URL to begin with http://?`,
    });
  });

  it('is refused to a certificate of another name, unless only the chain is checked', async () => {
    const url = await secure('elsewhere');
    const certificateAuthorities = [file('ca.pem')];
    expect(await checkin(url, { ssl: { certificateAuthorities } })).toMatchObject({ kind: 'tls' });
    const chain = { certificateAuthorities, verificationMode: 'certificate' as const };
    expect(await checkin(url, { ssl: chain })).toMatchObject({ kind: 'answered' });
    expect(await checkin(url, { ssl: { verificationMode: 'certificate' } })).toMatchObject({ kind: 'tls' });
  });

  it('is given to everything when nothing is checked', async () => {
    expect(await checkin(await secure('elsewhere'), { ssl: { verificationMode: 'none' } })).toMatchObject({
      kind: 'answered',
    });
  });

  it('can be asked of the agent, which shows its own certificate', async () => {
    const url = await secure('server', { ca: pem('ca.pem'), requestCert: true, rejectUnauthorized: true });
    const certificateAuthorities = [file('ca.pem')];
    const without = await checkin(url, { ssl: { certificateAuthorities } });
    expect(without.kind).not.toBe('answered');
    const ssl = { certificateAuthorities, certificate: file('client.pem'), key: pem('client.key.pem') };
    expect(await checkin(url, { ssl })).toMatchObject({ kind: 'answered' });
  });
});

describe('a proxy', () => {
  /** A proxy that tunnels everything to `port`, and keeps what it was asked for. */
  async function startProxy(port: number) {
    const asked: string[] = [];
    const sockets = new Set<Socket>();
    const proxy = createHttp((request, response) => {
      asked.push(`${request.method} ${request.url}`);
      request.resume();
      request.on('end', () => response.end(IDLE_CHECKIN_BODY));
    });
    proxy.on('connect', (request, socket) => {
      asked.push(`CONNECT ${request.url}`);
      const onward = connect(port, '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
        onward.pipe(socket).pipe(onward);
      });
      for (const one of [onward, socket as Socket]) {
        sockets.add(one);
        one.on('error', () => {});
      }
    });
    const proxyPort = await listen(proxy);
    onTestFinished(() => {
      for (const one of sockets) one.destroy();
    });
    return { url: `http://127.0.0.1:${proxyPort}`, asked };
  }

  it('of the settings or of the environment carries what is encrypted through a tunnel', async () => {
    const url = await secure('elsewhere');
    const proxy = await startProxy(Number(new URL(url).port));
    const ssl = { certificateAuthorities: [file('ca.pem')] };
    const named = url.replace('127.0.0.1', 'elsewhere.example');
    expect(await checkin(named, { ssl, proxyUrl: proxy.url })).toMatchObject({ kind: 'answered' });
    const environmentProxy = { https: proxy.url, http: null, no: null };
    expect(await checkin(named, { ssl, environmentProxy })).toMatchObject({ kind: 'answered' });
    expect(proxy.asked).toEqual([`CONNECT ${new URL(named).host}`, `CONNECT ${new URL(named).host}`]);
  });

  it('is passed by for a host that NO_PROXY names', async () => {
    const server = await startFakeServer((response) => response.end(IDLE_CHECKIN_BODY));
    onTestFinished(() => server.close());
    const environmentProxy = { https: null, http: 'http://127.0.0.1:1', no: '127.0.0.1' };
    expect(await checkin(server.url, { environmentProxy })).toMatchObject({ kind: 'answered' });
    expect(await checkin(server.url, { environmentProxy: { ...environmentProxy, no: null } })).toMatchObject({
      kind: 'proxy',
    });
  });
});

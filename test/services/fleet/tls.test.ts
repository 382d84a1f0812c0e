import { readFileSync } from 'node:fs';
import { createServer as createHttp, type Server } from 'node:http';
import { createServer as createHttps, type ServerOptions } from 'node:https';
import { type AddressInfo, connect, createServer as createTcp, type Socket } from 'node:net';
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
    expect((without as { message: string }).message).toMatch(/wants a client certificate, .*fleet\.ssl\.certificate/);
    const ssl = { certificateAuthorities, certificate: file('client.pem'), key: pem('client.key.pem') };
    expect(await checkin(url, { ssl })).toMatchObject({ kind: 'answered' });
  });

  it('is not sought with a certificate and a key of different pairs: both settings are named', async () => {
    const ssl = { certificate: file('client.pem'), key: pem('server.key.pem') };
    expect(await checkin(await secure('server'), { ssl })).toMatchObject({
      kind: 'tls',
      message: expect.stringMatching(/fleet\.ssl\.certificate and fleet\.ssl\.key do not belong together/),
    });
  });

  it('is not sought with a CA file that is not PEM: the file is named', async () => {
    const ssl = { certificateAuthorities: [import.meta.filename] };
    expect(await checkin(await secure('server'), { ssl })).toMatchObject({
      kind: 'tls',
      message: `${import.meta.filename} is not a certificate in PEM form: name a file that is with fleet.ssl.certificate_authorities`,
    });
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
    const ssl = { certificateAuthorities: [file('ca.pem')] };
    const url = (await secure('elsewhere')).replace('127.0.0.1', 'elsewhere.invalid');
    const environmentProxy = { https: 'http://127.0.0.1:1', http: null, no: 'elsewhere.invalid' };
    // Straight, so that it is the name which is not found.
    expect(await checkin(url, { ssl, environmentProxy })).toMatchObject({ kind: 'unreachable' });
    const asked = await checkin(url, { ssl, environmentProxy: { ...environmentProxy, no: null } });
    expect(asked).toMatchObject({ kind: 'proxy', message: expect.stringContaining('the proxy http://127.0.0.1:1') });
  });

  it('of another kind than is known is refused by its setting', async () => {
    const environmentProxy = { https: 'ftp://127.0.0.1:1', http: null, no: null };
    expect(await checkin('https://fleet.invalid', { environmentProxy })).toMatchObject({
      kind: 'proxy',
      message: expect.stringContaining('HTTPS_PROXY names a proxy by ftp://'),
      answerLost: false,
    });
  });

  it('that speaks SOCKS5 carries both what is encrypted and what is not', async () => {
    const secured = await secure('elsewhere');
    const plain = await startFakeServer((response) => response.end(IDLE_CHECKIN_BODY));
    onTestFinished(() => plain.close());
    const ssl = { certificateAuthorities: [file('ca.pem')] };
    const named = secured.replace('127.0.0.1', 'elsewhere.example');
    const proxy = await startSocks5((host) => Number(new URL(host === '127.0.0.1' ? plain.url : secured).port));
    expect(await checkin(named, { ssl, proxyUrl: proxy.url })).toMatchObject({ kind: 'answered' });
    expect(await checkin(plain.url, { proxyUrl: proxy.url })).toMatchObject({ kind: 'answered' });
    expect(proxy.asked).toEqual([`elsewhere.example:${new URL(secured).port}`, `127.0.0.1:${plain.port}`]);
  });

  it('that speaks SOCKS5 and refuses is named', async () => {
    const proxy = await startSocks5(() => null);
    expect(await checkin('https://fleet.invalid:8220', { proxyUrl: proxy.url })).toMatchObject({
      kind: 'proxy',
      message: expect.stringContaining(proxy.url),
      answerLost: false,
    });
  });
});

/** A SOCKS5 proxy (RFC 1928, no authentication) that connects to the loopback port `portOf` names; null: it refuses. */
async function startSocks5(portOf: (host: string) => number | null) {
  const asked: string[] = [];
  const sockets = new Set<Socket>();
  const keep = (one: Socket) => {
    sockets.add(one);
    one.on('error', () => {});
    return one;
  };
  const server = createTcp((socket) => {
    keep(socket);
    socket.once('data', () => {
      socket.write(Buffer.from([5, 0]));
      socket.once('data', (request: Buffer) => {
        const isName = request[3] === 3;
        const end = isName ? 5 + request[4]! : 8;
        const host = isName ? request.subarray(5, end).toString() : [...request.subarray(4, end)].join('.');
        asked.push(`${host}:${request.readUInt16BE(end)}`);
        const port = portOf(host);
        if (port === null) return socket.end(Buffer.from([5, 2, 0, 1, 0, 0, 0, 0, 0, 0]));
        const onward = keep(
          connect(port, '127.0.0.1', () => {
            socket.write(Buffer.from([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]));
            onward.pipe(socket).pipe(onward);
          }),
        );
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    for (const one of sockets) one.destroy();
    server.close();
  });
  return { url: `socks5://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

/**
 * The way out of a company's network: a CONNECT proxy, and behind it hosts below `sandbox.test` that only it
 * can reach, with certificates of a private authority. Behind each host stands a counterpart on loopback.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createHttp, request } from 'node:http';
import { createServer as createHttps } from 'node:https';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface CompanyNetwork {
  /** HTTPS_PROXY, with a name and a password. */
  proxyUrl: string;
  /** The authority's certificate. */
  ca: string;
  /** Hosts and ports that were asked for, in order, of those who knew the password. */
  connected: string[];
  close(): void;
}

/** @param behind host → base URL of what answers for it */
export async function startCompanyNetwork(behind: { [host: string]: string }): Promise<CompanyNetwork> {
  const folder = mkdtempSync(join(tmpdir(), 'writ-proxy-'));
  const file = (name: string) => join(folder, name);
  const made = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', file('key')];
  const subject = ['-subj', '/CN=sandbox.test', '-addext', 'subjectAltName=DNS:*.sandbox.test'];
  execFileSync('openssl', ['req', '-x509', ...made, '-out', file('crt'), ...subject], { stdio: 'ignore' });
  const own = { key: readFileSync(file('key'), 'utf8'), cert: readFileSync(file('crt'), 'utf8') };
  rmSync(folder, { recursive: true });

  const hosts = createHttps(own, (incoming, outgoing) => {
    const base = behind[incoming.headers.host ?? ''];
    if (base === undefined) return void outgoing.writeHead(404).end();
    const { method, headers, url } = incoming;
    const passed = request(base + url, { method: method ?? 'GET', headers, agent: false }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
    });
    passed.on('error', () => outgoing.destroy());
    incoming.pipe(passed);
  });
  const connected: string[] = [];
  const proxy = createHttp((_request, response) => response.writeHead(405).end());
  const credentials = `Basic ${Buffer.from('writ:pass').toString('base64')}`;
  proxy.on('connect', ({ url = '', headers }, socket) => {
    socket.on('error', () => {});
    if (headers['proxy-authorization'] !== credentials) return socket.end('HTTP/1.1 407 Who\r\n\r\n');
    connected.push(url);
    if (!/\.sandbox\.test:443$/.test(url)) return socket.end('HTTP/1.1 502 No such host\r\n\r\n');
    const there = connect((hosts.address() as AddressInfo).port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connected\r\n\r\n');
      there.pipe(socket);
      socket.pipe(there);
    });
    there.on('error', () => socket.destroy());
  });
  for (const server of [hosts, proxy]) await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    proxyUrl: `http://writ:pass@127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    ca: own.cert,
    connected,
    close() {
      for (const server of [proxy, hosts]) {
        server.closeAllConnections();
        server.close();
      }
    },
  };
}

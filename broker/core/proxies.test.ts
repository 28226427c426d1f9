import assert from 'node:assert/strict';
import { createServer, get } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { getJson } from './get-json.ts';
import { post } from './post.ts';
import { proxyEnvironment, unmatchedNetworks, useProxies } from './proxies.ts';

const by = 'http://proxy.test:3128';

test('lower case comes first, an empty variable is none, and without a proxy there is nothing', () => {
  assert.equal(proxyEnvironment({ NO_PROXY: '*', HTTPS_PROXY: '' }), null);
  const read = proxyEnvironment({
    HTTPS_PROXY: 'http://other.test',
    https_proxy: by,
    NO_PROXY: 'a.test',
    no_proxy: 'b.test',
  });
  assert.equal(read?.https_proxy, by);
  assert.equal(read?.http_proxy, undefined);
  assert.match(read?.no_proxy ?? '', /^b\.test,\.b\.test,/);
});

test('what is no proxy and no network is a fault, and no password is told', () => {
  for (const HTTPS_PROXY of ['socks5://user:hunter2@proxy.test', 'user:hunter2@proxy.test:99999', 'http://', ':3128'])
    assert.throws(
      () => proxyEnvironment({ HTTPS_PROXY }),
      (error: Error) => /^HTTPS_PROXY must be/.test(error.message) && !error.message.includes('hunter2'),
    );
  for (const NO_PROXY of ['10.0.0.0/33', '10.0.0/8', 'fd00::/129', 'fd00::1::/8', 'fd00/8', '/8'])
    assert.throws(() => proxyEnvironment({ HTTPS_PROXY: by, NO_PROXY }), /is no network of addresses/);
});

test('a proxy without a scheme is spoken to in http, as curl does', () => {
  const read = proxyEnvironment({ HTTPS_PROXY: 'proxy.test:3128', http_proxy: 'user:word@proxy.test:3128' });
  assert.equal(read?.https_proxy, 'http://proxy.test:3128');
  assert.equal(read?.http_proxy, 'http://user:word@proxy.test:3128');
});

test('networks of IPv6 keep nothing from starting, and those that nothing matches are told', () => {
  const NO_PROXY = '10.0.0.0/8,fd00::/8 ::/0,2001:DB8::1/128';
  const { no_proxy = '' } = proxyEnvironment({ HTTPS_PROXY: by, NO_PROXY }) ?? {};
  assert.match(no_proxy, /^10\.0\.0\.0-10\.255\.255\.255,2001:db8::1,\[2001:db8::1\],localhost,/);
  assert.deepEqual(unmatchedNetworks({ HTTPS_PROXY: by, NO_PROXY }), ['fd00::/8', '::/0']);
  assert.deepEqual(unmatchedNetworks({ NO_PROXY }), []);
});

test('NO_PROXY: names and what is below them, ports, addresses, networks; this machine and metadata always', async () => {
  const seen: string[] = [];
  const proxy = createServer((request, response) => {
    seen.push(request.url ?? '');
    response.end();
  });
  proxy.on('connect', (request, socket) => {
    seen.push(request.url ?? '');
    socket.end('HTTP/1.1 502 No\r\n\r\n');
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  const NO_PROXY = 'exact.test, .dotted.test *.starred.test,ported.test:8081,192.0.2.0/30,198.51.100.7';
  const undo = useProxies({ HTTP_PROXY: url, HTTPS_PROXY: url, NO_PROXY });
  /** Whether the proxy is asked, by an agent and by fetch: nobody is there without one. */
  const asked = async (target: string) => {
    const before = seen.length;
    const signal = AbortSignal.timeout(2_000);
    await new Promise<void>((done) => {
      get(
        target,
        { signal, lookup: (_host, _options, found) => found(new Error('not looked up'), '', 4) },
        (response) => {
          response.resume().on('end', done);
        },
      ).on('error', () => done());
    });
    return seen.length > before;
  };
  try {
    for (const through of [
      'http://else.test/',
      'http://notexact.test/',
      'http://ported.test:8082/',
      'http://192.0.2.4/',
    ])
      assert.equal(await asked(through), true, through);
    for (const past of [
      'http://exact.test/',
      'http://below.exact.test/',
      'http://dotted.test/',
      'http://a.dotted.test/',
      'http://b.starred.test/',
      'http://ported.test:8081/',
    ])
      assert.equal(await asked(past), false, past);
    const before = seen.length;
    await fetch('https://else.test/').catch(() => {});
    assert.deepEqual(seen.slice(before), ['else.test:443']);
    await fetch('http://exact.test/', { signal: AbortSignal.timeout(2_000) }).catch(() => {});
    assert.equal(seen.length, before + 1);
    // Whose address somebody else named is looked up here, or not at all.
    const named = { url: 'https://named.invalid/', token: null, allowPrivate: false, maxBytes: 100 };
    await assert.rejects(getJson(named, AbortSignal.timeout(2_000)));
    await assert.rejects(
      post('https://named.invalid/', {}, '', { anywhere: false, signal: AbortSignal.timeout(2_000) }),
    );
    assert.equal(seen.length, before + 1);
    // Of addresses, nothing is asked: there may be somebody.
    const { no_proxy = '' } = proxyEnvironment({ HTTP_PROXY: url, NO_PROXY }) ?? {};
    for (const entry of [
      '192.0.2.0-192.0.2.3',
      '198.51.100.7',
      '127.0.0.0-127.255.255.255',
      '169.254.169.254',
      'metadata.google.internal',
      '::1',
    ])
      assert.ok(no_proxy.split(',').includes(entry), entry);
  } finally {
    undo();
    proxy.closeAllConnections();
    proxy.close();
  }
  assert.equal(await asked('http://else.test/'), false, 'undone');
});

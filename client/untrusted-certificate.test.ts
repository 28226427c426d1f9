/** A broker behind a certificate that nobody here trusts is called that, at once. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Writ, WritError } from './index.ts';

test('the error says that the certificate is not trusted, and nothing is tried again', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'writ-certificate-'));
  const [key, crt] = [join(folder, 'key'), join(folder, 'crt')];
  const made = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', crt];
  execFileSync('openssl', ['req', '-x509', ...made, '-subj', '/CN=broker'], { stdio: 'ignore' });
  let connections = 0;
  const server = createServer({ key: readFileSync(key), cert: readFileSync(crt) }, (_req, res) => res.end('{}'));
  server.on('connection', () => {
    connections += 1;
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  try {
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const opening = Writ.openSession({ url, subjectToken: 'x', taskType: 'work' });
    await assert.rejects(opening, (error: unknown) => {
      assert.ok(error instanceof WritError);
      assert.equal(error.code, 'network');
      assert.match(error.message, /certificate .* is not trusted \(DEPTH_ZERO_SELF_SIGNED_CERT\)/);
      return true;
    });
    assert.equal(connections, 1);
  } finally {
    server.closeAllConnections();
    server.close();
    await rm(folder, { recursive: true });
  }
});

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { diagnoseOwnAddress } from './own-address.ts';

/** What stands at the public name. */
let served: { issuer?: string; kids?: string[]; status?: number; text?: string; hang?: boolean };
let issuer: string;
const server = createServer((request, response) => {
  const { issuer: named = issuer, kids = ['ours'], status = 200, text, hang } = served;
  if (hang === true) return;
  const body = request.url?.endsWith('jwks.json') === true ? { keys: kids.map((kid) => ({ kid })) } : { issuer: named };
  response.writeHead(status, { 'content-type': 'application/json' }).end(text ?? JSON.stringify(body));
});
before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(() => {
  server.close();
  server.closeAllConnections();
});
const look = async (ms = 5_000) => (await diagnoseOwnAddress(issuer, ['ours'], AbortSignal.timeout(ms)))[0]!;

test('the public name must lead to this broker, its issuer and its keys', async () => {
  served = {};
  assert.equal((await look()).state, 'holds');
  const faults: [typeof served, RegExp][] = [
    [{ issuer: 'https://other.example.com' }, /of another issuer/],
    [{ kids: ['theirs'] }, /keys there are of another broker/],
    [{ status: 502 }, /openid-configuration answered 502/],
    [{ text: '<html>' }, /no JSON/],
  ];
  for (const [fault, found] of faults) {
    served = fault;
    const finding = await look();
    assert.equal(finding.state, 'fails');
    assert.match(finding.found ?? '', found);
    assert.match(finding.fix ?? '', /WRIT_ISSUER_URL/);
  }
  served = { hang: true };
  assert.match((await look(200)).found ?? '', /in time/);
});

test('from outside nobody can tell from here: that is said', async () => {
  served = {};
  const [, outside] = await diagnoseOwnAddress(issuer, ['ours'], AbortSignal.timeout(5_000));
  assert.equal(outside?.state, 'unknown');
  assert.match(outside?.found ?? '', /on this machine alone/);
});

/** Cookies of a broker that people reach by https: their names are ones that no other host can set. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after as afterAll, test } from 'node:test';
import express from 'express';
import { person, start } from '../../approvals/rows.test-support.ts';
import { manualClock } from '../core/clock.ts';
import { openTestStore } from '../store/store.test-support.ts';
import { loadLogin, openLogin, setCookie } from './login.ts';

const store = await openTestStore();
const clock = manualClock(start);
const app = express();
const server = createServer(app);
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const here = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await store.close();
});

/** As behind a proxy that speaks https to people. */
const deps = { store, clock, publicUrl: 'https://writ.example' };
const owner = person('owner@example.com');
app.get('/in', async (_req, res) => {
  setCookie(deps, res, `writ_signin_${randomUUID()}`, 'x', 60);
  await openLogin(deps, res, { identity: owner, renewal: null }, 'req_1');
  res.end();
});
app.get('/who', async (req, res) => {
  res.json((await loadLogin(deps, req))?.identity.email ?? null);
});

test('by https each cookie has the prefix __Host-, is Secure, of / and of no domain', async () => {
  const set = (await fetch(`${here}/in`)).headers.getSetCookie();
  assert.equal(set.length, 2);
  for (const line of set) {
    assert.match(line, /^__Host-writ_(?:login|signin_[\w-]+)=/);
    const attributes = line.split('; ').slice(1);
    for (const wanted of ['Secure', 'Path=/', 'HttpOnly', 'SameSite=Lax'])
      assert.ok(attributes.includes(wanted), `${wanted}: ${line}`);
    assert.ok(!attributes.some((one) => /^domain=/i.test(one)), line);
  }
});

test('by https a cookie without the prefix is nobody’s: a neighbour on the domain could have set it', async () => {
  const set = (await fetch(`${here}/in`)).headers.getSetCookie();
  const login = set.find((line) => line.startsWith('__Host-writ_login='))?.split(';')[0] ?? '';
  const who = async (cookie: string) => (await fetch(`${here}/who`, { headers: { cookie } })).json();
  assert.equal(await who(login), 'owner@example.com');
  const bare = login.slice('__Host-'.length);
  assert.equal(await who(bare), null);
  assert.equal(await who(`${bare}; __Host-writ_login=`), null);
  assert.equal(await who(login.replace('__Host-', '__Secure-')), null);
});

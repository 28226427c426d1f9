import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Emulated, startEmulated } from './emulated.ts';
import type { Installation, Permissions, SeedAccount } from './seed.ts';
import type { Token } from './tokens.ts';

const accounts: SeedAccount[] = [
  {
    login: 'example-org',
    repositories: [{ name: 'orders', files: { 'a b/c.txt': 'text' } }, { name: 'billing' }],
    installation: { id: 7, permissions: { contents: 'write', issues: 'write', pull_requests: 'write' } },
  },
];
let emulated: Emulated;
before(async () => {
  emulated = await startEmulated(99, 'http://sandbox.test', accounts);
});
after(() => emulated.close());

function tokenFor(names: string[], permissions: Permissions): Token {
  const repositories = names.map((name) => emulated.repositories.get(`example-org/${name}`)!);
  const account = { login: 'example-org', type: 'Organization' as const };
  const held = accounts[0]?.installation?.permissions ?? {};
  const installation: Installation = {
    id: 7,
    account,
    permissions: held,
    selection: 'all',
    repositories,
    suspended: false,
  };
  return { value: 'x', installation, permissions, repositories, expiresAt: new Date(0), revoked: false };
}

async function ask(token: Token | null, method: string, path: string, value?: object): Promise<number> {
  const body = Buffer.from(value === undefined ? '' : JSON.stringify(value));
  const headers = { 'content-type': 'application/json' };
  return (await emulated.forward(token, { method, path, headers, body })).status;
}

// The front refuses all of this before emulate is asked; here is what holds without the front.
test('emulate itself enforces repositories and permissions of a token', async () => {
  const reader = tokenFor(['orders'], { contents: 'read' });
  const file = { message: 'Add', content: Buffer.from('x').toString('base64') };
  assert.equal(await ask(reader, 'GET', '/repos/example-org/orders/contents/a%20b/c.txt'), 200);
  assert.equal(await ask(reader, 'GET', '/repos/example-org/billing/contents/README.md'), 403);
  assert.equal(await ask(reader, 'PUT', '/repos/example-org/orders/contents/new.txt', file), 403);
  assert.equal(await ask(reader, 'GET', '/repos/example-org/orders/pulls'), 403);
  assert.equal(await ask(reader, 'GET', '/repos/example-org/orders/issues'), 403);
  assert.equal(await ask(reader, 'POST', '/repos/example-org/orders/issues', { title: 'x' }), 403);
  assert.equal(await ask(null, 'GET', '/repos/example-org/orders/contents/README.md'), 401);

  const writer = tokenFor(['orders'], { contents: 'write', issues: 'write' });
  assert.equal(await ask(writer, 'PUT', '/repos/example-org/orders/contents/new.txt', file), 201);
  assert.equal(await ask(writer, 'PUT', '/repos/example-org/billing/contents/new.txt', file), 403);
  assert.equal(await ask(writer, 'POST', '/repos/example-org/orders/issues', { title: 'x' }), 201);
});

test('answers name the front’s address, not emulate’s', async () => {
  const answer = await emulated.forward(tokenFor(['orders'], { contents: 'read' }), {
    method: 'GET',
    path: '/repos/example-org/orders/contents/README.md',
    headers: {},
    body: Buffer.alloc(0),
  });
  assert.match(String(answer.body), /http:\/\/sandbox\.test/);
  assert.doesNotMatch(String(answer.body), /localhost|127\.0\.0\.1/);
});

import assert from 'node:assert/strict';
import { generateKeyPairSync, sign } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { Octokit } from '@octokit/rest';
import { manualClock } from '../../broker/core/clock.ts';
import { type GithubSandbox, startGithubSandbox } from './start.ts';

const clock = manualClock(new Date('2031-03-01T10:00:00Z'));
const key = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  publicKeyEncoding: { type: 'spki', format: 'pem' },
});
const installation = 4711;
const mintPath = `/app/installations/${installation}/access_tokens`;
const readOrders = { repositories: ['orders'], permissions: { contents: 'read' } };
let sandbox: GithubSandbox;

before(async () => {
  sandbox = await startGithubSandbox({
    clock,
    app: { id: 99, publicKeyPem: key.publicKey },
    accounts: [
      {
        login: 'example-org',
        repositories: [
          { name: 'orders', files: { 'docs/hello.txt': 'hello' } },
          { name: 'billing' },
          { name: 'handbook', private: false, files: { 'open.txt': 'public' } },
          { name: 'vault' },
        ],
        installation: {
          id: installation,
          permissions: { contents: 'write', issues: 'read' },
          repositories: ['orders', 'billing', 'handbook'],
        },
      },
      { login: 'elsewhere', repositories: [{ name: 'orders' }] },
    ],
  });
});
after(() => sandbox.close());

function appJwt(
  claims: object = {},
  privateKey = key.privateKey,
  header: object = { alg: 'RS256', typ: 'JWT' },
): string {
  const now = Math.floor(clock.now().getTime() / 1000);
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${encode(header)}.${encode({ iss: '99', iat: now - 60, exp: now + 540, ...claims })}`;
  return `${text}.${sign('RSA-SHA256', Buffer.from(text), privateKey).toString('base64url')}`;
}

async function call(method: string, path: string, bearer: string | null, body?: object) {
  const response = await fetch(sandbox.url + path, {
    method,
    headers: bearer === null ? {} : { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: text === '' ? null : JSON.parse(text) };
}

async function mint(body: object = readOrders): Promise<string> {
  const answer = await call('POST', mintPath, appJwt(), body);
  assert.equal(answer.status, 201, JSON.stringify(answer.body));
  return answer.body.token;
}

const octokit = (token: string) =>
  new Octokit({ auth: token, baseUrl: sandbox.url, log: { debug() {}, info() {}, warn() {}, error() {} } });
const file = (repo: string, path: string, owner = 'example-org') => ({ owner, repo, path });
const refusedWith = (status: number) => (error: unknown) => {
  assert.equal((error as { status?: number }).status, status, String(error));
  return true;
};
const content = Buffer.from('new').toString('base64');

describe('a token does what it says, with the real Octokit', () => {
  test('reads a file of its repository and nothing else', async () => {
    const github = octokit(await mint());
    const read = await github.rest.repos.getContent(file('orders', 'docs/hello.txt'));
    assert.ok('content' in read.data);
    assert.equal(Buffer.from(read.data.content, 'base64').toString(), 'hello');
    await assert.rejects(github.rest.repos.getContent(file('billing', 'README.md')), refusedWith(404));
    await assert.rejects(github.rest.repos.getContent(file('vault', 'README.md')), refusedWith(404));
    await assert.rejects(github.rest.repos.getContent(file('orders', 'README.md', 'elsewhere')), refusedWith(404));
    await assert.rejects(github.rest.issues.listForRepo({ owner: 'example-org', repo: 'orders' }), refusedWith(403));
    await assert.rejects(github.rest.users.getAuthenticated(), refusedWith(403));
    await assert.rejects(github.rest.repos.delete({ owner: 'example-org', repo: 'orders' }), refusedWith(403));
  });

  test('writes only with write, and workflows only with workflows', async () => {
    const change = { ...file('orders', 'new.txt'), message: 'Add', content };
    await assert.rejects(octokit(await mint()).rest.repos.createOrUpdateFileContents(change), refusedWith(403));
    const writer = octokit(await mint({ repositories: ['orders'], permissions: { contents: 'write' } }));
    const made = await writer.rest.repos.createOrUpdateFileContents(change);
    assert.equal(made.status, 201);
    const sha = made.data.content?.sha;
    assert.ok(sha);
    const updated = await writer.rest.repos.createOrUpdateFileContents({ ...change, message: 'Change', sha });
    assert.equal(updated.status, 200);
    const workflow = { ...change, path: '.github/workflows/x.yml' };
    await assert.rejects(writer.rest.repos.createOrUpdateFileContents(workflow), refusedWith(403));
    const other = { ...change, repo: 'billing' };
    await assert.rejects(writer.rest.repos.createOrUpdateFileContents(other), refusedWith(404));
  });

  test('lists the repositories it is for', async () => {
    const { data } = await octokit(await mint()).rest.apps.listReposAccessibleToInstallation();
    assert.deepEqual(
      data.repositories.map((repository) => repository.full_name),
      ['example-org/orders'],
    );
  });
});

describe('a token ends', () => {
  test('after DELETE it is refused everywhere, in both forms, and its twin lives on', async () => {
    for (const format of ['short', 'stateless'] as const) {
      sandbox.useTokenFormat(format);
      const [token, twin] = [await mint(), await mint()];
      assert.notEqual(token, twin);
      if (format === 'stateless') assert.ok(Math.abs(token.length - 520) < 30, String(token.length));
      else assert.match(token, /^ghs_[A-Za-z0-9]{36}$/);
      assert.equal((await call('DELETE', '/installation/token', token)).status, 204);
      for (const path of ['/installation/repositories', '/repos/example-org/orders', '/rate_limit'])
        assert.equal((await call('GET', path, token)).body.message, 'Bad credentials');
      assert.equal((await call('DELETE', '/installation/token', token)).status, 401);
      assert.equal((await call('GET', '/installation/repositories', twin)).status, 200);
    }
    sandbox.useTokenFormat('short');
  });

  test('after one hour of the injected clock', async () => {
    const token = await mint();
    clock.advance(3_599_000);
    assert.equal((await call('GET', '/installation/repositories', token)).status, 200);
    clock.advance(1_000);
    assert.equal((await call('GET', '/installation/repositories', token)).status, 401);
  });

  test('while the installation is suspended, for old tokens and new', async () => {
    const token = await mint();
    sandbox.suspend(installation);
    const used = await call('GET', '/repos/example-org/orders', token);
    const minted = await call('POST', mintPath, appJwt(), readOrders);
    sandbox.unsuspend(installation);
    for (const { status, body } of [used, minted])
      assert.deepEqual([status, body.message], [403, 'This installation has been suspended']);
    assert.equal((await call('GET', '/repos/example-org/orders', token)).status, 200);
  });
});

describe('what nobody gave is refused', () => {
  test('unknown tokens, emulate’s own included, and no token at all', async () => {
    for (const token of ['ghs_unknown', 'test_token_admin', 'sandbox-operator', appJwt()])
      assert.equal((await call('GET', '/repos/example-org/orders', token)).body.message, 'Bad credentials');
    assert.equal((await call('GET', '/repos/example-org/orders', null)).status, 404);
    assert.equal((await call('GET', '/repos/example-org/handbook', null)).status, 200);
    assert.equal((await call('PUT', '/repos/example-org/handbook/contents/x', null, {})).status, 401);
  });

  test('paths that try to reach another repository', async () => {
    const token = await mint();
    for (const path of [
      '/repos/example-org/orders/../vault/contents/README.md',
      '/repos/example-org/orders/%2e%2e/vault/contents/README.md',
      '/repos/example-org/orders%2f..%2fvault/contents/README.md',
      '/repos/example-org//vault',
      '/repositories/4',
      '/_emulate/installation-tokens',
      '/graphql',
    ])
      assert.ok((await call('GET', path, token)).status >= 403, path);
  });

  test('permissions and repositories beyond the installation, with GitHub’s own words', async () => {
    const ask = async (body: object) => {
      const { status, body: said } = await call('POST', mintPath, appJwt(), body);
      return `${status} ${said.message}`;
    };
    const permissions = '422 The permissions requested are not granted to this installation.';
    const repositories =
      '422 There is at least one repository that does not exist or is not accessible to the parent installation.';
    assert.equal(await ask({ ...readOrders, permissions: { issues: 'write' } }), permissions);
    assert.equal(await ask({ ...readOrders, permissions: { members: 'read' } }), permissions);
    assert.equal(await ask({ ...readOrders, permissions: { contents: 'owner' } }), permissions);
    assert.equal(await ask({ ...readOrders, repositories: ['orders', 'vault'] }), repositories);
    assert.equal(await ask({ ...readOrders, repositories: ['nothing'] }), repositories);
    assert.equal((await call('POST', '/app/installations/1/access_tokens', appJwt(), readOrders)).status, 404);
  });

  test('App tokens that are forged, stale, too long-lived, foreign or unsigned', async () => {
    const stranger = generateKeyPairSync('rsa', {
      modulusLength: 2048,
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
      publicKeyEncoding: { type: 'spki', format: 'pem' },
    });
    const now = Math.floor(clock.now().getTime() / 1000);
    const bad = [
      appJwt({}, stranger.privateKey),
      appJwt({ exp: now }),
      appJwt({ exp: now + 601 }),
      appJwt({ exp: undefined }),
      appJwt({ iat: now + 1 }),
      appJwt({ iss: '98' }),
      appJwt({}, key.privateKey, { alg: 'none' }),
      `${appJwt().split('.').slice(0, 2).join('.')}.`,
      await mint(),
      '',
    ];
    for (const jwt of bad)
      for (const [method, path] of [
        ['POST', mintPath],
        ['GET', '/orgs/example-org/installation'],
      ] as const)
        assert.equal((await call(method, path, jwt, method === 'POST' ? readOrders : undefined)).status, 401, jwt);
  });
});

test('installations are found by organisation, user and repository', async () => {
  for (const path of ['/orgs/example-org', '/users/example-org', '/repos/example-org/orders'])
    assert.equal((await call('GET', `${path}/installation`, appJwt())).body.id, installation);
  for (const path of ['/orgs/elsewhere', '/repos/example-org/vault', '/repos/elsewhere/orders'])
    assert.equal((await call('GET', `${path}/installation`, appJwt())).status, 404);
});

test('GHES serves everything below /api/v3, and an hourly budget is refused when it is spent', async () => {
  const ghes = await startGithubSandbox({
    clock,
    app: { id: 99, privateKeyPem: key.privateKey },
    enterprise: true,
    rateLimit: 2,
    accounts: [
      { login: 'someone', type: 'User', repositories: [{ name: 'notes' }], installation: { id: 5, permissions: {} } },
    ],
  });
  try {
    const headers = { authorization: `Bearer ${appJwt()}` };
    assert.match(ghes.url, /\/api\/v3$/);
    assert.equal((await fetch(ghes.url.replace('/api/v3', '/app'), { headers })).status, 404);
    const first = await fetch(`${ghes.url}/app`, { headers });
    assert.deepEqual([first.status, first.headers.get('x-ratelimit-remaining')], [200, '1']);
    assert.equal((await fetch(`${ghes.url}/app`, { headers })).status, 200);
    const over = await fetch(`${ghes.url}/app`, { headers });
    assert.deepEqual([over.status, over.headers.get('x-ratelimit-remaining')], [403, '0']);
  } finally {
    await ghes.close();
  }
});

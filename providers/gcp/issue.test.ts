import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import type { GcpSandboxOptions } from '../../sandbox/gcp/server.ts';
import { ProviderError, type ProviderErrorCode } from '../contract.ts';
import { type GcpBench, gcpBench, lease, POOL, SHARED, storage } from './bench.test-support.ts';

const PARAMS = { bucket: 'orders', prefix: 'customers/42/' };

function check(title: string, body: (bench: GcpBench) => Promise<void>, overrides: Partial<GcpSandboxOptions> = {}) {
  test(title, async () => {
    const bench = await gcpBench({}, overrides);
    try {
      await body(bench);
    } finally {
      await bench.close();
    }
  });
}

const failsWith =
  (code: ProviderErrorCode, extra: Partial<ProviderError> = {}) =>
  (error: unknown) => {
    assert.ok(error instanceof ProviderError, String(error));
    assert.equal(error.code, code, error.message);
    for (const [key, value] of Object.entries(extra)) assert.equal(error[key as keyof ProviderError], value, key);
    return true;
  };

check('the credential has the documented shape and only the plan’s rights', async (bench) => {
  const { credential, handle } = await bench.issue(bench.plan(PARAMS, 600));
  assert.deepEqual(Object.keys(credential).sort(), [
    'access_token',
    'expires_at',
    'project_id',
    'scopes',
    'service_account',
    'token_type',
    'type',
  ]);
  assert.equal(credential.expires_at, '2026-03-01T12:10:00.000Z');
  assert.deepEqual(handle, { service_account: POOL[0] });
  assert.equal(await storage(bench.sandbox, credential, 'GET', 'orders', 'customers/42/a.txt'), 200);
  assert.equal(await storage(bench.sandbox, credential, 'LIST', 'orders', 'customers/42/'), 200);
  assert.equal(await storage(bench.sandbox, credential, 'LIST', 'orders', 'customers/4'), 403);
  assert.equal(await storage(bench.sandbox, credential, 'PUT', 'orders', 'customers/42/a.txt'), 403);
  assert.equal(await storage(bench.sandbox, credential, 'GET', 'archive', 'old.txt'), 403);
});

check('a bounded token cannot be used to mint, to downscope anew, or to enable accounts', async (bench) => {
  const { credential } = await bench.issue(bench.plan(PARAMS));
  const token = String(credential.access_token);
  const post = (path: string, body: string, type = 'application/json') =>
    fetch(bench.sandbox.url + path, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': type },
      body,
    });
  const minted = await post(
    `/v1/projects/-/serviceAccounts/${POOL[1]}:generateAccessToken`,
    '{"scope":["https://x.y"]}',
  );
  assert.equal(minted.status, 403);
  assert.equal((await post(`/v1/projects/-/serviceAccounts/${POOL[0]}:enable`, '{}')).status, 403);
  const form = new URLSearchParams({
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    requested_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    subject_token: token,
    options: '{"accessBoundary":{"accessBoundaryRules":[]}}',
  });
  assert.equal((await post('/v1/token', form.toString(), 'application/x-www-form-urlencoded')).status, 400);
});

check('a Google that gives a longer token than asked is not believed', async (bench) => {
  bench.sandbox.lengthenTokensBy(600);
  await assert.rejects(bench.issue(bench.plan(PARAMS)), failsWith('upstream_mismatch', { mayHaveMinted: true }));
});

check('when the boundary cannot be applied, the wider token that exists is reported', async (bench) => {
  await bench.issue(bench.plan(PARAMS));
  bench.sandbox.fail('unavailable', 'exchange');
  await assert.rejects(
    bench.issue(bench.plan(PARAMS)),
    failsWith('upstream_unavailable', { mayHaveMinted: true, providerCode: 'UNAVAILABLE' }),
  );
});

check('before the broker is known at Google nothing can have been minted', async (bench) => {
  bench.sandbox.fail('unavailable', 'exchange');
  await assert.rejects(bench.issue(bench.plan(PARAMS)), failsWith('upstream_unavailable', { mayHaveMinted: false }));
});

check('quota exhaustion may work later', async (bench) => {
  bench.sandbox.fail('throttled');
  await assert.rejects(
    bench.issue(bench.plan(PARAMS)),
    failsWith('upstream_unavailable', { retryable: true, providerCode: 'RESOURCE_EXHAUSTED' }),
  );
});

check('nothing listening: retryable, and surely nothing minted', async (bench) => {
  const silent = `http://127.0.0.1:${await freedPort()}`;
  const provider = bench.make({ WRIT_GCP_IAM_CREDENTIALS_ENDPOINT: silent });
  const plan = bench.plan({ ...PARAMS, service_account: SHARED });
  await assert.rejects(
    provider.issue({ ...lease(), plan }),
    failsWith('upstream_unavailable', { retryable: true, mayHaveMinted: false, providerCode: 'ECONNREFUSED' }),
  );
  const overGrpc = bench.make({ WRIT_GCP_TRANSPORT: 'grpc', WRIT_GCP_IAM_CREDENTIALS_ENDPOINT: silent });
  await assert.rejects(
    overGrpc.issue({ ...lease(), plan }),
    failsWith('upstream_unavailable', { retryable: true, mayHaveMinted: false, providerCode: 'UNAVAILABLE' }),
  );
});

/** A port that was free a moment ago. */
async function freedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

check('an exclusive plan is minted on the reserved account or not at all', async (bench) => {
  const plan = bench.plan(PARAMS);
  const before = bench.sandbox.requests();
  await assert.rejects(bench.provider.issue({ ...lease(), plan }), failsWith('pool_exhausted'));
  const named = bench.plan({ ...PARAMS, service_account: POOL[2] });
  assert.deepEqual(bench.provider.pool?.(named), [POOL[2]]);
  await assert.rejects(
    bench.provider.issue({ ...lease(), plan: named, reserved: POOL[1]! }),
    failsWith('pool_exhausted'),
  );
  assert.equal(bench.sandbox.requests(), before);
});

check('a plan whose boundary is not what its buckets say is refused', async (bench) => {
  const plan = structuredClone(bench.plan(PARAMS));
  plan.permission.access_boundary = null;
  const tampered = bench.provider.issue({ ...lease(), plan, reserved: POOL[0]! });
  await assert.rejects(tampered, failsWith('bad_params', { path: 'access_boundary' }));
  assert.throws(() => bench.provider.describe(plan), failsWith('bad_params'));
});

check('the broker’s token is kept, and replaced when Google no longer knows it', async (bench) => {
  await bench.issue(bench.plan(PARAMS));
  await bench.issue(bench.plan(PARAMS), 1);
  assert.equal(bench.identityTokens.length, 1);
  bench.clock.advance(56 * 60_000);
  await bench.issue(bench.plan(PARAMS), 2);
  assert.equal(bench.identityTokens.length, 2);
  bench.sandbox.forgetTokens();
  await bench.issue(bench.plan(PARAMS), 3);
  assert.equal(bench.identityTokens.length, 3);
});

check(
  'an identity that Google does not admit is a final refusal',
  async (bench) => {
    const error = await bench.issue(bench.plan(PARAMS)).catch((thrown: unknown) => thrown);
    failsWith('upstream_refused', { mayHaveMinted: false, providerCode: 'invalid_target' })(error);
    for (const token of bench.identityTokens) assert.ok(!String((error as Error).stack).includes(token));
  },
  { brokerSubject: 'somebody-else' },
);

check('an account that Google still thinks disabled may work later: nothing is final about it', async (bench) => {
  bench.sandbox.setDisabled(POOL[0]!, true);
  const refused = { retryable: true, mayHaveMinted: false, providerCode: 'FAILED_PRECONDITION' };
  await assert.rejects(bench.issue(bench.plan(PARAMS, 600)), failsWith('upstream_unavailable', refused));
  bench.sandbox.setDisabled(POOL[0]!, false);
  await bench.issue(bench.plan(PARAMS, 600));
});

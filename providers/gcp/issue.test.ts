import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import type { GcpSandboxOptions } from '../../sandbox/gcp/server.ts';
import { ProviderError, type ProviderErrorCode } from '../contract.ts';
import { type GcpHarness, gcpBench, lease, poolAccounts, sharedAccount, storage } from './harness.test-support.ts';

const goodParams = { bucket: 'orders', prefix: 'customers/42/' };

function check(
  title: string,
  body: (harness: GcpHarness) => Promise<void>,
  overrides: Partial<GcpSandboxOptions> = {},
) {
  test(title, async () => {
    const harness = await gcpBench({}, overrides);
    try {
      await body(harness);
    } finally {
      await harness.close();
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

check('the credential has the documented shape and only the plan’s rights', async (harness) => {
  const { credential, handle } = await harness.issue(harness.plan(goodParams, 600));
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
  assert.deepEqual(handle, { service_account: poolAccounts[0] });
  assert.equal(await storage(harness.sandbox, credential, 'GET', 'orders', 'customers/42/a.txt'), 200);
  assert.equal(await storage(harness.sandbox, credential, 'LIST', 'orders', 'customers/42/'), 200);
  assert.equal(await storage(harness.sandbox, credential, 'LIST', 'orders', 'customers/4'), 403);
  assert.equal(await storage(harness.sandbox, credential, 'PUT', 'orders', 'customers/42/a.txt'), 403);
  assert.equal(await storage(harness.sandbox, credential, 'GET', 'archive', 'old.txt'), 403);
});

check('a bounded token cannot be used to mint, to downscope anew, or to enable accounts', async (harness) => {
  const { credential } = await harness.issue(harness.plan(goodParams));
  const token = String(credential.access_token);
  const post = (path: string, body: string, type = 'application/json') =>
    fetch(harness.sandbox.url + path, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': type },
      body,
    });
  const minted = await post(
    `/v1/projects/-/serviceAccounts/${poolAccounts[1]}:generateAccessToken`,
    '{"scope":["https://x.y"]}',
  );
  assert.equal(minted.status, 403);
  assert.equal((await post(`/v1/projects/-/serviceAccounts/${poolAccounts[0]}:enable`, '{}')).status, 403);
  const form = new URLSearchParams({
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    requested_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    subject_token: token,
    options: '{"accessBoundary":{"accessBoundaryRules":[]}}',
  });
  assert.equal((await post('/v1/token', form.toString(), 'application/x-www-form-urlencoded')).status, 400);
});

check('a Google that gives a longer token than asked is not believed', async (harness) => {
  harness.sandbox.lengthenTokensBy(600);
  await assert.rejects(
    harness.issue(harness.plan(goodParams)),
    failsWith('upstream_mismatch', { mayHaveMinted: true }),
  );
});

check('when the boundary cannot be applied, the wider token that exists is reported', async (harness) => {
  await harness.issue(harness.plan(goodParams));
  harness.sandbox.fail('unavailable', 'exchange');
  await assert.rejects(
    harness.issue(harness.plan(goodParams)),
    failsWith('upstream_unavailable', { mayHaveMinted: true, providerCode: 'UNAVAILABLE' }),
  );
});

check('before the broker is known at Google nothing can have been minted', async (harness) => {
  harness.sandbox.fail('unavailable', 'exchange');
  await assert.rejects(
    harness.issue(harness.plan(goodParams)),
    failsWith('upstream_unavailable', { mayHaveMinted: false }),
  );
});

check('quota exhaustion may work later', async (harness) => {
  harness.sandbox.fail('throttled');
  await assert.rejects(
    harness.issue(harness.plan(goodParams)),
    failsWith('upstream_unavailable', { retryable: true, providerCode: 'RESOURCE_EXHAUSTED' }),
  );
});

check('nothing listening: retryable, and surely nothing minted', async (harness) => {
  const silent = `http://127.0.0.1:${await freedPort()}`;
  const provider = harness.make({ WRIT_GCP_IAM_CREDENTIALS_ENDPOINT: silent });
  const plan = harness.plan({ ...goodParams, service_account: sharedAccount });
  await assert.rejects(
    provider.issue({ ...lease(), plan }),
    failsWith('upstream_unavailable', { retryable: true, mayHaveMinted: false, providerCode: 'ECONNREFUSED' }),
  );
  const overGrpc = harness.make({ WRIT_GCP_TRANSPORT: 'grpc', WRIT_GCP_IAM_CREDENTIALS_ENDPOINT: silent });
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

check('an exclusive plan is minted on the reserved account or not at all', async (harness) => {
  const plan = harness.plan(goodParams);
  const before = harness.sandbox.requests();
  await assert.rejects(harness.provider.issue({ ...lease(), plan }), failsWith('pool_exhausted'));
  const named = harness.plan({ ...goodParams, service_account: poolAccounts[2] });
  assert.deepEqual(harness.provider.pool?.(named), [poolAccounts[2]]);
  await assert.rejects(
    harness.provider.issue({ ...lease(), plan: named, reserved: poolAccounts[1]! }),
    failsWith('pool_exhausted'),
  );
  assert.equal(harness.sandbox.requests(), before);
});

check('a plan whose boundary is not what its buckets say is refused', async (harness) => {
  const plan = structuredClone(harness.plan(goodParams));
  plan.permission.access_boundary = null;
  const tampered = harness.provider.issue({ ...lease(), plan, reserved: poolAccounts[0]! });
  await assert.rejects(tampered, failsWith('bad_params', { path: 'access_boundary' }));
  assert.throws(() => harness.provider.describe(plan), failsWith('bad_params'));
});

check('the broker’s token is kept, and replaced when Google no longer knows it', async (harness) => {
  await harness.issue(harness.plan(goodParams));
  await harness.issue(harness.plan(goodParams), 1);
  assert.equal(harness.identityTokens.length, 1);
  harness.clock.advance(56 * 60_000);
  await harness.issue(harness.plan(goodParams), 2);
  assert.equal(harness.identityTokens.length, 2);
  harness.sandbox.forgetTokens();
  await harness.issue(harness.plan(goodParams), 3);
  assert.equal(harness.identityTokens.length, 3);
});

check(
  'an identity that Google does not admit is a final refusal',
  async (harness) => {
    const error = await harness.issue(harness.plan(goodParams)).catch((thrown: unknown) => thrown);
    failsWith('upstream_refused', { mayHaveMinted: false, providerCode: 'invalid_target' })(error);
    for (const token of harness.identityTokens) assert.ok(!String((error as Error).stack).includes(token));
  },
  { brokerSubject: 'somebody-else' },
);

check('an account that Google still thinks disabled may work later: nothing is final about it', async (harness) => {
  harness.sandbox.setDisabled(poolAccounts[0]!, true);
  const refused = { retryable: true, mayHaveMinted: false, providerCode: 'FAILED_PRECONDITION' };
  await assert.rejects(harness.issue(harness.plan(goodParams, 600)), failsWith('upstream_unavailable', refused));
  harness.sandbox.setDisabled(poolAccounts[0]!, false);
  await harness.issue(harness.plan(goodParams, 600));
});

check('a boundary that Google refuses to apply minted nothing that anybody has, and costs nothing', async (harness) => {
  await harness.issue(harness.plan(goodParams));
  for (const kind of ['refused', 'throttled'] as const) {
    harness.sandbox.fail(kind, 'exchange');
    await assert.rejects(harness.issue(harness.plan(goodParams)), failsWith(codeOf[kind], { mayHaveMinted: false }));
  }
});

const codeOf = { refused: 'upstream_refused', throttled: 'upstream_unavailable' } as const;

check('where a token may be left over, its own end is known, and not the worst case', async (harness) => {
  await harness.issue(harness.plan(goodParams));
  harness.sandbox.fail('unavailable', 'exchange');
  const error = await harness.issue(harness.plan(goodParams, 600)).catch((thrown: unknown) => thrown);
  assert.ok(error instanceof ProviderError && error.mayHaveMinted);
  assert.equal(error.minted()?.providerExpiresAt.toISOString(), '2026-03-01T12:10:00.000Z');
  assert.deepEqual(error.minted()?.handle, { service_account: poolAccounts[0] });
});

check('Google could not reach our issuer just now: tried once more, then retryable', async (harness) => {
  harness.sandbox.fail('issuer-unreachable', 'exchange', 1);
  await harness.issue(harness.plan(goodParams));
  harness.sandbox.forgetTokens();
  harness.sandbox.fail('issuer-unreachable', 'exchange');
  await assert.rejects(
    harness.issue(harness.plan(goodParams)),
    failsWith('upstream_unavailable', { retryable: true, mayHaveMinted: false, providerCode: 'invalid_grant' }),
  );
});

check('a refusal just after a role was bound is met once more', async (harness) => {
  harness.sandbox.fail('refused', 'mint', 1);
  await harness.issue(harness.plan(goodParams));
});

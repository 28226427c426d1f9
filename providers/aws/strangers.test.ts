/**
 * What others do between AWS and us: denials that were changed, gateways that answer in AWS's place, sessions
 * that ended before their time, answers that say odd things.
 */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { JsonObject, ProviderError } from '../contract.ts';
import { denialPolicyName } from './denial.ts';
import { toProviderError } from './errors.ts';
import { type AwsHarness, agentRole, lease, revokeRole, withBench } from './harness.test-support.ts';
import { createAwsProvider } from './index.ts';
import { awsSettings } from './settings.ts';

const never = () => new AbortController().signal;

const documentOf = (harness: AwsHarness) =>
  JSON.parse(harness.sandbox.inlinePolicies(agentRole)[denialPolicyName] ?? 'null') as {
    Statement: { [member: string]: unknown }[];
  };

const changes: { [name: string]: (statement: { [member: string]: unknown }) => unknown } = {
  'an Allow was made of it': (statement) => ({ ...statement, Effect: 'Allow' }),
  'it denies one action alone': (statement) => ({ ...statement, Action: 's3:PutObject' }),
  'it denies one resource alone': (statement) => ({ ...statement, Resource: 'arn:aws:s3:::other/*' }),
  'a second condition stands beside it': (statement) => ({
    ...statement,
    Condition: { ...(statement.Condition as object), Bool: { 'aws:SecureTransport': 'false' } },
  }),
  'it is no list': (statement) => statement,
  'it is nothing': () => null,
};
for (const [name, change] of Object.entries(changes))
  test(`a denial that somebody changed is none, and its lag starts anew: ${name}`, async () => {
    await withBench(async (harness) => {
      const [a, b] = [await lease(harness, 'lse_first'), await lease(harness, 'lse_second')];
      await harness.provider.revoke([a.target], [a.target], never());
      a.target.settlingSince = harness.clock.now();
      const { Statement } = documentOf(harness);
      const changed = { Version: '2012-10-17', Statement: Statement.map(change) };
      if (name === 'it is no list') Object.assign(changed, { Statement: changed.Statement[0] });
      harness.sandbox.setInlinePolicy(agentRole, denialPolicyName, JSON.stringify(changed));
      harness.clock.advance(10_000);
      const [outcome] = await harness.provider.revoke([b.target], [a.target, b.target], never());
      assert.ok(outcome?.state === 'settling', JSON.stringify(outcome));
      // One that denies the same, written otherwise, is written again all the same.
      assert.deepEqual(outcome.rewritten, ['lse_first']);
      const [own] = await harness.provider.revoke([a.target], [a.target, b.target], never());
      assert.equal(own?.state, 'revoked', 'by then it is there, and its own lag is the core’s to restart');
      harness.clock.advance(10_000);
      assert.deepEqual([await a.use(), await b.use()], ['refused', 'refused']);
    });
  });

test('a document that came back without a bystander’s denial is told, not only the lease that was asked about', async () => {
  let cut = false;
  const onAction = (action: string) => {
    if (action !== 'GetRolePolicy' || !cut || here === null) return;
    const document = documentOf(here);
    const named = JSON.stringify(document).replace('"lse_first",', '');
    if (named.includes('lse_second')) here.sandbox.setInlinePolicy(agentRole, denialPolicyName, named);
  };
  let here: AwsHarness | null = null;
  await withBench(
    async (harness) => {
      here = harness;
      const [a, b] = [await lease(harness, 'lse_first'), await lease(harness, 'lse_second')];
      await harness.provider.revoke([a.target], [a.target], never());
      cut = true;
      const [outcome] = await harness.provider.revoke([b.target], [a.target, b.target], never());
      assert.ok(outcome?.state === 'settling', JSON.stringify(outcome));
      assert.deepEqual(outcome.rewritten, ['lse_first']);
    },
    { sandbox: { onAction } },
  );
});

test('a session of the revoke role that AWS knows no longer is opened anew, in the same revocation', async () => {
  for (const code of ['ExpiredToken', 'InvalidClientTokenId']) {
    await withBench(async (harness) => {
      const [a, b] = [await lease(harness, 'lse_first'), await lease(harness, 'lse_second')];
      await harness.provider.revoke([a.target], [a.target], never());
      harness.sandbox.fault('GetRolePolicy', { code, status: 403 }, 1);
      const [outcome] = await harness.provider.revoke([b.target], [a.target, b.target], never());
      assert.equal(outcome?.state, 'settling', JSON.stringify(outcome));
      const revokers = () => harness.sandbox.sessions().filter(({ arn }) => arn.endsWith('/writ-revoker')).length;
      assert.equal(revokers(), 2);
      // Refused again, it is a failure, and no third is opened.
      harness.sandbox.fault('GetRolePolicy', { code, status: 403 });
      const [failed] = await harness.provider.revoke([b.target], [a.target, b.target], never());
      assert.equal(failed?.state, 'failed');
      assert.equal(revokers(), 3);
    });
  }
});

test('ambient credentials that AWS knows no longer are looked for anew, once', async () => {
  await withBench(
    async (harness) => {
      for (const code of ['ExpiredToken', 'InvalidClientTokenId']) {
        harness.sandbox.fault('AssumeRole', { code, status: 403 }, 1);
        const a = await lease(harness, `lse_${code}`);
        harness.sandbox.fault('GetRolePolicy', { code, status: 403 }, 1);
        const [outcome] = await harness.provider.revoke([a.target], [a.target], never());
        assert.equal(outcome?.state, 'settling', JSON.stringify(outcome));
        const before = harness.sandbox.requests();
        harness.sandbox.fault('AssumeRole', { code, status: 403 });
        await assert.rejects(lease(harness, 'lse_refused'), { code: 'upstream_refused', mayHaveMinted: false });
        assert.equal(harness.sandbox.requests(), before + 2);
        harness.sandbox.fault('AssumeRole', null);
      }
    },
    { auth: 'ambient' },
  );
  const none = Object.assign(new Error('Could not load credentials from any providers'), {
    name: 'CredentialsProviderError',
  });
  const { code, retryable, mayHaveMinted } = toProviderError(none, 'sts:AssumeRole', never());
  assert.deepEqual([code, retryable, mayHaveMinted], ['upstream_unavailable', true, false]);
});

test('a clock that was set back does not keep the revoke role’s session beyond its end', async () => {
  await withBench(async (harness) => {
    const a = await lease(harness, 'lse_first');
    await harness.provider.revoke([a.target], [a.target], never());
    harness.clock.advance(-3_600_000);
    await harness.provider.revoke([a.target], [a.target], never());
    const revokers = harness.sandbox.sessions().filter(({ arn }) => arn.endsWith('/writ-revoker'));
    assert.equal(revokers.length, 2);
  });
});

test('a gateway that answers for IAM does not say that a policy is missing', async () => {
  await withBench(async (harness) => {
    const [a, b] = [await lease(harness, 'lse_first'), await lease(harness, 'lse_second')];
    await harness.provider.revoke([a.target], [a.target], never());
    for (const bare of [400, 403, 408, 429, 500, 502, 503]) {
      harness.sandbox.fault('GetRolePolicy', { bare }, 1);
      const [outcome] = await harness.provider.revoke([b.target], [a.target, b.target], never());
      assert.ok(outcome?.state === 'failed', `${bare}: ${JSON.stringify(outcome)}`);
      assert.equal(outcome.error.providerCode, String(bare));
      assert.equal(outcome.error.retryable, ![400, 403].includes(bare), String(bare));
    }
    // Nor does an answer without a document.
    harness.sandbox.fault('GetRolePolicy', { bare: 204 }, 1);
    const [outcome] = await harness.provider.revoke([b.target], [a.target, b.target], never());
    assert.ok(outcome?.state === 'failed', JSON.stringify(outcome));
    // Nor does a page say how much room there is, or that there will never be any.
    harness.sandbox.fault('ListRolePolicies', { bare: 200 }, 1);
    await assert.rejects(harness.provider.denialsThatFit!(a.target.plan, never()), { retryable: true });
  });
});

test('what passes is retryable, and what was not taken on has minted nothing', async () => {
  await withBench(async (harness) => {
    const faults: [fault: Parameters<AwsHarness['sandbox']['fault']>[1], mayHaveMinted: boolean][] = [
      [{ code: 'SlowDown', status: 503 }, false],
      [{ code: 'RequestLimitExceeded', status: 503 }, false],
      [{ code: 'RequestThrottled', status: 400 }, false],
      [{ code: 'PriorRequestNotComplete', status: 400 }, false],
      [{ code: 'RequestTimeout', status: 400 }, false],
      [{ code: 'ServiceUnavailable', status: 503 }, true],
      [{ bare: 408 }, false],
      [{ bare: 425 }, false],
      [{ bare: 429 }, false],
      [{ bare: 503 }, true],
      [{ bare: 500 }, true],
      [{ bare: 502 }, true],
      [{ bare: 504 }, true],
    ];
    for (const [fault, mayHaveMinted] of faults) {
      harness.sandbox.fault('AssumeRoleWithWebIdentity', fault);
      const error = (await lease(harness, 'lse_passing').catch((thrown: unknown) => thrown)) as ProviderError;
      assert.deepEqual(
        [error.code, error.retryable, error.mayHaveMinted],
        ['upstream_unavailable', true, mayHaveMinted],
        JSON.stringify(fault),
      );
    }
  });
});

test('a clock that was set between two mints makes no session longer than its plan', async () => {
  await withBench(async (harness) => {
    let setByMs = 0;
    const clock = { ...harness.clock, now: () => new Date(harness.clock.now().getTime() + setByMs) };
    const provider = createAwsProvider(harness.settings, { ...harness.deps, clock });
    const ours = { ...harness, provider, clock } as AwsHarness;
    await lease(ours, 'lse_before');
    setByMs = 240_000;
    const error = (await lease(ours, 'lse_leap').catch((thrown: unknown) => thrown)) as ProviderError;
    assert.deepEqual([error.code, error.retryable, error.mayHaveMinted], ['upstream_mismatch', true, true]);
    assert.equal(error.minted()?.handle, null);
    // The difference is known by now.
    const { issued } = await lease(ours, 'lse_after');
    const lasts = Date.parse(String(issued.credential.expiration)) - harness.clock.now().getTime();
    assert.ok(lasts <= 901_000, `${lasts} ms`);
  });
});

test('a waiting time that is a date is by the date of the answer that it stands in', () => {
  const answer = (headers: Record<string, string>) => ({
    name: 'Throttling',
    $metadata: { httpStatusCode: 400 },
    $response: { headers },
  });
  const told = (headers: Record<string, string>) =>
    toProviderError(answer(headers), 'iam:GetRolePolicy', never()).retryAfterSeconds;
  const date = 'Sun, 01 Mar 2026 12:00:00 GMT';
  assert.equal(told({ date, 'retry-after': 'Sun, 01 Mar 2026 12:00:40 GMT' }), 40);
  assert.equal(told({ date: 'soon', 'retry-after': 'Sun, 01 Mar 2026 12:00:40 GMT' }), null);
  assert.equal(told({ 'retry-after': '40' }), 40);
});

test('a session that ends sooner than was asked ends sooner for the agent, and was opened no earlier than it can have been', async () => {
  await withBench(async (harness) => {
    harness.sandbox.fault('AssumeRoleWithWebIdentity', { saying: 'ends-soon' }, 1);
    const now = harness.clock.now().getTime();
    const { issued } = await lease(harness, 'lse_soon', 900);
    assert.equal(issued.expiresAt.getTime(), now + 300_000);
    assert.equal(Date.parse(String(issued.credential.expiration)), now + 300_000);
    // The denial is kept for as long as was asked, and a cut-off by issue time is not too early.
    assert.equal(issued.providerExpiresAt.getTime(), now + 900_000);
    assert.equal(Date.parse(String((issued.handle as JsonObject).issued_at)), now);
  });
});

test('of a mint whose answer was lost, a cut-off reaches the session by AWS’s clock, which may be ahead', async () => {
  await withBench(
    async (harness) => {
      // AWS is ten minutes ahead of this broker.
      const behind = { ...harness.clock, now: () => new Date(harness.clock.now().getTime() - 600_000) };
      const provider = createAwsProvider(harness.settings, { ...harness.deps, clock: behind });
      const ours = { ...harness, provider } as AwsHarness;
      const lost = await lease(ours, 'lse_lost');
      const target = { ...lost.target, handle: null, intentAt: behind.now() };
      const filler = JSON.stringify({ Version: '2012-10-17', Statement: [], Id: 'x'.repeat(9_980) });
      harness.sandbox.setInlinePolicy(agentRole, 'an-admins-own', filler);
      harness.clock.advance(300_000);
      await provider.revoke([target], [target], never());
      harness.clock.advance(10_000);
      const [outcome] = await provider.revoke([target], [target], never());
      assert.ok(documentOf(harness).Statement.some((each) => JSON.stringify(each).includes('TokenIssueTime')));
      assert.notEqual(outcome?.state, 'failed', JSON.stringify(outcome));
      assert.equal(await lost.use(), 'refused');
    },
    { sandbox: { denyLagMs: 0 } },
  );
});

test('before anything was sent, giving up costs nothing: while the time is asked for, and while nothing answers the call', async () => {
  await withBench(async (harness) => {
    // It takes every connection and answers none.
    const silent = createServer(() => {});
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
    try {
      const settings = awsSettings.parse({
        WRIT_AWS_ROLES: agentRole,
        WRIT_AWS_REVOKE_ROLE: revokeRole,
        AWS_ENDPOINT_URL: url,
      });
      const provider = createAwsProvider(settings, harness.deps);
      const patience = new AbortController();
      const params = provider.params.parse({ role: agentRole, service: 's3', access: 'read', bucket: 'orders' });
      const asked = new Promise((resolve) => silent.once('request', resolve));
      const who = { leaseId: 'lse_silent', sessionId: 'ses_x', agent: 'invoice-bot' };
      const minting = provider.issue({ plan: provider.plan(params, 900), ...who, signal: patience.signal });
      await asked;
      patience.abort(new Error('the broker gave up'));
      const error = (await minting.catch((thrown: unknown) => thrown)) as ProviderError;
      assert.deepEqual([error.code, error.retryable, error.mayHaveMinted], ['upstream_timeout', true, false]);
    } finally {
      silent.closeAllConnections();
      await new Promise((resolve) => silent.close(resolve));
    }
  });
  // The SDK's own words for a connection that never stood.
  const unconnected = Object.assign(
    new Error(
      '@smithy/node-http-handler - the request socket did not establish a connection with the server within the configured timeout of 3000 ms.',
    ),
    { name: 'TimeoutError' },
  );
  const late = Object.assign(new Error('a response was not received'), { name: 'TimeoutError' });
  assert.equal(toProviderError(unconnected, 'sts:AssumeRole', never()).mayHaveMinted, false);
  assert.equal(toProviderError(late, 'sts:AssumeRole', never()).mayHaveMinted, true);
});

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { ProviderError } from '../contract.ts';
import {
  allowed,
  type GithubHarness,
  issueWith,
  octokitWith,
  providerFor,
  readOrders,
  startHarness,
  targetOf,
} from './harness.test-support.ts';

let harness: GithubHarness;
beforeEach(async () => {
  harness = await startHarness();
});
afterEach(() => harness.sandbox.close());

async function failure(work: Promise<unknown>): Promise<ProviderError> {
  const error = await work.then(
    () => assert.fail('should have failed'),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof ProviderError, String(error));
  return error;
}

describe('the answer is held against the plan', () => {
  for (const fault of ['wider-permissions', 'wider-repositories', 'silent'] as const)
    test(`${fault}: refused, and the token is dead`, async () => {
      harness.sandbox.fail(fault);
      const error = await failure(issueWith(harness, readOrders));
      assert.equal(error.code, 'upstream_mismatch');
      assert.equal(error.retryable, false);
      assert.equal(error.mayHaveMinted, false);
      assert.equal(harness.sandbox.liveTokens(), 0);
    });

  test('a wider token that cannot be revoked is admitted to exist', async () => {
    harness.sandbox.fail('wider-permissions');
    harness.sandbox.fail('unavailable', 'revoke');
    const error = await failure(issueWith(harness, readOrders));
    assert.equal(error.code, 'upstream_mismatch');
    assert.equal(error.mayHaveMinted, true);
    assert.equal(harness.sandbox.liveTokens(), 1);
  });

  test('an end in the past or beyond GitHub’s hour is not believed: the token is dead, or handed over to be ended', async () => {
    for (const fault of ['ends-in-the-past', 'ends-too-late'] as const) {
      harness.sandbox.fail(fault);
      const error = await failure(issueWith(harness, readOrders));
      assert.deepEqual([error.code, error.mayHaveMinted, error.minted()], ['upstream_mismatch', false, null]);
      assert.equal(harness.sandbox.liveTokens(), 0, fault);
    }
    harness.sandbox.fail('unavailable', 'revoke');
    const error = await failure(issueWith(harness, readOrders));
    assert.equal(error.mayHaveMinted, true);
    const minted = error.minted();
    harness.sandbox.fail(null, 'revoke');
    const target = {
      ...targetOf(harness, null),
      secret: minted?.secret ?? null,
      providerExpiresAt: minted?.providerExpiresAt ?? new Date(0),
    };
    assert.ok(target.providerExpiresAt > harness.clock.now());
    const [outcome] = await harness.provider.revoke([target], [], new AbortController().signal);
    assert.equal(outcome?.state, 'revoked');
    assert.equal(harness.sandbox.liveTokens(), 0);
  });

  test('the look-up names another owner: nothing is minted', async () => {
    const seen: string[] = [];
    const server = createServer((request, response) => {
      seen.push(`${request.method} ${request.url}`);
      response.end(JSON.stringify({ id: 78, account: { login: 'example-user' } }));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const provider = providerFor({ url }, harness.clock);
    const error = await failure(issueWith({ ...harness, provider }, readOrders));
    server.closeAllConnections();
    server.close();
    assert.equal(error.code, 'upstream_mismatch');
    assert.deepEqual(seen, ['GET /repos/example-org/orders/installation']);
  });
});

describe('the credential', () => {
  test('ends with the plan, while GitHub’s own end is an hour away', async () => {
    const now = harness.clock.now().getTime();
    const issued = await issueWith(harness, readOrders, 120);
    assert.equal(issued.expiresAt.getTime(), now + 120_000);
    assert.equal(issued.credential.expires_at, issued.expiresAt.toISOString());
    assert.ok(Math.abs(issued.providerExpiresAt.getTime() - now - 3_600_000) < 1_000);
    assert.equal(issued.secret, issued.credential.token);
    assert.equal(issued.credential.api_url, harness.sandbox.url);
  });

  test('twenty at once are twenty', async () => {
    const all = await Promise.all(Array.from({ length: 20 }, () => issueWith(harness, readOrders)));
    assert.equal(new Set(all.map(({ credential }) => credential.token)).size, 20);
    assert.equal(harness.sandbox.liveTokens(), 20);
  });

  test('the installation is looked up once for each owner and the App’s JWT outlives a minute', async () => {
    await issueWith(harness, readOrders);
    const before = harness.sandbox.requests();
    await issueWith(harness, readOrders);
    assert.equal(harness.sandbox.requests(), before + 1);
    harness.clock.advance(61_000);
    await issueWith(harness, readOrders);
    harness.clock.advance(3_600_000);
    await issueWith(harness, readOrders);
    const notes = { owner: 'example-user', repositories: ['notes'], permissions: { contents: 'read' } };
    const issued = await issueWith(harness, notes);
    assert.ok(await allowed(octokitWith(issued.credential).rest.repos.get({ owner: 'example-user', repo: 'notes' })));
  });

  test('the configured installation is used, and an owner it does not belong to gets nothing', async () => {
    const provider = providerFor(harness.sandbox, harness.clock, { GITHUB_INSTALLATION_ID: '77' });
    const before = harness.sandbox.requests();
    await issueWith({ ...harness, provider }, readOrders);
    assert.equal(harness.sandbox.requests(), before + 1);
    const foreign = { owner: 'example-user', repositories: ['orders'], permissions: { contents: 'read' } };
    const error = await failure(issueWith({ ...harness, provider }, foreign));
    assert.equal(error.code, 'upstream_mismatch');
    assert.equal(harness.sandbox.liveTokens(), 1);
  });
});

describe('GitHub’s refusals', () => {
  test('final ones', async () => {
    const cases: [unknown, string][] = [
      [{ ...readOrders, permissions: { members: 'read' } }, '422'],
      [{ ...readOrders, permissions: { pull_requests: 'write' } }, '422'],
      [{ ...readOrders, repositories: ['orders', 'vault'] }, '422'],
      [{ ...readOrders, repositories: ['vault'] }, '422'],
      [{ ...readOrders, owner: 'nobody' }, '404'],
      [{ ...readOrders, installation_id: 1 }, '404'],
    ];
    for (const [params, providerCode] of cases) {
      const error = await failure(issueWith(harness, params));
      assert.deepEqual([error.code, error.retryable, error.providerCode], ['upstream_refused', false, providerCode]);
    }
    harness.sandbox.suspend(77);
    const suspended = await failure(issueWith(harness, readOrders));
    assert.deepEqual([suspended.code, suspended.providerCode], ['upstream_refused', '403']);
    assert.match(suspended.message, /suspended/);
    const stranger = providerFor(harness.sandbox, harness.clock, { GITHUB_APP_ID: '1' });
    const unknown = await failure(issueWith({ ...harness, provider: stranger }, readOrders));
    assert.deepEqual([unknown.code, unknown.providerCode], ['upstream_refused', '401']);
    assert.equal(harness.sandbox.liveTokens(), 0);
  });

  test('a repository that the App cannot reach, when the owner is not known yet', async () => {
    const error = await failure(issueWith(harness, { ...readOrders, repositories: ['vault'] }));
    assert.deepEqual([error.code, error.providerCode, error.mayHaveMinted], ['upstream_refused', '404', false]);
  });

  test('an installation that is gone is looked up anew the next time', async () => {
    const seen: string[] = [];
    const server = createServer((request, response) => {
      seen.push(`${request.method} ${request.url}`);
      const id = seen.length === 1 ? 5 : 6;
      if (request.method === 'GET') response.end(JSON.stringify({ id, account: { login: 'Example-Org' } }));
      else response.writeHead(404).end('{"message":"Not Found"}');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const provider = providerFor({ url }, harness.clock);
    for (let round = 0; round < 2; round += 1) await failure(issueWith({ ...harness, provider }, readOrders));
    server.closeAllConnections();
    server.close();
    const lookup = 'GET /repos/example-org/orders/installation';
    const mint = (id: number) => `POST /app/installations/${id}/access_tokens`;
    assert.deepEqual(seen, [lookup, mint(5), lookup, mint(6)]);
  });

  test('an App that was installed again is found under its new id, in the same mint', async () => {
    await issueWith(harness, readOrders);
    harness.sandbox.reinstall(77, 7700);
    const issued = await issueWith(harness, readOrders);
    assert.equal(issued.handle.installation_id, 7700);
    assert.equal(harness.sandbox.liveTokens(), 2);
  });

  test('the waiting time is GitHub’s own: the header, the reset of the budget, or its advice', async () => {
    const answers = [
      [{ 'retry-after': '5' }, 5],
      [{ 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': () => nowSeconds() + 90 }, 90],
      [{ 'retry-after': () => new Date((nowSeconds() + 30) * 1000).toUTCString() }, 30],
      [{}, 60],
    ] as const;
    const nowSeconds = () => Math.floor(harness.clock.now().getTime() / 1000);
    for (const [headers, seconds] of answers) {
      const server = createServer((_request, response) => {
        for (const [name, value] of Object.entries(headers as Record<string, string | (() => unknown)>))
          response.setHeader(name, String(typeof value === 'string' ? value : value()));
        response.setHeader('date', new Date(nowSeconds() * 1000).toUTCString());
        response.writeHead(403).end('{"message":"You have exceeded a secondary rate limit."}');
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const provider = providerFor({ url }, harness.clock);
      const error = await failure(issueWith({ ...harness, provider }, readOrders));
      server.closeAllConnections();
      server.close();
      assert.equal(error.retryAfterSeconds, seconds);
      assert.match(error.providerText ?? '', /secondary rate limit/);
    }
  });

  test('rate limits are worth another try, at the look-up as at the mint', async () => {
    for (const place of ['mint', 'lookup'] as const)
      for (const fault of ['secondary-rate', 'rate-limited'] as const) {
        harness.sandbox.fail(fault, place);
        const provider = providerFor(harness.sandbox, harness.clock);
        const error = await failure(issueWith({ ...harness, provider }, readOrders));
        harness.sandbox.fail(null, place);
        assert.deepEqual([error.code, error.retryable, error.providerCode], ['upstream_unavailable', true, '403']);
        assert.equal(error.mayHaveMinted, false);
      }
  });

  test('statuses that pass are worth another try, and say whether a token may have been made', async () => {
    for (const [status, mayHaveMinted] of [
      [408, false],
      [425, false],
      [429, false],
      [500, true],
      [502, true],
      [503, true],
      [504, true],
    ] as const) {
      const server = createServer((_request, response) => response.writeHead(status).end('<html>…</html>'));
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const provider = providerFor({ url }, harness.clock, { GITHUB_INSTALLATION_ID: '77' });
      const error = await failure(issueWith({ ...harness, provider }, readOrders));
      server.closeAllConnections();
      server.close();
      assert.deepEqual(
        [error.code, error.retryable, error.mayHaveMinted],
        ['upstream_unavailable', true, mayHaveMinted],
        String(status),
      );
    }
  });

  test('a page that is none of GitHub’s, at the look-up, minted nothing and passes', async () => {
    for (const page of ['<html>…</html>', '', '"x"', 'null']) {
      const server = createServer((_request, response) => response.end(page));
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const error = await failure(issueWith({ ...harness, provider: providerFor({ url }, harness.clock) }, readOrders));
      server.closeAllConnections();
      server.close();
      assert.deepEqual([error.code, error.retryable, error.mayHaveMinted], ['upstream_mismatch', true, false], page);
    }
  });

  test('an answer that got lost may have left a token', async () => {
    harness.sandbox.fail('lost-answer');
    const error = await failure(issueWith(harness, readOrders));
    assert.deepEqual([error.code, error.retryable, error.mayHaveMinted], ['upstream_unavailable', true, true]);
    assert.equal(harness.sandbox.liveTokens(), 1);
  });

  test('a machine that is not there cannot have minted', async () => {
    const { url } = harness.sandbox;
    await harness.sandbox.close();
    const provider = providerFor({ url }, harness.clock);
    const error = await failure(issueWith({ ...harness, provider }, { ...readOrders, installation_id: 77 }));
    assert.deepEqual(
      [error.code, error.providerCode, error.mayHaveMinted],
      ['upstream_unavailable', 'ECONNREFUSED', false],
    );
  });

  test('a counterpart that repeats credentials does not get them into the error', async () => {
    const server = createServer((request, response) => {
      response.statusCode = 400;
      const token = `ghs_${'S'.repeat(36)}`;
      response.end(JSON.stringify({ message: `no: ${request.headers.authorization} ${token}\r\nforged line` }));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const error = await failure(issueWith({ ...harness, provider: providerFor({ url }, harness.clock) }, readOrders));
    server.closeAllConnections();
    server.close();
    assert.doesNotMatch(error.message, /eyJ|ghs_S|[\r\n]/);
    assert.match(error.message, /redacted/);
  });

  test('a redirect is not followed', async () => {
    const server = createServer((_request, response) => {
      response.writeHead(301, { location: `${harness.sandbox.url}/app` }).end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const before = harness.sandbox.requests();
    const error = await failure(issueWith({ ...harness, provider: providerFor({ url }, harness.clock) }, readOrders));
    server.closeAllConnections();
    server.close();
    assert.deepEqual([error.code, error.providerCode], ['upstream_refused', '301']);
    assert.equal(harness.sandbox.requests(), before);
  });
});

describe('revocation', () => {
  const never = new AbortController().signal;

  test('GitHub’s 204 is the proof; a later 401 says the same', async () => {
    const issued = await issueWith(harness, readOrders);
    const target = targetOf(harness, issued);
    assert.equal((await harness.provider.probe?.(target, never))?.alive, true);
    const [first] = await harness.provider.revoke([target], [], never);
    assert.ok(first?.state === 'revoked' && first.evidence.status === 204);
    assert.equal((await harness.provider.probe?.(target, never))?.alive, false);
    harness.clock.advance(10_000);
    const [again] = await harness.provider.revoke([target], [], never);
    assert.ok(again?.state === 'revoked' && again.evidence.meaning === 'already_dead');
  });

  test('a 401 to the deletion is no proof: the token is tried, and one that works is never called revoked', async () => {
    const target = targetOf(harness, await issueWith(harness, readOrders));
    harness.clock.advance(60_000);
    harness.sandbox.fail('bad-credentials', 'revoke');
    const [outcome] = await harness.provider.revoke([target], [], never);
    assert.ok(outcome?.state === 'failed' && outcome.error.code === 'upstream_mismatch' && outcome.error.retryable);
    harness.sandbox.fail('unavailable', 'data');
    harness.sandbox.fail(null, 'revoke');
    const [again] = await harness.provider.revoke([target], [], never);
    assert.equal(again?.state, 'revoked');
    const [dead] = await harness.provider.revoke([target], [], never);
    assert.equal(dead?.state, 'failed', 'what it was tried with did not answer');
    harness.sandbox.fail(null, 'data');
    const [proven] = await harness.provider.revoke([target], [], never);
    assert.ok(proven?.state === 'revoked' && proven.evidence.tried_status === 401);
  });

  test('a 401 to everything says nothing of the token: while its hour lasts it is never called revoked', async () => {
    const target = targetOf(harness, await issueWith(harness, readOrders));
    harness.clock.advance(60_000);
    for (const place of ['revoke', 'data', 'lookup'] as const) harness.sandbox.fail('bad-credentials', place);
    const [outcome] = await harness.provider.revoke([target], [], never);
    assert.ok(outcome?.state === 'failed' && outcome.error.retryable, JSON.stringify(outcome));
    for (const place of ['revoke', 'data', 'lookup'] as const) harness.sandbox.fail(null, place);
    assert.equal(harness.sandbox.liveTokens(), 1);
    assert.equal((await harness.provider.revoke([target], [], never))[0]?.state, 'revoked');
    // Past its hour there is no App to ask: it may be gone.
    const later = targetOf(harness, await issueWith(harness, readOrders));
    harness.clock.advance(3_800_000);
    harness.sandbox.fail('bad-credentials', 'lookup');
    const [over] = await harness.provider.revoke([later], [], never);
    assert.ok(over?.state === 'revoked' && over.evidence.meaning === 'its hour is over', JSON.stringify(over));
  });

  test('an end that was told too early is not believed: a token that may work is not called revoked', async () => {
    const issued = await issueWith(harness, readOrders);
    const early = { ...targetOf(harness, issued), providerExpiresAt: new Date(harness.clock.now().getTime() + 1_000) };
    harness.clock.advance(120_000);
    const places = ['revoke', 'data', 'lookup'] as const;
    for (const place of places) harness.sandbox.fail('bad-credentials', place);
    assert.equal((await harness.provider.revoke([early], [], never))[0]?.state, 'failed');
    for (const place of places) harness.sandbox.fail(null, place);
    assert.equal((await harness.provider.revoke([early], [], never))[0]?.state, 'revoked');
    assert.equal(harness.sandbox.liveTokens(), 0);
  });

  test('where a budget is spent, no more of the batch is sent, and each waits as long as GitHub says', async () => {
    const targets = [];
    for (let n = 0; n < 60; n += 1) targets.push(targetOf(harness, await issueWith(harness, readOrders)));
    harness.sandbox.fail('secondary-rate', 'revoke');
    const before = harness.sandbox.requests();
    const outcomes = await harness.provider.revoke(targets, [], never);
    assert.ok(harness.sandbox.requests() - before <= 16, 'those that were under way');
    for (const outcome of outcomes)
      assert.ok(outcome.state === 'failed' && outcome.error.retryAfterSeconds === 60 && outcome.error.retryable);
    harness.sandbox.fail(null, 'revoke');
    for (const outcome of await harness.provider.revoke(targets, [], never)) assert.equal(outcome.state, 'revoked');
  });

  test('a 401 for a token so young that GitHub may not know it yet is no proof', async () => {
    const issued = await issueWith(harness, readOrders);
    const target = { ...targetOf(harness, issued), secret: `ghs_${'x'.repeat(36)}` };
    const [outcome] = await harness.provider.revoke([target], [], never);
    assert.equal(outcome?.state, 'settling');
  });

  test('a lost token waits for its expiry and is never called revoked or dead', async () => {
    const lost = targetOf(harness, null);
    const before = harness.sandbox.requests();
    const [outcome] = await harness.provider.revoke([lost], [], never);
    assert.equal(outcome?.state, 'wait_for_expiry');
    assert.equal((await harness.provider.probe?.(lost, never))?.alive, true);
    assert.equal(harness.sandbox.requests(), before);
  });

  test('suspension, rate limits and outages are failures to repeat', async () => {
    const target = targetOf(harness, await issueWith(harness, readOrders));
    const state = async () => {
      const [outcome] = await harness.provider.revoke([target], [], never);
      assert.ok(outcome?.state === 'failed', JSON.stringify(outcome));
      return [outcome.error.providerCode, outcome.error.retryable];
    };
    harness.sandbox.suspend(77);
    assert.deepEqual(await state(), ['403', true]);
    assert.equal((await harness.provider.probe?.(target, never))?.alive, true, 'it revives when the suspension ends');
    harness.sandbox.unsuspend(77);
    for (const fault of ['secondary-rate', 'rate-limited'] as const) {
      harness.sandbox.fail(fault, 'revoke');
      assert.deepEqual(await state(), ['403', true]);
    }
    harness.sandbox.fail('unavailable', 'revoke');
    assert.deepEqual(await state(), ['503', true]);
    harness.sandbox.fail('lost-answer', 'revoke');
    assert.equal((await state())[1], true);
  });

  test('a hundred in one call, each with its own outcome', async () => {
    const targets = await Promise.all(
      Array.from({ length: 100 }, async (_, index) => {
        const target = targetOf(harness, await issueWith(harness, readOrders));
        return index === 50 ? { ...target, secret: null } : target;
      }),
    );
    const outcomes = await harness.provider.revoke(targets, [], never);
    assert.equal(outcomes.length, 100);
    for (const [index, outcome] of outcomes.entries())
      assert.equal(outcome.state, index === 50 ? 'wait_for_expiry' : 'revoked');
    assert.equal(harness.sandbox.liveTokens(), 1);
  });
});

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { manualClock } from '../../broker/core/clock.ts';
import { type PlatformIssuer, startPlatformIssuer } from './platform-issuer.ts';

const clock = manualClock(new Date('2026-01-01T00:00:00Z'));
let platform: PlatformIssuer;
before(async () => {
  platform = await startPlatformIssuer({
    clock,
    workloads: [
      { requestToken: 'request-token-1', claims: { sub: 'job-1', actor: 'owner@example.com' } },
      { requestToken: 'request-token-2', claims: { sub: 'job-2' } },
    ],
  });
});
after(() => platform.close());

async function tokenBy(init: RequestInit, query = ''): Promise<{ status: number; value: string }> {
  const response = await fetch(`${platform.tokenUrl}${query}`, init);
  return { status: response.status, ...((await response.json()) as { value: string }) };
}

describe('the platform issuer', () => {
  it('gives a workload a token about itself for the audience it names, by POST and, as GitHub does, by GET', async () => {
    const keys = createRemoteJWKSet(new URL(`${platform.issuer}/keys`));
    const headers = { authorization: 'Bearer request-token-1' };
    const body = JSON.stringify({ audience: 'writ', sub: 'job-2', claims: { sub: 'job-2' } });
    for (const { value } of [
      await tokenBy({ method: 'POST', headers, body }),
      await tokenBy({ headers }, '?audience=writ&sub=job-2'),
    ]) {
      const { payload } = await jwtVerify(value, keys, {
        issuer: platform.issuer,
        audience: 'writ',
        currentDate: clock.now(),
      });
      assert.equal(payload.sub, 'job-1');
      assert.equal(payload.actor, 'owner@example.com');
    }
  });

  it('gives nothing without a known request token or an audience', async () => {
    assert.equal((await tokenBy({}, '?audience=writ')).status, 401);
    assert.equal(
      (await tokenBy({ headers: { authorization: 'Bearer request-token-3' } }, '?audience=writ')).status,
      401,
    );
    assert.equal((await tokenBy({ headers: { authorization: 'Bearer request-token-1' } })).status, 400);
    const headers = { authorization: 'Bearer request-token-1' };
    for (const body of ['', '{', 'null', '{"audience":7}', `{"audience":"${'x'.repeat(5_000)}"}`]) {
      assert.equal((await tokenBy({ method: 'POST', headers, body })).status, 400);
    }
  });
});

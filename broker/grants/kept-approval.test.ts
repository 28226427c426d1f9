/**
 * An approval that was kept because the mint had no effect is one call to the manifest's rules, however often
 * it is tried: what counts calls does not stand against it because of itself.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { review } from '../../approvals/review.ts';
import { person } from '../../approvals/rows.test-support.ts';
import { ProviderError } from '../../providers/contract.ts';
import { WritError } from '../core/errors.ts';
import { openHarness } from '../harness.test-support.ts';
import { publishManifest } from '../manifests/publish.ts';
import { readSession } from '../sessions/authenticate.ts';
import { testBackends } from '../store/store.test-support.ts';
import { historyReads } from './history.ts';
import { redeemableUntil, redeemGrant, redemptionReads } from './redeem-grant.ts';
import { grantReads, requestGrant } from './request-grant.ts';

const source = `apiVersion: writ/v1
agent: counted
owner: team:billing
description: Asks for what is counted.
envelope: { wall_time: 30m }
task_types: { work: { description: Work., inputs: {} } }
capabilities:
  session-one: { description: One a session., provider: plain, tasks: [work], tier: 2, max_ttl: 15m }
  hour-one: { description: One an hour., provider: plain, tasks: [work], tier: 2, max_ttl: 15m }
rules:
  - { id: once, on: { capability: session-one }, when: { count: { more_than: 1, within: session } }, effect: deny }
  - { id: hourly, on: { capability: hour-one }, scope: agent, when: { count: { more_than: 1, within: 1h } }, effect: deny }
`;

for (const backend of await testBackends())
  test(`counts of calls take an approval that was kept once: ${backend}`, async () => {
    const h = await openHarness(backend, { providers: [{ name: 'plain' }] });
    try {
      const publication = { author: 'tester', reason: 'test', agent: null, expectedVersion: null, requestId: null };
      await publishManifest(h.store, h.clock, h.shapes, { ...publication, source });
      const caller = await h.open({ agent: 'counted', responsible: 'team:ops' });

      const approved = async (capability: string) => {
        const counts = grantReads(h.grants, capability, null);
        const cells = await historyReads(h.grants, 'counted', capability, undefined, null);
        const session = await readSession(h.store, caller, h.clock.now(), { ...counts, ...cells });
        const request = { capability, params: undefined, ttlSeconds: 300, justification: null, credentialJwk: null };
        const answer = await requestGrant(h.grants, session, request, null, null);
        assert.ok(answer.outcome === 'pending', answer.outcome);
        const { id } = answer.grant;
        const { planDigest } = await h.store.prisma.grant.findUniqueOrThrow({ where: { id } });
        const deps = { store: h.store, clock: h.clock, approversOf: async () => ['team:billing'] };
        const reviewer = person('ana@example.com', { groups: ['billing'] });
        const verdict = { verdict: 'approve', reason: undefined, channel: 'web', requestId: 'req' } as const;
        await review(deps, { grantId: id, reviewer, planDigest, ...verdict });
        return id;
      };
      const sessionFor = async (id: string) =>
        readSession(h.store, caller, h.clock.now(), await redemptionReads(h.grants, caller.sessionId, id));
      const redeem = async (id: string) => {
        const session = await sessionFor(id);
        return redeemGrant(h.grants, session, id, null, null, null).then(
          ({ outcome }) => outcome,
          (error: unknown) => (error instanceof WritError ? error.code : assert.fail(String(error))),
        );
      };

      for (const capability of ['session-one', 'hour-one']) {
        const [id, second] = [await approved(capability), await approved(capability)];
        h.provider('plain').script.issue = async () => {
          throw new ProviderError('upstream_unavailable', 'limited', { retryAfterSeconds: 5 });
        };
        for (const _ of [1, 2, 3]) {
          assert.equal(await redeem(id), 'provider_unavailable', capability);
          h.clock.advance(5_000);
          assert.ok((await redeemableUntil(h.grants, await sessionFor(id), id, null)) > h.clock.now());
        }
        assert.equal(await redeem(second), 'denied', 'until it is over it may be the one');
        h.provider('plain').reset();
        assert.equal(await redeem(id), 'issued', capability);
        assert.equal(await redeem(second), 'denied', 'and then it is');
      }
      assert.equal((await h.verify()).broken, null);
    } finally {
      await h.close();
    }
  });

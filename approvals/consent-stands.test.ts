/** What a failed mint leaves of a grant, on both databases. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { WritError } from '../broker/core/errors.ts';
import { redeemGrant, redemptionReads } from '../broker/grants/redeem-grant.ts';
import { grantReads, requestGrant } from '../broker/grants/request-grant.ts';
import { type Harness, openHarness, statement } from '../broker/harness.test-support.ts';
import { type Caller, readSession } from '../broker/sessions/authenticate.ts';
import { endSession } from '../broker/sessions/end-session.ts';
import { testBackends } from '../broker/store/store.test-support.ts';
import { ProviderError } from '../providers/contract.ts';
import { review } from './review.ts';
import { person } from './rows.test-support.ts';

const reviewer = person('owner@example.com', { groups: ['billing'] });

for (const backend of await testBackends()) {
  describe(backend, () => {
    let h: Harness;
    before(async () => {
      h = await openHarness(backend, {
        providers: [
          { name: 'plain', secret: true },
          { name: 'pool', pool: ['one'] },
        ],
      });
    });
    after(() => h.close());

    const failWith = (name: string, error: ProviderError | null) => {
      const provider = h.provider(name);
      if (error === null) provider.reset();
      else {
        provider.script.issue = async () => {
          throw error;
        };
      }
    };
    const busy = () => new ProviderError('upstream_unavailable', 'busy', { providerCode: 'Throttling' });
    const fails = (work: Promise<unknown>): Promise<WritError> =>
      work.then(
        () => assert.fail('it did not fail'),
        (error: unknown) => (error instanceof WritError ? error : assert.fail(String(error))),
      );

    /** An approval on record, without the room that asks people. */
    async function approved(caller: Caller, name: string): Promise<string> {
      const request = {
        capability: `ask-${name}`,
        params: undefined,
        ttlSeconds: undefined,
        justification: null,
        credentialJwk: null,
      };
      const reads = grantReads(h.grants, request.capability, null);
      const session = await readSession(h.store, caller, h.clock.now(), reads);
      const answer = await requestGrant(h.grants, session, request, null, null);
      if (answer.outcome !== 'pending') return assert.fail(answer.outcome);
      await review(
        { store: h.store, clock: h.clock, approversOf: async () => ['team:billing'] },
        {
          grantId: answer.grant.id,
          reviewer,
          verdict: 'approve',
          planDigest: answer.grant.plan.digest,
          channel: 'web',
          requestId: 'req_1',
        },
      );
      return answer.grant.id;
    }
    async function redeem(caller: Caller, id: string) {
      const session = await readSession(
        h.store,
        caller,
        h.clock.now(),
        await redemptionReads(h.grants, caller.sessionId, id),
      );
      return redeemGrant(h.grants, session, id, null, null, null);
    }
    const grantRow = (id: string) => h.store.prisma.grant.findUniqueOrThrow({ where: { id } });

    test('what was narrowed for a mint without effect is as it was consented to again', async () => {
      const caller = await h.open({ wallTimeSeconds: 600, responsible: 'team:ops' });
      const id = await approved(caller, 'plain');
      const consented = await grantRow(id);
      h.clock.advance(120_000);
      failWith('plain', busy());
      assert.equal((await fails(redeem(caller, id))).extensions.grant_status, 'approved');
      const kept = await grantRow(id);
      assert.deepEqual([kept.plan, kept.planDigest, kept.decisionJws], [consented.plan, consented.planDigest, null]);
      failWith('plain', null);
      assert.equal((await redeem(caller, id)).grant.ttl_seconds, 480);
    });

    test('a pool’s member is free again after a mint without effect', async () => {
      const caller = await h.open({ responsible: 'team:ops' });
      const id = await approved(caller, 'pool');
      failWith('pool', busy());
      await fails(redeem(caller, id));
      const { extensions } = await fails(redeem(caller, id));
      const { decideBy } = await grantRow(id);
      assert.deepEqual(extensions, {
        provider_code: 'pool_exhausted',
        grant_id: id,
        grant_status: 'approved',
        redeem_by: decideBy?.toISOString(),
      });
      failWith('pool', null);
      h.clock.advance(1_000);
      await h.tick();
      assert.equal((await redeem(caller, id)).outcome, 'issued');
    });

    test('a session that ends while the provider refuses takes the approval with it', async () => {
      const caller = await h.open({ responsible: 'team:ops' });
      const id = await approved(caller, 'plain');
      h.provider('plain').script.issue = async () => {
        await endSession(h.ending, h.end(caller.sessionId));
        throw busy();
      };
      assert.equal((await fails(redeem(caller, id))).extensions.grant_status, 'ended');
      assert.equal((await grantRow(id)).status, 'ended');
      failWith('plain', null);
    });

    test('a mint without effect counts against no envelope; one that may have minted does', async () => {
      const caller = await h.open({ maxGrants: 2 });
      const count = async () => (await h.session(caller.sessionId)).grantCount;
      const seen = async () => {
        const session = await readSession(h.store, caller, h.clock.now(), grantReads(h.grants, 'use-plain', null));
        return session.facts.capability_grants;
      };
      for (const error of [busy(), new ProviderError('upstream_refused', 'no')]) {
        failWith('plain', error);
        assert.equal((await fails(h.ask(caller, 'plain'))).extensions.grant_status, 'failed');
        assert.deepEqual([await count(), await seen()], [0, 0]);
      }
      failWith('plain', new ProviderError('upstream_timeout', 'silence'));
      await fails(h.ask(caller, 'plain'));
      assert.deepEqual([await count(), await seen()], [1, 1]);
      failWith('plain', null);
      await h.lease(caller, 'plain');
      assert.equal((await fails(h.ask(caller, 'plain'))).code, 'denied');
    });

    test('minted, and not to be delivered: revoked, whatever the reason', async () => {
      const caller = await h.open({ responsible: 'team:ops' });
      const request = {
        capability: 'use-plain',
        params: undefined,
        ttlSeconds: undefined,
        justification: null,
        // Past the check at the door.
        credentialJwk: { kty: 'oct' },
      };
      const session = await readSession(h.store, caller, h.clock.now(), grantReads(h.grants, 'use-plain', null));
      const { code, extensions } = await fails(requestGrant(h.grants, session, request, null, null));
      assert.equal(code, 'internal');
      const lease = await h.store.prisma.lease.findFirstOrThrow({ where: { grantId: String(extensions.grant_id) } });
      assert.deepEqual([lease.status, lease.revokeReason], ['revoking', 'not_delivered']);
      await h.tick();
      assert.equal((await h.row(lease.id)).status, 'revoked');
      assert.ok(!h.provider('plain').alive().includes(lease.id));
    });

    test('minted, and its outcome cannot be written down: ended at once', async () => {
      const caller = await h.open({ responsible: 'team:ops' });
      // What no jsonb takes.
      h.provider('plain').script.issue = async (_context, mint) => ({ ...mint(), handle: { lease: '\u0000' } });
      const alive = h.provider('plain').alive();
      const before = h.provider('plain').revocations.length;
      assert.equal((await fails(h.ask(caller, 'plain'))).code, 'unavailable');
      assert.equal(h.provider('plain').revocations.length, before + 1);
      assert.deepEqual(h.provider('plain').alive(), alive);
      failWith('plain', null);
      // The row is left for the reconciler.
      await h.store.run(statement(`UPDATE lease SET due_at = intent_at WHERE status = 'issuing'`), []);
      await h.tick();
    });
  });
}

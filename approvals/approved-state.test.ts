/**
 * What people approved is about a state: a branch's head, how many rows. It is read again when the agent
 * comes, and where it has changed they are asked again; on both databases.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { WritError } from '../broker/core/errors.ts';
import type { Plan } from '../broker/core/vocabulary.ts';
import { planDigest } from '../broker/decide/plan-digest.ts';
import { redeemGrant, redemptionReads } from '../broker/grants/redeem-grant.ts';
import { grantReads, requestGrant } from '../broker/grants/request-grant.ts';
import { mostRounds } from '../broker/grants/send-back.ts';
import { type Harness, openHarness } from '../broker/harness.test-support.ts';
import { type Caller, readSession } from '../broker/sessions/authenticate.ts';
import { testBackends } from '../broker/store/store.test-support.ts';
import { ProviderError } from '../providers/contract.ts';
import type { ReviewDeps } from './review.ts';
import { review } from './review.ts';
import { person } from './rows.test-support.ts';

const ana = person('ana@example.com', { groups: ['billing'] });
const ben = person('ben@example.com', { groups: ['billing'] });

for (const backend of await testBackends()) {
  describe(backend, () => {
    let h: Harness;
    before(async () => {
      h = await openHarness(backend, {
        providers: [{ name: 'stateful', state: true, secret: true }, { name: 'plain' }],
        noticeChannels: ['board'],
      });
    });
    after(() => h.close());

    const fails = (work: Promise<unknown>): Promise<WritError> =>
      work.then(
        () => assert.fail('it did not fail'),
        (error: unknown) => (error instanceof WritError ? error : assert.fail(String(error))),
      );
    const reasonsOf = (error: WritError) => (error.extensions.reasons as { code: string }[]).map(({ code }) => code);
    const row = (id: string) => h.store.prisma.grant.findUniqueOrThrow({ where: { id }, include: { reviews: true } });
    const head = (name: string) => {
      h.provider('stateful').script.state = async () => ({ head: name });
    };
    const open = () => h.open({ responsible: 'team:ops' });

    async function ask(caller: Caller, ttlSeconds?: number) {
      const request = {
        capability: 'ask-stateful',
        params: undefined,
        ttlSeconds,
        justification: null,
        credentialJwk: null,
      };
      const reads = grantReads(h.grants, request.capability, null);
      const session = await readSession(h.store, caller, h.clock.now(), reads);
      // Without the pause after a denial; the same question is asked once.
      const deps = { ...h.grants, askLimits: { requestsPerHour: 0, cooldownSeconds: 0 } };
      const answer = await requestGrant(deps, session, request, null, null);
      if (answer.outcome === 'repeated') return answer.grantId;
      return answer.outcome === 'pending' ? answer.grant.id : assert.fail(answer.outcome);
    }
    async function approve(
      id: string,
      reviewer = ana,
      more: Partial<Parameters<typeof review>[1]> = {},
      deps: Partial<ReviewDeps> = {},
    ) {
      const { planDigest } = await row(id);
      const all = { store: h.store, clock: h.clock, approversOf: async () => ['team:billing'], ...deps };
      return review(all, {
        grantId: id,
        reviewer,
        verdict: 'approve',
        planDigest,
        channel: 'web',
        requestId: 'req_1',
        ...more,
      });
    }
    async function redeem(caller: Caller, id: string) {
      const reads = await redemptionReads(h.grants, caller.sessionId, id);
      const session = await readSession(h.store, caller, h.clock.now(), reads);
      return redeemGrant(h.grants, session, id, null, null, null);
    }
    const minted = () => h.store.prisma.lease.count();

    test('the plan names the state, its digest covers it, and what has not changed is given', async () => {
      head('one');
      const caller = await open();
      const id = await ask(caller);
      const { plan, planDigest: digest } = await row(id);
      assert.deepEqual((plan as unknown as Plan).state, { round: 0, seen: { head: 'one' } });
      assert.equal(planDigest(plan as unknown as Plan), digest);
      assert.equal(await ask(caller), id, 'the same question, whatever the state');
      await approve(id);
      assert.equal((await redeem(caller, id)).outcome, 'issued');
    });

    test('a change sends it back: pending again, with the difference, and no old approval counts', async () => {
      head('one');
      const caller = await open();
      const id = await ask(caller);
      await approve(id);
      const before = await minted();
      head('two');
      h.clock.advance(5_000);
      const error = await fails(redeem(caller, id));
      assert.deepEqual([error.code, reasonsOf(error)], ['not_approved', ['state_changed']]);
      assert.equal(await minted(), before, 'nothing is minted');
      const again = await row(id);
      const decision = again.decision as { reasons: object[]; state_was: object };
      assert.deepEqual(
        [again.status, decision.reasons, decision.state_was],
        ['pending', [{ code: 'state_changed' }], { head: 'one' }],
      );
      assert.deepEqual((again.plan as unknown as Plan).state, { round: 1, seen: { head: 'two' } });
      assert.deepEqual(again.decideBy, new Date(h.clock.now().getTime() + 300_000));
      assert.equal((await fails(redeem(caller, id))).code, 'not_approved');
      const events = await h.store.prisma.auditEvent.findMany({ where: { grantId: id }, orderBy: { seq: 'asc' } });
      assert.deepEqual(
        events.map(({ type }) => type),
        ['grant.pending', 'grant.approved', 'grant.sent_back'],
      );
      // Who saw the old state must look again, and may.
      const old = await row(id).then(({ reviews }) => reviews[0]!.planDigest);
      assert.equal((await fails(approve(id, ana, { planDigest: old }))).code, 'conflict');
      await approve(id);
      assert.equal((await redeem(caller, id)).outcome, 'issued');
    });

    test('a state that comes back is another question: what was approved before it changed does not count', async () => {
      head('one');
      // Nobody says who started it: two must approve.
      const caller = await h.open();
      const id = await ask(caller);
      await approve(id, ana);
      await approve(id, ben);
      head('two');
      await fails(redeem(caller, id));
      await approve(id, ana);
      await approve(id, ben);
      head('one');
      await fails(redeem(caller, id));
      assert.equal((await approve(id, ben)).status, 'pending');
      assert.equal((await fails(redeem(caller, id))).code, 'not_approved');
      assert.equal((await approve(id, ana)).status, 'approved');
      assert.equal((await redeem(caller, id)).outcome, 'issued');
    });

    test('what changes all the time is denied in the end', async () => {
      head('0');
      const caller = await open();
      const id = await ask(caller);
      for (let round = 1; round <= mostRounds; round += 1) {
        await approve(id);
        head(String(round));
        assert.deepEqual(reasonsOf(await fails(redeem(caller, id))), ['state_changed']);
        assert.equal((await row(id)).status, 'pending');
      }
      await approve(id);
      head('last');
      await fails(redeem(caller, id));
      const denied = await row(id);
      assert.equal(denied.status, 'denied');
      assert.deepEqual((denied.decision as { reasons: object[] }).reasons, [{ code: 'state_changed' }]);
      assert.equal((await fails(redeem(caller, id))).code, 'denied');
    });

    test('what cannot be read is not given: denied when it is asked, kept when it was approved', async () => {
      const unreadable = async () => {
        throw new Error('a secret of the provider');
      };
      const caller = await open();
      h.provider('stateful').script.state = unreadable;
      const denied = await fails(ask(caller));
      assert.deepEqual([denied.code, reasonsOf(denied)], ['denied', ['state_unreadable']]);
      h.provider('stateful').script.state = async () => {
        throw new ProviderError('upstream_unavailable', 'limited', { retryAfterSeconds: 90 });
      };
      const asked = await h.store.prisma.grant.count();
      const later = await fails(ask(caller));
      assert.deepEqual([later.code, reasonsOf(later)], ['unavailable', ['state_unreadable']], 'what passes denies not');
      assert.deepEqual([later.retryAfterSeconds, later.recorded], [90, true]);
      assert.equal(await h.store.prisma.grant.count(), asked, 'and takes nothing of what a session may ask for');
      const refused = await h.store.prisma.auditEvent.findMany({ where: { type: 'grant.refused' } });
      assert.equal((refused.at(-1)!.payload as { code: string }).code, 'unavailable');
      head('one');
      const id = await ask(caller);
      await approve(id);
      const before = await minted();
      for (const state of [unreadable, async () => ({ head: 'x'.repeat(20_000) })]) {
        h.provider('stateful').script.state = state;
        const error = await fails(redeem(caller, id));
        assert.deepEqual([error.code, reasonsOf(error)], ['unavailable', ['state_unreadable']]);
        assert.ok(!JSON.stringify(error).includes('secret of the provider'));
      }
      h.provider('stateful').script.state = async () => {
        throw new ProviderError('upstream_unavailable', 'limited', { retryAfterSeconds: 90 });
      };
      const limited = await fails(redeem(caller, id));
      assert.deepEqual([limited.code, limited.retryAfterSeconds], ['unavailable', 90], 'as long as the provider says');
      assert.deepEqual([(await row(id)).status, await minted()], ['approved', before]);
      head('one');
      assert.equal((await redeem(caller, id)).outcome, 'issued');
    });

    test('a broker that dies between the reading and the sending back leaves an approval that gives nothing', async () => {
      head('one');
      const caller = await open();
      const id = await ask(caller);
      await approve(id);
      head('two');
      const before = await minted();
      const run = h.store.run;
      h.store.run = (async (statement: { name: string }, ...rest: never[]) => {
        if (statement.name === 'grant_send_back') throw new Error('killed');
        return (run as (...all: unknown[]) => unknown).call(h.store, statement, ...rest);
      }) as typeof run;
      await assert.rejects(redeem(caller, id), /killed/);
      h.store.run = run;
      assert.deepEqual([(await row(id)).status, await minted()], ['approved', before]);
      await fails(redeem(caller, id));
      assert.deepEqual([(await row(id)).status, await minted()], ['pending', before]);
    });

    test('two that come at once send it back once; one that read the old state finds it gone', async () => {
      head('one');
      const caller = await open();
      const id = await ask(caller);
      await approve(id);
      head('two');
      await Promise.all([1, 2, 3].map(() => fails(redeem(caller, id))));
      const events = await h.store.prisma.auditEvent.findMany({ where: { grantId: id, type: 'grant.sent_back' } });
      assert.equal(events.length, 1);
      await approve(id);
      // Its reading is under way while another finds the change.
      const before = await minted();
      let late: Promise<WritError> | null = null;
      h.provider('stateful').script.state = async () => {
        head('three');
        late ??= fails(redeem(caller, id));
        await late;
        return { head: 'two' };
      };
      await fails(redeem(caller, id));
      assert.deepEqual([(await row(id)).status, await minted()], ['pending', before]);
    });

    test('the database cannot give a state nobody approved, nor take away that one is wanted', async () => {
      head('one');
      const caller = await open();
      const id = await ask(caller);
      await approve(id);
      const { plan } = await row(id);
      const asked = plan as unknown as Plan;
      head('two');
      const { state: _, ...stateless } = asked;
      const forged = [{ ...asked, state: { round: 0, seen: { head: 'two' } } }, stateless];
      const before = await minted();
      for (const other of forged) {
        await h.store.prisma.grant.update({
          where: { id },
          data: { plan: other as object, planDigest: planDigest(other) },
        });
        await fails(redeem(caller, id));
        assert.deepEqual([(await row(id)).status, await minted()], ['approved', before]);
      }
    });

    test('what was narrowed is asked again as a whole, for no longer', async () => {
      head('one');
      const caller = await open();
      const id = await ask(caller, 600);
      const narrowPlan: ReviewDeps['narrowPlan'] = ({ plan }) => ({ ...plan, permission: { scope: 'less' } });
      await approve(id, ana, { leaveOut: ['/scope/0'], ttlSeconds: 300 }, { narrowPlan });
      const narrowed = (await row(id)).plan as unknown as Plan;
      assert.deepEqual([narrowed.permission, narrowed.state], [{ scope: 'less' }, { round: 0, seen: { head: 'one' } }]);
      head('two');
      await fails(redeem(caller, id));
      const again = await row(id);
      const { permission, ttl_seconds } = again.plan as unknown as Plan;
      assert.deepEqual([permission, ttl_seconds], [{ scope: 'all' }, 300]);
      assert.equal((again.decision as { asked_plan?: object }).asked_plan, undefined);
      await approve(id);
      assert.equal((await redeem(caller, id)).outcome, 'issued');
    });

    test('whoever was told is told again, under another name', async () => {
      head('one');
      const caller = await open();
      const id = await ask(caller);
      const notices = () =>
        h.store.run<{ kind: string; due: boolean }>(
          {
            name: 'notices_of_state',
            text: `SELECT kind, due_at IS NOT NULL AS due FROM approval_outbox WHERE grant_id = $1::text ORDER BY kind`,
          },
          [id],
        );
      await h.store.run(
        {
          name: 'deliver_of_state',
          text: `UPDATE approval_outbox SET attempts = 1, due_at = NULL, delivered_at = $2::timestamptz WHERE grant_id = $1::text`,
        },
        [id, h.clock.now()],
      );
      await approve(id);
      head('two');
      await fails(redeem(caller, id));
      assert.deepEqual(await notices(), [
        { kind: 'pending', due: true },
        { kind: 'settled', due: false },
      ]);
    });
  });
}

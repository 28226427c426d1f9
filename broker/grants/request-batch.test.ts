/**
 * Grants that are asked for together, against whoever owns the agent or writes the database: nothing is given
 * that people did not see and say yes to, and nothing of it twice.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import {
  beginSigning,
  expireUndecided,
  type ReviewDeps,
  type ReviewRequest,
  review,
  withdraw,
} from '../../approvals/review.ts';
import { person } from '../../approvals/rows.test-support.ts';
import { WritError } from '../core/errors.ts';
import type { BatchPermission } from '../core/questions.ts';
import { type Harness, openHarness, statement } from '../harness.test-support.ts';
import { setLock } from '../locks/set-lock.ts';
import { publishManifest } from '../manifests/publish.ts';
import { holderOf } from '../people/passkeys/authenticator.test-support.ts';
import { type Caller, readSession } from '../sessions/authenticate.ts';
import { endSession } from '../sessions/end-session.ts';
import { takeOnce } from '../sessions/take-once.ts';
import { lapseApprovals } from '../signals/lapse-approvals.ts';
import { testBackends } from '../store/store.test-support.ts';
import { cancelRequest } from './cancel-request.ts';
import { recheckHeld } from './recheck.ts';
import { redeemGrant, redemptionReads } from './redeem-grant.ts';
import { type BatchAnswer, requestBatch } from './request-batch.ts';
import type { GrantDeps } from './request-grant.ts';

const manifestOf = (more: { dropped?: string } = {}) => `apiVersion: writ/v1
agent: batching
owner: team:billing
description: Tries things.
envelope: { wall_time: 30m, max_grants: 5000 }
task_types:
  work: { description: Work., inputs: {} }
capabilities:
${[
  'one: { description: Use it., provider: plain, tasks: [work], tier: 2, max_ttl: 15m, choose: { scope: { type: string, enum: [a, b, c, d, e, f], default: a } } }',
  'other: { description: Use it too., provider: plain, tasks: [work], tier: 2, max_ttl: 5m, choose: { scope: { type: string, enum: [a, b, c], default: a } } }',
  'lockable: { description: Use it as well., provider: plain, tasks: [work], tier: 2, max_ttl: 5m, choose: { scope: { type: string, enum: [a, b, c], default: a } } }',
  'signed: { description: Sign for it., provider: plain, tasks: [work], tier: 3, max_ttl: 15m, choose: { scope: { type: string, enum: [a, b, c], default: a } } }',
  'standing: { description: As it is., provider: stateful, tasks: [work], tier: 2, max_ttl: 15m, approval: { state: true }, choose: { scope: { type: string, enum: [a, b], default: a } } }',
]
  .filter((line) => !line.startsWith(`${more.dropped}:`))
  .map((line) => `  ${line}`)
  .join('\n')}
`;

const [owner, second] = ['owner', 'second'].map((name) => person(`${name}@example.com`, { groups: ['billing'] })) as [
  ReturnType<typeof person>,
  ReturnType<typeof person>,
];
const codeOf = (doing: Promise<unknown>) =>
  doing.then(
    () => 'done',
    (error) => (error instanceof WritError ? error.code : assert.fail(error)),
  );

for (const backend of await testBackends()) {
  describe(`grants that are asked for together on ${backend}`, () => {
    let h: Harness;
    let deps: ReviewDeps & { publicUrl: string; passkeyKey: Uint8Array; once: NonNullable<ReviewDeps['once']> };
    let mine: Awaited<ReturnType<typeof holderOf>>;
    let edition = 0;

    const publish = async (more: { dropped?: string } = {}) => {
      edition += 1;
      const input = { author: 'tester', reason: 'test', agent: null, expectedVersion: null, requestId: null };
      await publishManifest(h.store, h.clock, h.shapes, { ...input, source: `${manifestOf(more)}# ${edition}\n` });
    };
    before(async () => {
      const providers = [{ name: 'plain' }, { name: 'stateful', state: true }];
      h = await openHarness(backend, { providers, noticeChannels: ['mail'] });
      await publish();
      deps = {
        store: h.store,
        clock: h.clock,
        publicUrl: 'https://writ.example',
        passkeyKey: randomBytes(32),
        once: (key, until) => takeOnce(h.store, key, until),
        approversOf: async () => ['team:billing'],
      };
      mine = await holderOf(deps, owner);
    });
    after(() => h.close());

    const open = () => h.open({ agent: 'batching', responsible: 'team:ops' });
    async function ask(caller: Caller, wanted: string[], more: Partial<GrantDeps> = {}, key: string | null = null) {
      const session = await readSession(h.store, caller, h.clock.now(), {});
      const requests = wanted.map((words) => {
        const [capability = '', scope = 'a'] = words.split(' ');
        return { capability, params: { scope }, ttlSeconds: undefined, justification: null, credentialJwk: null };
      });
      return requestBatch({ ...h.grants, ...more }, session, requests, key, null);
    }
    const row = (id: string) => h.store.prisma.grant.findUniqueOrThrow({ where: { id }, include: { reviews: true } });
    /** Asked for and waiting, as one batch. */
    async function asked(wanted: string[], more: Partial<GrantDeps> = {}) {
      const caller = await open();
      const answers = await ask(caller, wanted, more);
      const ids = answers.map((answer) =>
        answer.outcome === 'repeated' ? answer.grantId : assert.fail(outcomeOf(answer)),
      );
      const { batchId } = await row(ids[0]!);
      assert.ok(batchId !== null);
      for (const id of ids) assert.equal((await row(id)).batchId, batchId);
      return { caller, ids, batch: batchId };
    }
    const outcomeOf = (answer: BatchAnswer) => (answer.outcome === 'refused' ? answer.error.code : answer.outcome);
    async function decide(id: string, more: Partial<ReviewRequest> = {}) {
      const { planDigest } = await row(id);
      const request = {
        grantId: id,
        reviewer: owner,
        verdict: 'approve' as const,
        planDigest,
        channel: 'web',
        requestId: 'r',
        ...more,
      };
      return review(deps, request);
    }
    async function redeem(caller: Caller, id: string) {
      const reads = await redemptionReads(h.grants, caller.sessionId, id);
      const session = await readSession(h.store, caller, h.clock.now(), reads);
      return redeemGrant(h.grants, session, id, null, null, null);
    }
    const statuses = async (ids: string[]) => Promise.all(ids.map(async (id) => (await row(id)).status));
    const write = (text: string, values: string[]) => h.store.run(statement(text), values);
    const noticesOf = (ids: string[]) => h.store.prisma.approvalNotice.findMany({ where: { grantId: { in: ids } } });

    test('people are told once, of all; a member is decided with the others alone', async () => {
      const { batch, ids } = await asked(['one a', 'other b', 'one c']);
      const notices = await noticesOf([batch, ...ids]);
      assert.deepEqual(
        notices.map(({ grantId, kind }) => [grantId, kind]),
        [[batch, 'pending']],
      );
      for (const verdict of ['approve', 'deny'] as const)
        assert.equal(await codeOf(decide(ids[0]!, { verdict, reason: 'no' })), 'conflict');
      assert.deepEqual(await statuses([batch, ...ids]), ['pending', 'pending', 'pending', 'pending']);
    });

    test('a plan that was changed after it was shown is not what was approved', async () => {
      const { caller, batch, ids } = await asked(['one a', 'one b']);
      const before = (await row(batch)).planDigest;
      const wider = JSON.stringify({ ...((await row(ids[0]!)).plan as object), permission: { scope: 'everything' } });
      // In the member, while the page is open: it is not approved with the others.
      await write('UPDATE grants SET plan = $2::jsonb, plan_digest = $3 WHERE id = $1', [
        ids[0]!,
        wider,
        'sha256:other',
      ]);
      await decide(batch, { planDigest: before });
      assert.deepEqual(await statuses(ids), ['pending', 'approved']);
      // With the status, and the old digest beside it.
      const digest = (await row(ids[1]!)).planDigest;
      await write(`UPDATE grants SET status = 'approved', decide_by = $2::timestamptz WHERE id = $1`, [
        ids[0]!,
        new Date(h.clock.now().getTime() + 200_000).toISOString(),
      ]);
      assert.equal(await codeOf(redeem(caller, ids[0]!)), 'not_approved');
      // In the approved one, before it is collected.
      await write('UPDATE grants SET plan = $2::jsonb WHERE id = $1', [ids[1]!, wider]);
      assert.equal(await codeOf(redeem(caller, ids[1]!)), 'not_approved');
      assert.ok(digest);
      // In the list: it does not hold any more, so nobody decides on it.
      const other = await asked(['one a', 'one b']);
      const { plan } = await row(other.batch);
      const { members } = (plan as { permission: object }).permission as BatchPermission;
      const swapped = {
        ...(plan as object),
        permission: { members: members.map((one) => ({ ...one, plan: members[0]!.plan })), withhold: [] },
      };
      await write('UPDATE grants SET plan = $2::jsonb WHERE id = $1', [other.batch, JSON.stringify(swapped)]);
      assert.equal(await codeOf(decide(other.batch)), 'not_found');
    });

    test('a digest of another list is refused, and so is one of a member', async () => {
      const one = await asked(['one a', 'one b']);
      const other = await asked(['one a', 'one c']);
      for (const planDigest of [(await row(other.batch)).planDigest, (await row(one.ids[0]!)).planDigest])
        assert.equal(await codeOf(decide(one.batch, { planDigest })), 'conflict');
      assert.equal((await row(one.batch)).status, 'pending');
    });

    test('whoever writes the database adds no member: neither to the list nor to those that it approves', async () => {
      const { caller, batch, ids } = await asked(['one a', 'one b']);
      const alone = (await ask(caller, ['other c'])).map((answer) =>
        answer.outcome === 'repeated' ? answer.grantId : '',
      )[0]!;
      await write('UPDATE grants SET batch_id = $2 WHERE id = $1', [alone, batch]);
      await decide(batch);
      assert.deepEqual(await statuses([...ids, alone]), ['approved', 'approved', 'pending']);
      const soon = new Date(h.clock.now().getTime() + 200_000).toISOString();
      await write(`UPDATE grants SET status = 'approved', decide_by = $2::timestamptz WHERE id = $1`, [alone, soon]);
      assert.equal(await codeOf(redeem(caller, alone)), 'not_approved');
      // Named in the list as well, with a plan that fits: the list is under its proof, and the reviews
      // are under theirs.
      const { plan } = await row(batch);
      const permission = (plan as { permission: object }).permission as BatchPermission;
      const forged = {
        grant: alone,
        capability: 'other',
        plan: (await row(alone)).plan,
        summary: [],
        revocability: '',
      };
      const longer = { ...(plan as object), permission: { members: [...permission.members, forged], withhold: [] } };
      await write('UPDATE grants SET plan = $2::jsonb WHERE id = $1', [batch, JSON.stringify(longer)]);
      assert.equal(await codeOf(redeem(caller, alone)), 'not_approved');
      assert.equal(await codeOf(redeem(caller, ids[0]!)), 'not_approved');
      await write('UPDATE grants SET plan = $2::jsonb WHERE id = $1', [batch, JSON.stringify(plan)]);
      assert.equal((await redeem(caller, ids[0]!)).outcome, 'issued');
    });

    test('what was taken out stays out, whatever its row says', async () => {
      const { caller, batch, ids } = await asked(['one a', 'one b', 'one c']);
      assert.equal((await decide(batch, { withhold: [ids[1]!] })).status, 'approved');
      assert.deepEqual(await statuses(ids), ['approved', 'denied', 'approved']);
      const soon = new Date(h.clock.now().getTime() + 200_000).toISOString();
      await write(`UPDATE grants SET status = 'approved', ended_at = NULL, decide_by = $2::timestamptz WHERE id = $1`, [
        ids[1]!,
        soon,
      ]);
      assert.equal(await codeOf(redeem(caller, ids[1]!)), 'not_approved');
      assert.equal((await redeem(caller, ids[2]!)).outcome, 'issued');
      // No lifetime and no part of one can be chosen for several.
      const other = await asked(['one a', 'one b']);
      for (const more of [{ ttlSeconds: 60 }, { leaveOut: ['/scope'] }, { withhold: ['gnt_of_nobody'] }])
        assert.equal(await codeOf(decide(other.batch, more)), 'bad_request');
    });

    test('two decide at once, or one decides while it is taken back: one outcome for all', async () => {
      for (let round = 0; round < 6; round += 1) {
        const { caller, batch, ids } = await asked(['one a', 'one b', 'one c']);
        const both = [
          decide(batch, { reviewer: owner }),
          decide(batch, { reviewer: second, verdict: 'deny', reason: 'no' }),
        ];
        const ended = await Promise.allSettled(both);
        assert.equal(ended.filter(({ status }) => status === 'fulfilled').length, 1);
        const [all, ...members] = await statuses([batch, ...ids]);
        assert.deepEqual(
          members,
          ids.map(() => all),
        );
        if (all === 'denied') continue;
        const racing = await Promise.allSettled([
          ...ids.map((id) => redeem(caller, id)),
          ...ids.map((id) => redeem(caller, id)),
          withdraw(deps, { grantId: batch, reviewer: owner, requestId: 'r' }),
        ]);
        const given = racing.filter((one) => one.status === 'fulfilled' && typeof one.value === 'object').length;
        const issued = (await statuses(ids)).filter((status) => status === 'issued').length;
        assert.equal(given, issued, 'each credential once');
        assert.ok(
          (await statuses(ids)).every((status) => status === 'issued' || status === 'denied' || status === 'approved'),
        );
      }
    });

    test('a passkey signs for the list: not for another, and not for one of it', async () => {
      const { caller, batch, ids } = await asked(['signed a', 'signed b', 'signed c']);
      const other = await asked(['signed a', 'signed b']);
      assert.equal(await codeOf(decide(batch)), 'forbidden');
      const begin = async (id: string, more: Partial<ReviewRequest> = {}) => {
        const { planDigest } = await row(id);
        const request = {
          grantId: id,
          reviewer: owner,
          verdict: 'approve' as const,
          planDigest,
          channel: 'web',
          requestId: 'r',
          ...more,
        };
        const { options, token } = await beginSigning(deps, request, mine.login.id);
        return { loginId: mine.login.id, signed: { token, response: mine.key.get(options) } };
      };
      // Of another list; of one member, were it alone; of the list with one less.
      assert.equal(await codeOf(decide(batch, { passkey: await begin(other.batch) })), 'forbidden');
      await write('UPDATE grants SET batch_id = NULL WHERE id = $1', [ids[0]!]);
      const alone = await begin(ids[0]!);
      await write('UPDATE grants SET batch_id = $2 WHERE id = $1', [ids[0]!, batch]);
      assert.equal(await codeOf(decide(batch, { passkey: alone })), 'forbidden');
      assert.equal(await codeOf(decide(batch, { passkey: await begin(batch, { withhold: [ids[2]!] }) })), 'forbidden');
      assert.deepEqual(await statuses(ids), ['pending', 'pending', 'pending']);

      const passkey = await begin(batch);
      await decide(batch, { passkey });
      const [given] = (await row(batch)).reviews;
      const { challenge } = given!.evidence as unknown as { challenge: { about: string; digest: string } };
      assert.deepEqual([challenge.about, challenge.digest], [batch, (await row(batch)).planDigest]);
      assert.equal((await redeem(caller, ids[0]!)).outcome, 'issued');
    });

    test('undecided, uncollected, cancelled, its session over, its approver gone: the others end with it', async () => {
      const expired = await asked(['one a', 'one b']);
      const uncollected = await asked(['one a', 'one b', 'one c']);
      await decide(uncollected.batch);
      await redeem(uncollected.caller, uncollected.ids[0]!);
      h.clock.advance(150_000);
      const cancelled = await asked(['one a', 'one b']);
      assert.equal(await cancelRequest(deps, cancelled.caller.sessionId, cancelled.batch, null), true);
      assert.deepEqual(await statuses([cancelled.batch, ...cancelled.ids]), ['denied', 'denied', 'denied']);
      const ended = await asked(['one a', 'one b']);
      await decide(ended.batch);
      await endSession(h.ending, h.end(ended.caller.sessionId));
      assert.deepEqual(await statuses([ended.batch, ...ended.ids]), ['ended', 'denied', 'denied']);
      const gone = await asked(['one a', 'one b']);
      await decide(gone.batch);
      await redeem(gone.caller, gone.ids[0]!);
      const { lapsed } = await lapseApprovals(h.store, [{ ...owner, names: [] }], h.clock.now());
      assert.ok(lapsed >= 1);
      assert.deepEqual(await statuses([gone.batch, ...gone.ids]), ['approved', 'issued', 'denied']);
      h.clock.advance(151_000);
      await expireUndecided(h.store, h.clock.now(), 50);
      assert.deepEqual(await statuses([expired.batch, ...expired.ids]), ['denied', 'denied', 'denied']);
      const [list, ...members] = await statuses([uncollected.batch, ...uncollected.ids]);
      assert.deepEqual([list, members], ['approved', ['issued', 'denied', 'denied']]);
      assert.equal(
        await codeOf(withdraw(deps, { grantId: uncollected.batch, reviewer: owner, requestId: 'r' })),
        'conflict',
      );
    });

    test('what a lock or a narrower manifest takes is taken; the others stand', async () => {
      const { caller, batch, ids } = await asked(['one a', 'other b']);
      await decide(batch);
      await redeem(caller, ids[0]!);
      await publish({ dropped: 'other' });
      await recheckHeld(h.reconciling, 'batching');
      assert.deepEqual(await statuses([batch, ...ids]), ['approved', 'issued', 'denied']);
      await publish();
      await recheckHeld(h.reconciling, 'batching');
      const lease = await h.store.prisma.lease.findFirstOrThrow({ where: { grantId: ids[0]! } });
      assert.equal(lease.status, 'active', 'what people approved, and the manifest still allows');
      // While it waits: the rest of the list can still be had.
      const waiting = await asked(['one a', 'other b']);
      await publish({ dropped: 'other' });
      await recheckHeld(h.reconciling, 'batching');
      await decide(waiting.batch);
      assert.deepEqual(await statuses(waiting.ids), ['approved', 'denied']);
      await publish();
      const locked = await asked(['lockable a', 'lockable b']);
      const order = { reason: 'stop', admin: { name: 'bootstrap', identity: null }, requestId: null };
      await setLock(
        { ...h.ending, clock: h.clock, providers: h.providers },
        { level: 'capability', subject: 'batching/lockable' },
        order,
      );
      assert.deepEqual(await statuses(locked.ids), ['denied', 'denied']);
      assert.equal(await codeOf(decide(locked.batch)), 'conflict');
    });

    test('what has changed since it was approved goes back to people, alone', async () => {
      h.provider('stateful').script.state = async () => ({ head: 'one' });
      const { caller, batch, ids } = await asked(['standing a', 'one b']);
      await decide(batch);
      h.provider('stateful').script.state = async () => ({ head: 'two' });
      assert.equal(await codeOf(redeem(caller, ids[0]!)), 'not_approved');
      const back = await row(ids[0]!);
      assert.deepEqual([back.status, back.batchId], ['pending', null]);
      assert.deepEqual(
        (await noticesOf([ids[0]!])).map(({ kind }) => kind),
        ['pending'],
      );
      assert.equal((await redeem(caller, ids[1]!)).outcome, 'issued');
      // The old list, and the old state: nothing of it counts for what stands now.
      await write('UPDATE grants SET batch_id = $2, status = $3 WHERE id = $1', [ids[0]!, batch, 'approved']);
      assert.equal(await codeOf(redeem(caller, ids[0]!)), 'not_approved');
      await write('UPDATE grants SET batch_id = NULL, status = $2 WHERE id = $1', [ids[0]!, 'pending']);
      await decide(ids[0]!);
      assert.equal((await redeem(caller, ids[0]!)).outcome, 'issued');
    });

    test('people are asked once for all of them, and not again for what they denied or took out', async () => {
      const limits = { askLimits: { requestsPerHour: 2, cooldownSeconds: 300 } };
      h.clock.advance(4 * 3600_000);
      const { batch, ids } = await asked(['one a', 'one b', 'one c'], limits);
      const more = await asked(['one d', 'one e'], limits);
      assert.deepEqual((await ask(await open(), ['one f'], limits)).map(outcomeOf), ['denied']);
      await decide(batch, { withhold: [ids[1]!] });
      await decide(more.batch, { verdict: 'deny', reason: 'no' });
      const again = await ask(await open(), ['one a', 'one b', 'one d', 'one e'], {
        askLimits: { ...limits.askLimits, requestsPerHour: 0 },
      });
      assert.deepEqual(again.map(outcomeOf), ['repeated', 'denied', 'denied', 'denied']);
      h.clock.advance(301_000);
      const later = await ask(await open(), ['one b', 'one d'], {
        askLimits: { ...limits.askLimits, requestsPerHour: 0 },
      });
      assert.deepEqual(later.map(outcomeOf), ['repeated', 'repeated']);
    });

    test('a broker that fails before it put them together has told nobody: asked again, they are', async () => {
      const caller = await open();
      const died = new Error('died');
      const dying = {
        ...h.store,
        run: ((one, values) =>
          one.name === 'grants_put_together' ? Promise.reject(died) : h.store.run(one, values)) as typeof h.store.run,
      };
      const first = await ask(caller, ['one a', 'one b'], { store: dying }, 'key');
      assert.deepEqual(first.map(outcomeOf), ['unavailable', 'unavailable']);
      const made = await h.store.prisma.grant.findMany({ where: { sessionId: caller.sessionId } });
      assert.deepEqual(
        made.map(({ status, batchId }) => [status, batchId]),
        [
          ['pending', null],
          ['pending', null],
        ],
      );
      const again = await ask(caller, ['one a', 'one b'], {}, 'key');
      const ids = again.map((answer) => (answer.outcome === 'repeated' ? answer.grantId : ''));
      assert.deepEqual(new Set(ids), new Set(made.map(({ id }) => id)));
      const { batchId } = await row(ids[0]!);
      assert.ok(batchId !== null);
      await decide(batchId);
      assert.equal((await redeem(caller, ids[0]!)).outcome, 'issued');
    });

    test('a mint that comes to nothing costs its own approval, and no other', async () => {
      const { caller, batch, ids } = await asked(['one a', 'one b']);
      await decide(batch);
      h.provider('plain').script.issue = async () => Promise.reject(new Error('no'));
      await assert.rejects(redeem(caller, ids[0]!));
      h.provider('plain').reset();
      assert.equal((await redeem(caller, ids[1]!)).outcome, 'issued');
      assert.equal((await row(batch)).status, 'approved');
    });
  });
}

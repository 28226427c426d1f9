/** How long a request waits for people, by its manifest and by what is set here; on both databases. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { expireUndecided } from '../../approvals/review.ts';
import { type Harness, openHarness } from '../harness.test-support.ts';
import { publishManifest } from '../manifests/publish.ts';
import { type Caller, readSession } from '../sessions/authenticate.ts';
import { endSession } from '../sessions/end-session.ts';
import { sleepSession } from '../sessions/sleep.ts';
import { testBackends } from '../store/store.test-support.ts';
import { type GrantDeps, grantReads, requestGrant } from './request-grant.ts';

const capability = (name: string, more: string) =>
  `  ${name}: { description: Ask for it., provider: plain, tasks: [work], max_ttl: 15m, ${more} }`;
const manifestOf = (name: string, { sleep = '', approval = '' }) => `apiVersion: writ/v1
agent: ${name}
owner: team:billing
description: Tries things.
${approval}
envelope: { wall_time: 30m${sleep} }
task_types:
  work: { description: Work., inputs: {} }
capabilities:
${[
  capability('as-set', 'tier: 2'),
  capability('signed', 'tier: 3'),
  capability('soon', 'tier: 2, approval: { expires: 90s }'),
  capability('signed-soon', 'tier: 3, approval: { expires: 2m }'),
  capability('late', 'tier: 2, approval: { expires: 2h }'),
].join('\n')}
`;

for (const backend of await testBackends())
  describe(backend, () => {
    let h: Harness;
    before(async () => {
      h = await openHarness(backend, { providers: [{ name: 'plain' }], noticeChannels: ['board'] });
      const by = { author: 'tester', reason: 'test', agent: null, expectedVersion: null, requestId: null };
      const publish = (source: string) => publishManifest(h.store, h.clock, h.shapes, { ...by, source });
      await publish(manifestOf('wakes', {}));
      await publish(manifestOf('sleeps', { sleep: ', sleep: 72h' }));
      await publish(manifestOf('says', { approval: 'approval: { expires: 10m }' }));
    });
    after(() => h.close());

    const deps = (): GrantDeps => ({ ...h.grants, passkeyTimeoutSeconds: 900, maxSleepSeconds: 604_800 });
    const ask = async (caller: Caller, name: string, given: GrantDeps = deps()) => {
      const request = { capability: name, params: undefined, ttlSeconds: undefined, justification: null };
      const session = await readSession(h.store, caller, h.clock.now(), grantReads(given, name, null));
      const answer = await requestGrant(given, session, { ...request, credentialJwk: null }, null, null);
      if (answer.outcome !== 'pending') return assert.fail(answer.outcome);
      return answer.grant;
    };
    const waits = ({ decide_by }: { decide_by?: string }) =>
      (new Date(decide_by ?? '').getTime() - h.clock.now().getTime()) / 1000;

    test('the manifest’s word goes before what is set, which may differ for what a passkey signs', async () => {
      const caller = await h.open({ agent: 'wakes' });
      const told = [];
      for (const name of ['as-set', 'signed', 'soon', 'signed-soon']) told.push(waits(await ask(caller, name)));
      assert.deepEqual(told, [300, 900, 90, 120]);
      const { passkeyTimeoutSeconds: _, ...without } = deps();
      assert.equal(waits(await ask(await h.open({ agent: 'wakes' }), 'signed', without)), 300);
      const says = await h.open({ agent: 'says' });
      assert.deepEqual([waits(await ask(says, 'signed')), waits(await ask(says, 'soon'))], [600, 90]);
    });

    test('undecided by then it is denied, and not before', async () => {
      h.clock.advance(1_000_000);
      while ((await expireUndecided(h.store, h.clock.now(), 10)).length > 0);
      const caller = await h.open({ agent: 'wakes' });
      const { id } = await ask(caller, 'soon');
      h.clock.advance(89_000);
      assert.deepEqual(await expireUndecided(h.store, h.clock.now(), 10), []);
      h.clock.advance(1_000);
      const [ended] = await expireUndecided(h.store, h.clock.now(), 10);
      assert.deepEqual([ended?.grantId, ended?.reason], [id, 'timeout']);
      await endSession(h.ending, h.end(caller.sessionId));
    });

    test('it waits no longer than its session lives, unless that may sleep', async () => {
      assert.equal(waits(await ask(await h.open({ agent: 'wakes' }), 'late')), 1800);
      assert.equal(waits(await ask(await h.open({ agent: 'sleeps' }), 'late')), 7200);
      const none = { ...deps(), maxSleepSeconds: 0 };
      assert.equal(waits(await ask(await h.open({ agent: 'sleeps' }), 'late', none)), 1800, 'this broker lets none');
    });

    test('while its session sleeps it waits on, but no longer than its manifest says', async () => {
      const caller = await h.open({ agent: 'sleeps', responsible: 'team:operators' });
      const [asSet, late] = [await ask(caller, 'as-set'), await ask(caller, 'late')];
      const session = await readSession(h.store, caller, h.clock.now(), { allowEnded: true });
      const sleeping = { ...h.ending, clock: h.clock, catalog: h.grants.catalog, maxSleepSeconds: 604_800 };
      const { until } = await sleepSession(sleeping, session, 48 * 3600, null);
      const by = async (id: string) => (await h.store.prisma.grant.findUniqueOrThrow({ where: { id } })).decideBy;
      assert.deepEqual(await by(asSet.id), until);
      assert.deepEqual(await by(late.id), new Date(h.clock.now().getTime() + 7_200_000));
    });
  });

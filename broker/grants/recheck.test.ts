/** A manifest that is replaced by a narrower one ends what it no longer allows, and nothing else. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { agent, type Harness, openHarness } from '../harness.test-support.ts';
import { publishManifest } from '../manifests/publish.ts';
import { testBackends } from '../store/store.test-support.ts';
import { recheckHeld } from './recheck.ts';

interface Narrowing {
  tier?: number;
  ttl?: string;
  scopes?: string;
  extra?: string;
  taskTypes?: string;
  maxGrants?: number;
  name?: string;
}

const sourceOf = (n: Narrowing) => `apiVersion: writ/v1
agent: ${agent}
owner: team:billing
description: Tries things.
envelope: { wall_time: 30m, max_grants: ${n.maxGrants ?? 5000} }
task_types:
  ${n.taskTypes ?? 'work'}: { description: Work., inputs: {} }
capabilities:
  ${n.name ?? 'use-plain'}: { description: Use it., provider: plain, tasks: [${n.taskTypes ?? 'work'}], tier: ${n.tier ?? 1}, max_ttl: ${n.ttl ?? '15m'}, choose: { scope: { type: string, enum: [${n.scopes ?? 'all, one, two'}], default: one } } }
  ask-plain: { description: Ask for it., provider: plain, tasks: [${n.taskTypes ?? 'work'}], tier: ${n.extra === 'none' ? 1 : 2}, max_ttl: 15m }
`;

for (const backend of await testBackends()) {
  describe(`a narrower manifest on ${backend}`, () => {
    let harness: Harness;
    let wide: string;
    before(async () => {
      harness = await openHarness(backend, { providers: [{ name: 'plain' }] });
      const first = await harness.store.prisma.manifest.findFirstOrThrow({ where: { agent } });
      wide = first.source;
    });
    after(() => harness.close());

    let edition = 0;
    const publish = async (source: string) => {
      edition += 1;
      await publishManifest(harness.store, harness.clock, harness.shapes, {
        source: `${source}# ${edition}\n`,
        author: 'tester',
        reason: 'test',
        agent: null,
        expectedVersion: null,
        requestId: null,
      });
    };
    const recheck = () => recheckHeld(harness.reconciling, agent);
    const lease = async (scope = 'one', ttl = 600) => harness.lease(await harness.open(), 'plain', { scope, ttl });

    const narrowings: { [why: string]: Narrowing } = {
      'the capability is gone': { name: 'other-use' },
      'its lifetime is shorter': { ttl: '5m' },
      'it needs a person now': { tier: 2 },
      'the value is no longer one to choose': { scopes: 'one' },
      'the task type is gone': { taskTypes: 'other-work' },
    };
    for (const [why, narrowing] of Object.entries(narrowings)) {
      test(`revoked, because ${why}`, async () => {
        await publish(wide);
        const scope = narrowing.scopes === undefined ? 'one' : 'two';
        const id = await lease(scope);
        await recheck();
        assert.equal((await harness.row(id)).status, 'active');
        await publish(sourceOf(narrowing));
        await recheck();
        const row = await harness.row(id);
        assert.deepEqual([row.status, row.revokeReason], ['revoking', 'manifest_narrowed']);
        await harness.tick();
        assert.equal((await harness.row(id)).status, 'revoked');
        assert.ok((await harness.eventsOf(id)).includes('lease.revoking'));
      });
    }

    test('what is still allowed goes on: as wide, wider, or with a smaller count', async () => {
      await publish(wide);
      const session = await harness.open();
      const ids = [
        await harness.lease(session, 'plain', { scope: 'one', ttl: 60 }),
        await harness.lease(session, 'plain', { scope: 'one', ttl: 300 }),
      ];
      for (const source of [
        wide,
        sourceOf({ scopes: 'one', ttl: '5m' }),
        sourceOf({ scopes: 'one', ttl: '5m', maxGrants: 1 }),
      ]) {
        await publish(source);
        await recheck();
        for (const id of ids) assert.equal((await harness.row(id)).status, 'active');
      }
    });

    test('a worker ends it where the publisher died, and what was decided on the old version at the last moment', async () => {
      await publish(wide);
      const early = await lease('two');
      await publish(sourceOf({ scopes: 'one' }));
      await harness.tick();
      assert.equal((await harness.row(early)).revokeReason, 'manifest_narrowed');
      // As a statement that was on its way when the new version came into force leaves it.
      await publish(wide);
      const late = await lease('two');
      const grantId = (await harness.row(late)).grantId;
      await publish(sourceOf({ scopes: 'one' }));
      const version = await harness.store.prisma.agent.findUniqueOrThrow({ where: { name: agent } });
      await harness.store.prisma.grant.update({ where: { id: grantId }, data: { manifestVersion: version.version } });
      await recheck();
      assert.equal((await harness.row(late)).status, 'active', 'not there yet');
      await harness.store.prisma.grant.update({
        where: { id: grantId },
        data: { manifestVersion: version.version - 1 },
      });
      harness.clock.advance(10_000);
      await harness.tick();
      assert.equal((await harness.row(late)).revokeReason, 'manifest_narrowed');
      harness.clock.advance(60_000);
      await harness.tick();
      const row = await harness.store.prisma.agent.findUniqueOrThrow({ where: { name: agent } });
      assert.equal(row.recheckedVersion, row.version, 'and looks no more');
    });

    test('a request that waits, or was approved, lapses with what it asked for', async () => {
      await publish(wide);
      const insert = async (status: 'pending' | 'approved') => {
        const id = await lease('two');
        const { grantId } = await harness.row(id);
        await harness.store.prisma.lease.update({
          where: { id },
          data: { status: 'failed', dueAt: null, endedAt: harness.clock.now() },
        });
        const decideBy = new Date(harness.clock.now().getTime() + 300_000);
        await harness.store.prisma.grant.update({
          where: { id: grantId },
          data: { status, decideBy, decidedAt: null },
        });
        return grantId;
      };
      const ids = [await insert('pending'), await insert('approved')];
      await publish(sourceOf({ scopes: 'one' }));
      await recheck();
      const rows = await harness.store.prisma.grant.findMany({ where: { id: { in: ids } } });
      for (const row of rows) {
        assert.equal(row.status, 'denied');
        const reasons = (row.decision as { reasons: { code: string }[] }).reasons;
        assert.deepEqual(
          reasons.map(({ code }) => code),
          ['param_outside_choice', 'manifest_narrowed'],
          'what policy says against it, and why it was asked again',
        );
      }
    });

    test('a token sent as a capability’s name is on the record as its digest only', async () => {
      await publish(wide);
      const session = await harness.open();
      const token = 'ghs_0123456789abcdefghijklmnopqrstuvwxyz';
      await assert.rejects(harness.ask(session, `plain-${token}`));
      const rows = await harness.store.prisma.auditEvent.findMany({
        where: { chain: session.sessionId, type: 'grant.refused' },
      });
      assert.equal(rows.length, 1);
      assert.ok(!JSON.stringify(rows).includes(token));
      assert.match((rows[0]!.payload as { capability: string }).capability, /^unknown:sha256:[0-9a-f]{16}$/);
    });

    test('what was decided on a version that is no longer in force is decided again', async () => {
      await publish(wide);
      const session = await harness.open();
      const before = harness.grants.catalog;
      let replaced = false;
      const catalog = {
        ...before,
        inForce: async (name: string, version: number) => {
          const manifest = await before.inForce(name, version);
          if (!replaced) {
            replaced = true;
            await publish(sourceOf({ name: 'other-use' }));
          }
          return manifest;
        },
      };
      await assert.rejects(harness.askWith({ ...harness.grants, catalog }, session, 'plain'));
      assert.equal(await harness.store.prisma.lease.count({ where: { sessionId: session.sessionId } }), 0);
      assert.equal((await harness.verify()).broken, null);
    });
  });
}

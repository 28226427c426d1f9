/** WRIT_MANIFEST_REVIEW: what allows more waits for another person; what allows less does not. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import pino from 'pino';
import { assertEventsFit } from '../audit/rows.test-support.ts';
import { manualClock } from '../core/clock.ts';
import { WritError } from '../core/errors.ts';
import type { Admin, Identity } from '../people/identity.ts';
import type { Store } from '../store/open.ts';
import { openTestStore, testBackends } from '../store/store.test-support.ts';
import { agreeToProposal, refuseProposal } from './agree.ts';
import { createCatalog } from './catalog.ts';
import { exampleProviders, exampleSource } from './example.test-support.ts';
import type { Proposer } from './propose.ts';
import { publishManifest } from './publish.ts';
import { publishFolder } from './publish-folder.ts';

const code = (expected: string) => (error: unknown) => error instanceof WritError && error.code === expected;
const agent = 'invoice-bot';

const person = (subject: string, more: Partial<Identity> = {}): Identity => ({
  issuer: 'https://id.example',
  subject,
  groups: ['writ-admins'],
  aliases: [],
  ...more,
});
const admin = (identity: Identity | null): Admin => ({ name: identity?.subject ?? 'bootstrap token', identity });
const first = person('first', { email: 'first@example.com', emailVerified: true });
const second = person('second');

const narrower = exampleSource.replace('max_ttl: 15m', 'max_ttl: 10m');
const wider = exampleSource.replace('max_ttl: 15m', 'max_ttl: 20m');
const widest = exampleSource.replace('max_ttl: 15m', 'max_ttl: 30m');

for (const backend of await testBackends()) {
  describe(`review of manifests on ${backend}`, () => {
    let store: Store;
    const clock = manualClock(new Date('2026-03-01T12:00:00Z'));
    before(async () => {
      store = await openTestStore(backend);
    });
    after(async () => {
      await assertEventsFit(store);
      await store.close();
    });
    const publish = (source: string, proposer: Proposer | null) =>
      publishManifest(store, clock, exampleProviders, {
        source,
        author: 'an admin',
        reason: 'because',
        agent,
        expectedVersion: null,
        requestId: 'req_1',
        ...(proposer === null ? {} : { reviewFor: proposer }),
      });
    const byFirst: Proposer = { kind: 'person', identity: first };
    const agree = async (id: string, identity: Identity | null, sha256?: string) => {
      const row = await store.prisma.manifestProposal.findUniqueOrThrow({ where: { id } });
      const input = { id, sha256: sha256 ?? row.sha256, admin: admin(identity), requestId: 'req_2' };
      return agreeToProposal(store, clock, exampleProviders, input);
    };
    const inForce = async () => (await createCatalog(store).current(agent))?.version ?? 0;
    const events = async () => {
      const rows = await store.prisma.auditEvent.findMany({
        where: { chain: `agent:${agent}` },
        orderBy: { seq: 'asc' },
      });
      return rows.map(({ type, actor }) => `${type} by ${actor}`);
    };

    test('the first version waits; neither who proposed it nor the bootstrap token agrees; another person does', async () => {
      const proposed = await publish(exampleSource, { kind: 'bootstrap_token' });
      assert.deepEqual([proposed.outcome, proposed.version, await inForce()], ['proposed', 0, 0]);
      const id = proposed.proposal!;
      assert.equal((await publish(exampleSource, byFirst)).proposal, id, 'the same proposal is made once');
      await assert.rejects(agree(id, null), code('forbidden'));
      await assert.rejects(agree(id, second, '0'.repeat(64)), code('precondition_failed'));
      assert.equal(await inForce(), 0);
      assert.deepEqual(await agree(id, second), {
        agent,
        version: 1,
        sha256: proposed.sha256,
        outcome: 'published',
        proposal: id,
      });
      assert.equal(await inForce(), 1);
      await assert.rejects(agree(id, first), code('conflict'));
      assert.deepEqual((await events()).toSorted(), [
        'manifest.agreed by second',
        'manifest.proposed by an admin',
        'manifest.published by an admin',
      ]);
    });

    test('what allows less, or is said in other words, is in force at once', async () => {
      assert.equal((await publish(narrower, byFirst)).outcome, 'published');
      assert.equal(
        (await publish(narrower.replace('Answers questions', 'Answers all questions'), byFirst)).outcome,
        'published',
      );
      assert.equal(await inForce(), 3);
    });

    test('going back to what allowed more waits as well', async () => {
      const { outcome, proposal } = await publish(exampleSource, byFirst);
      assert.equal(outcome, 'proposed');
      await refuseProposal(store, clock, { id: proposal!, reason: 'no', admin: admin(first), requestId: null });
      await assert.rejects(agree(proposal!, second), code('conflict'));
      // Nor when its row says that it waits again.
      const where = { id: proposal! };
      await store.prisma.manifestProposal.update({ where, data: { status: 'proposed' } });
      await assert.rejects(agree(proposal!, second), code('precondition_failed'));
      await store.prisma.manifestProposal.update({ where, data: { status: 'refused' } });
      await assert.rejects(
        refuseProposal(store, clock, { id: proposal!, reason: 'no', admin: admin(second), requestId: null }),
        code('conflict'),
      );
      assert.equal(await inForce(), 3);
    });

    test('under another name, at another provider, or with a name in common nobody agrees to their own', async () => {
      const { proposal } = await publish(wider, byFirst);
      const selves = [
        first,
        person('first', { groups: [] }),
        // The same mailbox, not verified, under another account.
        person('third', { email: 'First@example.com' }),
        person('fourth', { former: [{ kind: 'email', value: 'first@example.com' }] }),
        // Nobody can tell whether it is the same person.
        person('second', { issuer: 'https://other.example' }),
      ];
      for (const one of selves) await assert.rejects(agree(proposal!, one), code('forbidden'));
      assert.equal(await inForce(), 3);
    });

    test('a proposal whose row was changed is none: not its text, not who proposed it', async () => {
      const { proposal } = await publish(widest, byFirst);
      const where = { id: proposal! };
      const row = await store.prisma.manifestProposal.findUniqueOrThrow({ where });
      const proposer = { kind: 'person', identity: { issuer: second.issuer, subject: 'second' } };
      for (const data of [{ proposer }, { source: `${row.source}\n# and more` }, { baseVersion: 2 }]) {
        await store.prisma.manifestProposal.update({ where, data });
        await assert.rejects(agree(proposal!, person('third')), code('not_found'));
        await store.prisma.manifestProposal.update({
          where,
          data: { proposer: row.proposer as object, source: row.source, baseVersion: row.baseVersion },
        });
      }
      assert.equal(await inForce(), 3);
    });

    test('of two who answer at once one does', async () => {
      const rows = await store.prisma.manifestProposal.findMany({ where: { status: 'proposed' } });
      assert.equal(rows.length, 2);
      const [one, other] = rows.map(({ id }) => id);
      const answers = await Promise.allSettled([
        agree(one!, second),
        agree(one!, person('third')),
        refuseProposal(store, clock, { id: one!, reason: 'no', admin: admin(second), requestId: null }),
      ]);
      assert.equal(answers.filter(({ status }) => status === 'fulfilled').length, 1);
      const published = answers[2]!.status === 'rejected';
      assert.equal(await inForce(), published ? 4 : 3);
      if (!published) return;
      await assert.rejects(agree(other!, second), code('precondition_failed'), 'what it was compared with is gone');
      assert.equal(
        (await store.prisma.manifestProposal.findUniqueOrThrow({ where: { id: other! } })).status,
        'proposed',
      );
      assert.equal(await inForce(), 4);
    });

    test('an agent’s row that was set back makes nothing less of a widening', async () => {
      const before_ = await inForce();
      assert.equal((await publish(narrower, byFirst)).outcome, 'published');
      await store.prisma.agent.update({ where: { name: agent }, data: { version: before_ } });
      const again = await publish(wider, byFirst);
      assert.ok(['proposed', 'unchanged'].includes(again.outcome), again.outcome);
      const more = await publish(exampleSource, byFirst);
      assert.equal(more.outcome, 'proposed');
      await store.prisma.agent.update({ where: { name: agent }, data: { version: before_ + 1 } });
    });

    test('without review it is in force at once, whatever it allows', async () => {
      assert.equal((await publish(widest, null)).outcome, 'published');
    });

    test('a folder obeys it: proposed once, in force when a person agrees, left out when one refused', async () => {
      const folder = await mkdtemp(join(tmpdir(), 'writ-manifests-'));
      const start = async () => {
        const lines: { msg: string; outcome?: string; proposal?: string }[] = [];
        const log = pino({}, { write: (line: string) => lines.push(JSON.parse(line)) });
        const given = { folder, store, clock, shapes: exampleProviders, review: true, log, random: () => 0 };
        const published = await publishFolder(given);
        assert.equal(published.fault(), null);
        return lines.map(({ outcome, proposal }) => ({ outcome, proposal }));
      };
      await writeFile(join(folder, 'a.yaml'), widest.replace('max_ttl: 5m', 'max_ttl: 7m'));
      await writeFile(join(folder, 'a.cases.yaml'), 'no manifest');
      const [one] = await start();
      assert.equal(one!.outcome, 'proposed');
      assert.deepEqual(await start(), [one]);
      await refuseProposal(store, clock, { id: one!.proposal!, reason: 'no', admin: admin(second), requestId: null });
      assert.deepEqual(await start(), [{ outcome: 'refused', proposal: one!.proposal }]);
      await writeFile(join(folder, 'a.yaml'), widest.replace('max_ttl: 5m', 'max_ttl: 6m'));
      const [other] = await start();
      const { version } = await agree(other!.proposal!, second);
      assert.equal(await inForce(), version);
      assert.deepEqual(await start(), [{ outcome: 'unchanged', proposal: undefined }]);
      await rm(folder, { recursive: true });
    });
  });
}

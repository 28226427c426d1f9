/** What one session may ask for and show: a ceiling where its envelope names no number, and pages. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WritError } from '../core/errors.ts';
import { agent, type Harness, openHarness } from '../harness.test-support.ts';
import { publishManifest } from '../manifests/publish.ts';
import { type Caller, readSession } from '../sessions/authenticate.ts';
import { overview, readCursor } from '../sessions/overview.ts';
import { testBackends } from '../store/store.test-support.ts';

const source = (envelope: string) => `apiVersion: writ/v1
agent: ${agent}
owner: team:billing
description: Tries things.
envelope: { wall_time: 30m${envelope} }
task_types:
  work: { description: Work., inputs: {} }
capabilities:
  use-plain: { description: Use it., provider: plain, tasks: [work], tier: 1, max_ttl: 15m }
  use-pooled: { description: Use it., provider: pooled, tasks: [work], tier: 1, max_ttl: 15m }
`;

const providers = [{ name: 'plain' }, { name: 'pooled', pool: Array.from({ length: 9 }, (_, n) => `member-${n}`) }];

async function publish(harness: Harness, envelope: string) {
  const input = { author: 'tester', reason: 'test', agent: null, expectedVersion: null, requestId: null };
  await publishManifest(harness.store, harness.clock, harness.shapes, { ...input, source: source(envelope) });
}

const codeOf = (one: PromiseSettledResult<unknown>) =>
  one.status === 'fulfilled' ? 'issued' : (one.reason as WritError).code;
const reasonOf = (error: unknown) =>
  error instanceof WritError ? (error.extensions?.reasons as { code: string }[] | undefined)?.[0]?.code : undefined;

for (const backend of await testBackends()) {
  test(`a session without a number in its envelope has the ceiling, over all processes: ${backend}`, async () => {
    const harness = await openHarness(backend, { providers });
    try {
      await publish(harness, '');
      const session = await harness.open();
      const stores = [1, 2].map(() => ({ ...harness.store }));
      const ask = (n: number) =>
        harness.askWith(
          { ...harness.grants, store: stores[n % 2]!, maxGrantsPerSession: 6 },
          session,
          n % 3 === 0 ? 'pooled' : 'plain',
        );
      const answers = await Promise.allSettled(Array.from({ length: 10 }, (_, n) => ask(n)));
      assert.equal(answers.filter((one) => codeOf(one) === 'issued').length, 6, answers.map(codeOf).join());
      await assert.rejects(ask(1), (error) => reasonOf(error) === 'envelope_spent');
      assert.equal((await harness.session(session.sessionId)).grantCount, 6);
    } finally {
      await harness.close();
    }
  });

  test(`a manifest may say less than the ceiling, and not more: ${backend}`, async () => {
    const harness = await openHarness(backend, { providers });
    try {
      await publish(harness, ', max_grants: 5000');
      const deps = { maxGrantsPerSession: 4 };
      const wide = await harness.open({ deps });
      assert.equal((await harness.session(wide.sessionId)).maxGrants, 4);
      assert.equal((await harness.session((await harness.open({ deps, maxGrants: 3 })).sessionId)).maxGrants, 3);
    } finally {
      await harness.close();
    }
  });

  test(`a child of a session without a number has its own ceiling and takes nothing: ${backend}`, async () => {
    const harness = await openHarness(backend, { providers });
    try {
      await publish(harness, '');
      const parent = await harness.open();
      const { id, rootId, expiresAt, capabilities, narrowed } = await readSession(
        harness.store,
        parent,
        harness.clock.now(),
      );
      const child = await harness.open({
        child: {
          parent: { id, rootId, expiresAt, act: null, capabilities, narrowed, grantsLeft: null },
          capabilities: ['use-plain'],
        },
      });
      const grants = { ...harness.grants, maxGrantsPerSession: 2 };
      for (const session of [child, child, parent, parent]) await harness.askWith(grants, session, 'plain');
      for (const session of [child, parent]) {
        await assert.rejects(
          harness.askWith(grants, session, 'plain'),
          (error) => reasonOf(error) === 'envelope_spent',
        );
      }
    } finally {
      await harness.close();
    }
  });

  test(`denials leave no rows without end: ${backend}`, async () => {
    const harness = await openHarness(backend, { providers });
    try {
      const session = await harness.open({ maxGrants: 0 });
      const ask = () => harness.askWith({ ...harness.grants, maxGrantsPerSession: 3 }, session, 'plain');
      for (const answer of await Promise.allSettled(Array.from({ length: 8 }, ask))) {
        assert.equal(codeOf(answer), 'denied');
      }
      assert.equal(await harness.store.prisma.grant.count({ where: { sessionId: session.sessionId } }), 3);
    } finally {
      await harness.close();
    }
  });

  test(`the overview comes in pages: each row once, in order of time, and nobody else’s: ${backend}`, async () => {
    const harness = await openHarness(backend, { providers });
    try {
      const [session, other] = [await harness.open(), await harness.open()];
      const asked: string[] = [];
      for (let n = 0; n < 7; n += 1) {
        asked.push(await harness.lease(session, 'plain'));
        await harness.lease(other, 'plain');
        harness.clock.advance(1000);
      }
      const refused = await harness.open({ maxGrants: 0 });
      await assert.rejects(harness.ask(refused, 'plain'));

      const walk = async (caller: Caller, limit: number) => {
        const facts = await readSession(harness.store, caller, harness.clock.now());
        const pages = [await overview(harness.store, facts, 10, { limit })];
        for (;;) {
          const { next } = pages.at(-1)!;
          if (next === null) return pages;
          pages.push(await overview(harness.store, facts, 10, { limit, after: readCursor(next) ?? assert.fail(next) }));
        }
      };
      const pages = await walk(session, 3);
      assert.deepEqual(
        pages.map(({ grants, leases }) => [grants.length, leases.length]),
        [
          [3, 3],
          [3, 3],
          [1, 1],
        ],
      );
      assert.deepEqual(
        pages.flatMap(({ leases }) => leases.map(({ id }) => id)),
        asked,
      );
      assert.equal((await walk(session, 7)).length, 1, 'a full page that is the last says so');
      assert.deepEqual(
        (await walk(refused, 1)).map(({ grants, leases }) => [grants.length, leases.length]),
        [[1, 0]],
        'a page of denials has no leases',
      );
    } finally {
      await harness.close();
    }
  });
}

test('a cursor that was never given is none', () => {
  for (const text of ['', 'x', 'Z250X3gu', Buffer.from("gnt_' OR 1=1.").toString('base64url')]) {
    assert.equal(readCursor(text), null, text);
  }
});

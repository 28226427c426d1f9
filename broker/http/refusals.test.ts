import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WritError } from '../core/errors.ts';
import { type Harness, openHarness } from '../harness.test-support.ts';
import { testBackend } from '../store/store.test-support.ts';
import { until } from '../until.test-support.ts';
import { createRefusals } from './refusals.ts';

const limited = (error: unknown) => error instanceof WritError && error.code === 'rate_limited';

/** A refusal that can be told from others by its number. */
const refused = (n: number) => ({ code: 'invalid_grant' as const, reason: null, token_sha256: String(n) });

const rows = async (harness: Harness) => {
  const found = await harness.store.prisma.auditEvent.findMany({
    where: { type: 'session.refused' },
    orderBy: { seq: 'asc' },
  });
  return found.map(({ payload }) => {
    const { token_sha256: n, ...sum } = payload as { token_sha256?: string; dropped?: number; source?: string };
    return { n: Number(n), ...sum };
  });
};

test('so many a minute and source are written, of the rest their number; nobody pays for another', async () => {
  const harness = await openHarness(await testBackend(), { providers: [{ name: 'plain' }] });
  try {
    const log = { error: () => assert.fail('nothing fails here') };
    const refusals = createRefusals(harness.store, harness.clock, log, 3);
    const refuse = (source: string, n = 0) =>
      refusals.record(source, { chain: 'system', type: 'session.refused', requestId: 'req_x', payload: refused(n) });
    for (let n = 0; n < 3; n += 1) await refuse('192.0.2.1', n);
    for (let n = 0; n < 40; n += 1) {
      await assert.rejects(
        refuse('192.0.2.1'),
        (error) => limited(error) && (error as WritError).retryAfterSeconds === 60,
      );
    }
    await refuse('192.0.2.2', 9);
    assert.deepEqual(
      (await rows(harness)).map(({ n }) => n),
      [0, 1, 2, 9],
    );
    harness.clock.advance(60_000);
    await until('the sum is written', async () => (await rows(harness)).length >= 5);
    const [sum, ...more] = (await rows(harness)).slice(4);
    assert.deepEqual([sum?.dropped, sum?.source, more.length], [40, '192.0.2.1', 0]);
    await refuse('192.0.2.1', 10);
    for (let n = 0; n < 2; n += 1) await refuse('192.0.2.1', n);
    await assert.rejects(refuse('192.0.2.1'), limited);
    await refusals.close();
    assert.equal((await rows(harness)).at(-1)?.dropped, 1, 'what is owed is written when the broker stops');
    assert.equal((await harness.verify()).broken, null);
  } finally {
    await harness.close();
  }
});

test('addresses by the ten thousand share a count', async () => {
  let written = 0;
  const store = {
    run: async () => {
      written += 1;
      return [];
    },
  } as unknown as Harness['store'];
  const harness = await openHarness(await testBackend(), { providers: [{ name: 'plain' }] });
  try {
    const refusals = createRefusals(store, harness.clock, { error: () => {} }, 1);
    for (let i = 0; i < 10_200; i += 1) {
      await refusals
        .record(`source-${i}`, { chain: 'system', type: 'session.refused', requestId: 'r', payload: refused(i) })
        .catch((error) => assert.ok(limited(error)));
    }
    assert.equal(written, 10_001);
    await refusals.close();
  } finally {
    await harness.close();
  }
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openTestStore, testBackends } from './store.test-support.ts';

const append = {
  name: 'test_append',
  text: `INSERT INTO audit_event (chain, at, type, actor, payload) SELECT $1, $2, t, 'test', '{"n": 1}'::json FROM unnest($3::text[]) AS t`,
};

for (const backend of await testBackends()) {
  test(`${backend}: the audit chain is numbered and chained by the database, several rows in one statement included`, async () => {
    const store = await openTestStore(backend);
    const at = new Date('2026-01-01T00:00:00.123Z');
    await store.run(append, ['c', at, ['a', 'b']]);
    await store.run(append, ['c', at, ['d']]);
    const rows = await store.prisma.auditEvent.findMany({ orderBy: { seq: 'asc' } });
    assert.deepEqual(
      rows.map((r) => [r.seq, r.type]),
      [
        [1, 'a'],
        [2, 'b'],
        [3, 'd'],
      ],
    );
    assert.equal(rows[1]!.prevHash, rows[0]!.hash);
    assert.equal(rows[2]!.prevHash, rows[1]!.hash);
    const head = await store.prisma.auditChain.findUniqueOrThrow({ where: { chain: 'c' } });
    assert.equal(head.head, rows[2]!.hash);
    await assert.rejects(store.run({ name: 'tamper', text: `UPDATE audit_event SET actor = 'x'` }, []), /append-only/);
    await assert.rejects(store.run({ name: 'cut', text: 'DELETE FROM audit_event' }, []), /append-only/);
    await assert.rejects(store.run({ name: 'wipe', text: 'TRUNCATE audit_event' }, []), /append-only/);
    await store.close();
  });
}

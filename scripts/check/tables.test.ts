import assert from 'node:assert/strict';
import { test } from 'node:test';
import { owners, rightsFaults, tableFaults } from './tables.ts';

/** A schema with just the tables that have owners. */
const schema = Object.keys(owners)
  .map((table) => `model ${table.replaceAll('_', '')} {\n  @@map("${table}")\n}\n`)
  .join('\n');
const faults = (path: string, text: string) => tableFaults([{ path, text }], schema);

test('a room writes its own tables, and no other', () => {
  for (const sql of [
    'UPDATE lease SET due_at = $1',
    'INSERT INTO lease (id) SELECT 1',
    'DELETE FROM lease WHERE true',
  ]) {
    assert.deepEqual(faults('broker/leases/revoke.ts', `text: \`${sql}\``), [], sql);
    for (const path of ['broker/sessions/end-session.ts', 'broker/worker/jobs/expire.ts', 'approvals/review.ts']) {
      assert.match(
        faults(path, `text: \`${sql}\``).join(),
        /writes lease, which is not this room's/,
        `${path}: ${sql}`,
      );
    }
  }
});

test('only audit/append.ts inserts an audit row', () => {
  const insert = 'INSERT INTO audit_event (chain) SELECT id FROM ended';
  assert.deepEqual(faults('broker/audit/append.ts', insert), []);
  for (const path of ['broker/audit/verify.ts', 'broker/sessions/end-session.ts', 'approvals/review.ts'])
    assert.match(faults(path, insert).join(), /writes audit_event, which is not this room's/, path);
});

test('every spelling counts, and what only locks does not', () => {
  const write = (sql: string) => faults('broker/http/a.ts', sql).length;
  assert.equal(write('WITH x AS (UPDATE session s SET version = 1) SELECT 1'), 1);
  assert.equal(write('UPDATE\n  session SET version = 1'), 1);
  assert.equal(write('INSERT INTO "session" (id) VALUES (1)'), 1);
  assert.equal(write('store.prisma.session.updateMany({ data })'), 1);
  assert.equal(write('SELECT 1 FROM session FOR UPDATE OF session'), 0);
  assert.equal(write('SELECT 1 FROM session FOR UPDATE SKIP LOCKED'), 0);
  assert.equal(write('ON CONFLICT (key) DO UPDATE SET holder = 1'), 0);
});

test('nobody writes the head of a chain, a table without an owner, or one that is not there', () => {
  assert.equal(faults('broker/audit/append.ts', 'UPDATE audit_chain SET seq = 1').length, 1);
  assert.match(faults('broker/audit/append.ts', 'UPDATE secret_table SET a = 1').join(), /which no schema knows/);
  assert.match(tableFaults([], `${schema}\nmodel NewOne {\n  @@map("new_one")\n}\n`).join(), /new_one has no owner/);
});

test('a lease’s status changes in one file, and one path leads to revoking', () => {
  const change = `\`UPDATE lease SET attempts = 0, status = 'revoked' WHERE id = $1\``;
  assert.match(faults('broker/leases/revoke.ts', change).join(), /changes a lease's status outside/);
  assert.deepEqual(faults('broker/leases/transitions.ts', change), []);
  assert.deepEqual(faults('broker/leases/revoke.ts', `\`UPDATE lease SET due_at = $1 WHERE status = 'revoking'\``), []);
  const path = `\`UPDATE lease SET status = 'revoking' WHERE id = $1\``;
  assert.match(faults('broker/leases/transitions.ts', path + path).join(), /2 paths lead to revoking/);
});

test('a statement that the runtime role may not run is refused, to the column', () => {
  const schema = 'model One {\n  @@map("one")\n}\n';
  const rights = { one: { insert: true, update: ['b'] } } as const;
  const of = (sql: string) => rightsFaults([{ path: 'broker/x/a.ts', text: `\`${sql}\`` }], schema, rights);
  assert.deepEqual(of('INSERT INTO one (a) SELECT 1 ON CONFLICT (a) DO UPDATE SET b = EXCLUDED.b WHERE one.a = 1'), []);
  assert.deepEqual(
    of('UPDATE one o SET b = CASE WHEN a = 1 THEN 2 ELSE coalesce(a = 2, b) END FROM two WHERE c = 1'),
    [],
  );
  assert.match(of('UPDATE one SET b = 1, c = 2 WHERE a = 1').join(), /UPDATE c one/);
  assert.match(of('INSERT INTO one (a) SELECT 1 ON CONFLICT (a) DO UPDATE SET c = 1').join(), /UPDATE c one/);
  assert.match(of('DELETE FROM one').join(), /DELETE one/);
  assert.match(
    rightsFaults([], `${schema}model Two {\n  @@map("two")\n}\n`, rights).join(),
    /knows nothing of the table two/,
  );
});

/** Why agents get no lease on the embedded database: it has roles and row security, and no logins. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PGlite } from '@electric-sql/pglite';

test('whoever connects to the embedded database is its superuser, and leaves any role again', async () => {
  const database = await PGlite.create();
  const who = async () => {
    const { rows } = await database.query<{ login: string; role: string; seen: number }>(
      `SELECT session_user AS login, current_user AS role, (SELECT count(*)::int FROM orders) AS seen`,
    );
    return rows[0];
  };
  await database.exec(`CREATE ROLE lease LOGIN PASSWORD 'not asked for'; CREATE TABLE orders (customer_id int);
    INSERT INTO orders VALUES (7), (42); ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
    CREATE POLICY mine ON orders USING (customer_id = 42); GRANT SELECT ON orders TO lease`);
  assert.deepEqual(await who(), { login: 'postgres', role: 'postgres', seen: 2 });
  await database.exec('SET ROLE lease');
  assert.deepEqual(await who(), { login: 'postgres', role: 'lease', seen: 1 });
  await database.exec('RESET ROLE');
  assert.deepEqual(await who(), { login: 'postgres', role: 'postgres', seen: 2 });
  await database.close();
});

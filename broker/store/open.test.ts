import assert from 'node:assert/strict';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import pg from 'pg';
import { until } from '../until.test-support.ts';
import { openStore } from './open.ts';
import { bothBackends, createTestDatabase, openTestStore } from './store.test-support.ts';

const append = {
  name: 'test_append',
  text: `INSERT INTO audit_event (chain, at, type, actor, payload) SELECT $1, $2, t, 'test', '{"n": 1}'::json FROM unnest($3::text[]) AS t`,
};

for (const backend of await bothBackends()) {
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

if ((await bothBackends()).includes('postgres')) {
  for (const how of ['COMMIT', 'ROLLBACK'])
    test(`postgres: of two that begin a chain at once the second waits, and goes on from what the first left by ${how}`, async () => {
      const database = await createTestDatabase();
      const [first, second] = [0, 1].map(() => new pg.Client({ connectionString: database.direct })) as [
        pg.Client,
        pg.Client,
      ];
      await Promise.all([first.connect(), second.connect()]);
      const begin = (client: pg.Client) =>
        client.query(`${append.text} RETURNING seq, prev_hash, hash`, ['new', new Date(0), ['begun']]);
      await first.query('BEGIN');
      const before = (await begin(first)).rows;
      const { pid } = (await second.query('SELECT pg_backend_pid() AS pid')).rows[0];
      const waiting = begin(second);
      await until('the second waits for the first', async () => {
        const { rows } = await first.query('SELECT pg_blocking_pids($1) AS by', [pid]);
        return rows[0].by.length > 0;
      });
      await first.query(how);
      const after = (await waiting).rows;
      assert.deepEqual([before[0].seq, before[0].prev_hash], [1, '']);
      assert.deepEqual([after[0].seq, after[0].prev_hash], how === 'COMMIT' ? [2, before[0].hash] : [1, '']);
      const { rows: heads } = await first.query('SELECT seq, previous, head FROM audit_chain');
      assert.deepEqual(heads, [{ seq: after[0].seq, previous: after[0].prev_hash, head: after[0].hash }]);
      await Promise.all([first.end(), second.end()]);
      await database.drop();
    });

  test('postgres: a server that falls silent is given up, and the next connection serves', async () => {
    const database = await createTestDatabase();
    const { hostname, port } = new URL(database.url);
    const sockets = new Set<Socket>();
    // Where a host dies or a firewall drops: what is sent arrives nowhere, and nobody says so.
    const line = createServer((client) => {
      const server = connect({ host: hostname, port: Number(port || 5432) });
      client.pipe(server).pipe(client);
      for (const socket of [client, server]) sockets.add(socket.on('error', () => {}));
    });
    await new Promise<void>((resolve) => line.listen(0, '127.0.0.1', resolve));
    const url = new URL(database.url);
    url.hostname = '127.0.0.1';
    url.port = String((line.address() as AddressInfo).port);
    const store = await openStore({ databaseUrl: url.href, dataDir: null, poolSize: 2, queryTimeoutMs: 300 });
    const ask = () => store.run<{ one: number }>({ name: 'test_one', text: 'SELECT 1 AS one' }, []);
    await Promise.all([ask(), ask()]);
    for (const socket of sockets) socket.unpipe();
    const answers = await Promise.allSettled([ask(), ask()]);
    for (const answer of answers) assert.match(String((answer as PromiseRejectedResult).reason), /Query read timeout/);
    assert.deepEqual((await Promise.all([ask(), ask(), ask()])).flat(), [{ one: 1 }, { one: 1 }, { one: 1 }]);
    await store.close();
    for (const socket of sockets) socket.destroy();
    line.close();
    await database.drop();
  });
}

import assert from 'node:assert/strict';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
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

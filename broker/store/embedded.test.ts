/** The embedded database in its own thread: the same answers, a watchdog, and a margin of free space. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { writesFault } from './check-database.ts';
import { startEmbedded } from './embedded-database.ts';
import { openStore, type Store } from './open.ts';

describe('on disk, in its own thread', () => {
  let folder: string;
  let store: Store;
  let free = 10_000_000;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'writ-embedded-'));
    store = await openStore({ databaseUrl: null, dataDir: folder, minFreeBytes: 5_000_000, freeBytes: () => free });
  });
  after(async () => {
    await store.close();
    await rm(folder, { recursive: true, force: true });
  });
  const at = new Date('2026-07-01T23:30:00.123Z');
  const insertAgent = { name: 'a', text: 'INSERT INTO agent (name, version) VALUES ($1, $2) RETURNING version' };

  test('answers as it does in this one: times, JSON, arrays, nulls, and errors with their codes', async () => {
    const rows = await store.run(
      {
        name: 'read',
        text: `SELECT $1::timestamptz AS at, $2::json AS json, $3::text[] AS list, NULL::text AS nothing, 7::bigint AS large`,
      },
      [at, '{"a":[1]}', ['x', null]],
    );
    assert.deepEqual(rows, [{ at, json: { a: [1] }, list: ['x', null], nothing: null, large: 7 }]);
    await store.run(insertAgent, ['one', 1]);
    await assert.rejects(store.run(insertAgent, ['one', 1]), { code: '23505', severity: 'ERROR' });
  });

  test('Prisma reads through it, in transactions too', async () => {
    await store.prisma.signingKey.create({
      data: { kid: 'k', publicJwk: { kty: 'EC' }, privateJwe: '', createdAt: at, activeFrom: at },
    });
    const key = await store.prisma.signingKey.findUniqueOrThrow({ where: { kid: 'k' } });
    assert.deepEqual([key.createdAt, key.publicJwk, key.retiredAt], [at, { kty: 'EC' }, null]);
    const data = { kid: 'k', publicJwk: {}, privateJwe: '', createdAt: at, activeFrom: at };
    await assert.rejects(store.prisma.signingKey.create({ data }), { code: 'P2002' });
    const [agents] = await store.prisma.$transaction([store.prisma.agent.count(), store.prisma.signingKey.count()]);
    assert.equal(agents, 1);
    await assert.rejects(
      store.prisma.$transaction(async (tx) => {
        await tx.agent.create({ data: { name: 'undone', version: 1 } });
        throw new Error('no');
      }),
      /no/,
    );
    assert.equal(await store.prisma.agent.count(), 1);
  });

  test('below the margin nothing is written, in words; what is there is read, and space heals it', async () => {
    free = 4_999_999;
    const words = { code: 'ENOSPC', message: /has 4 MB free and Writ keeps 4 MB \(WRIT_EMBEDDED_MIN_FREE_MB\)/ };
    await assert.rejects(store.run(insertAgent, ['two', 1]), words);
    assert.match((await writesFault(store))!, words.message);
    assert.equal(await store.prisma.agent.count(), 1);
    await assert.rejects(
      openStore({ databaseUrl: null, dataDir: join(folder, 'other'), minFreeBytes: 5_000_000, freeBytes: () => free }),
      words,
    );
    free = 5_000_000;
    assert.equal(await writesFault(store), null);
    await store.run(insertAgent, ['two', 1]);
  });
});

/** A thread that does as it is told by the text of a query. */
const program = (body: string) =>
  new URL(`data:text/javascript,${encodeURIComponent(`import { parentPort } from 'node:worker_threads'; ${body}`)}`);
const result = '{ rows: [{ one: 1 }], fields: [] }';

test('a thread that turns round and round: what waits fails, what comes fails at once, and it can be ended', async () => {
  const db = startEmbedded(
    '',
    100,
    program(`parentPort.on('message', ({ id, question }) => {
      if (question.text === 'spin') for (;;);
      parentPort.postMessage({ id, result: ${result} });
    })`),
  );
  assert.deepEqual((await db.query('SELECT 1')).rows, [{ one: 1 }]);
  assert.equal(db.broken(), null);
  const words = { code: 'ETIMEDOUT', message: /has not answered for 0.1 s: is the disk full\?.*started anew/ };
  const waiting = [db.query('spin'), db.query('SELECT 1')].map((asked) => assert.rejects(asked, words));
  await Promise.all(waiting);
  await assert.rejects(db.query('SELECT 1'), words);
  assert.match(db.broken()!, words.message);
  await db.close();
});

test('a thread that answers late is used again', async () => {
  const db = startEmbedded(
    '',
    100,
    program(`let asked = []; parentPort.on('message', ({ id, question }) => {
      if (question.text === 'open') return parentPort.postMessage({ id, result: ${result} });
      asked.push(id);
      setTimeout(() => parentPort.postMessage({ id, result: ${result} }), 300);
    })`),
  );
  await db.query('open');
  await assert.rejects(db.query('SELECT 1'), { code: 'ETIMEDOUT' });
  while (db.broken() !== null) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.deepEqual((await db.query('open')).rows, [{ one: 1 }]);
  await db.close();
});

test('a thread that ends fails whoever waits, and whoever comes', async () => {
  const db = startEmbedded('', 10_000, program(`parentPort.on('message', () => process.exit(7))`));
  const words = { code: 'ETIMEDOUT', message: /thread has ended \(code 7\)/ };
  await assert.rejects(db.query('SELECT 1'), words);
  await assert.rejects(db.query('SELECT 1'), words);
  assert.match(db.broken()!, words.message);
  await db.close();
});

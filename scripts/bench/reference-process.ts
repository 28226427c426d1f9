/**
 * What the broker is compared with: an Express 5 handler that verifies an ES256 JWT (jose) and commits one
 * CTE, which locks a row and inserts two. Whatever a service on this stack does for an authenticated write,
 * it does at least this.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import express from 'express';
import { importJWK, jwtVerify } from 'jose';
import pg from 'pg';
import { answerParent, usageOf } from './child.ts';
import { audience, callers } from './reference.ts';

const schema = `
  CREATE TABLE IF NOT EXISTS caller (id text PRIMARY KEY, count integer NOT NULL DEFAULT 0);
  CREATE TABLE IF NOT EXISTS request (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, caller text NOT NULL, body jsonb NOT NULL, at timestamptz NOT NULL);
  CREATE TABLE IF NOT EXISTS event (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, caller text NOT NULL, payload json NOT NULL, at timestamptz NOT NULL);
  INSERT INTO caller (id) SELECT 'caller-' || n FROM generate_series(0, ${callers - 1}) n ON CONFLICT DO NOTHING;`;

const statement = {
  name: 'reference',
  text: `
    WITH locked AS (SELECT id FROM caller WHERE id = $1::text FOR UPDATE),
    inserted AS (INSERT INTO request (caller, body, at) SELECT id, $2::jsonb, $3::timestamptz FROM locked RETURNING id),
    logged AS (INSERT INTO event (caller, payload, at) SELECT id, $2::json, $3::timestamptz FROM locked)
    SELECT id::text FROM inserted`,
};

type Run = (values: unknown[]) => Promise<{ rows: unknown[] }>;

async function openDatabase(url: string | undefined): Promise<{ run: Run; close(): Promise<void> }> {
  if (url !== undefined) {
    const pool = new pg.Pool({ connectionString: url, max: 10 });
    // Several processes may begin at once: one makes the tables.
    await pool.query(`BEGIN; SELECT pg_advisory_xact_lock(8421); ${schema} COMMIT;`);
    return { run: (values) => pool.query({ ...statement, values }), close: () => pool.end() };
  }
  const folder = await mkdtemp(join(tmpdir(), 'writ-bench-reference-'));
  const db = await PGlite.create(folder);
  await db.exec(schema);
  const close = async () => {
    await db.close();
    await rm(folder, { recursive: true, force: true });
  };
  return { run: (values) => db.query(statement.text, values), close };
}

answerParent(async () => {
  const database = await openDatabase(process.env.DATABASE_URL);
  const key = await importJWK(JSON.parse(process.env.REFERENCE_KEY ?? ''), 'ES256');
  let trips = 0;

  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.post('/request', express.json(), async (req, res) => {
    const token = req.get('authorization')?.slice('Bearer '.length) ?? '';
    const { payload } = await jwtVerify(token, key, { issuer: audience, audience, algorithms: ['ES256'] });
    trips += 1;
    const { rows } = await database.run([payload.sub, JSON.stringify(req.body), new Date()]);
    res.status(201).json(rows[0]);
  });
  const server = createServer(app);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    usage: () => usageOf(trips),
    stop: async () => {
      server.closeAllConnections();
      server.close();
      await database.close();
    },
  };
});

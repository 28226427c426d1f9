/** A database of the first release takes the migrations that came after it, with what is in it. */
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { PGlite } from '@electric-sql/pglite';

const folder = join(import.meta.dirname, '../../prisma/migrations');
const [first, ...later] = (await readdir(folder)).filter((name) => !name.endsWith('.toml')).sort();
const apply = async (db: PGlite, name: string) =>
  void (await db.exec(await readFile(join(folder, name, 'migration.sql'), 'utf8')));

test('sessions, grants, leases and chains of every state are taken along', async () => {
  const db = await PGlite.create();
  await apply(db, first!);
  await db.exec(`
    INSERT INTO session (id, agent, manifest_version, root_id, task_type, inputs, principal_root, subject, status, opened_at, expires_at, heartbeat_deadline, ended_at)
      SELECT id, 'bot', 1, id, 'work', '{}', 'bot', '{}', CASE WHEN ended THEN 'ended' ELSE 'active' END, now(), now(), now(), CASE WHEN ended THEN now() END
      FROM (VALUES ('live', false), ('over', true), ('half_lease', true), ('half_grant', true)) AS s (id, ended);
    INSERT INTO grants (id, session_id, agent, capability, idempotency_key, request_digest, params, manifest_version, provider, plan, plan_digest, tier, status,
                        decision, requested_at, ended_at)
      SELECT session_id || ' ' || status, session_id, 'bot', 'c', session_id || status, '', '{}', 1, 'p', '{}', '', 1, status, '{}', now(), CASE WHEN ended THEN now() END
      FROM (VALUES ('live', 'pending', false), ('live', 'approved', false), ('live', 'issuing', false), ('live', 'issued', false), ('over', 'ended', true),
                   ('over', 'denied', true), ('over', 'failed', true), ('half_lease', 'ended', true), ('half_grant', 'issued', false)) AS g (session_id, status, ended);
    INSERT INTO lease (id, grant_id, session_id, agent, provider, plan, plan_digest, status, intent_at, expires_at, provider_expires_at, due_at, ended_at)
      SELECT session_id || ' ' || status, grant_id, session_id, 'bot', 'p', '{}', '', status, now(), now(), now(), CASE WHEN NOT ended THEN now() END, CASE WHEN ended THEN now() END
      FROM (VALUES ('live', 'live issuing', 'issuing', false), ('live', 'live issued', 'active', false), ('over', 'over ended', 'revoking', false),
                   ('over', 'over ended', 'revoked', true), ('over', 'over ended', 'expired', true), ('over', 'over failed', 'failed', true),
                   ('half_lease', 'half_lease ended', 'active', false)) AS l (session_id, grant_id, status, ended);
    INSERT INTO audit_event (chain, at, type, actor, payload) SELECT 'live', now(), 'before ' || n, 'bot', '{}' FROM generate_series(1, 3) n;`);
  for (const name of later) await apply(db, name);
  await db.exec(
    `INSERT INTO audit_event (chain, at, type, actor, payload) VALUES ('live', now(), 'after', 'bot', '{}'), ('new', now(), 'after', 'bot', '{}')`,
  );

  const { rows: unreleased } = await db.query<{ id: string }>(
    `SELECT id FROM session WHERE ended_at IS NOT NULL AND released_at IS NULL ORDER BY id`,
  );
  assert.deepEqual(unreleased, [{ id: 'half_grant' }, { id: 'half_lease' }], 'only what may still hold something');
  const { rows: chain } = await db.query<{ seq: number; prev_hash: string; hash: string; computed: string }>(
    `SELECT seq, prev_hash, hash, writ_audit_hash(prev_hash, chain, seq, at, type, actor, grant_id, lease_id, request_id, payload) AS computed
     FROM audit_event WHERE chain = 'live' ORDER BY seq`,
  );
  assert.deepEqual(
    chain.map(({ seq }) => seq),
    [1, 2, 3, 4],
  );
  for (const [n, row] of chain.entries()) {
    assert.equal(row.hash, row.computed);
    assert.equal(row.prev_hash, chain[n - 1]?.hash ?? '');
  }
  await db.close();
});

test('states that say one thing in two columns cannot differ', async () => {
  const db = await PGlite.create();
  for (const name of [first!, ...later]) await apply(db, name);
  const session = (status: string, ended: string) =>
    db.exec(`INSERT INTO session (id, agent, manifest_version, root_id, task_type, inputs, principal_root, subject, status, opened_at, expires_at, heartbeat_deadline, ended_at)
      VALUES ('${status}${ended}', 'bot', 1, 'x', 'work', '{}', 'bot', '{}', '${status}', now(), now(), now(), ${ended})`);
  await session('active', 'NULL');
  await session('ended', 'now()');
  for (const [status, ended] of [
    ['active', 'now()'],
    ['ended', 'NULL'],
    ['paused', 'NULL'],
  ] as const)
    await assert.rejects(session(status, ended), /session_status_check/);
  await db.close();
});

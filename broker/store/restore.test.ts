/** A backup of the rows alone goes back into a schema that a release has made. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { verifyAudit } from '../audit/verify.ts';
import { openStore } from './open.ts';
import { createTestDatabase, testBackends } from './store.test-support.ts';

const tools = spawnSync('pg_dump', ['--version']).status === 0 && spawnSync('psql', ['--version']).status === 0;
if (!tools && process.env.REQUIRE_SERVICES === '1') throw new Error('pg_dump is not installed and REQUIRE_SERVICES=1');
const skip =
  (!tools && 'needs pg_dump and psql') || (!(await testBackends()).includes('postgres') && 'needs PostgreSQL');

function run(command: string, args: string[], input?: string): string {
  const { status, stdout, stderr } = spawnSync(command, args, {
    encoding: 'utf8',
    ...(input === undefined ? {} : { input }),
  });
  assert.equal(status, 0, stderr);
  return stdout;
}

const append = {
  name: 'test_append',
  text: `INSERT INTO audit_event (chain, at, type, actor, payload) SELECT $1, $2, t, 'test', '{"n": 1}'::json FROM unnest($3::text[]) AS t`,
};
const at = new Date('2026-01-01T00:00:00.123Z');

test('pg_dump --data-only, and psql into a fresh schema: every row and every chain as it was', { skip }, async () => {
  const [from, to] = [await createTestDatabase(), await createTestDatabase('empty')];
  // A release's first start, and nothing after it.
  await (await openStore({ databaseUrl: to.direct, dataDir: null, poolSize: 1 })).close();
  const before = await openStore({ databaseUrl: from.direct, dataDir: null });
  await before.run(append, ['c', at, ['a', 'b', 'c']]);
  await before.run(append, ['a chain', at, ['a']]);
  const rows = await before.prisma.auditEvent.findMany({ orderBy: [{ chain: 'asc' }, { seq: 'asc' }] });
  await before.close();

  const dump = run('pg_dump', ['--data-only', from.direct]);
  run('psql', ['--quiet', '-v', 'ON_ERROR_STOP=1', to.direct], dump);

  const after = await openStore({ databaseUrl: to.direct, dataDir: null });
  assert.deepEqual(await after.prisma.auditEvent.findMany({ orderBy: [{ chain: 'asc' }, { seq: 'asc' }] }), rows);
  await after.run(append, ['c', at, ['d']]);
  const { chains, broken } = await verifyAudit(after);
  assert.deepEqual({ chains, broken }, { chains: 2, broken: null });
  assert.equal((await after.prisma.auditChain.findUniqueOrThrow({ where: { chain: 'c' } })).seq, 4);

  const insert = (seq: number, hash: string, prev = '') =>
    after.run(
      {
        name: 'test_forge',
        text: `INSERT INTO audit_event (chain, seq, at, type, actor, payload, prev_hash, hash) VALUES ('c', $1, $2, 'x', 'test', '{}', $3, $4)`,
      },
      [seq, at, prev, hash],
    );
  await assert.rejects(insert(5, 'f'.repeat(64)), /is not what its hash says/);
  const [forged] = await after.run<{ hash: string }>(
    {
      name: 'test_hash',
      text: `SELECT writ_audit_hash('', 'c', 9, $1, 'x', 'test', NULL, NULL, NULL, '{}'::json) AS hash`,
    },
    [at],
  );
  await assert.rejects(insert(9, forged!.hash), /does not continue chain/);
  await after.close();
  await from.drop();
  await to.drop();
});

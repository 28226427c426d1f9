/**
 * The statements that every grant runs find their rows through indexes from the first day on. A database
 * without statistics takes every table for a tiny one, and a prepared statement keeps the plan it was given
 * then.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import pg from 'pg';
import { pruneStatement } from './actions/prune-cells.ts';
import { intentStatements } from './grants/statements.ts';
import { outcomeStatement } from './leases/issue.ts';
import { factsStatement, historyStatement } from './sessions/authenticate.ts';
import { openStatements } from './sessions/open-session.ts';
import { steadyPlans } from './store/connection-settings.ts';
import { openStore } from './store/open.ts';
import { createTestDatabase, testBackends } from './store/store.test-support.ts';

interface PlanNode {
  'Node Type': string;
  'Relation Name'?: string;
  'Index Cond'?: string;
  Filter?: string;
  'Actual Rows'?: number;
  'Actual Loops'?: number;
  Plans?: PlanNode[];
}

/** Tables that grow with use. */
const growing = new Set([
  'session',
  'grants',
  'lease',
  'audit_event',
  'audit_chain',
  'replay',
  'action',
  'monitor_cell',
]);

function scansOf(node: PlanNode): PlanNode[] {
  const own = growing.has(node['Relation Name'] ?? '') && node['Node Type'].includes('Scan') ? [node] : [];
  return [...own, ...(node.Plans ?? []).flatMap(scansOf)];
}

if ((await testBackends()).includes('postgres')) {
  const database = await createTestDatabase();
  const store = await openStore({ databaseUrl: database.url, dataDir: null });
  const client = new pg.Client({
    connectionString: database.url,
    options: steadyPlans.map(({ name, value }) => `-c ${name}=${value}`).join(' '),
  });
  await client.connect();
  after(async () => {
    await client.end();
    await store.close();
    await database.drop();
  });

  for (const statement of [
    factsStatement,
    historyStatement,
    ...Object.values(intentStatements),
    outcomeStatement,
    ...openStatements,
    pruneStatement,
  ]) {
    test(`${statement.name}: planned on an empty database, by indexes alone`, async () => {
      await client.query(`PREPARE ${statement.name} AS ${statement.text}`);
      const { rows } = await client.query<{ 'QUERY PLAN': [{ Plan: PlanNode }] }>(
        `EXPLAIN (FORMAT JSON) EXECUTE ${statement.name}('[]')`,
      );
      const scans = scansOf(rows[0]!['QUERY PLAN'][0].Plan);
      assert.ok(scans.length > 0);
      for (const scan of scans) {
        const shown = `${scan['Node Type']} on ${scan['Relation Name']} (${scan['Index Cond'] ?? scan.Filter ?? 'everything'})`;
        assert.match(scan['Node Type'], /^Index (Only )?Scan$/, shown);
        assert.ok(scan['Index Cond'] !== undefined, shown);
      }
    });
  }

  test(`${pruneStatement.name}: reads a page of cells, however many there are`, async () => {
    const read = async (page: number): Promise<number> => {
      const given = JSON.stringify({ scope: 'entity:', cell: '', page, kept: [] });
      const { rows } = await client.query<{ 'QUERY PLAN': [{ Plan: PlanNode }] }>(
        `EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE ${pruneStatement.name}(${pg.escapeLiteral(given)})`,
      );
      const scans = scansOf(rows[0]!['QUERY PLAN'][0].Plan).filter((scan) => scan['Relation Name'] === 'monitor_cell');
      return scans.reduce((sum, scan) => sum + scan['Actual Rows']! * scan['Actual Loops']!, 0);
    };
    const grow = (from: number, to: number) =>
      client.query(
        `INSERT INTO monitor_cell (scope, cell, version, moved_at)
         SELECT 'entity:' || n, 't.' || n, 1, now() FROM generate_series($1::int, $2::int) n`,
        [from, to],
      );
    await grow(1, 300);
    assert.equal(await read(1000), 300, 'all that there is');
    assert.equal(await read(200), 200);
    await grow(301, 20_000);
    assert.equal(await read(200), 200);
  });

  test('connections of the store are opened with these settings', async () => {
    const [row] = await store.run<{ mode: string; seq: string; jit: string }>(
      {
        name: 'test_settings',
        text: `SELECT current_setting('plan_cache_mode') AS mode, current_setting('seq_page_cost') AS seq, current_setting('jit') AS jit`,
      },
      [],
    );
    assert.deepEqual({ ...row }, { mode: 'force_generic_plan', seq: '100', jit: 'off' });
  });
}

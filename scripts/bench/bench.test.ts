/**
 * The benchmark runs and says what it promises. Counts are held here; times never: they are the machine's.
 *
 * @deep
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { installedServers } from '../../sandbox/postgres/binaries.ts';
import type { AgainstRow } from '../bench-against.ts';
import type { Result } from './measure.ts';
import { postgresVersion } from './servers.ts';
import type { TargetResult } from './table.ts';

const bench = join(import.meta.dirname, '../bench.ts');
const rows = ['reference', 'session-open', 'grant-by-policy'];
const only = [...rows, 'postgres-leases', 'postgres-rows'];

test('a short run writes its results, and the hot paths stay within their round trips', async () => {
  const backend = (await postgresVersion()) === null ? 'pglite' : 'postgres';
  const folder = await mkdtemp(join(tmpdir(), 'writ-bench-test-'));
  try {
    const json = join(folder, 'results.json');
    const args = ['--quick', '--backends', backend, '--only', only.join(','), '--json', json];
    const { stdout } = await promisify(execFile)(process.execPath, [
      '--disable-warning=ExperimentalWarning',
      bench,
      ...args,
    ]);
    const written = JSON.parse(await readFile(json, 'utf8')) as {
      machine: object;
      results: Result[];
      targets: TargetResult[];
    };
    assert.deepEqual(Object.keys(written), ['machine', 'results', 'targets']);
    const { results, targets } = written;
    assert.deepEqual(
      results.map(({ name }) => name),
      rows,
    );
    for (const row of results) {
      assert.deepEqual(Object.keys(row).sort(), [
        'backend',
        'clients',
        'cpu_ms',
        'name',
        'p50_ms',
        'p99_ms',
        'processes',
        'reference_ratio',
        'round_trips',
        'rps',
      ]);
      const { name, backend: where, ...numbers } = row;
      assert.equal(where, backend);
      for (const [key, value] of Object.entries(numbers))
        assert.ok(value > 0 && Number.isFinite(value), `${name} ${key}`);
      assert.ok(stdout.includes(name));
    }
    const versions = installedServers().length;
    assert.equal(targets.length, versions * 2 * 9, 'mint, revoke, proof and six queries, with few leases and many');
    for (const { name, live_leases, samples, p50_ms, p99_ms, of_plain } of targets)
      for (const value of [live_leases, samples, p50_ms, p99_ms, of_plain ?? 1])
        assert.ok(value > 0 && Number.isFinite(value), name);
    const trips = (wanted: string) => results.find(({ name }) => name === wanted)?.round_trips ?? Number.NaN;
    assert.ok(trips('grant-by-policy') <= 3, 'read, intent, outcome');
    assert.ok(trips('session-open') <= 1, 'one statement');
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test('two trees are driven by turns, and compared', async (t) => {
  if ((await postgresVersion()) === null) return t.skip('PostgreSQL does not answer');
  const folder = await mkdtemp(join(tmpdir(), 'writ-bench-test-'));
  try {
    const json = join(folder, 'against.json');
    const tree = join(import.meta.dirname, '../..');
    const args = [tree, '--only', 'session-open', '--warm', '0', '--turns', '2', '--seconds', '0.1', '--json', json];
    const script = join(import.meta.dirname, '../bench-against.ts');
    await promisify(execFile)(process.execPath, ['--disable-warning=ExperimentalWarning', script, ...args]);
    const { results } = JSON.parse(await readFile(json, 'utf8')) as { results: AgainstRow[] };
    assert.deepEqual(
      results.map(({ name, turns }) => [name, turns]),
      [['session-open', 2]],
    );
    for (const { rps, cpu_ms, ratio, error } of results)
      for (const value of [...rps, ...cpu_ms, ratio, error]) assert.ok(value >= 0 && Number.isFinite(value));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

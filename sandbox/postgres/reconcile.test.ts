/** `writ reconcile --dry-run` on a real server: what no lease explains is named, and nothing is touched. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type pg from 'pg';
import {
  asAgent,
  brokerPassword,
  login,
  type MintedLease,
  mint,
  newLeaseId,
  openShop,
  type PostgresHarness,
  type Shop,
  serversToTest,
  startHarness,
} from '../../providers/postgres/harness.test-support.ts';

const command = join(import.meta.dirname, '../../broker/cli/writ.ts');
const readOrders = { table: 'orders', read: ['id', 'amount'], rows: { customer_id: 42 } };

for (const binaries of serversToTest())
  describe(`writ reconcile on PostgreSQL ${binaries.version}`, () => {
    let shop: Shop;
    let harness: PostgresHarness;
    let dataDir: string;
    let key: string;
    before(async () => {
      shop = await openShop(binaries);
      harness = await startHarness(shop);
      dataDir = await mkdtemp(join(tmpdir(), 'writ-reconcile-'));
      key = randomBytes(32).toString('base64url');
      await shop.server.run('CREATE DATABASE writ');
    });
    after(async () => {
      await harness.close();
      await shop.close();
      await rm(dataDir, { recursive: true });
    });

    const writ = (...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> =>
      new Promise((resolve) => {
        const env = {
          DATABASE_URL: shop.server.url('writ'),
          WRIT_DATA_DIR: dataDir,
          WRIT_ISSUER_URL: 'https://writ.example',
          WRIT_KEY_ENCRYPTION_KEY: key,
          WRIT_POSTGRES_URL: `postgres://writ_broker:${brokerPassword}@127.0.0.1:${shop.server.port}/shop`,
        };
        execFile(
          process.execPath,
          ['--disable-warning=ExperimentalWarning', command, ...args],
          { env },
          (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
        );
      });
    const dryRun = () => writ('reconcile', '--dry-run', 'postgres');

    const asBroker = (work: (client: pg.Client) => Promise<void>) =>
      asAgent({ url: `postgres://writ_broker:${brokerPassword}@127.0.0.1:${shop.server.port}/shop` }, work);

    /** The broker's row of a lease, without the session and grant it hangs on. */
    const noteLease = (leaseId: string, status: string) => {
      const unended = status !== 'expired';
      return shop.server.run(
        `SET session_replication_role = replica;
         INSERT INTO lease (id, grant_id, session_id, agent, provider, plan, plan_digest, status, intent_at, expires_at, provider_expires_at, due_at, ended_at)
         VALUES ('${leaseId}', 'gnt_1', 'ses_1', 'test-bot', 'postgres', '{}', 'x', '${status}', now(), now() + interval '1 hour', now() + interval '1 hour', ${unended ? 'now(), NULL' : 'NULL, now()'})`,
        undefined,
        'writ',
      );
    };
    const roleOf = ({ target }: MintedLease) => `writ_${target.leaseId}`;

    test('a target with nothing of a lease’s holds', async () => {
      const { code, stdout, stderr } = await dryRun();
      assert.equal(code, 0, stderr);
      assert.equal(stdout, '✔ postgres: nothing is left over; 0 leases have not ended\n');
    });

    test('left-over roles, rows and sessions are named, and leases without a role', async () => {
      const [known, forgotten, ended] = [
        await mint(harness, [readOrders]),
        await mint(harness, [readOrders]),
        await mint(harness, [readOrders]),
      ];
      await noteLease(known.target.leaseId, 'active');
      await noteLease(ended.target.leaseId, 'expired');
      const lost = newLeaseId();
      await noteLease(lost, 'active');
      await noteLease(newLeaseId(), 'issuing');
      await shop.run(`INSERT INTO writ.lease_scope VALUES ('writ_lse_00rows', 'public.orders'::regclass, 'customer_id', '7', 'infinity');
        CREATE ROLE somebody LOGIN IN ROLE writ_leases`);
      const before = await shop.run('SELECT rolname FROM pg_roles ORDER BY 1');

      const { code, stdout, stderr } = await dryRun();
      assert.equal(code, 1);
      const told = stderr.trimEnd().split('\n').sort();
      const role = (lease: MintedLease) =>
        `✘ postgres: ${roleOf(lease)} is of no lease: a role that may log in until ${lease.issued.expiresAt.toISOString()}, with 1 scope row`;
      assert.deepEqual(
        told.map((line) => line.replace(/until \S+,/, 'until,')),
        [
          role(forgotten),
          role(ended),
          '✘ postgres: writ_lse_00rows is of no lease: 1 scope row without a role',
          `✘ postgres: the lease ${lost} is active, and writ_${lost} is not there`,
        ]
          .map((line) => line.replace(/until \S+,/, 'until,'))
          .sort(),
      );
      assert.equal(
        stdout,
        '· postgres: somebody is of no lease, and maybe another broker’s: a role that may log in for ever, with 0 scope rows\n',
      );
      assert.deepEqual(await shop.run('SELECT rolname FROM pg_roles ORDER BY 1'), before);

      // What it named is ended as the guide says (docs/providers/postgres.md), and then nothing is named.
      const guide = await readFile(join(import.meta.dirname, '../../docs/providers/postgres.md'), 'utf8');
      const byHand = /```sql\n(DELETE FROM writ\.lease_scope[^`]+)```/.exec(guide)?.[1] ?? '';
      await asBroker(async (client) => {
        for (const lease of [forgotten, ended])
          await client.query(
            byHand.replaceAll('ROLE"', `${roleOf(lease)}"`).replaceAll(`'ROLE'`, `'${roleOf(lease)}'`),
          );
      });
      await shop.run(`DELETE FROM writ.lease_scope WHERE role_name = 'writ_lse_00rows'; DROP ROLE somebody`);
      await shop.server.run(
        `UPDATE lease SET status = 'revoked', due_at = NULL, ended_at = now() WHERE id = '${lost}'`,
        undefined,
        'writ',
      );
      assert.deepEqual((await dryRun()).stdout, '✔ postgres: nothing is left over; 2 leases have not ended\n');
    });

    test('a session that outlived its role is named', async () => {
      const { target, issued } = await mint(harness, [readOrders]);
      const client = await login(issued.credential);
      await shop.run(`DROP OWNED BY "writ_${target.leaseId}"; DROP ROLE "writ_${target.leaseId}";
        DELETE FROM writ.lease_scope WHERE role_name = 'writ_${target.leaseId}'`);
      const { code, stdout } = await dryRun();
      assert.equal(code, 0);
      assert.match(
        stdout,
        /^· postgres: the dropped role \d+ is of no lease, and maybe another broker’s: 1 session without a role$/m,
      );
      await client.end();
    });

    test('it ends nothing, and does not pretend that it could', async () => {
      assert.equal((await writ('reconcile')).code, 2);
      assert.equal((await writ('reconcile', '--apply')).code, 2);
      const other = await writ('reconcile', '--dry-run', 'aws');
      assert.deepEqual([other.code, other.stderr], [1, '✘ the provider aws is not switched on here\n']);
    });
  });

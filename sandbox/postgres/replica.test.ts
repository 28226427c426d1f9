/** A streaming replica: told how far behind it is, ended after the primary, and a primary in its turn. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ProviderError, type RevocationOutcome, type RevocationTarget } from '../../providers/contract.ts';
import {
  asAgent,
  login,
  type MintedLease,
  mint,
  never,
  openShop,
  type PostgresHarness,
  refusal,
  type Shop,
  serversToTest,
  startHarness,
} from '../../providers/postgres/harness.test-support.ts';
import type { PostgresSandbox } from './start.ts';

const readOrders = { table: 'orders', read: ['id', 'amount'], rows: { customer_id: 42 } };

for (const binaries of serversToTest())
  describe(`a replica of PostgreSQL ${binaries.version}`, () => {
    let shop: Shop;
    let standby: PostgresSandbox;
    let harness: PostgresHarness;
    before(async () => {
      shop = await openShop(binaries);
      standby = await shop.server.standby();
      harness = await startHarness(shop, { WRIT_POSTGRES_REPLICA_ADDRESS: `127.0.0.1:${standby.port}` });
    });
    after(async () => {
      await harness?.close();
      await standby?.close();
      await shop?.close();
    });

    const onReplica = () => mint(harness, [readOrders], { more: { server: 'replica' } });
    const revoke = async (target: RevocationTarget): Promise<RevocationOutcome> =>
      (await harness.provider.revoke([target], [], never))[0]!;
    /** Until the replica has all that the primary has now. */
    const replayed = async () => {
      const [{ lsn }] = (await shop.run('SELECT pg_current_wal_lsn()::text AS lsn')) as [{ lsn: string }];
      while (!(await standby.run<{ done: boolean }>('SELECT pg_last_wal_replay_lsn() >= $1 AS done', [lsn]))[0]!.done)
        await standby.run('SELECT pg_sleep(0.02)');
    };
    const evidenceOf = (outcome: RevocationOutcome) => ('evidence' in outcome ? outcome.evidence : {});

    test('the credential leads to the replica, which reads and writes nothing', async () => {
      const { issued, target } = await onReplica();
      assert.deepEqual([issued.credential.host, issued.credential.port], ['127.0.0.1', standby.port]);
      await replayed();
      await asAgent(issued.credential, async (client) => {
        assert.equal((await client.query('SELECT id FROM orders')).rowCount, 5);
        assert.equal(await refusal(client.query('BEGIN READ WRITE')), '0A000');
      });
      await revoke(target);
      await replayed();
      await ended(target);
    });

    test('a snapshot on the replica shows no row once it has replayed that the rows are gone', async () => {
      const { issued, target } = await onReplica();
      await replayed();
      await asAgent(issued.credential, async (client) => {
        await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
        assert.equal((await client.query('SELECT id FROM orders')).rowCount, 5);
        await shop.run('DELETE FROM writ.lease_scope WHERE role_name = $1', [issued.credential.user]);
        await replayed();
        assert.equal((await client.query('SELECT id FROM orders')).rowCount, 0);
      });
      await revoke(target);
      await replayed();
      await ended(target);
    });

    test('the end is proven on the primary at once, and settles until the replica has replayed it', async () => {
      const { issued, target } = await onReplica();
      await replayed();
      const client = await login(issued.credential);
      await standby.run('SELECT pg_wal_replay_pause()');

      const behind = await revoke(target);
      assert.equal(behind.state, 'settling');
      const { replica_bytes_behind: lag, ...evidence } = evidenceOf(behind);
      assert.ok(Number(lag) > 0, 'the lag is told');
      assert.deepEqual(
        [evidence.role_absent, evidence.login, evidence.read_on, evidence.replica],
        [true, 'refused', 'primary', `127.0.0.1:${standby.port}`],
      );
      assert.equal((await client.query('SELECT id FROM orders')).rowCount, 5, 'a replica that is behind shows rows');

      await standby.run('SELECT pg_wal_replay_resume()');
      await replayed();
      assert.equal(await refusal(client.query('SELECT id FROM orders')), '42501', 'its role has no right any more');
      // Sessions there are ended by who has the right; without it the lease waits for them.
      const waiting = await revoke(target);
      assert.deepEqual([waiting.state, evidenceOf(waiting).replica_sessions], ['settling', 1]);
      await client.end();
      assert.equal((await ended(target)).evidence.replica_login, 'refused');
      assert.equal(await refusal(login(issued.credential)), '28P01');
    });

    /** A session that was told to end is gone a moment later. */
    const ended = async (target: RevocationTarget) => {
      for (;;) {
        const outcome = await revoke(target);
        if (outcome.state === 'revoked') return outcome;
        assert.equal(outcome.state, 'settling', outcome.state === 'failed' ? outcome.error.message : '');
      }
    };

    test('with pg_signal_backend sessions on the replica are ended too', async () => {
      await shop.run('GRANT pg_signal_backend TO writ_broker');
      const { issued, target } = await onReplica();
      await replayed();
      const client = await login(issued.credential);
      await revoke(target);
      await replayed();
      await ended(target);
      await assert.rejects(client.query('SELECT 1'));
      await shop.run('REVOKE pg_signal_backend FROM writ_broker');
    });

    test('a replica that does not answer leaves the lease to be tried again', async () => {
      const { target } = await onReplica();
      await standby.stop();
      const outcome = await revoke(target);
      assert.ok(outcome.state === 'failed' && outcome.error.retryable);
      await standby.start();
      await ended(target);
    });

    test('failover between mint and revoke: no standby is believed, the new primary is', async () => {
      const [kept, lost] = [await mint(harness, [readOrders]), await mintAfterTheLastReplay()];
      await shop.server.stop();
      harness.gate.pointTo(standby.port);
      const early = await revoke(kept.target);
      assert.ok(early.state === 'failed' && early.error.retryable && early.error.providerCode === '25006');
      await assert.rejects(
        mint(harness, [readOrders]),
        (error: unknown) =>
          error instanceof ProviderError && error.code === 'upstream_unavailable' && !error.mayHaveMinted,
      );
      await standby.run('SELECT pg_promote()');
      const here = { url: String(kept.issued.credential.url).replace(/:\d+\//, `:${standby.port}/`) };
      assert.equal((await asAgent(here, (client) => client.query('SELECT id FROM orders'))).rowCount, 5);
      for (const { target } of [kept, lost]) {
        const outcome = await revoke(target);
        assert.equal(outcome.state, 'revoked', outcome.state === 'failed' ? outcome.error.message : '');
      }
      assert.equal(await refusal(login(here)), '28P01');
      assert.deepEqual(await standby.run(`SELECT 1 FROM pg_roles WHERE rolname LIKE 'writ\\_lse%'`), []);
      assert.equal((await mint(harness, [readOrders])).issued.credential.type, 'postgres', 'and mints again');
    });

    /** The primary dies before the replica has heard of it. */
    async function mintAfterTheLastReplay(): Promise<MintedLease> {
      await replayed();
      await shop.run(`ALTER SYSTEM SET max_wal_senders = 0`);
      await standby.run(`ALTER SYSTEM SET primary_conninfo = ''`);
      await standby.run('SELECT pg_reload_conf()');
      return mint(harness, [readOrders]);
    }
  });

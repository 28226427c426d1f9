/** A PostgreSQL that is away, full, cut off, changed or behind a pooler: a clear error, and no orphan. */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import pg from 'pg';
import { pgbouncerIsHere, startPgbouncer } from '../../broker/store/pgbouncer.test-support.ts';
import { ProviderError, type RevocationTarget } from '../../providers/contract.ts';
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

const readOrders = { table: 'orders', read: ['id', 'amount'], rows: { customer_id: 42 } };

for (const binaries of serversToTest())
  describe(`faults of PostgreSQL ${binaries.version}`, () => {
    // From 16 on connections can be kept for roles that are no superuser.
    const reserves = Number(binaries.version) >= 16;
    let shop: Shop;
    let harness: PostgresHarness;
    before(async () => {
      shop = await openShop(binaries, {
        settings: {
          max_connections: '20',
          superuser_reserved_connections: '3',
          ...(reserves ? { reserved_connections: '3' } : {}),
        },
      });
    });
    after(() => shop.close());
    beforeEach(async () => {
      harness = await startHarness(shop);
    });
    afterEach(async () => {
      await harness.close();
      await shop.reset();
    });

    const fails = async (leaseId?: string): Promise<ProviderError> => {
      try {
        await mint(harness, [readOrders], leaseId === undefined ? {} : { leaseId });
      } catch (error) {
        assert.ok(error instanceof ProviderError, String(error));
        return error;
      }
      return assert.fail('the mint should have failed');
    };
    const revoke = async (target: RevocationTarget) => (await harness.provider.revoke([target], [], never))[0]!;
    const lost = (leaseId: string, like: MintedLease): RevocationTarget => ({
      ...like.target,
      leaseId,
      handle: null,
      secret: null,
    });
    const leaseRoles = () => shop.run(`SELECT rolname FROM pg_roles WHERE rolname LIKE 'writ\\_lse%'`);

    test('a server that is away fails for now; a lease outlives its restart, and ends after it', async () => {
      const lease = await mint(harness, [readOrders]);
      await shop.server.stop();
      const error = await fails();
      assert.deepEqual([error.code, error.retryable, error.mayHaveMinted], ['upstream_unavailable', true, false]);
      const failed = await revoke(lease.target);
      assert.ok(failed.state === 'failed' && failed.error.retryable);
      await shop.server.start();
      assert.equal((await asAgent(lease.issued.credential, (c) => c.query('SELECT id FROM orders'))).rowCount, 5);
      assert.equal((await revoke(lease.target)).state, 'revoked');
      assert.deepEqual(await leaseRoles(), []);
    });

    test('with no connection left it says when to come again', async () => {
      const held: pg.Client[] = [];
      for (;;) {
        const client = new pg.Client({
          connectionString: shop.server.url('shop').replace('postgres@', 'writ_broker:the-brokers-own-password@'),
        });
        client.on('error', () => {});
        const full = await client.connect().then(
          () => false,
          () => true,
        );
        if (full) break;
        held.push(client);
      }
      const error = await fails();
      assert.deepEqual([error.code, error.providerCode, error.retryAfterSeconds], ['upstream_unavailable', '53300', 5]);
      for (const client of held) await client.end();
      assert.equal((await revoke((await mint(harness, [readOrders])).target)).state, 'revoked');
    });

    test('agents who hold every connection keep their leases from no end: rows go by themselves, the role next', async () => {
      const leases = [];
      for (let n = 0; n < 4; n += 1) leases.push(await mint(harness, [readOrders]));
      const held: pg.Client[] = [];
      for (const { issued } of leases)
        for (let n = 0; n < 5; n += 1)
          await login(issued.credential).then(
            (client) => held.push(client),
            () => {},
          );
      assert.equal((await fails()).providerCode, '53300', 'nothing is minted');
      if (reserves) await shop.run('GRANT pg_use_reserved_connections TO writ_broker');
      const outcome = await revoke(leases[0]!.target);
      if (reserves) assert.ok(outcome.state === 'revoked' && outcome.evidence.sessions_ended === 5);
      else assert.ok(outcome.state === 'failed' && outcome.error.retryable && outcome.error.retryAfterSeconds === 5);
      for (const client of held) await client.end().catch(() => {});
      for (const { target } of leases) assert.equal((await revoke(target)).state, 'revoked');
      assert.deepEqual(await leaseRoles(), []);
      if (reserves) await shop.run('REVOKE pg_use_reserved_connections FROM writ_broker');
    });

    test('a mint that is cut off leaves nothing that its lease’s name does not end', async () => {
      const like = await mint(harness, [readOrders]);
      for (const [index, text] of ['CREATE ROLE', 'INSERT INTO', 'COMMIT'].entries()) {
        harness.gate.cutAt(text);
        const leaseId = `lse_cut${index}`;
        const error = await fails(leaseId);
        assert.deepEqual([error.code, error.mayHaveMinted], ['upstream_unavailable', text === 'COMMIT'], text);
        harness.gate.cutAt(null);
        assert.equal((await revoke(lost(leaseId, like))).state, 'revoked');
      }
      assert.deepEqual(await leaseRoles(), [{ rolname: like.issued.credential.user }]);
    });

    test('a commit that the server itself refuses has made nothing', async () => {
      await shop.run(`CREATE FUNCTION public.late() RETURNS trigger LANGUAGE plpgsql AS $late$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '40001'; END $late$;
        CREATE CONSTRAINT TRIGGER late AFTER INSERT ON writ.lease_scope DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.late()`);
      const refused = await fails('lse_late');
      await shop.run('DROP TRIGGER late ON writ.lease_scope; DROP FUNCTION public.late()');
      assert.deepEqual(
        [refused.code, refused.retryable, refused.providerCode, refused.mayHaveMinted],
        ['upstream_unavailable', true, '40001', false],
      );
      assert.deepEqual(await leaseRoles(), []);
    });

    test('a revocation that is cut off at any step is finished by the next', async () => {
      for (const text of ['DELETE FROM', 'ALTER ROLE', 'pg_terminate_backend', 'DROP OWNED', 'DROP ROLE']) {
        const { target } = await mint(harness, [readOrders]);
        harness.gate.cutAt(text);
        const outcome = await revoke(target);
        assert.ok(outcome.state === 'failed' && outcome.error.retryable, text);
        harness.gate.cutAt(null);
        assert.equal((await revoke(target)).state, 'revoked', text);
      }
      assert.deepEqual(await leaseRoles(), []);
    });

    test('renamed and dropped tables keep no lease from its end', async () => {
      const [one, other] = [await mint(harness, [readOrders]), await mint(harness, [readOrders])];
      await shop.run('ALTER TABLE public.orders RENAME TO orders_old');
      assert.equal((await revoke(one.target)).state, 'revoked');
      await shop.run('DROP TABLE public.orders_old CASCADE');
      assert.equal((await revoke(other.target)).state, 'revoked');
      const error = await fails();
      assert.deepEqual([error.code, error.providerCode], ['upstream_refused', '42P01']);
      assert.deepEqual(await leaseRoles(), []);
    });

    for (const mode of ['session', 'transaction'] as const)
      test(`behind PgBouncer, pool_mode = ${mode}`, { skip: !pgbouncerIsHere() }, async () => {
        const bouncer = await startPgbouncer(
          shop.server.url(),
          mode,
          [],
          [
            // A query of an agent whose role is gone is kept waiting by the pooler, and then refused.
            'query_wait_timeout = 1',
            'auth_type = scram-sha-256',
            'auth_user = postgres',
            'auth_query = SELECT usename, passwd FROM pg_shadow WHERE usename = $1',
          ],
        );
        let pooled: PostgresHarness | null = null;
        try {
          const { port } = new URL(bouncer.through(shop.server.url()));
          pooled = await startHarness(shop, {
            WRIT_POSTGRES_URL: `postgres://writ_broker:the-brokers-own-password@127.0.0.1:${port}/shop`,
          });
          const lease = await mint(pooled, [readOrders]);
          const client = new pg.Client({ connectionString: String(lease.issued.credential.url).replace(/\?.*/, '') });
          client.on('error', () => {});
          await client.connect();
          assert.equal((await client.query('SELECT id FROM orders')).rowCount, 5);
          const [outcome] = await pooled.provider.revoke([lease.target], [], never);
          assert.equal(
            outcome?.state,
            'revoked',
            outcome?.state === 'failed' ? `${outcome.error.providerCode} ${outcome.error.providerText}` : '',
          );
          await assert.rejects(client.query('SELECT id FROM orders'));
          assert.match(await refusal(asAgent(lease.issued.credential, (c) => c.query('SELECT 1'))), /^(?:28|08)/);
        } finally {
          await pooled?.close();
          await bouncer.stop();
        }
      });
  });

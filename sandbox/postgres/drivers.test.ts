/** What an agent does with its credential: `pg`, Prisma and psql, over TLS with a certificate authority. */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { PrismaPg } from '@prisma/adapter-pg';
import pg from 'pg';
import { readCredential } from '../../client/credentials.ts';
import type { Grant } from '../../client/grant.ts';
import { postgresOptions } from '../../client/index.ts';
import { ProviderError } from '../../providers/contract.ts';
import {
  brokerPassword,
  mint,
  never,
  openShop,
  type PostgresHarness,
  type Shop,
  serversToTest,
  startHarness,
} from '../../providers/postgres/harness.test-support.ts';
import { startPostgres } from './start.ts';

const repository = join(import.meta.dirname, '../..');
const readOrders = { table: 'orders', read: ['id', 'customer_id', 'amount'], rows: { customer_id: 42 } };

for (const binaries of serversToTest())
  describe(`drivers and TLS on PostgreSQL ${binaries.version}`, () => {
    let folder: string;
    let shop: Shop;
    const harnesses: PostgresHarness[] = [];
    before(async () => {
      folder = mkdtempSync(join(tmpdir(), 'writ-drivers-'));
      for (const name of ['ca', 'other-ca']) openssl('req', '-x509', ...newKey(name), '-out', `${name}.crt`);
      openssl('req', '-new', ...newKey('server'), '-out', 'server.csr');
      writeFileSync(join(folder, 'names'), 'subjectAltName=IP:127.0.0.1');
      const signing = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', 'names'];
      openssl('x509', '-req', '-in', 'server.csr', ...signing, '-out', 'server.crt');
      const tls = { certificate: pem('server.crt'), key: pem('server.key') };
      shop = await openShop(binaries, { tls });
    });
    after(async () => {
      for (const harness of harnesses) await harness.close();
      await shop?.close();
      rmSync(folder, { recursive: true });
    });

    const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' });
    const newKey = (name: string) => [
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-keyout',
      `${name}.key`,
      '-subj',
      `/CN=${name}`,
    ];
    const pem = (name: string) => readFileSync(join(folder, name), 'utf8');
    /** A provider that verifies the server's certificate. */
    const verifying = async (ca: string, host = '127.0.0.1', port = shop.server.port) => {
      const harness = await startHarness(shop, {
        WRIT_POSTGRES_URL: `postgres://writ_broker:${brokerPassword}@${host}:${port}/shop?sslmode=verify-full`,
        WRIT_POSTGRES_CA_FILE: join(folder, ca),
      });
      harnesses.push(harness);
      return harness;
    };
    const grantOn = async (harness: PostgresHarness) => {
      const { issued, target } = await mint(harness, [readOrders]);
      const grant = { id: 'gnt_1', credential: readCredential(issued.credential) } as unknown as Grant;
      return { grant, issued, target };
    };
    const refusedBy = async (harness: PostgresHarness) => {
      const error = await mint(harness, [readOrders]).then(
        () => assert.fail('it should have been refused'),
        (thrown: unknown) => thrown,
      );
      assert.ok(error instanceof ProviderError);
      return [error.code, error.mayHaveMinted, error.message];
    };

    test('pg verifies the server with the certificate authority that came with the credential', async () => {
      const harness = await verifying('ca.crt');
      const { grant, issued, target } = await grantOn(harness);
      assert.deepEqual([issued.credential.sslmode, issued.credential.ssl_root_cert], ['verify-full', pem('ca.crt')]);
      const client = new pg.Client(postgresOptions(grant));
      await client.connect();
      const { rows } = await client.query(
        'SELECT ssl, (SELECT count(*)::int FROM orders) AS seen FROM pg_stat_ssl WHERE pid = pg_backend_pid()',
      );
      assert.deepEqual(rows, [{ ssl: true, seen: 5 }]);
      await client.end();
      const [outcome] = await harness.provider.revoke([target], [], never);
      assert.equal(outcome?.state, 'revoked');
    });

    test('a server that proves nothing is not talked to', async () => {
      const failed = 'the TLS connection to PostgreSQL failed while making the role of a lease';
      const refused = ['upstream_refused', false, failed];
      assert.deepEqual(await refusedBy(await verifying('other-ca.crt')), refused, 'of another authority');
      assert.deepEqual(await refusedBy(await verifying('ca.crt', 'localhost')), refused, 'under another name');
      const plain = await startPostgres(binaries);
      try {
        assert.deepEqual(await refusedBy(await verifying('ca.crt', '127.0.0.1', plain.port)), refused, 'without TLS');
      } finally {
        await plain.close();
      }
    });

    test('psql connects with the service file', { skip: !psqlIsHere() && 'psql is not installed' }, async () => {
      const { issued } = await grantOn(await verifying('ca.crt'));
      writeFileSync(
        join(folder, 'service.conf'),
        `${issued.credential.service_file}sslrootcert=${join(folder, 'ca.crt')}\n`,
      );
      const env = { PATH: process.env.PATH, PGSERVICEFILE: join(folder, 'service.conf'), PGSERVICE: 'writ' };
      const { stdout } = await promisify(execFile)('psql', ['-XAtc', 'SELECT DISTINCT customer_id FROM orders'], {
        env,
      });
      assert.equal(stdout, '42\n');
    });

    test('Prisma reads the rows of the scope, and what it may not do fails', async () => {
      const { grant, target } = await grantOn(await verifying('ca.crt'));
      const { PrismaClient } = await import(generateClient(folder));
      const prisma = new PrismaClient({ adapter: new PrismaPg({ ...postgresOptions(grant), max: 2 }) });
      const customers = await prisma.order.findMany({ select: { customerId: true }, distinct: ['customerId'] });
      assert.deepEqual(customers, [{ customerId: 42n }]);
      assert.equal(await prisma.order.count({ where: { customerId: 7n } }), 0);
      const [, many] = await prisma.$transaction([prisma.$queryRaw`SELECT 1`, prisma.order.count()]);
      assert.equal(many, 5);
      await assert.rejects(prisma.order.updateMany({ data: { amount: 0 } }), /permission denied|read-only/);
      const [outcome] = await harnesses.at(-1)!.provider.revoke([target], [], never);
      assert.equal(outcome?.state, 'revoked');
      await assert.rejects(prisma.order.count());
      await prisma.$disconnect();
    });
  });

function psqlIsHere(): boolean {
  try {
    execFileSync('psql', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Prisma's client for the shop, generated as the broker's is (scripts/generate-prisma.ts). */
function generateClient(folder: string): string {
  writeFileSync(
    join(folder, 'schema.prisma'),
    `generator client {
  provider = "prisma-client"
  output   = "./client"
}
datasource db {
  provider = "postgresql"
}
model Order {
  id         BigInt  @id
  customerId BigInt? @map("customer_id")
  amount     Decimal
  @@map("orders")
}
`,
  );
  symlinkSync(join(repository, 'node_modules'), join(folder, 'node_modules'));
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  execFileSync(
    process.execPath,
    [join(repository, 'scripts/toolchain/node_modules/prisma/build/index.js'), 'generate', '--schema', 'schema.prisma'],
    {
      cwd: folder,
      stdio: 'pipe',
      env: {
        ...process.env,
        PRISMA_SCHEMA_ENGINE_BINARY: process.execPath,
        CHECKPOINT_DISABLE: '1',
        PRISMA_HIDE_UPDATE_MESSAGE: '1',
        PRISMA_ENGINES_CHECKSUM_IGNORE_MISSING: '1',
      },
    },
  );
  return join(folder, 'client/client.ts');
}

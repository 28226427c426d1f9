/** A prepared shop on a private server, a provider before it, and agents that log in for real. */
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { manualClock } from '../../broker/core/clock.ts';
import { type Binaries, installedServers, newestOfNpm } from '../../sandbox/postgres/binaries.ts';
import { shopRolesSql, shopTablesSql } from '../../sandbox/postgres/data.ts';
import { type Gate, startGate } from '../../sandbox/postgres/gate.ts';
import { type PostgresSandbox, type PostgresSandboxOptions, startPostgres } from '../../sandbox/postgres/start.ts';
import type { Issued, Json, JsonObject, Provider, RevocationTarget } from '../contract.ts';
import { postgres } from './index.ts';
import { applyPreparation, type TableToPrepare } from './prepare.ts';
import { readTarget, type Target } from './target.ts';

export const brokerPassword = 'the-brokers-own-password';
export const adminPassword = 'admin-password';
export const never = new AbortController().signal;

/** What the shop's admin prepares. */
export const shopTables: TableToPrepare[] = [
  { schema: 'public', table: 'orders', through: 'policy', columns: ['customer_id'] },
  { schema: 'public', table: 'customers', through: 'policy', columns: ['id'] },
  { schema: 'public', table: 'countries', through: 'policy', columns: [] },
  { schema: 'public', table: 'payments', through: 'view', columns: ['customer_id'] },
  { schema: 'public', table: 'totals', through: 'view', columns: ['customer_id'] },
];

/** Where there is a server to test with; with REQUIRE_SERVICES=1 there must be. */
export function serversToTest(): Binaries[] {
  const servers = installedServers();
  if (process.env.REQUIRE_SERVICES !== '1') return servers;
  if (servers.length === 0) throw new Error('PostgreSQL is not installed and REQUIRE_SERVICES=1');
  // npm passes over an optional dependency that it cannot install without a word.
  if (`${process.platform}-${process.arch}` === 'linux-x64' && !servers.some(({ version }) => version === newestOfNpm))
    throw new Error(`PostgreSQL ${newestOfNpm} of npm is not installed and REQUIRE_SERVICES=1`);
  return servers;
}

export interface Shop {
  server: PostgresSandbox;
  admin: Target;
  /** Statements as the superuser, in the shop's database. */
  run: PostgresSandbox['run'];
  /** Puts the database back to what it was when the shop was opened; roles of leases go. */
  reset(): Promise<void>;
  close(): Promise<void>;
}

/** A server with the shop in it, prepared by an admin who is no superuser. */
export async function openShop(binaries: Binaries, options: PostgresSandboxOptions = {}): Promise<Shop> {
  const server = await startPostgres(binaries, options);
  try {
    return await prepareShop(server);
  } catch (error) {
    await server.close();
    throw error;
  }
}

async function prepareShop(server: PostgresSandbox): Promise<Shop> {
  await server.run(shopRolesSql);
  await server.run('CREATE DATABASE shop');
  await server.run(shopTablesSql, undefined, 'shop');
  const admin = targetOf(`postgres://shop_admin:${adminPassword}@127.0.0.1:${server.port}/shop`);
  const prepared = { admin, ca: null, broker: 'writ_broker', brokerPassword, tables: shopTables, signal: never };
  await applyPreparation(prepared);
  await server.run('CREATE DATABASE shop_as_prepared TEMPLATE shop');
  return {
    server,
    admin,
    run: (text, values, database = 'shop') => server.run(text, values, database),
    reset: async () => {
      // One connection for all of it: a server process for each statement costs more than the statements.
      const client = new pg.Client({ connectionString: server.url() });
      await client.connect();
      try {
        await client.query('DROP DATABASE shop WITH (FORCE)');
        await dropLeaseRoles(client);
        await client.query('CREATE DATABASE shop TEMPLATE shop_as_prepared');
        await client.query(`GRANT CREATE ON DATABASE shop TO shop_admin;
          ALTER ROLE writ_broker CREATEROLE CONNECTION LIMIT -1 PASSWORD ${pg.escapeLiteral(brokerPassword)}`);
      } finally {
        await client.end();
      }
    },
    close: () => server.close(),
  };
}

/** A test's server goes on to the next test without what the last one left. */
async function dropLeaseRoles(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT quote_ident(rolname) AS name FROM pg_roles WHERE rolname LIKE 'writ\\_%' AND rolname NOT IN ('writ_broker', 'writ_leases')`,
  );
  const statements = rows.map(({ name }) => `DROP OWNED BY ${name}; DROP ROLE ${name}`);
  if (statements.length > 0) await client.query(statements.join('; '));
}

export function targetOf(url: string): Target {
  const target = readTarget(url);
  if (typeof target === 'string') throw new Error(target);
  return target;
}

export interface PostgresHarness {
  shop: Shop;
  gate: Gate;
  provider: Provider;
  clock: ReturnType<typeof manualClock>;
  close(): Promise<void>;
}

/** @param environment settings besides the connection, which goes through a gate */
export async function startHarness(shop: Shop, environment: { [name: string]: string } = {}): Promise<PostgresHarness> {
  const gate = await startGate(shop.server.port);
  const clock = manualClock(new Date());
  const settings = postgres.settings.parse({
    WRIT_POSTGRES_URL: `postgres://writ_broker:${brokerPassword}@127.0.0.1:${gate.port}/shop`,
    ...environment,
  });
  const signIdentityToken = () => Promise.reject(new Error('PostgreSQL needs no identity token'));
  const provider = postgres.create(settings, { clock, signIdentityToken });
  return { shop, gate, provider, clock, close: () => gate.close() };
}

export interface MintedLease {
  issued: Issued;
  target: RevocationTarget;
}

/** @param tables as in a capability's parameters */
export async function mint(
  { provider, clock }: Pick<PostgresHarness, 'provider' | 'clock'>,
  tables: Json,
  { leaseId = newLeaseId(), ttl = 900, more = {} }: { leaseId?: string; ttl?: number; more?: JsonObject } = {},
): Promise<MintedLease> {
  const plan = provider.plan(provider.params.parse({ tables, ...more }), ttl);
  const intentAt = clock.now();
  const issued = await provider.issue({ plan, leaseId, sessionId: 'ses_1', agent: 'test-bot', signal: never });
  return {
    issued,
    target: {
      leaseId,
      plan,
      handle: issued.handle,
      secret: issued.secret ?? null,
      reserved: null,
      intentAt,
      providerExpiresAt: issued.providerExpiresAt,
      settlingSince: null,
    },
  };
}

export const newLeaseId = (): string => `lse_${randomBytes(10).toString('hex')}`;

/** Logs in as the agent does. The caller ends it. */
export async function login(credential: JsonObject): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: String(credential.url).replace(/\?.*/, '') });
  client.on('error', () => {});
  await client.connect();
  return client;
}

/** Logs in, asks, and leaves. */
export async function asAgent<T>(credential: JsonObject, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = await login(credential);
  try {
    return await work(client);
  } finally {
    await client.end().catch(() => {});
  }
}

/** The SQLSTATE with which the server refuses; fails when it does not. */
export async function refusal(call: Promise<unknown>): Promise<string> {
  try {
    await call;
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === undefined) throw error;
    return code;
  }
  throw new Error('the server should have refused');
}

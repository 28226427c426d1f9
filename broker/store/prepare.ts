/**
 * Prepares a PostgreSQL database for two roles: one owns the schema and migrates it, the other is what
 * brokers run as. Whoever has the second alone can neither change history nor the schema. Idempotent: run it
 * again with every release.
 */
import { randomInt } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import pg from 'pg';
import { scramVerifier } from '../core/scram-verifier.ts';
import { migrate } from './migrate.ts';
import { findPooling } from './pooler.ts';
import { runtimeFunctions, runtimeRights } from './runtime-rights.ts';
import { compareSchema, readMigrations } from './schema-version.ts';

export interface PrepareOptions {
  /** A superuser, or a role with CREATEROLE that owns the database. */
  databaseUrl: string;
  schema: string;
  migrationRole: string;
  runtimeRole: string;
  /** Set for the runtime role; null = leave as it is. */
  runtimePassword: string | null;
}

export interface Preparation {
  /** SQL in the order in which it runs; passwords are not in it. */
  statements: string[];
  /** Migrations that the database lacks, applied as the migration role before the rights are given. */
  pending: string[];
}

interface Found {
  /** The role that the command runs as. */
  who: string;
  superuser: boolean;
  database: string;
  migrationRole: boolean;
  runtimeRole: boolean;
  /** Whether the role that the command runs as may become the migration role. */
  mayMigrate: boolean;
  schemaOwner: string | null;
  /** `ALTER` of each object of ours that somebody else owns. */
  foreign: string[];
  /** Other schemas where everybody, or the runtime role, may make things: `public`, before PostgreSQL 15. */
  open: string[];
}

/** Why the runtime role would not be held down by this. In whole sentences for an operator. */
export class UnsuitableRole extends Error {}

/** Shows what `applyPreparation` would do now. No effect. @throws UnsuitableRole */
export async function planPreparation(options: PrepareOptions): Promise<Preparation> {
  return connected(options, async (client) => {
    const found = await look(client, options);
    return {
      statements: [...makeRoles(options, found), ...giveRights(options)],
      pending: await pendingOf(client, options),
    };
  });
}

/** @throws UnsuitableRole; Error when the role of the command may not do it: then nothing was changed */
export async function applyPreparation(options: PrepareOptions): Promise<Preparation> {
  return connected(options, async (client) => {
    const roles = await oneAtATime(client, async () => {
      const statements = makeRoles(options, await look(client, options));
      for (const statement of statements) await client.query(statement);
      if (options.runtimePassword !== null)
        await client.query(
          `ALTER ROLE ${quoted(options.runtimeRole)} PASSWORD ${pg.escapeLiteral(scramVerifier(options.runtimePassword))}`,
        );
      return statements;
    });
    const become = `SET ROLE ${quoted(options.migrationRole)}`;
    await client.query(become);
    const pending = await migrate(
      { exec: (script) => client.query(script), query: (text, values) => client.query(text, values ?? []) as never },
      { schema: options.schema, say: () => {} },
    );
    const rights = giveRights(options);
    await oneAtATime(client, async () => {
      for (const statement of rights) await client.query(statement);
    });
    return { statements: [...roles, ...rights], pending };
  });
}

function makeRoles(options: PrepareOptions, found: Found): string[] {
  const [migration, runtime, schema] = [options.migrationRole, options.runtimeRole, options.schema].map(quoted);
  const database = quoted(found.database);
  return [
    ...(found.migrationRole ? [] : [`CREATE ROLE ${migration} NOLOGIN`]),
    ...(found.runtimeRole ? [] : [`CREATE ROLE ${runtime} LOGIN`]),
    ...(found.mayMigrate ? [] : [`GRANT ${migration} TO CURRENT_USER`]),
    `REVOKE CREATE, TEMPORARY ON DATABASE ${database} FROM PUBLIC, ${runtime}`,
    `GRANT CONNECT ON DATABASE ${database} TO ${runtime}`,
    ...found.open.map((name) => `REVOKE CREATE ON SCHEMA ${quoted(name)} FROM PUBLIC, ${runtime}`),
    ...(found.schemaOwner === null
      ? [`CREATE SCHEMA ${schema} AUTHORIZATION ${migration}`]
      : found.schemaOwner === options.migrationRole
        ? []
        : [`ALTER SCHEMA ${schema} OWNER TO ${migration}`]),
    ...found.foreign,
  ];
}

/** Runs as the owner of the tables, who alone may give rights on them. */
function giveRights({ schema, runtimeRole }: PrepareOptions): string[] {
  const [within, runtime] = [quoted(schema), quoted(runtimeRole)];
  const grants = Object.entries(runtimeRights).map(([table, rights]) => {
    const list = [
      'SELECT',
      ...(rights.insert === true ? ['INSERT'] : []),
      ...(rights.delete === true ? ['DELETE'] : []),
      ...(rights.update === undefined ? [] : [`UPDATE (${rights.update.map(quoted).join(', ')})`]),
    ];
    return `GRANT ${list.join(', ')} ON ${within}.${quoted(table)} TO ${runtime}`;
  });
  return [
    `REVOKE ALL ON SCHEMA ${within} FROM PUBLIC, ${runtime}`,
    `GRANT USAGE ON SCHEMA ${within} TO ${runtime}`,
    `REVOKE ALL ON ALL TABLES IN SCHEMA ${within} FROM PUBLIC, ${runtime}`,
    `REVOKE ALL ON ALL SEQUENCES IN SCHEMA ${within} FROM PUBLIC, ${runtime}`,
    `REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ${within} FROM PUBLIC, ${runtime}`,
    ...grants,
    ...runtimeFunctions.map((signature) => `GRANT EXECUTE ON FUNCTION ${within}.${signature} TO ${runtime}`),
    `GRANT SELECT ON ${within}."_prisma_migrations" TO ${runtime}`,
  ];
}

async function look(client: pg.Client, options: PrepareOptions): Promise<Found> {
  const { migrationRole, runtimeRole, schema } = options;
  if (migrationRole === runtimeRole) throw new UnsuitableRole('The two roles must be two: give them different names.');
  const roles = await client.query<{
    rolname: string;
    powers: string | null;
    member_of: string | null;
    may_become: boolean;
  }>(
    `SELECT rolname,
       nullif(concat_ws(', ', CASE WHEN rolsuper THEN 'is a superuser' END, CASE WHEN rolcreaterole THEN 'may create roles' END,
              CASE WHEN rolcreatedb THEN 'may create databases' END, CASE WHEN rolreplication THEN 'may replicate' END,
              CASE WHEN rolbypassrls THEN 'bypasses row security' END,
              CASE WHEN EXISTS (SELECT 1 FROM pg_database WHERE datname = current_database() AND datdba = r.oid) THEN 'owns the database' END), '') AS powers,
       (SELECT string_agg(m.roleid::regrole::text, ', ') FROM pg_auth_members m WHERE m.member = r.oid) AS member_of,
       pg_has_role(r.oid, 'MEMBER') AS may_become
     FROM pg_roles r WHERE rolname IN ($1, $2)`,
    [migrationRole, runtimeRole],
  );
  const { rows: here } = await client.query<{
    who: string;
    superuser: boolean;
    database: string;
    owner: string | null;
  }>(
    `SELECT current_user AS who, rolsuper AS superuser, current_database() AS database,
            (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = $1) AS owner
     FROM pg_roles WHERE rolname = current_user`,
    [schema],
  );
  const { who, superuser, database, owner } = here[0]!;
  const [migration, runtime] = [migrationRole, runtimeRole].map((name) =>
    roles.rows.find((row) => row.rolname === name),
  );
  if (who === runtimeRole)
    throw new UnsuitableRole(`DATABASE_URL is of ${who}, the role to be held down: use one of an administrator.`);
  const name = 'Give the broker another role: --runtime-role NAME.';
  if (runtime !== undefined && runtime.powers !== null)
    throw new UnsuitableRole(
      `The role ${runtimeRole} ${runtime.powers}, so that no right can be kept from it. ${name}`,
    );
  if (runtime !== undefined && runtime.member_of !== null)
    throw new UnsuitableRole(`The role ${runtimeRole} has the rights of ${runtime.member_of}. ${name}`);
  const { rows: foreign } = await client.query<{ statement: string }>(
    `SELECT format('ALTER TABLE %I.%I OWNER TO %I', $1::text, c.relname, $2::text) AS statement
     FROM pg_class c WHERE c.relnamespace = to_regnamespace(quote_ident($1)) AND c.relname = ANY($3::text[]) AND pg_get_userbyid(c.relowner) <> $2
     UNION ALL
     SELECT format('ALTER FUNCTION %I.%I(%s) OWNER TO %I', $1::text, p.proname, pg_get_function_identity_arguments(p.oid), $2::text)
     FROM pg_proc p WHERE p.pronamespace = to_regnamespace(quote_ident($1)) AND p.proname LIKE 'writ\\_%' AND pg_get_userbyid(p.proowner) <> $2
     ORDER BY 1`,
    [schema, migrationRole, [...Object.keys(runtimeRights), '_prisma_migrations']],
  );
  const { rows: open } = await client.query<{ name: string }>(
    `SELECT n.nspname AS name FROM pg_namespace n, LATERAL aclexplode(n.nspacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
     WHERE a.privilege_type = 'CREATE' AND (a.grantee = 0 OR r.rolname = $2) AND n.nspname <> $1 GROUP BY 1 ORDER BY 1`,
    [schema, runtimeRole],
  );
  return {
    who,
    superuser,
    database,
    migrationRole: migration !== undefined,
    runtimeRole: runtime !== undefined,
    mayMigrate: superuser || migration?.may_become === true,
    schemaOwner: owner,
    foreign: foreign.map(({ statement }) => statement),
    open: open.map(({ name }) => name),
  };
}

async function pendingOf(client: pg.Client, { schema }: PrepareOptions): Promise<string[]> {
  const own = (await readMigrations()).map(({ name }) => name);
  const { rows } = await client.query<{ there: boolean }>(
    `SELECT to_regclass(format('%I._prisma_migrations', $1::text)) IS NOT NULL AS there`,
    [schema],
  );
  if (rows[0]?.there !== true) return own;
  const applied = await client.query<{ name: string; finished: boolean }>(
    `SELECT migration_name AS name, finished_at IS NOT NULL AS finished FROM ${quoted(schema)}._prisma_migrations WHERE rolled_back_at IS NULL`,
  );
  return compareSchema(own, applied.rows).pending;
}

/** Of this command; migrations have their own. */
const lockKey = 72_707_370;

/**
 * Each failed try means that somebody else's succeeded: more than that many commands for one role at the same
 * moment are not expected.
 */
const mostTries = 50;
const pauseMs = { least: 20, most: 200 };

/**
 * A transaction that waits for the same of another process: what it finds is as that one left it. Roles are
 * of the whole server, a lock is of its database: of two that change the same role at once, PostgreSQL
 * refuses one instead of letting it wait, and that one tries again.
 */
async function oneAtATime<T>(client: pg.Client, work: () => Promise<T>, tries = mostTries): Promise<T> {
  await client.query('BEGIN ISOLATION LEVEL READ COMMITTED');
  try {
    await client.query('SELECT pg_advisory_xact_lock($1)', [lockKey]);
    const done = await work();
    await client.query('COMMIT');
    return done;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {});
    if (tries <= 1 || !isMadeMeanwhile(error)) throw error;
    await setTimeout(randomInt(pauseMs.least, pauseMs.most));
    return oneAtATime(client, work, tries - 1);
  }
}

/** A role that was not there when it was looked for, or rights that somebody else is giving. */
function isMadeMeanwhile(error: unknown): boolean {
  const { code, message } = error as { code?: string; message?: string };
  return (
    code === '23505' ||
    code === '42710' ||
    code === '40P01' ||
    (code === 'XX000' && /concurrently updated/.test(message ?? ''))
  );
}

async function connected<T>(options: PrepareOptions, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const connect = async (): Promise<pg.Client> => {
    const client = new pg.Client({
      connectionString: options.databaseUrl,
      connectionTimeoutMillis: 5_000,
      application_name: 'writ database prepare',
    });
    client.on('error', () => {});
    await client.connect();
    return client;
  };
  const client = await connect();
  try {
    // Who it has become would be whoever gets the connection next.
    if ((await findPooling(client, connect)) === 'transaction')
      throw new UnsuitableRole(
        'DATABASE_URL leads through a pooler that hands connections on after each transaction: give the address of the server itself.',
      );
    return await work(client);
  } finally {
    await client.end();
  }
}

const quoted = (name: string): string => pg.escapeIdentifier(name);

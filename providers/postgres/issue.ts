/** Mints one role, cut down to a plan, in one transaction. */
import { randomBytes } from 'node:crypto';
import { type IssueContext, type Issued, ProviderError } from '../contract.ts';
import { type Connection, inTransaction } from './connection.ts';
import { credentialFor } from './credential.ts';
import { asProviderError } from './errors.ts';
import { asBroker, type Ground } from './ground.ts';
import { identifier, leaseGroup, leaseRole, literal, ownSchema } from './names.ts';
import { setPassword } from './password.ts';
import { permissionOf, readsOnly, relationOf } from './plan.ts';
import { assertExactRights, ensureProfile } from './profile.ts';
import { type FoundRelation, findRelations } from './relations.ts';
import type { PostgresSettings } from './settings.ts';

/**
 * How long past the lease's end the role is still ended by the broker. The server shows no row and takes no
 * login after the end, but a role is only dropped when somebody drops it.
 */
export const endedByUsForMs = 24 * 3600_000;

export async function issue(ground: Ground, { plan, leaseId, signal }: IssueContext): Promise<Issued> {
  const { settings, clock, serverClock } = ground;
  const permission = permissionOf(plan);
  const role = leaseRole(settings.WRIT_POSTGRES_ROLE_PREFIX, leaseId);
  // 256 bits of chance, in characters that need no quoting anywhere.
  const password = randomBytes(32).toString('base64url');
  const askedAt = clock.now();
  try {
    const { oid, ends } = await asBroker(ground, mintName(leaseId), signal, (connection) =>
      inTransaction(connection, async () => {
        const now = await primaryTime(connection);
        serverClock.observe(now, askedAt);
        const lastsUntil = new Date(now.getTime() + plan.ttl_seconds * 1000);
        const relations = await findRelations(connection, permission.tables);
        const profile = await ensureProfile(connection, settings.WRIT_POSTGRES_ROLE_PREFIX, relations);
        await makeRole(connection, settings, { role, profile, password, ends: lastsUntil }, permission);
        await giveRows(connection, role, relations, lastsUntil);
        await assertExactRights(connection, role, relations);
        return { oid: await assertEnd(connection, role, lastsUntil), ends: lastsUntil };
      }),
    );
    const byOurs = serverClock.byOurs(ends).getTime();
    const expiresAt = new Date(Math.min(byOurs, askedAt.getTime() + plan.ttl_seconds * 1000));
    return {
      credential: credentialFor(settings, permission, { role, password, expiresAt }),
      expiresAt,
      providerExpiresAt: new Date(ends.getTime() + endedByUsForMs),
      handle: { role, role_oid: oid },
      secret: password,
    };
  } catch (error) {
    throw asProviderError(error, { signal, doing: 'making the role of a lease' });
  }
}

/** What a mint's connection is called on the server: the end of a lost lease looks for it. */
export const mintName = (leaseId: string): string => `writ mint ${leaseId}`.slice(0, 60);

/** The server's time. @throws ProviderError where the server is a standby: after a failover, say */
export async function primaryTime(connection: Connection): Promise<Date> {
  const { rows } = await connection.query<{ now: Date; standby: boolean }>(
    'SELECT clock_timestamp() AS now, pg_is_in_recovery() AS standby',
  );
  const { now, standby } = rows[0]!;
  if (standby)
    throw new ProviderError('upstream_unavailable', 'PostgreSQL: this server is a standby, and no primary now', {
      providerCode: '25006',
    });
  return now;
}

async function makeRole(
  connection: Connection,
  settings: PostgresSettings,
  { role, profile, password, ends }: { role: string; profile: string; password: string; ends: Date },
  permission: Parameters<typeof readsOnly>[0],
): Promise<void> {
  const name = identifier(role);
  const schemas = [...new Set(permission.tables.map((planned) => relationOf(planned).schema))];
  const defaults = {
    statement_timeout: literal(`${settings.WRIT_POSTGRES_STATEMENT_SECONDS}s`),
    lock_timeout: literal(`${settings.WRIT_POSTGRES_LOCK_SECONDS}s`),
    idle_in_transaction_session_timeout: literal(`${settings.WRIT_POSTGRES_IDLE_SECONDS}s`),
    ...(readsOnly(permission) ? { default_transaction_read_only: 'on' } : {}),
    // Temporary tables last, where they stand for none of the plan's.
    search_path: [...schemas.map(identifier), 'pg_temp'].join(', '),
  };
  await connection.query(
    [
      `CREATE ROLE ${name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT CONNECTION LIMIT ${settings.WRIT_POSTGRES_CONNECTIONS} VALID UNTIL ${literal(ends.toISOString())} IN ROLE ${identifier(leaseGroup)}, ${identifier(profile)}`,
      ...Object.entries(defaults).map(([setting, value]) => `ALTER ROLE ${name} SET ${setting} = ${value}`),
    ].join('; '),
  );
  await setPassword(connection, role, password);
}

export async function giveRows(
  connection: Connection,
  role: string,
  relations: FoundRelation[],
  ends: Date,
): Promise<void> {
  const rows = relations.flatMap(({ planned, scopeOid }) => {
    const scope = Object.entries(planned.rows);
    const given = scope.length === 0 ? [['', ''] as const] : scope;
    return given.map(([column, value]) => ({ relation: scopeOid, column, value: String(value) }));
  });
  const { rows: written } = await connection.query<{ expires_at: Date }>(
    `INSERT INTO ${ownSchema}.lease_scope (role_name, relation, column_name, value, expires_at)
     SELECT $1, g.relation, g.column_name, g.value, $5::timestamptz FROM unnest($2::oid[], $3::text[], $4::text[]) AS g (relation, column_name, value)
     RETURNING expires_at`,
    [role, rows.map((row) => row.relation), rows.map((row) => row.column), rows.map((row) => row.value), ends],
  );
  if (written.length !== rows.length || written.some((row) => row.expires_at.getTime() !== ends.getTime()))
    throw new ProviderError(
      'upstream_mismatch',
      'Not the plan: the rows were given until another end; nothing was made',
    );
}

/** @returns the role's oid, by which its sessions are known even when its name is gone */
async function assertEnd(connection: Connection, role: string, ends: Date): Promise<string> {
  const { rows } = await connection.query<{ oid: string; until: Date | null }>(
    'SELECT oid::text AS oid, rolvaliduntil AS until FROM pg_roles WHERE rolname = $1',
    [role],
  );
  if (rows[0]?.until?.getTime() !== ends.getTime())
    throw new ProviderError('upstream_mismatch', 'Not the plan: the role ends at another time; nothing was made');
  return rows[0].oid;
}

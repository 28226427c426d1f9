/**
 * Ends leases' roles. The order matters: the rows go first, because that ends sessions' sight at their next
 * statement; then the login, so that no session comes after those that are terminated; then the sessions; and
 * the role last, because sessions outlive their role.
 */
import {
  type JsonObject,
  type ProbeOutcome,
  ProviderError,
  type RevocationOutcome,
  type RevocationTarget,
} from '../contract.ts';
import { type Connection, connected, inTransaction } from './connection.ts';
import { asProviderError } from './errors.ts';
import { asBroker, type Ground } from './ground.ts';
import { mintName, primaryTime } from './issue.ts';
import { tryLogin } from './login.ts';
import { identifier, leaseRole, literal, ownSchema } from './names.ts';
import { permissionOf } from './plan.ts';
import { replicaOutcome } from './replica.ts';
import type { PostgresSettings } from './settings.ts';

/** The target's connections are for those who use it. */
const atOnce = 4;

export async function revokeRoles(
  ground: Ground,
  due: RevocationTarget[],
  signal: AbortSignal,
): Promise<RevocationOutcome[]> {
  const outcomes: RevocationOutcome[] = [];
  const failed = (error: unknown): RevocationOutcome => ({
    state: 'failed',
    error: asProviderError(error, { signal, doing: 'ending the role of a lease' }),
  });
  let next = 0;
  const work = () =>
    asBroker(ground, 'writ revoke', signal, async (connection) => {
      for (let index = next++; index < due.length; index = next++)
        outcomes[index] = await endRole(ground, connection, due[index]!, signal).catch(failed);
    });
  // Nobody waits for the first to be done with: all are blind before any is proven to be gone.
  try {
    if (due.length > 1)
      await asBroker(ground, 'writ revoke', signal, (connection) => blindAll(ground, connection, due));
    await Promise.all(Array.from({ length: Math.min(atOnce, due.length) }, work));
  } catch (error) {
    for (let index = 0; index < due.length; index += 1) outcomes[index] ??= failed(error);
  }
  return outcomes;
}

/** Whether the credential still works, asked with the credential itself. Throws where neither was said. */
export async function probeRole(
  { settings }: Ground,
  target: RevocationTarget,
  signal: AbortSignal,
): Promise<ProbeOutcome> {
  // Not knowing is not proof of death.
  if (target.secret === null) return { alive: true, evidence: { reason: 'password_unknown' } };
  const role = roleOf(settings, target);
  try {
    const login = { role, password: target.secret };
    const { accepted, evidence } = await tryLogin(settings, settings.WRIT_POSTGRES_URL, login, signal);
    return { alive: accepted, evidence: { role, ...evidence } };
  } catch (error) {
    throw asProviderError(error, { signal, doing: 'trying a password' });
  }
}

export const roleOf = (settings: PostgresSettings, { leaseId }: Pick<RevocationTarget, 'leaseId'>): string =>
  leaseRole(settings.WRIT_POSTGRES_ROLE_PREFIX, leaseId);

async function blindAll({ settings }: Ground, connection: Connection, due: RevocationTarget[]): Promise<void> {
  await inTransaction(connection, async () => {
    await primaryTime(connection);
    await connection.query(`DELETE FROM ${ownSchema}.lease_scope WHERE role_name = ANY ($1::name[])`, [
      due.map((target) => roleOf(settings, target)),
    ]);
  });
}

async function endRole(
  ground: Ground,
  connection: Connection,
  target: RevocationTarget,
  signal: AbortSignal,
): Promise<RevocationOutcome> {
  const { settings, clock } = ground;
  const role = roleOf(settings, target);
  // A mint whose answer was lost may still be under way: its transaction ends with its connection.
  if (target.handle === null) await terminateMint(connection, target.leaseId);
  const oid = (await blindAndBar(ground, connection, role)) ?? roleOid(target.handle);
  const sessions = oid === null ? 0 : await terminateSessions(connection, oid);
  const tried =
    target.secret === null
      ? { login: 'not tried: nobody has the password' }
      : await assertRefused(settings, { role, password: target.secret }, signal);
  // Who was being let in while the login was taken away is in by now.
  const late = oid === null ? 0 : await terminateSessions(connection, oid);
  await dropRole(ground, connection, role, signal);
  const proof = await assertGone(connection, role, oid);
  const evidence = {
    role,
    sessions_ended: sessions + late,
    ...tried,
    ...proof,
    at: clock.now().toISOString(),
  };
  return permissionOf(target.plan).server === 'replica'
    ? replicaOutcome(ground, connection, { role, oid, password: target.secret, evidence }, signal)
    : { state: 'revoked', evidence };
}

const roleOid = (handle: JsonObject | null): string | null =>
  typeof handle?.role_oid === 'string' && /^\d{1,10}$/.test(handle.role_oid) ? handle.role_oid : null;

async function terminateMint(connection: Connection, leaseId: string): Promise<void> {
  await untilGone(
    connection,
    `usename = current_user AND application_name = ${literal(mintName(leaseId))} AND pid <> pg_backend_pid()`,
  );
}

/** @returns the role's oid; null when there is no such role */
async function blindAndBar({ serverClock, clock }: Ground, connection: Connection, role: string) {
  return inTransaction(connection, async () => {
    const askedAt = clock.now();
    serverClock.observe(await primaryTime(connection), askedAt);
    await connection.query(`DELETE FROM ${ownSchema}.lease_scope WHERE role_name = $1`, [role]);
    const { rows } = await connection.query<{ oid: string }>(
      'SELECT oid::text AS oid FROM pg_roles WHERE rolname = $1',
      [role],
    );
    if (rows[0] === undefined) return null;
    const name = identifier(role);
    // Membership lets us end its sessions and drop what it owns, without rights over anybody else's.
    await connection.query(
      `ALTER ROLE ${name} NOLOGIN PASSWORD NULL CONNECTION LIMIT 0 VALID UNTIL '-infinity'; GRANT ${name} TO CURRENT_USER`,
    );
    return rows[0].oid;
  });
}

/** By the role's oid: the name of a role that was dropped is gone, its sessions are not. */
const terminateSessions = (connection: Connection, oid: string): Promise<number> =>
  untilGone(connection, `usesysid = ${oid}::oid`);

/** How many turns of the server's own pause; each is a fiftieth of a second. */
const patience = 250;

/** @returns how many sessions were ended */
export async function untilGone(connection: Connection, which: string): Promise<number> {
  const ended = new Set<number>();
  for (let turn = 0; turn < patience; turn += 1) {
    const { rows } = await connection.query<{ pid: number }>(
      `SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND ${which}`,
    );
    if (rows.length === 0) return ended.size;
    for (const { pid } of rows) ended.add(pid);
    await connection.query('SELECT pg_sleep(0.02)');
  }
  throw new ProviderError('upstream_unavailable', 'PostgreSQL: a session was told to end and did not', {
    providerCode: 'session_alive',
  });
}

async function assertRefused(
  settings: PostgresSettings,
  login: { role: string; password: string },
  signal: AbortSignal,
): Promise<JsonObject> {
  const { accepted, evidence } = await tryLogin(settings, settings.WRIT_POSTGRES_URL, login, signal);
  if (accepted)
    throw new ProviderError('upstream_mismatch', `PostgreSQL still takes the password of ${login.role}`, {
      retryable: true,
      providerCode: 'login_accepted',
    });
  return evidence;
}

async function dropRole(ground: Ground, connection: Connection, role: string, signal: AbortSignal): Promise<void> {
  const drop = () =>
    inTransaction(connection, async () => {
      const { rowCount } = await connection.query('SELECT 1 FROM pg_roles WHERE rolname = $1', [role]);
      if (rowCount === 0) return;
      const name = identifier(role);
      await connection.query(`DROP OWNED BY ${name}; DROP ROLE ${name}`);
    });
  try {
    await drop();
  } catch (error) {
    // It has made or been given something in another database of the server.
    if ((error as { code?: unknown }).code !== '2BP01') throw error;
    await dropOwnedElsewhere(ground, connection, role, signal);
    await drop();
  }
}

async function dropOwnedElsewhere(
  { settings }: Ground,
  connection: Connection,
  role: string,
  signal: AbortSignal,
): Promise<void> {
  const { rows } = await connection.query<{ name: string }>(
    `SELECT DISTINCT b.datname AS name FROM pg_shdepend d JOIN pg_database b ON b.oid = d.dbid
     WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = (SELECT oid FROM pg_roles WHERE rolname = $1)
       AND b.datname <> current_database()`,
    [role],
  );
  const ca = settings.WRIT_POSTGRES_CA_FILE ?? null;
  for (const { name } of rows)
    await connected(settings.WRIT_POSTGRES_URL.in(name), { ca, applicationName: 'writ revoke', signal }, (other) =>
      inTransaction(other, () => other.query(`DROP OWNED BY ${identifier(role)}`)),
    );
}

/** What was done, looked at. @throws ProviderError where something of it is still there */
async function assertGone(connection: Connection, role: string, oid: string | null): Promise<JsonObject> {
  const { rows } = await connection.query<{ role: boolean; sessions: number; rows: number; primary: boolean }>(
    `SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1) AS role,
            (SELECT count(*)::int FROM pg_stat_activity WHERE usesysid = $2::oid) AS sessions,
            (SELECT count(*)::int FROM ${ownSchema}.lease_scope WHERE role_name = $1) AS rows,
            NOT pg_is_in_recovery() AS primary`,
    [role, oid],
  );
  const found = rows[0]!;
  if (found.role || found.sessions > 0 || found.rows > 0 || !found.primary)
    throw new ProviderError('upstream_mismatch', `PostgreSQL still has something of ${role}`, {
      retryable: true,
      providerCode: found.role ? 'role_present' : found.sessions > 0 ? 'session_alive' : 'rows_present',
    });
  return { role_absent: true, sessions_alive: 0, scope_rows: 0, read_on: 'primary' };
}

/** The end of a lease on a read replica: shown there too, once the replica has replayed it. */
import type { JsonObject, RevocationOutcome } from '../contract.ts';
import { type Connection, connected } from './connection.ts';
import type { Ground } from './ground.ts';
import { tryLogin } from './login.ts';

/** When to look again at a replica that is behind. */
const recheckMs = 1_000;

export interface EndedOnPrimary {
  role: string;
  oid: string | null;
  password: string | null;
  evidence: JsonObject;
}

/**
 * What is ended on the primary is blind on the replica from the replay on; sessions there are not the
 * primary's to end, so that the replica is asked itself.
 */
export async function replicaOutcome(
  { settings, clock }: Ground,
  primary: Connection,
  { role, oid, password, evidence }: EndedOnPrimary,
  signal: AbortSignal,
): Promise<RevocationOutcome> {
  const address = settings.WRIT_POSTGRES_REPLICA_ADDRESS;
  if (address === undefined) return { state: 'revoked', evidence: { ...evidence, replica: 'none any more' } };
  const { rows: written } = await primary.query<{ lsn: string }>('SELECT pg_current_wal_lsn()::text AS lsn');
  const { lsn } = written[0]!;
  const replica = settings.WRIT_POSTGRES_URL.at(address);
  const ca = settings.WRIT_POSTGRES_CA_FILE ?? null;
  const seen = await connected(replica, { ca, applicationName: 'writ revoke', signal }, async (connection) => {
    const { rows } = await connection.query<{ replayed: boolean; behind: string; sessions: number; role: boolean }>(
      `SELECT coalesce(pg_last_wal_replay_lsn() >= $1::pg_lsn, true) AS replayed,
              coalesce(pg_wal_lsn_diff($1::pg_lsn, pg_last_wal_replay_lsn()), 0)::text AS behind,
              (SELECT count(*)::int FROM pg_stat_activity WHERE usesysid = $2::oid) AS sessions,
              EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $3) AS role`,
      [lsn, oid, role],
    );
    const found = rows[0]!;
    // The role is gone, and with it our membership: without this right its sessions are waited for.
    if (found.replayed && found.sessions > 0)
      await connection.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usesysid = $1::oid AND pg_has_role('pg_signal_backend', 'USAGE')`,
        [oid],
      );
    return found;
  });
  const told = { ...evidence, replica: `${address.host}:${address.port}`, replica_bytes_behind: Number(seen.behind) };
  if (!seen.replayed || seen.role || seen.sessions > 0)
    return {
      state: 'settling',
      recheckAt: new Date(clock.now().getTime() + recheckMs),
      evidence: { ...told, replica_sessions: seen.sessions },
    };
  if (password === null) return { state: 'revoked', evidence: told };
  const { accepted, evidence: tried } = await tryLogin(settings, replica, { role, password }, signal);
  return accepted
    ? { state: 'settling', recheckAt: new Date(clock.now().getTime() + recheckMs), evidence: told }
    : { state: 'revoked', evidence: { ...told, replica_login: tried.login ?? 'refused' } };
}

/** What the server has of leases: roles, rows of the scope table, and sessions whose role is gone. */
import type { Trace } from '../contract.ts';
import { asProviderError } from './errors.ts';
import { asBroker, type Ground } from './ground.ts';
import { leaseGroup, ownSchema } from './names.ts';

interface FoundRow {
  name: string;
  role: boolean;
  may_login: boolean;
  /** `infinity` comes as a number; null = it was never given one. */
  until: Date | number | null;
  rows: number;
  ours: boolean;
}

/**
 * Roles that may log in as a lease, whoever made them, and what is named as ours in whatever state. Profiles
 * log in nowhere.
 */
const tracesSql = `
  WITH roles AS (
    SELECT r.rolname, r.rolcanlogin, nullif(r.rolvaliduntil, '-infinity') AS until FROM pg_roles r
    WHERE r.rolname ~ $1 OR (r.rolcanlogin AND r.oid IN
      (SELECT member FROM pg_auth_members WHERE roleid = to_regrole('${leaseGroup}') AND NOT admin_option))
  ), scopes AS (
    SELECT role_name, count(*)::int AS rows FROM ${ownSchema}.lease_scope GROUP BY role_name
  )
  SELECT name::text, rolname IS NOT NULL AS role, coalesce(rolcanlogin, false) AS may_login, until, coalesce(rows, 0) AS rows, name ~ $1 AS ours
  FROM (SELECT coalesce(r.rolname, s.role_name) AS name, r.*, s.rows FROM roles r FULL JOIN scopes s ON s.role_name = r.rolname) AS found ORDER BY name`;

/** A session outlives its role, and has no name then. */
const namelessSql = `
  SELECT usesysid::text AS oid, count(*)::int AS sessions FROM pg_stat_activity
  WHERE usesysid IS NOT NULL AND usename IS NULL AND datname = current_database() GROUP BY usesysid ORDER BY usesysid`;

export async function listTraces(ground: Ground, signal: AbortSignal): Promise<Trace[]> {
  // The prefix has letters, digits and underscores alone.
  const named = `^${ground.settings.WRIT_POSTGRES_ROLE_PREFIX}(lse_[0-9a-z]+|[0-9a-f]{24})$`;
  try {
    return await asBroker(ground, 'writ reconcile', signal, async (connection) => {
      const { rows: found } = await connection.query<FoundRow>(tracesSql, [named]);
      const { rows: nameless } = await connection.query<{ oid: string; sessions: number }>(namelessSql);
      return [
        ...found.map((row) => ({ name: row.name, what: inWords(row), usable: row.role, ours: row.ours })),
        ...nameless.map(({ oid, sessions }) => ({
          name: `the dropped role ${oid}`,
          what: `${counted(sessions, 'session')} without a role`,
          usable: false,
          ours: false,
        })),
      ];
    });
  } catch (error) {
    throw asProviderError(error, { signal, doing: 'looking for what is left of leases' });
  }
}

function inWords({ role, may_login, until, rows }: FoundRow): string {
  const scope = counted(rows, 'scope row');
  if (!role) return `${scope} without a role`;
  const end = until instanceof Date ? `until ${until.toISOString()}` : 'for ever';
  const login = may_login ? `a role that may log in ${end}` : 'a barred role';
  return `${login}, with ${scope}`;
}

const counted = (count: number, what: string) => `${count} ${what}${count === 1 ? '' : 's'}`;

/**
 * Reservations of pool members, as SQL for the statements that write an intent. A member belongs to one lease
 * until its last token has expired.
 */

/**
 * Reserves one member, spread over the members so that concurrent requests do not all try the same one. Gives
 * the CTEs `free`, `slot` and `ready` (`ok`, `exhausted`, `reserved`), and stands after `holdRoom`
 * (fair-share.ts).
 * @param pool SQL of the members (text[]); null = none is needed, and `ready.ok` is `roomy.ok`
 */
export const reserveMember = (lease: string, provider: string, pool: string, until: string): string => `
    free AS (
      SELECT candidate.member FROM roomy, unnest(${pool}::text[]) AS candidate (member)
      WHERE roomy.ok AND NOT EXISTS (SELECT 1 FROM pool_slot p WHERE p.provider = ${provider} AND p.member = candidate.member)
    ), slot AS (
      INSERT INTO pool_slot (provider, member, lease_id, release_after)
      SELECT ${provider}, member, ${lease}, ${until} FROM free ORDER BY md5(member || ${lease}) LIMIT 1
      ON CONFLICT (provider, member) DO NOTHING RETURNING member
    ), ready AS (
      SELECT roomy.ok AND (${pool}::text[] IS NULL OR EXISTS (SELECT 1 FROM slot)) AS ok,
             roomy.ok AND ${pool}::text[] IS NOT NULL AND NOT EXISTS (SELECT 1 FROM free) AS exhausted,
             (SELECT member FROM slot) AS reserved FROM roomy
    )`;

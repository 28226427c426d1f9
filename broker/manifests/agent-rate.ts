/**
 * How much an agent does in a minute, counted in the statement that does it, as SQL. The agent's row is
 * locked and holds the number of the newest; the numbers that rows were given say how many came in the last
 * minute. Rows alone cannot be counted so: a statement that waited for another does not see what that one
 * wrote.
 *
 * Lock order of every statement: sessions, then agents by name. Without a limit, no row is locked.
 */

/** What is counted: its table, the table's time, and the column of `agent` that holds the newest number. */
const counted = {
  asked: { table: 'grants', at: 'requested_at' },
  opened: { table: 'session', at: 'opened_at' },
} as const;
export type Counted = keyof typeof counted;

/**
 * For each agent of `rows` with a limit: `used`, what it did in the last minute, and `newest`, the number to
 * go on from. The base is the oldest that is visible in the last minute; where none is, whatever this
 * statement does not see came after what it does.
 * @param rows alias of rows with `agent`, `at` and `per_minute` (0 = no limit)
 */
export const holdRate = (what: Counted, rows: string): string => {
  const { table, at } = counted[what];
  return `
      SELECT wanted.agent, locked.newest, locked.newest - base.seq AS used
      FROM (SELECT agent, max(at) AS at FROM ${rows} WHERE per_minute > 0 GROUP BY agent ORDER BY agent) wanted
      CROSS JOIN LATERAL (SELECT ${what} AS newest FROM agent WHERE name = wanted.agent FOR NO KEY UPDATE) locked
      CROSS JOIN LATERAL (
        SELECT coalesce(
          (SELECT t.agent_seq - 1 FROM ${table} t
           WHERE t.agent = wanted.agent AND t.${at} > wanted.at - interval '1 minute' AND t.agent_seq IS NOT NULL
           ORDER BY t.${at}, t.agent_seq LIMIT 1),
          (SELECT a.${what} FROM agent a WHERE a.name = wanted.agent LIMIT 1)) AS seq) base`;
};

/** @param written alias of rows with `agent` and `agent_seq` (null = not counted) */
export const moveRate = (what: Counted, written: string): string => `
      UPDATE agent SET ${what} = moved.newest
      FROM (SELECT agent, max(agent_seq) AS newest FROM ${written} WHERE agent_seq IS NOT NULL GROUP BY agent) moved
      WHERE agent.name = moved.agent`;

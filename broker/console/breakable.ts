/** What the glass can be broken for, for people to choose from. Reads only. */
import type { Statement, Store } from '../store/open.ts';

const breakableStatement: Statement = {
  name: 'console_breakable',
  text: `
    SELECT a.name AS agent, ARRAY(
      SELECT c.key FROM json_each(m.compiled #> '{manifest,capabilities}') AS c WHERE c.value ->> 'break_glass' = 'true' ORDER BY 1) AS capabilities
    FROM agent a JOIN manifest m ON m.agent = a.name AND m.version = a.version ORDER BY a.name`,
};

export interface Breakable {
  agent: string;
  capabilities: string[];
}

/** Agents with capabilities that the manifest in force marks. */
export async function loadBreakable(store: Store): Promise<Breakable[]> {
  const agents = await store.run<Breakable>(breakableStatement, []);
  return agents.filter(({ capabilities }) => capabilities.length > 0);
}

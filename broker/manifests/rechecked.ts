/** Which agents hold things that an older manifest allowed, as far as nobody has looked yet. */
import type { Statement, Store } from '../store/open.ts';

export interface StaleAgent {
  agent: string;
  version: number;
  publishedAt: Date;
}

const staleStatement: Statement = {
  name: 'manifest_stale',
  text: `
    SELECT a.name AS agent, a.version, m.published_at AS "publishedAt"
    FROM agent a JOIN manifest m ON m.agent = a.name AND m.version = a.version
    WHERE a.rechecked_version < a.version AND ($1::text IS NULL OR a.name = $1::text)`,
};

/** @param agent this one only; null = all */
export const staleAgents = (store: Store, agent: string | null): Promise<StaleAgent[]> =>
  store.run<StaleAgent>(staleStatement, [agent]);

const recheckedStatement: Statement = {
  name: 'manifest_rechecked',
  text: `UPDATE agent SET rechecked_version = $2::int WHERE name = $1::text AND rechecked_version < $2::int`,
};

export async function markRechecked(store: Store, { agent, version }: StaleAgent): Promise<void> {
  await store.run(recheckedStatement, [agent, version]);
}

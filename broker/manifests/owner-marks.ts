/**
 * What the agent's row says of an owner who is gone, each as the owner's name: that people were told
 * (`owner_gone`), and that nothing is opened any more (`stopped_owner`). A mark means the owner it names, so
 * a manifest that names another ends its effect with its publication. Marks only remember: what is true, the
 * worker reads from `owner_presence` at every tick, and sets right what somebody changed.
 */
import type { Statement, Store } from '../store/open.ts';

/**
 * SQL of a query: whether the agent opens nothing because its owner is gone; no row where the version is not
 * in force. For the statement that opens a session, which reads that row in any case.
 */
export const ownerStopped = (agent: string, version: string, owner: string): string =>
  `SELECT coalesce(stopped_owner = ${owner}, false) FROM agent WHERE name = ${agent} AND version = ${version}`;

export interface OwnedAgent {
  agent: string;
  version: number;
  /** By the manifest in force. */
  owner: string;
  /** The marks. */
  owner_gone: string | null;
  stopped_owner: string | null;
}

const ownersStatement: Statement = {
  name: 'agent_owners',
  text: `
    SELECT DISTINCT m.compiled #>> '{manifest,owner}' AS owner FROM agent a JOIN manifest m ON m.agent = a.name AND m.version = a.version`,
};

/** Owners by the manifests in force. */
export async function ownersInForce(store: Store): Promise<string[]> {
  return (await store.run<{ owner: string }>(ownersStatement, [])).map(({ owner }) => owner);
}

const ownedStatement: Statement = {
  name: 'agent_owned',
  text: `
    SELECT a.name AS agent, a.version, m.compiled #>> '{manifest,owner}' AS owner, a.owner_gone, a.stopped_owner
    FROM agent a JOIN manifest m ON m.agent = a.name AND m.version = a.version
    WHERE a.owner_gone IS NOT NULL OR a.stopped_owner IS NOT NULL
      OR CASE WHEN cardinality($1::text[]) > 0 THEN m.compiled #>> '{manifest,owner}' = ANY($1::text[]) END
    ORDER BY a.name`,
};

/** Agents of these owners, and all that carry a mark. */
export const agentsOf = (store: Store, owners: readonly string[]): Promise<OwnedAgent[]> =>
  store.run<OwnedAgent>(ownedStatement, [[...owners]]);

/**
 * SQL that marks one agent, while that version is in force; no row where nothing changes by it.
 * @param agent SQL, as the others
 */
export const markOwner = (agent: string, version: string, told: string, stopped: string): string => `
      UPDATE agent SET owner_gone = ${told}, stopped_owner = ${stopped} WHERE name = ${agent} AND version = ${version}
        AND (owner_gone IS DISTINCT FROM ${told} OR stopped_owner IS DISTINCT FROM ${stopped}) RETURNING name`;

/** SQL: whether the agent's manifest in force names the owner. */
export const isOwnedBy = (agent: string, owner: string): string =>
  `EXISTS (SELECT 1 FROM agent a JOIN manifest m ON m.agent = a.name AND m.version = a.version WHERE a.name = ${agent} AND m.compiled #>> '{manifest,owner}' = ${owner})`;

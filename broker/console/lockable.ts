/** What there is to lock, for an admin to choose from. Reads only. */
import type { LockTarget } from '../core/vocabulary.ts';
import type { Statement, Store } from '../store/open.ts';

const lockableStatement: Statement = {
  name: 'console_lockable',
  text: `
    SELECT a.name, m.compiled #>> '{manifest,owner}' AS owner, a.providers,
           ARRAY(SELECT name FROM json_object_keys(m.compiled #> '{manifest,capabilities}') AS name ORDER BY 1) AS capabilities
    FROM agent a JOIN manifest m ON m.agent = a.name AND m.version = a.version ORDER BY a.name`,
};

/** By the manifests in force: everything, then agents, owners, providers, and each agent’s capabilities. */
export async function loadLockable(store: Store): Promise<LockTarget[]> {
  const agents = await store.run<{ name: string; owner: string; providers: string[]; capabilities: string[] }>(
    lockableStatement,
    [],
  );
  const all = (level: LockTarget['level'], names: string[]): LockTarget[] =>
    [...new Set(names)].sort().map((subject) => ({ level, subject }));
  return [
    { level: 'everything', subject: '' },
    ...agents.map(({ name }): LockTarget => ({ level: 'agent', subject: name })),
    ...all(
      'owner',
      agents.map(({ owner }) => owner),
    ),
    ...all(
      'provider',
      agents.flatMap(({ providers }) => providers),
    ),
    ...all(
      'capability',
      agents.flatMap(({ name, capabilities }) => capabilities.map((capability) => `${name}/${capability}`)),
    ),
  ];
}

/** Whether the role that a broker runs as could change history: then who takes over the broker can, too. */
import type { Statement, Store } from './open.ts';

const roleStatement: Statement = {
  name: 'role_powers',
  text: `
    SELECT r.rolname AS role, r.rolsuper AS superuser,
           pg_has_role(c.relowner, 'USAGE') OR has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER') AS changes_history,
           (SELECT min(n.nspname) FROM pg_namespace n WHERE n.nspname NOT LIKE 'pg\\_%' AND has_schema_privilege(n.oid, 'CREATE')) AS makes_in
    FROM pg_roles r, pg_class c WHERE r.rolname = current_user AND c.oid = to_regclass('audit_event')`,
};

/** @returns what to tell an operator; null when there is nothing, or the database is embedded */
export async function roleWarning(store: Store): Promise<string | null> {
  if (store.backend === 'pglite') return null;
  const [row] = await store.run<{
    role: string;
    superuser: boolean;
    changes_history: boolean;
    makes_in: string | null;
  }>(roleStatement, []);
  if (row === undefined || !(row.superuser || row.changes_history || row.makes_in !== null)) return null;
  const what = row.superuser
    ? 'is a superuser'
    : row.changes_history
      ? 'may change the record and the schema'
      : `may make tables in the schema ${row.makes_in}`;
  return `the database role ${row.role} ${what}: \`npx writ database prepare\` makes one that cannot`;
}

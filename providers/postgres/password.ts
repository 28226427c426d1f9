/** Gives a role the verifier of its password: neither is in the text of a statement. */
import { scramVerifier } from '../../broker/core/scram-verifier.ts';
import type { Connection } from './connection.ts';
import { literal } from './names.ts';

/** Of the transaction alone. */
const setting = 'writ.verifier';

/**
 * Statements that change roles take no parameters, and statement statistics keep their text. What a DO block
 * runs is kept by nobody, unless `pg_stat_statements.track` is `all`.
 */
export async function setPassword(connection: Connection, role: string, password: string): Promise<void> {
  await connection.query(`SELECT set_config('${setting}', $1, true)`, [scramVerifier(password)]);
  await connection.query(
    `DO $writ$ BEGIN EXECUTE format('ALTER ROLE %I PASSWORD %L', ${literal(role)}, current_setting('${setting}')); END $writ$;
     SELECT set_config('${setting}', '', true)`,
  );
}

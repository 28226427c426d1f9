/** The names that Writ gives on the target server, and how names are written in SQL. */
import { createHash } from 'node:crypto';
import pg from 'pg';

/** The schema with the scope table, made once by `writ provider postgres prepare`. */
export const ownSchema = 'writ';

/** Every lease's role is a member: the policies are for this role. */
export const leaseGroup = 'writ_leases';

/** The policy that holds a lease to its rows. */
export const scopePolicy = 'writ_scope';

/** PostgreSQL cuts longer names off without a word. */
export const longestNameBytes = 63;

/** `writ_` and the lease's id: an admin who sees the role in a log finds the lease. */
export function leaseRole(prefix: string, leaseId: string): string {
  return fitting(`${prefix}${leaseId}`, prefix, leaseId);
}

/** The role with a plan's column rights, shared by all leases with the same: the rows are no part of it. */
export function profileRole(prefix: string, rights: unknown): string {
  return `${prefix}rights_${digest(JSON.stringify(rights))}`;
}

/** Where the views on the tables of a schema are. */
export const viewSchema = (schema: string): string => `writ_${schema}`;

const fitting = (name: string, prefix: string, text: string) =>
  Buffer.byteLength(name) <= longestNameBytes ? name : `${prefix}${digest(text)}`;

const digest = (text: string) => createHash('sha256').update(text).digest('hex').slice(0, 24);

export const identifier = (name: string): string => pg.escapeIdentifier(name);
export const qualified = (schema: string, name: string): string => `${identifier(schema)}.${identifier(name)}`;
export const literal = (text: string): string => pg.escapeLiteral(text);

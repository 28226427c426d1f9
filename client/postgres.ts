/** Grants for `pg` and for Prisma. */
import type { PostgresCredential } from './credentials.ts';
import { WritError } from './errors.ts';
import type { Grant } from './grant.ts';

/** What `new pg.Client(…)`, `new pg.Pool(…)` and `new PrismaPg(…)` take. */
export interface PostgresOptions {
  host: string;
  port: number;
  database: string;
  user: string;
  password: string;
  ssl: false | { rejectUnauthorized: boolean; ca?: string };
}

/**
 * Options for `pg`, and for Prisma's adapter `@prisma/adapter-pg`.
 *
 * @throws WritError `wrong_credential`
 * @example
 * const pool = new pg.Pool({ ...postgresOptions(grant), max: 2 });
 * const prisma = new PrismaClient({ adapter: new PrismaPg(postgresOptions(grant)) });
 */
export function postgresOptions(grant: Grant): PostgresOptions {
  const { host, port, database, user, password, sslMode, sslRootCert } = postgresOf(grant);
  const verified = { rejectUnauthorized: true, ...(sslRootCert === undefined ? {} : { ca: sslRootCert }) };
  const ssl = sslMode === 'disable' ? false : sslMode === 'require' ? { rejectUnauthorized: false } : verified;
  return { host, port, database, user, password, ssl };
}

/**
 * A connection string for Prisma's own engine (up to Prisma 6), with a schema and few connections.
 *
 * @throws WritError `wrong_credential`
 * @example
 * const prisma = new PrismaClient({ datasourceUrl: prismaUrl(grant) });
 */
export function prismaUrl(grant: Grant, { connections = 2 }: { connections?: number } = {}): string {
  const { url, relations } = postgresOf(grant);
  const prisma = new URL(url);
  prisma.searchParams.set('connection_limit', String(connections));
  if (relations[0] !== undefined) prisma.searchParams.set('schema', relations[0].schema);
  return prisma.href;
}

function postgresOf({ credential, id }: Grant): PostgresCredential {
  if (credential.type === 'postgres') return credential;
  throw new WritError('wrong_credential', `The grant is for ${credential.type}, not for PostgreSQL`, { grantId: id });
}

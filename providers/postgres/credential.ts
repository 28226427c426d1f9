/** What an agent gets: a connection string, its parts, and what files of PostgreSQL's own clients hold. */
import { z } from 'zod';
import { type PostgresPermission, relationOf } from './plan.ts';
import type { PostgresSettings } from './settings.ts';

export interface Login {
  role: string;
  password: string;
  expiresAt: Date;
}

export const postgresCredential = z.strictObject({
  type: z.literal('postgres'),
  host: z.string(),
  port: z.int(),
  database: z.string(),
  user: z.string(),
  password: z.string(),
  sslmode: z.enum(['verify-full', 'require', 'disable']),
  ssl_root_cert: z
    .string()
    .exactOptional()
    .describe('What the server’s certificate is verified with (PEM); absent = the system’s authorities.'),
  url: z.string().describe('A connection string with all of it but the certificates.'),
  service_file: z.string().describe('Text of a file for `PGSERVICEFILE`, with the service `writ`.'),
  relations: z
    .array(z.strictObject({ table: z.string(), schema: z.string(), name: z.string() }))
    .describe('The schema and name under which each table of the plan is reached.'),
  expires_at: z.iso.datetime(),
});

export function credentialFor(
  settings: PostgresSettings,
  permission: PostgresPermission,
  { role, password, expiresAt }: Login,
): z.input<typeof postgresCredential> {
  const { host, port } = addressFor(settings, permission);
  const { database, sslMode } = settings.WRIT_POSTGRES_URL;
  const ca = settings.WRIT_POSTGRES_CA_FILE;
  const url = new URL(`postgres://${host.includes(':') ? `[${host}]` : host}:${port}/${encodeURIComponent(database)}`);
  url.username = encodeURIComponent(role);
  url.password = password;
  url.searchParams.set('sslmode', sslMode);
  return {
    type: 'postgres',
    host,
    port,
    database,
    user: role,
    password,
    sslmode: sslMode,
    ...(ca === undefined ? {} : { ssl_root_cert: ca }),
    url: url.href,
    // For PGSERVICEFILE, and PGSERVICE=writ; libpq reads a certificate from a file, which the agent names.
    service_file: [
      '[writ]',
      `host=${host}`,
      `port=${port}`,
      `dbname=${database}`,
      `user=${role}`,
      `password=${password}`,
      `sslmode=${sslMode}`,
      '',
    ].join('\n'),
    relations: permission.tables.map((planned) => {
      const { schema, name } = relationOf(planned);
      return { table: `${planned.schema}.${planned.table}`, schema, name };
    }),
    expires_at: expiresAt.toISOString(),
  };
}

/** Where agents connect. */
export function addressFor(settings: PostgresSettings, { server }: PostgresPermission) {
  const replica = settings.WRIT_POSTGRES_REPLICA_ADDRESS;
  if (server === 'replica' && replica !== undefined) return replica;
  return settings.WRIT_POSTGRES_AGENT_ADDRESS ?? settings.WRIT_POSTGRES_URL.address;
}

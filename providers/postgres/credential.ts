/** What an agent gets: a connection string, its parts, and what files of PostgreSQL's own clients hold. */
import type { JsonObject } from '../contract.ts';
import { type PostgresPermission, relationOf } from './plan.ts';
import type { PostgresSettings } from './settings.ts';

export interface Login {
  role: string;
  password: string;
  expiresAt: Date;
}

export function credentialFor(
  settings: PostgresSettings,
  permission: PostgresPermission,
  { role, password, expiresAt }: Login,
): JsonObject & { type: string } {
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

/** What every call of the provider stands on: its settings, the clocks, and a connection as the broker. */
import type { Clock } from '../contract.ts';
import { type Connection, connected } from './connection.ts';
import type { ServerClock } from './server-clock.ts';
import type { PostgresSettings } from './settings.ts';

export interface Ground {
  settings: PostgresSettings;
  clock: Clock;
  serverClock: ServerClock;
}

/** @param applicationName what the connection is called in `pg_stat_activity` */
export function asBroker<T>(
  { settings }: Pick<Ground, 'settings'>,
  applicationName: string,
  signal: AbortSignal,
  work: (connection: Connection) => Promise<T>,
): Promise<T> {
  const ca = settings.WRIT_POSTGRES_CA_FILE ?? null;
  return connected(settings.WRIT_POSTGRES_URL, { ca, applicationName, signal }, work);
}

/**
 * The PostgreSQL server of a run of the tests, where nobody named one: the oldest that is installed, because
 * Writ promises to run on that. It is private to the run and may lose everything: a database, of which the
 * tests make hundreds, costs a twentieth of what it costs on a server that writes to a disk.
 */
import { installedServers } from '../../sandbox/postgres/binaries.ts';
import { type PostgresSandbox, startPostgres } from '../../sandbox/postgres/start.ts';

/**
 * @param folder where its data go; once it is removed, the server ends by itself
 * @returns null where none is installed
 */
export async function startOwnServer(folder: string): Promise<PostgresSandbox | null> {
  const [oldest] = installedServers();
  if (oldest === undefined) return null;
  const server = await startPostgres(oldest, {
    folder,
    settings: {
      full_page_writes: 'off',
      shared_buffers: '128MB',
      max_connections: '300',
      log_statement: 'none',
      // What tests provoke is theirs to look at.
      log_min_messages: 'panic',
    },
  });
  await server.letIn(true);
  return server;
}

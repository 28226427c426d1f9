/** Why a PostgreSQL server could not be reached, in words that say which part of DATABASE_URL to look at. */
import pg from 'pg';

const unreachable: { readonly [code: string]: string } = {
  ECONNREFUSED: 'nothing listens there. Start PostgreSQL, or correct host and port',
  ENOTFOUND: 'no such host. Correct the host',
  EAI_AGAIN: 'the name of the host cannot be looked up now. Correct the host, or mend the name server',
  EHOSTUNREACH: 'no way leads there. Correct the host, or mend the network',
  ENETUNREACH: 'no way leads there. Correct the host, or mend the network',
  ETIMEDOUT: 'it does not answer. Correct host and port, or open the firewall',
  ECONNRESET: 'it hung up. Is it a PostgreSQL server, and does it want TLS (`?sslmode=require`)?',
};
const refused: { readonly [sqlState: string]: string } = {
  '28P01': 'user or password is wrong. Correct them',
  '28000': 'it does not let this user in. Correct the user, or let it in (pg_hba.conf)',
  '3D000': 'it has no such database. Make it (`createdb`), or correct the name',
  '42501': 'this user may not connect. Grant it CONNECT',
  '53300': 'it has no connection left. End some, or raise max_connections',
  '57P03': 'it is starting or stopping. Try again',
};

/**
 * @param databaseUrl of which host, port, user and database are said, never the password
 * @returns the error itself when it is of no known kind
 */
export function connectFault(error: unknown, databaseUrl: string): unknown {
  if (!(error instanceof Error)) return error;
  // A host with two addresses, neither of which answers, is an AggregateError.
  const code = (error as NodeJS.ErrnoException).code ?? '';
  const tls = /^(DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|CERT_|ERR_TLS_)/.test(code);
  const why =
    unreachable[code] ??
    refused[code] ??
    (tls ? `its certificate is not trusted (${code}). Name its CA (\`?sslrootcert=FILE\`)` : null) ??
    (/timeout expired/.test(error.message) ? unreachable.ETIMEDOUT : null) ??
    (/terminated unexpectedly/.test(error.message) ? unreachable.ECONNRESET : null);
  if (why === null) return error;
  // As the driver reads the URL, with PGUSER and the like.
  const { host, port, user, database } = new pg.Client({ connectionString: databaseUrl });
  return new Error(`the database ${database} of ${user} at ${host}:${port} cannot be used: ${why} (DATABASE_URL).`, {
    cause: error,
  });
}

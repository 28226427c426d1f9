/** Tries a lease's own password at the server: the proof by effect. */
import type { JsonObject } from '../contract.ts';
import { connected } from './connection.ts';
import type { PostgresSettings } from './settings.ts';
import type { Target } from './target.ts';

export type LoginOutcome = { accepted: boolean; evidence: JsonObject };

/** Wrong password or no such role (the server says which to nobody), and: this role may not log in. */
const refusals = new Set(['28P01', '28000']);

/** PgBouncer has one code for all that it refuses, and says in words what. */
const poolerRefuses = ({ code, message }: { code?: unknown; message?: unknown }) =>
  code === '08P01' &&
  /authentication failed|no such user|not permitted to log in|does not exist|login rejected/i.test(String(message));

/**
 * @param server where to try
 * @throws what says neither: a server that is away, or has no connection left
 */
export async function tryLogin(
  settings: PostgresSettings,
  server: Target,
  { role, password }: { role: string; password: string },
  signal: AbortSignal,
): Promise<LoginOutcome> {
  const ca = settings.WRIT_POSTGRES_CA_FILE ?? null;
  try {
    await connected(server.as({ user: role, password }), { ca, applicationName: 'writ proof', signal }, (connection) =>
      // A pooler takes the login itself, and tells the server's answer with the first question.
      connection.query('SELECT 1'),
    );
    return { accepted: true, evidence: { login: 'accepted' } };
  } catch (error) {
    const refused = error as { code?: unknown; message?: unknown };
    const code = String(refused.code);
    if (!refusals.has(code) && !poolerRefuses(refused)) throw error;
    return { accepted: false, evidence: { login: 'refused', login_code: code } };
  }
}

/** What the target does not hold, as the broker's own role finds it: for the start and for readiness. */
import { randomBytes } from 'node:crypto';
import { preparationFaults } from './check.ts';
import { inTransaction } from './connection.ts';
import { asProviderError } from './errors.ts';
import { asBroker, type Ground } from './ground.ts';
import { tryLogin } from './login.ts';

export interface Limits {
  /** @returns what does not hold, in words for an admin. @throws ProviderError where it could not be told */
  find(signal: AbortSignal): Promise<string[]>;
  /** What of it an approver should know. */
  words(): string[];
}

const noPasswordAsked =
  'the server asks for no password (pg_hba.conf): who knows the name of a lease’s role and reaches it is in';

export function targetLimits(ground: Ground): Limits {
  let trusting = false;
  return {
    find: async (signal) => {
      const { user } = ground.settings.WRIT_POSTGRES_URL;
      try {
        const faults = await asBroker(ground, 'writ limits', signal, (connection) =>
          inTransaction(connection, () => preparationFaults(connection, user, [])),
        );
        trusting = await takesAnyPassword(ground, signal);
        return [...faults, ...(trusting ? [`PostgreSQL: ${noPasswordAsked}`] : [])];
      } catch (error) {
        throw asProviderError(error, { signal, doing: 'looking at what was prepared' });
      }
    },
    words: () => (trusting ? [`Warning: ${noPasswordAsked}`] : []),
  };
}

/** Where agents connect, by the broker's own name and no password of anybody's. */
async function takesAnyPassword({ settings }: Ground, signal: AbortSignal): Promise<boolean> {
  const server = settings.WRIT_POSTGRES_URL.at(
    settings.WRIT_POSTGRES_AGENT_ADDRESS ?? settings.WRIT_POSTGRES_URL.address,
  );
  const login = { role: server.user, password: randomBytes(16).toString('base64url') };
  return (await tryLogin(settings, server, login, signal)).accepted;
}
